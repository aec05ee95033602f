-- From the stream into rows, exactly once: a shard's position moves in the statement that writes.

-- name: join_by_hash :exec
-- For `take`, in its transaction: it joins a batch to itself, while all else is looked up by key.
SET LOCAL enable_hashjoin = on;

-- name: take :one
-- $1-$3 source shards, their epochs and new positions; $4 the owner. Shards whose lease is lost
-- are not in `fenced`, and nothing of theirs is written.
-- $30 when the streams that the positions count in were created.
-- $5-$14 events: source shard, app, message id, type, event id, channels and tags (comma
-- separated), payload, content type, time. $15-$18 deliveries (array literals,
-- like the events but for the payload): number of the event from 1,
-- endpoint, shard, whether another process must be woken. $19-$29 rejected events.
-- `repeated`: numbers of the events that were not stored, as their event id or id is known.
WITH fence AS (
    UPDATE shard AS s SET position = f.position, stream_at = f.stream_at
    FROM unnest($1::int[], $2::bigint[], $3::bigint[], $30::timestamptz[])
        AS f(id, epoch, position, stream_at)
    WHERE s.id = f.id AND s.epoch = f.epoch AND s.owner = $4
    RETURNING s.id),
event AS (
    SELECT * FROM unnest($5::text::int[], $6::text::text[], $7::text::text[], $8::text::text[],
                         $9::text::text[], $10::text::text[], $11::text::text[], $12::bytea[],
                         $13::text::text[], $14::text::timestamptz[])
        WITH ORDINALITY AS e(source, app_id, id, event_type, event_id, channels, tags, payload,
                             content_type, created_at, number)
    WHERE source IN (SELECT id FROM fence)),
ledger AS (
    INSERT INTO message_event_id (app_id, event_id, message_id, created_at)
    SELECT app_id, event_id, id, created_at FROM event WHERE event_id IS NOT NULL ORDER BY number
    ON CONFLICT DO NOTHING
    RETURNING app_id, message_id),
stored AS (
    INSERT INTO message (app_id, id, event_type, event_id, channels, tags, payload, content_type,
                         created_at)
    SELECT app_id, id, event_type, event_id, string_to_array(channels, ','),
           string_to_array(tags, ','), payload, content_type, created_at
    FROM event AS e
    WHERE event_id IS NULL OR (app_id, id) IN (SELECT app_id, message_id FROM ledger)
    ON CONFLICT DO NOTHING
    RETURNING app_id, id),
fresh AS (
    SELECT e.number, e.app_id, e.id, e.created_at
    FROM event AS e JOIN stored AS s ON s.app_id = e.app_id AND s.id = e.id),
owed AS (
    SELECT f.app_id, f.id, d.endpoint_id, d.shard, d.foreign_shard, f.created_at
    FROM unnest($15::text::int[], $16::text::text[], $17::text::int[], $18::text::bool[])
        AS d(number, endpoint_id, shard, foreign_shard)
    JOIN fresh AS f ON f.number = d.number),
fanned_out AS (
    INSERT INTO delivery (app_id, message_id, endpoint_id, shard, due_at, created_at)
    SELECT app_id, id, endpoint_id, shard, created_at, created_at FROM owed
    ON CONFLICT DO NOTHING),
woken AS (
    INSERT INTO wake (shard, app_id, endpoint_id)
    SELECT DISTINCT shard, app_id, endpoint_id FROM owed WHERE foreign_shard
    ON CONFLICT (shard, app_id, endpoint_id) DO UPDATE SET at = now()),
rejected AS (
    INSERT INTO rejected_event (id, environment_id, app, subject, headers, body, reason, detail,
                                sequence, created_at)
    SELECT r.id, r.environment_id, r.app, r.subject, r.headers, r.body, r.reason, r.detail,
           r.sequence, r.created_at
    FROM unnest($19::int[], $20::text[], $21::text[], $22::text[], $23::text[], $24::jsonb[],
                $25::bytea[], $26::text[], $27::text[], $28::bigint[], $29::timestamptz[])
        AS r(source, id, environment_id, app, subject, headers, body, reason, detail, sequence,
             created_at)
    WHERE r.source IN (SELECT id FROM fence)
    ON CONFLICT DO NOTHING)
SELECT (SELECT array_agg(id) FROM fence) AS fenced,
       (SELECT array_agg(number) FROM event AS e
        WHERE NOT EXISTS (SELECT FROM fresh AS f WHERE f.number = e.number)) AS repeated;

-- name: known_event_ids :many
-- Which messages ($3) their event ids ($1 app, $2 event id) belong to already, by number from 1, if
-- to another one. Served by message_event_id_pkey.
SELECT w.number FROM unnest($1::text[], $2::text[], $3::text[])
    WITH ORDINALITY AS w(app_id, event_id, message_id, number)
JOIN message_event_id AS l ON l.app_id = w.app_id AND l.event_id = w.event_id
WHERE l.message_id <> w.message_id;

-- name: reject :exec
INSERT INTO rejected_event (id, environment_id, app, subject, headers, body, reason, detail,
                            sequence, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING;
