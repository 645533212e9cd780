-- Originals whose bytes were found missing or wrong, until the same content is uploaded again.
alter table blobs add column damaged_at timestamptz;

create index blobs_damaged on blobs (damaged_at) where damaged_at is not null;

-- Everything of one owner, for erasing it.
create index media_owner on media (owner, id);

-- Deleted rows, which go for good after a while.
create index media_deleted on media (deleted_at) where deleted_at is not null;

-- Media whose work is not done, or was given up because of damage: few at any time.
create index media_unfinished on media (id)
    where deleted_at is null
        and (status in ('pending', 'processing') or failure_code = 'media_damaged');
