-- What films, sounds and documents tell beside what pictures do, and how far a job is.
alter table blobs
    add column has_video boolean not null default false,
    add column has_audio boolean not null default false,
    add column pages integer not null default 0;
alter table media
    add column has_audio boolean not null default false,
    add column pages integer not null default 0,
    add column stage_percent integer not null default 0;
