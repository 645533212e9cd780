-- One row per distinct content. What its inspection told is kept, so that equal bytes are
-- decoded only once.
create table blobs (
    sha256 bytea primary key check (length(sha256) = 32),
    size_bytes bigint not null check (size_bytes > 0),
    content_type text not null,
    width integer not null,
    height integer not null,
    frames integer not null,
    duration_ms bigint not null,
    has_transparency boolean not null,
    blurhash text not null,
    state text not null default 'live' check (state in ('live', 'condemned')),
    condemned_at timestamptz,
    created_at timestamptz not null default now(),
    check ((state = 'condemned') = (condemned_at is not null))
);

create index blobs_condemned on blobs (condemned_at) where state = 'condemned';

-- One row per upload; owners never share one. A deleted row stays, so that deleting twice is no
-- error to its owner; it loses its blob when the sweeper takes that.
create table media (
    id uuid primary key,
    owner text not null,
    purpose text not null,
    media_type text not null,
    filename text not null,
    content_type text not null,
    size_bytes bigint not null,
    sha256 bytea references blobs on delete set null,
    width integer not null,
    height integer not null,
    duration_ms bigint not null,
    blurhash text not null,
    visibility text not null check (visibility in ('public', 'private')),
    status text not null
        check (status in ('pending', 'processing', 'completed', 'failed', 'cancelled')),
    failure_code text not null,
    options jsonb,
    renditions jsonb not null,
    policy_version integer not null,
    revision integer not null,
    idempotency_key text not null,
    deduplicated boolean not null,
    created_at timestamptz not null,
    updated_at timestamptz not null,
    expires_at timestamptz,
    deleted_at timestamptz,
    check (deleted_at is not null or sha256 is not null)
);

create index media_sha256 on media (sha256);
create index media_expiring on media (expires_at)
    where deleted_at is null and expires_at is not null;
create unique index media_idempotency_key on media (owner, idempotency_key)
    where idempotency_key <> '' and deleted_at is null;

-- What has been made of an original by a recipe: shared by all media with equal bytes and recipe.
create table renditions (
    source bytea not null references blobs on delete cascade,
    recipe_key text not null,
    version text not null,
    content_type text not null,
    width integer not null,
    height integer not null,
    size_bytes bigint not null,
    checksum bytea not null check (length(checksum) = 32),
    created_at timestamptz not null default now(),
    primary key (source, recipe_key)
);
