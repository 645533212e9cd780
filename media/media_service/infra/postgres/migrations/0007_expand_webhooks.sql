-- What receivers of webhooks are to be told, a row for each receiver. Rows are made by a trigger,
-- in the transaction of the change itself: nothing is told that did not happen, and nothing that
-- did is forgotten. Only sessions that name receivers (mediad.webhook_urls, separated by commas)
-- make any, so that nothing grows where nobody listens.
create table webhook_deliveries (
    number bigint generated always as identity primary key,
    id uuid not null,
    url text not null,
    media_id uuid not null,
    type text not null,
    body text not null,
    begun_at timestamptz not null default clock_timestamp(),
    due_at timestamptz not null default clock_timestamp(),
    attempts integer not null default 0,
    failure text not null default '',
    failed_at timestamptz
);

create index webhook_deliveries_due on webhook_deliveries (url, due_at)
    where failed_at is null;
create index webhook_deliveries_of_media on webhook_deliveries (media_id, url, number)
    where failed_at is null;
create index webhook_deliveries_begun on webhook_deliveries (begun_at)
    where failed_at is null;
create index webhook_deliveries_failed on webhook_deliveries (failed_at)
    where failed_at is not null;

-- A UUIDv7 (RFC 9562): 48 bits of milliseconds over a random one, whose version becomes 7.
create function mediad_event_id() returns uuid language sql volatile as $$
    select encode(set_bit(set_bit(overlay(
        uuid_send(gen_random_uuid())
        placing substring(
            int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3
        )
        from 1 for 6
    ), 52, 1), 53, 1), 'hex')::uuid
$$;

-- Whether everything is made that lets a medium play (stage 2); no where nothing plays.
create function mediad_is_playable(renditions jsonb) returns boolean language sql immutable as $$
    select coalesce(bool_and((made ->> 'size_bytes')::bigint > 0), false)
    from jsonb_array_elements(renditions) made
    where (made ->> 'stage')::integer = 2
$$;

create function mediad_media_events(old media, new media) returns text[] language sql stable as $$
    select case
        when new.deleted_at is not null then
            array_remove(array[
                case when old.deleted_at is null then 'media.deleted' end
            ], null)
        else
            array_remove(array[
                case when new.status = 'processing' and old.status is distinct from 'processing'
                    then 'media.processing' end,
                case when mediad_is_playable(new.renditions)
                        and not coalesce(mediad_is_playable(old.renditions), false)
                    then 'media.playable' end,
                case when new.status in ('completed', 'failed')
                        and old.status is distinct from new.status
                    then 'media.' || new.status end
            ], null)
    end
$$;

create function mediad_tell_of_media() returns trigger language plpgsql as $$
declare
    earlier media := null;
    event text;
    event_id uuid;
    event_body text;
begin
    if tg_op = 'UPDATE' then
        earlier := old;
    end if;
    foreach event in array mediad_media_events(earlier, new) loop
        event_id := mediad_event_id();
        event_body := json_build_object(
            'type', event,
            'timestamp',
                to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'data', json_build_object(
                'media_id', new.id,
                'user_id', new.owner,
                'purpose', new.purpose,
                'media_type', new.media_type,
                'status', new.status,
                'failure_code', new.failure_code,
                'renditions', coalesce((
                    select json_agg(made ->> 'name')
                    from jsonb_array_elements(new.renditions) made
                    where (made ->> 'size_bytes')::bigint > 0
                        and (made ->> 'role') is distinct from 'part'
                        and new.deleted_at is null
                ), '[]'::json)
            )
        )::text;
        insert into webhook_deliveries (id, url, media_id, type, body)
        select event_id, url, new.id, event, event_body
        from unnest(string_to_array(current_setting('mediad.webhook_urls'), ',')) url;
    end loop;
    return null;
end
$$;

create trigger mediad_tell_of_new_media after insert on media for each row
    when (coalesce(current_setting('mediad.webhook_urls', true), '') <> '')
    execute function mediad_tell_of_media();
create trigger mediad_tell_of_changed_media after update on media for each row
    when (
        coalesce(current_setting('mediad.webhook_urls', true), '') <> ''
        and (old.status, old.deleted_at, old.renditions)
            is distinct from (new.status, new.deleted_at, new.renditions)
    )
    execute function mediad_tell_of_media();
