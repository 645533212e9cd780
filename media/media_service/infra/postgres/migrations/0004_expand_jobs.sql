-- When processes were last heard of, by the name that their connections carry
-- (application_name): the sessions of one that was stopped are ended, and with them its locks.
create table processes (
    name text primary key,
    seen_at timestamptz not null default now()
);

-- Work that is done now and then by one process of all: how often it was done, when it is due.
create table duties (
    name text primary key,
    turns bigint not null default 0,
    due_at timestamptz not null default now()
);

-- Where a new job finds its place among its owner's, and among all; the oldest that waits.
create index mediad_jobs_of_owner on procrastinate_jobs ((args ->> 'owner'), (-priority))
    where status = 'todo' and scheduled_at is null;
create index mediad_jobs_by_priority on procrastinate_jobs (priority)
    where status = 'todo' and scheduled_at is null;
create index mediad_jobs_by_age on procrastinate_jobs (id)
    where status = 'todo' and scheduled_at is null;

create index mediad_jobs_of_media on procrastinate_jobs ((args ->> 'media_id'))
    where status in ('todo', 'doing', 'failed');
create index mediad_jobs_over on procrastinate_jobs (id)
    where status in ('failed', 'aborted', 'cancelled');
