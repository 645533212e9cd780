-- Uploads that were begun and whose end nobody has seen yet. What is still here when it is due was
-- left by a process that died: its medium, if there is one, is found by the key and let go unless
-- the profile holds it.
create table upload_attempts (
    user_id text not null,
    idempotency_key text not null,
    begun_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null,
    primary key (user_id, idempotency_key)
);

create index upload_attempts_due on upload_attempts (due_at);
