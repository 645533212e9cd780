-- Jobs that carry a lock are done one after the other; the engine looks for others of a lock
-- whenever it takes one.
create index mediad_jobs_by_lock on procrastinate_jobs (lock)
    where lock is not null and status in ('todo', 'doing');
