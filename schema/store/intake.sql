-- From the stream into rows, exactly once: a shard's position moves in the statement that writes.

-- name: take :one
-- $1-$3 source shards, their epochs and new positions; $4 the owner; $34 when the streams that the
-- positions count in were created; $36, $37 what was known to be stored of both before; $40 how
-- many events of each stand in the batch; $49 whether they were read past a crowd, which moves no
-- position and waits for no other statement of the shard.
-- `fenced` are the shards that were written. Of the others, those whose lease holds stand in
-- `moved_ids` with what is stored of them: Postgres has forgotten a batch, or was restored.
-- $5-$13 events: source shard, app, message id, type, event id, channels and tags (comma
-- separated), content type, time; $14 all payloads in a row, $15 where each begins, $16 its size.
-- $17-$22 deliveries: app, message id, endpoint, shard, whether another process must be woken,
-- time; $35 their places, null where the endpoint is not ordered; $48 when they are due, null is at
-- once. $23-$33 rejected events. $38, $39 the first message ids of the batch's days, and the days:
-- what was fanned out is counted apart from the deliveries, by app and day. $41-$44 messages for one
-- endpoint, or made of dead letters: app, message, endpoint, letter. Of the events, $45 whether the
-- end of the id is an idempotency key, $46 when they are to be delivered, $47 until when the payload
-- is kept, $50 what transformations are told besides. All columns of events and deliveries are array
-- literals but the payloads; $45-$48 and $50 are null if they say nothing of any.
-- `repeated`: numbers of the events that were not stored, as their event id, key or id is known.
-- The batch is never joined to itself: the planner takes it for a handful of rows and would compare
-- each with each. `IN (...) IS TRUE` is looked up in a hash table.
WITH held AS MATERIALIZED (
    SELECT s.id, s.position, s.stream_at, f.position AS new_position, f.stream_at AS new_stream_at,
           -- As it was known, or as this very statement left it: its answer may have got lost.
           (s.position = f.known AND s.stream_at IS NOT DISTINCT FROM f.known_at)
           OR (s.position = f.position AND s.stream_at IS NOT DISTINCT FROM f.stream_at) AS follows,
           CASE WHEN s.position = f.known AND s.stream_at IS NOT DISTINCT FROM f.known_at
                THEN f.events ELSE 0 END AS events
    FROM unnest($1::int[], $2::bigint[], $3::bigint[], $34::timestamptz[], $36::bigint[],
                $37::timestamptz[], $40::int[], $49::bool[])
        AS f(id, epoch, position, stream_at, known, known_at, events, beside)
    JOIN shard AS s ON s.id = f.id AND s.epoch = f.epoch AND s.owner = $4
    WHERE NOT f.beside
    ORDER BY s.id FOR NO KEY UPDATE OF s),
beside AS MATERIALIZED (
    SELECT s.id FROM unnest($1::int[], $2::bigint[], $49::bool[]) AS f(id, epoch, beside)
    JOIN shard AS s ON s.id = f.id AND s.epoch = f.epoch AND s.owner = $4
    WHERE f.beside),
fence AS (
    UPDATE shard AS s SET position = h.new_position, stream_at = h.new_stream_at,
                          taken = CASE WHEN s.counted_to = s.position THEN s.taken ELSE 0 END
                                  + h.events,
                          counted_from = CASE WHEN s.counted_to = s.position THEN s.counted_from
                                              ELSE s.position END,
                          counted_to = h.new_position
    FROM held AS h WHERE s.id = h.id AND h.follows
    RETURNING s.id),
fenced AS MATERIALIZED (SELECT id FROM fence UNION ALL SELECT id FROM beside),
event AS MATERIALIZED (
    SELECT * FROM unnest($5::text::int[], $6::text::text[], $7::text::text[], $8::text::text[],
                         $9::text::text[], $10::text::text[], $11::text::text[],
                         $12::text::text[], $13::text::timestamptz[], $15::text::int[],
                         $16::text::int[], $45::text::bool[], $46::text::timestamptz[],
                         $47::text::timestamptz[], $50::text::text[])
        WITH ORDINALITY AS e(source, app_id, id, event_type, event_id, channels, tags,
                             content_type, created_at, payload_at, payload_bytes, keyed,
                             deliver_at, payload_until, params, number)
    WHERE source = ANY (ARRAY(SELECT id FROM fenced))),
keys AS (
    INSERT INTO message_key (app_id, key, message_id)
    SELECT app_id, right(id, 17), id FROM event WHERE keyed
    ORDER BY app_id, right(id, 17), number  -- as the event ids below
    ON CONFLICT DO NOTHING
    RETURNING app_id, message_id),
ledger AS (
    INSERT INTO message_event_id (app_id, event_id, message_id, created_at)
    SELECT app_id, event_id, id, created_at FROM event
    WHERE event_id IS NOT NULL
      AND (keyed IS NOT TRUE OR (app_id, id) IN (SELECT app_id, message_id FROM keys))
    ORDER BY app_id, event_id, number  -- locks in one order, and of the same the first
    ON CONFLICT DO NOTHING
    RETURNING app_id, message_id),
