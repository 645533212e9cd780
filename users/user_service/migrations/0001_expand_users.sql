-- Who can log in here. `username` is normalised, so that equal names are equal rows.
create table accounts (
    id text primary key,
    username text not null unique,
    password_hash text not null,
    disabled_at timestamptz,
    created_at timestamptz not null
);

-- One row per login. It ends by logging out, by the reuse of a refresh token, or by time.
create table sessions (
    id uuid primary key,
    account_id text not null references accounts on delete cascade,
    created_at timestamptz not null,
    ends_at timestamptz not null,
    ended_at timestamptz
);

create index sessions_account on sessions (account_id);
create index sessions_ends_at on sessions (ends_at);

-- The chain of refresh tokens of a session, as SHA-256. Used ones stay, to be known again.
create table refresh_tokens (
    hash bytea primary key check (length(hash) = 32),
    session_id uuid not null references sessions on delete cascade,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    used_at timestamptz
);

create index refresh_tokens_session on refresh_tokens (session_id);

-- What was taken of an allowance: it is whole again at `whole_at`. Hashed keys: neither names nor
-- addresses are kept. Losing these rows in a crash only forgets a few attempts.
create unlogged table throttles (
    key bytea primary key check (length(key) = 32),
    whole_at timestamptz not null
);

-- What others see of somebody. Those who come from an outside issuer have no account.
create table profiles (
    user_id text primary key,
    username text not null,
    display_name text not null,
    bio text not null,
    profile_picture jsonb,
    cover_photo jsonb,
    updated_at timestamptz not null
);

-- Media that no profile holds any more. Done ones stay for a day, so that a late retry of their
-- upload can't bring them back.
create table media_deletions (
    media_id uuid primary key,
    user_id text not null,
    attempts integer not null default 0,
    due_at timestamptz not null default now(),
    done_at timestamptz,
    created_at timestamptz not null default now()
);

create index media_deletions_due on media_deletions (due_at) where done_at is null;