stored AS (
    INSERT INTO message (app_id, id, event_type, event_id, channels, tags, payload, content_type,
                         created_at, deliver_at, payload_until, params)
    SELECT app_id, id, event_type, event_id, string_to_array(channels, ','),
           string_to_array(tags, ','),
           substring($14::bytea FROM payload_at FOR payload_bytes), content_type, created_at,
           deliver_at, payload_until, params
    FROM event AS e
    WHERE CASE WHEN event_id IS NOT NULL
               THEN (app_id, id) IN (SELECT app_id, message_id FROM ledger)
               ELSE keyed IS NOT TRUE OR (app_id, id) IN (SELECT app_id, message_id FROM keys) END
    ON CONFLICT DO NOTHING
    RETURNING app_id, id),
owed AS MATERIALIZED (
    SELECT * FROM unnest($17::text::text[], $18::text::text[], $19::text::text[],
                         $20::text::int[], $21::text::bool[], $22::text::timestamptz[],
                         $35::text::bigint[], $48::text::timestamptz[])
        AS d(app_id, message_id, endpoint_id, shard, foreign_shard, created_at, place, due_at)
    WHERE ((app_id, message_id) IN (SELECT app_id, id FROM stored)) IS TRUE),
fanned_out AS (
    INSERT INTO delivery (app_id, message_id, endpoint_id, shard, due_at, created_at, place)
    SELECT app_id, message_id, endpoint_id, shard, coalesce(due_at, created_at), created_at, place
    FROM owed
    ON CONFLICT DO NOTHING),
counted AS (
    INSERT INTO fanned_out (app_ids, days, numbers)
    SELECT array_agg(app_id), array_agg(day), array_agg(number)
    FROM (SELECT app_id, count(*) AS number,
                 ($39::date[])[width_bucket(message_id COLLATE "C", $38::text[])] AS day
          FROM owed GROUP BY app_id, day) AS d
    HAVING count(*) > 0),
linked AS (
    INSERT INTO message_origin (app_id, message_id, endpoint_id, letter_id, created_at)
    SELECT app_id, message_id, endpoint_id, letter_id, now()
    FROM unnest($41::text[], $42::text[], $43::text[], $44::text[])
        AS l(app_id, message_id, endpoint_id, letter_id)
    WHERE ((app_id, message_id) IN (SELECT app_id, id FROM stored)) IS TRUE
    ON CONFLICT DO NOTHING),
woken AS (
    INSERT INTO wake (shard, app_id, endpoint_id)
    SELECT DISTINCT shard, app_id, endpoint_id FROM owed WHERE foreign_shard ORDER BY 1, 2, 3
    ON CONFLICT (shard, app_id, endpoint_id) DO UPDATE SET at = now()),
rejected AS (
    INSERT INTO rejected_event (id, environment_id, app, subject, headers, body, reason, detail,
                                sequence, created_at)
    SELECT r.id, r.environment_id, r.app, r.subject, r.headers, r.body, r.reason, r.detail,
           r.sequence, r.created_at
    FROM unnest($23::int[], $24::text[], $25::text[], $26::text[], $27::text[], $28::jsonb[],
                $29::bytea[], $30::text[], $31::text[], $32::bigint[], $33::timestamptz[])
        AS r(source, id, environment_id, app, subject, headers, body, reason, detail, sequence,
             created_at)
    WHERE r.source = ANY (ARRAY(SELECT id FROM fenced))
    ON CONFLICT DO NOTHING)
SELECT (SELECT array_agg(id) FROM fenced) AS fenced,
       CASE WHEN (SELECT count(*) FROM stored) < (SELECT count(*) FROM event)
            THEN (SELECT array_agg(number) FROM event
                  WHERE ((app_id, id) IN (SELECT app_id, id FROM stored)) IS NOT TRUE)
       END AS repeated,
       (SELECT array_agg(id ORDER BY id) FROM held WHERE NOT follows) AS moved_ids,
       (SELECT array_agg(position ORDER BY id) FROM held WHERE NOT follows) AS moved_positions,
       (SELECT array_agg(stream_at ORDER BY id) FROM held WHERE NOT follows) AS moved_streams,
       -- The stream is on disk: what a crash of Postgres forgets of this is read from there again.
       set_config('synchronous_commit', 'off', true);

-- name: once :exec
-- Have deliveries that were just made ($1 app, $2 message, $3 endpoint) tried once, by hand: as many
-- failures ($4) as end a run. In the transaction of `take`. Served by delivery_pkey: the state is
-- written so that no other index fits.
UPDATE delivery AS d SET failures = $4, manual = true
FROM unnest($1::text[], $2::text[], $3::text[]) AS o(app_id, message_id, endpoint_id)
WHERE d.app_id = o.app_id AND d.message_id = o.message_id AND d.endpoint_id = o.endpoint_id
  AND d.state || '' = 'pending' AND d.attempts = 0 AND d.run = 0;

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
