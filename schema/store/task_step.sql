-- What dispatchers do of tasks: each step is a transaction, and begins with `fence`.

-- name: claim :many
-- Take up to $2 tasks that are due at $4, or that others' deliveries are still under way of, and that
-- nobody holds ($1 may have, in a former life), for $3 seconds; none of $5, which are held.
-- Served by task_open_idx.
WITH free AS (
    SELECT id FROM task
    WHERE ((state IN ('scheduled', 'running') AND start_at <= $4) OR open > 0)
      AND (owner IS NULL OR lease_until < now() OR owner = $1) AND NOT id = ANY ($5::text[])
    ORDER BY start_at LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE task AS t
SET owner = $1, epoch = t.epoch + 1, lease_until = now() + make_interval(secs => $3)
FROM free WHERE t.id = free.id
RETURNING t.environment_id, t.id, t.app_id, t.kind, t.state, t.why, t.plan, t.job_id, t.total,
          t.total_exact, t.items, t.open, t.done, t.delivered, t.retrying, t.failed, t.skipped,
          t.created_at, t.created_by, t.start_at, t.started_at, t.ended_at, t.updated_at, t.epoch;

-- name: fence :one
-- Hold task $1, which $2 has under epoch $3, for $4 more seconds. Served by task_id_key.
UPDATE task SET lease_until = now() + make_interval(secs => $4)
WHERE id = $1 AND owner = $2 AND epoch = $3
RETURNING state, items, open, started_at;

-- name: release :exec
-- Give task $1 of $2 and epoch $3 back. Served by task_id_key.
UPDATE task SET owner = NULL, lease_until = NULL WHERE id = $1 AND owner = $2 AND epoch = $3;

-- name: release_all :exec
-- Give back all that $1 holds. Served by task_open_idx.
UPDATE task SET owner = NULL, lease_until = NULL
WHERE owner = $1 AND (state IN ('scheduled', 'running') OR open > 0);

-- name: begin :exec
-- Task $1 begins at $2, with $3 to do, or more if not $4. Served by task_id_key.
UPDATE task SET state = 'running', started_at = $2, updated_at = $2, total = $3, total_exact = $4
WHERE id = $1;

-- name: set_result :exec
-- Task $1 found out $2. Served by task_id_key.
UPDATE task SET result = $2 WHERE id = $1;

-- name: end :exec
-- Task $1 ends at $2 as $3, as $4 says. Served by task_id_key.
UPDATE task SET state = $3, why = $4, ended_at = $2, updated_at = $2 WHERE id = $1;

-- name: lanes_of_letters :many
-- The endpoints that have letters of an environment $1, in order: of the apps $2, the endpoints $3
-- and the groups $4, if they are not null. Served by dead_letter_group_environment_seen_idx.
SELECT DISTINCT app_id, endpoint_id FROM dead_letter_group
WHERE environment_id = $1 AND ($2::text[] IS NULL OR app_id = ANY ($2))
  AND ($3::text[] IS NULL OR endpoint_id = ANY ($3)) AND ($4::text[] IS NULL OR id = ANY ($4))
ORDER BY app_id, endpoint_id;

-- name: lanes_of_ids :many
-- The endpoints that the letters $2 of environment $1 are of, in order; all of app $3, if it is not
-- null. Served by dead_letter_environment_idx.
SELECT DISTINCT app_id, endpoint_id FROM dead_letter
WHERE environment_id = $1 AND id = ANY ($2::text[])
  AND state IN ('parked', 'redelivering', 'redelivered', 'discarded')
  AND ($3::text IS NULL OR app_id = $3)
ORDER BY app_id, endpoint_id;

-- name: letters_known :one
-- For how many letters plans are made by now; -1: they were never analysed. Served by
-- pg_class_oid_index.
SELECT reltuples::bigint FROM pg_class WHERE oid = 'dead_letter'::regclass;

-- name: analyse_letters :exec
ANALYZE dead_letter;

-- name: add_parts :exec
-- Give task $1 a part for each of ($2 app, $3 endpoint). Served by task_part_pkey.
INSERT INTO task_part (task_id, number, app_id, endpoint_id)
SELECT $1, number, app_id, endpoint_id
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS p(app_id, endpoint_id, number);

-- name: open_parts :many
-- The $3 next open parts of task $1 behind number $2. Served by task_part_open_idx.
SELECT number, app_id, endpoint_id, state, why, cursor, sent, tried, missed
FROM task_part WHERE task_id = $1 AND number > $2 AND state = 'open' ORDER BY number LIMIT $3;

-- name: parts :many
-- The parts $2 of task $1. Served by task_part_pkey.
SELECT number, app_id, endpoint_id, state, why, cursor, sent, tried, missed
FROM task_part WHERE task_id = $1 AND number = ANY ($2::int[]) ORDER BY number;

-- name: stopped :one
-- How many parts of task $1 were stopped, and why the first was. Served by task_part_pkey.
SELECT count(*) AS number, (array_agg(why ORDER BY number))[1] AS why
FROM task_part WHERE task_id = $1 AND state = 'stopped';

-- name: set_part :exec
-- Part ($1, $2) goes on behind $3, stands at $4 as $5 says, and sent $6 more.
-- Served by task_part_pkey.
UPDATE task_part SET cursor = $3, state = $4, why = $5, sent = sent + $6
WHERE task_id = $1 AND number = $2;

-- name: endpoint :one
-- How endpoint ($1, $2) stands, and its rate or that of its app. Served by endpoint_pkey.
SELECT e.state, e.deleted_at IS NOT NULL OR a.deleted_at IS NOT NULL AS deleted,
       least(e.throttle_rate, a.throttle_rate) AS rate
FROM endpoint AS e JOIN app AS a ON a.id = e.app_id
WHERE e.app_id = $1 AND e.id = $2;

-- name: hold :exec
-- Hold the deliveries ($1 app, $2 message, $3 endpoint) until the end of the transaction: settling
-- takes them before letters, too. Served by delivery_pkey.
SELECT FROM (
    SELECT d.app_id FROM unnest($1::text[], $2::text[], $3::text[])
        AS w(app_id, message_id, endpoint_id)
    JOIN delivery AS d ON d.app_id = w.app_id AND d.message_id = w.message_id
        AND d.endpoint_id = w.endpoint_id
    ORDER BY d.app_id, d.message_id, d.endpoint_id FOR UPDATE OF d) AS held;

-- name: lock_letters :many
-- Hold the letters ($1 app, $2 id) that stand at one of $3. Served by dead_letter_pkey.
SELECT l.id FROM unnest($1::text[], $2::text[]) AS w(app_id, id)
JOIN dead_letter AS l ON l.app_id = w.app_id AND l.id = w.id AND l.state = ANY ($3::text[])
ORDER BY l.app_id, l.id FOR NO KEY UPDATE OF l;

-- name: send_letters :exec
-- Put the letters ($1 app, $2 id) on their way at $3. Served by dead_letter_pkey.
UPDATE dead_letter AS l SET state = 'redelivering', updated_at = $3
FROM unnest($1::text[], $2::text[]) AS w(app_id, id) WHERE l.app_id = w.app_id AND l.id = w.id;

-- name: restore :exec
-- Bring the messages of the letters ($1 app, $2 id) back where retention took them away.
-- Served by dead_letter_pkey and message_pkey.
INSERT INTO message (app_id, id, event_type, event_id, channels, payload, content_type, created_at,
                     payload_until)
SELECT l.app_id, l.message_id, l.event_type, l.event_id, l.channels, l.payload, l.content_type,
       l.message_at, l.payload_until
FROM unnest($1::text[], $2::text[]) AS w(app_id, id)
JOIN dead_letter AS l ON l.app_id = w.app_id AND l.id = w.id
WHERE l.payload IS NOT NULL
ON CONFLICT DO NOTHING;

-- name: owe :many
-- Owe the messages $2 of app $1 to endpoint $3 of shard $4 now ($5), in a run of its own that had $6
-- failures; what was delivered only if $7, what is owed already not at all. Not by hand: live
-- deliveries go first. Outside of any order. Those that it never was for are counted by the days $9,
-- which begin with the message ids $8. Served by delivery_pkey.
WITH made AS (
    INSERT INTO delivery AS d (app_id, message_id, endpoint_id, shard, run, failures, due_at,
                               created_at)
    SELECT $1, message_id, $3, $4, 1, $6, $5, $5 FROM unnest($2::text[]) AS message_id
    ORDER BY message_id
    ON CONFLICT (app_id, message_id, endpoint_id) DO UPDATE SET
        state = 'pending', failures = excluded.failures, run = d.run + 1, place = NULL,
        manual = false, due_at = excluded.due_at, reason = NULL
    WHERE d.state IN ('dead', 'cancelled') OR (d.state = 'delivered' AND $7::bool)
    RETURNING d.app_id, d.message_id, d.run, old.app_id IS NULL AS is_new),
counted AS (
    INSERT INTO fanned_out (app_ids, days, numbers)
    SELECT array_agg(app_id), array_agg(day), array_agg(number)
    FROM (SELECT app_id, count(*) AS number,
                 ($9::date[])[width_bucket(message_id COLLATE "C", $8::text[])] AS day
          FROM made WHERE is_new GROUP BY app_id, day) AS d
    HAVING count(*) > 0)
SELECT message_id, run FROM made;

-- name: add_items :exec
-- Number $2 of task $1 and the following: of part $3, apps $4, messages $5 to endpoints $6, letters
-- $7, runs $8, states $9, details $10, at $11. Served by task_item_pkey.
INSERT INTO task_item (task_id, number, part, app_id, message_id, endpoint_id, letter_id, run, state,
                       detail, at)
SELECT $1, $2 + place - 1, $3, app_id, message_id, endpoint_id, letter_id, run, state, detail, $11
FROM unnest($4::text[], $5::text[], $6::text[], $7::text[], $8::int[], $9::text[], $10::text[])
    WITH ORDINALITY AS i(app_id, message_id, endpoint_id, letter_id, run, state, detail, place);

-- name: count_items :exec
-- Task $1 has $2 items more at $3: $4 under way, $5 skipped, $6 done. Served by task_id_key.
UPDATE task SET items = items + $2, updated_at = $3, open = open + $4, skipped = skipped + $5,
                done = done + $6
WHERE id = $1;

-- name: watch :many
-- Look what became of the first $4 items of task $1 behind number $3 that stand at $2; note it at
-- $5. Gives those that stand elsewhere now, and as the last the number up to which was looked.
-- Served by task_item_open_idx and delivery_pkey.
WITH open AS MATERIALIZED (
    -- Asked for so that no other index fits, whatever the planner thinks of a young table: in the
    -- order of states, and of those that the index holds.
    SELECT task_id, number, part, app_id, message_id, endpoint_id, letter_id, run, at FROM (
        SELECT * FROM task_item
        WHERE task_id = $1 AND state IN ('sent', 'retrying') AND (state, number) > ($2, $3)
        ORDER BY state, number LIMIT $4) AS i
    WHERE state = $2),
seen AS MATERIALIZED (
    SELECT o.task_id, o.number,
           CASE WHEN d.state IS NULL THEN 'failed'
                -- What had been delivered before stays so. Clocks of machines may differ a little.
                WHEN d.state = 'delivered' AND d.delivered_at >= o.at - interval '10 seconds'
                    THEN 'delivered'
                WHEN d.run > o.run OR d.state IN ('delivered', 'dead', 'cancelled') THEN 'failed'
                WHEN d.state = 'retrying' THEN 'retrying'
                ELSE 'sent' END AS state,
           CASE WHEN d.state IS NULL THEN 'the delivery is no more'
                WHEN d.state = 'cancelled' THEN 'cancelled'
                WHEN d.run > o.run THEN 'sent again by somebody else'
                WHEN d.reason IS NOT NULL THEN d.reason
                ELSE '' END AS detail
    FROM open AS o
    LEFT JOIN LATERAL (
        SELECT * FROM delivery
        WHERE app_id = o.app_id AND message_id = o.message_id AND endpoint_id = o.endpoint_id
        LIMIT 1) AS d ON true),
noted AS (
    UPDATE task_item AS i
    SET state = s.state, detail = CASE WHEN s.state = 'failed' THEN s.detail ELSE '' END, at = $5
    FROM seen AS s
    -- By the whole key: with $1 the planner may go through all items of the task instead.
    WHERE i.task_id = s.task_id AND i.number = s.number AND s.state <> $2
    RETURNING i.number, i.part, i.app_id, i.endpoint_id, i.letter_id, i.state)
SELECT number, part, app_id, endpoint_id, letter_id, state FROM noted
UNION ALL
SELECT max(number), NULL, NULL, NULL, NULL, NULL FROM open;

-- name: note_letters :exec
-- Of the letters ($1 app, $2 id) that were sent to endpoint $3, another than their own, say at $5
-- how they stand now ($4). Served by dead_letter_pkey.
UPDATE dead_letter AS l SET state = w.state, updated_at = $5
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS w(app_id, id, endpoint_id, state)
WHERE l.app_id = w.app_id AND l.id = w.id AND l.endpoint_id <> w.endpoint_id
  AND l.state || '' = 'redelivering';  -- so that no other index fits

-- name: count_results :exec
-- Of task $1, at $2, $3 items that were under way ended; $4, $5, $6 more are delivered, retried and
-- failed. Served by task_id_key.
UPDATE task SET updated_at = $2, open = open - $3, delivered = delivered + $4,
                retrying = retrying + $5, failed = failed + $6
WHERE id = $1;

-- name: count_tried :exec
-- Of the parts $2 of task $1, $3 first attempts more are over, of which $4 failed.
-- Served by task_part_pkey.
UPDATE task_part AS p SET tried = p.tried + w.tried, missed = p.missed + w.missed
FROM (SELECT $1::text AS task_id, number, tried, missed
      FROM unnest($2::int[], $3::int[], $4::int[]) AS u(number, tried, missed)
      OFFSET 0) AS w  -- kept apart, so that parts are looked up by their whole key
WHERE p.task_id = w.task_id AND p.number = w.number;

-- name: waiting :many
-- How many items of task $1 were sent and not attempted yet, by part. Served by task_item_open_idx.
SELECT part, count(*)::int AS number FROM task_item
WHERE task_id = $1 AND state = 'sent' GROUP BY part;

-- name: dead_up :many
-- Messages of app $1 that endpoint $2 never got, with ids between $3 and $4 (exclusive), the $5
-- first, with their letters. Served by delivery_dead_idx,
-- dead_letter_app_id_message_id_endpoint_id_key and message_pkey.
SELECT d.message_id, l.id AS letter_id,
       coalesce(l.payload IS NOT NULL, m.has_payload, false) AS has_payload
FROM (SELECT app_id, message_id, endpoint_id FROM delivery
      WHERE app_id = $1 AND endpoint_id = $2 AND message_id > $3 AND message_id < $4
        AND state = 'dead'
      ORDER BY message_id LIMIT $5) AS d
LEFT JOIN dead_letter AS l ON l.app_id = d.app_id AND l.message_id = d.message_id
    AND l.endpoint_id = d.endpoint_id
LEFT JOIN LATERAL (
    SELECT payload IS NOT NULL AS has_payload FROM message
    WHERE app_id = d.app_id AND id = d.message_id LIMIT 1) AS m ON true
ORDER BY d.message_id;

-- name: dead_down :many
-- As dead_up, the last.
SELECT d.message_id, l.id AS letter_id,
       coalesce(l.payload IS NOT NULL, m.has_payload, false) AS has_payload
FROM (SELECT app_id, message_id, endpoint_id FROM delivery
      WHERE app_id = $1 AND endpoint_id = $2 AND message_id > $3 AND message_id < $4
        AND state = 'dead'
      ORDER BY message_id DESC LIMIT $5) AS d
LEFT JOIN dead_letter AS l ON l.app_id = d.app_id AND l.message_id = d.message_id
    AND l.endpoint_id = d.endpoint_id
LEFT JOIN LATERAL (
    SELECT payload IS NOT NULL AS has_payload FROM message
    WHERE app_id = d.app_id AND id = d.message_id LIMIT 1) AS m ON true
ORDER BY d.message_id DESC;

-- name: messages_up :many
-- Of the first $5 messages of app $1 with ids between $3 and $4 (exclusive): whether they match
-- ($6 event types, $7 channel, $8 tag, or null; the event types and channels that endpoint $2 takes)
-- and endpoint $2 was never owed them, and they are not for another one alone. Served by message_pkey,
-- endpoint_pkey, delivery_pkey and message_origin_pkey.
SELECT m.id AS message_id, m.payload IS NOT NULL AS has_payload,
       ($6::text[] IS NULL OR m.event_type = ANY ($6)) AND ($7::text IS NULL OR $7 = ANY (m.channels))
       AND ($8::text IS NULL OR $8 = ANY (m.tags))
       AND (e.event_types IS NULL OR m.event_type = ANY (e.event_types))
       AND (e.channels IS NULL OR e.channels && m.channels) IS TRUE
       AND NOT EXISTS (SELECT FROM delivery AS d WHERE d.app_id = m.app_id AND d.message_id = m.id
                                                   AND d.endpoint_id = $2)
       AND NOT EXISTS (SELECT FROM message_origin AS o
                       WHERE o.app_id = m.app_id AND o.message_id = m.id AND o.endpoint_id <> $2)
       AS fits
FROM (SELECT * FROM message WHERE app_id = $1 AND id > $3 AND id < $4 ORDER BY id LIMIT $5) AS m
JOIN endpoint AS e ON e.app_id = $1 AND e.id = $2
ORDER BY m.id;

-- name: messages_down :many
-- As messages_up, the last.
SELECT m.id AS message_id, m.payload IS NOT NULL AS has_payload,
       ($6::text[] IS NULL OR m.event_type = ANY ($6)) AND ($7::text IS NULL OR $7 = ANY (m.channels))
       AND ($8::text IS NULL OR $8 = ANY (m.tags))
       AND (e.event_types IS NULL OR m.event_type = ANY (e.event_types))
       AND (e.channels IS NULL OR e.channels && m.channels) IS TRUE
       AND NOT EXISTS (SELECT FROM delivery AS d WHERE d.app_id = m.app_id AND d.message_id = m.id
                                                   AND d.endpoint_id = $2)
       AND NOT EXISTS (SELECT FROM message_origin AS o
                       WHERE o.app_id = m.app_id AND o.message_id = m.id AND o.endpoint_id <> $2)
       AS fits
FROM (SELECT * FROM message WHERE app_id = $1 AND id > $3 AND id < $4 ORDER BY id DESC LIMIT $5) AS m
JOIN endpoint AS e ON e.app_id = $1 AND e.id = $2
ORDER BY m.id DESC;

-- name: deliveries_up :many
-- Of the first $5 deliveries of app $1 to endpoint $2 with message ids between $3 and $4 (exclusive):
-- whether their messages match ($6, $7, $8 as above), and they stand at one of $9 with a newest
-- answer from $10 to $11, or null. Served by delivery_endpoint_idx and message_pkey.
SELECT d.message_id, m.payload IS NOT NULL AS has_payload,
       ($6::text[] IS NULL OR m.event_type = ANY ($6)) AND ($7::text IS NULL OR $7 = ANY (m.channels))
       AND ($8::text IS NULL OR $8 = ANY (m.tags)) AND ($9::text[] IS NULL OR d.state = ANY ($9))
       AND ($10::int IS NULL OR coalesce(d.last_status, 0) BETWEEN $10 AND $11) AS fits
FROM (SELECT * FROM delivery
      WHERE app_id = $1 AND endpoint_id = $2 AND message_id > $3 AND message_id < $4
      ORDER BY message_id LIMIT $5) AS d
CROSS JOIN LATERAL (
    SELECT event_type, channels, tags, payload FROM message
    WHERE app_id = d.app_id AND id = d.message_id LIMIT 1) AS m
ORDER BY d.message_id;

-- name: deliveries_down :many
-- As deliveries_up, the last.
SELECT d.message_id, m.payload IS NOT NULL AS has_payload,
       ($6::text[] IS NULL OR m.event_type = ANY ($6)) AND ($7::text IS NULL OR $7 = ANY (m.channels))
       AND ($8::text IS NULL OR $8 = ANY (m.tags)) AND ($9::text[] IS NULL OR d.state = ANY ($9))
       AND ($10::int IS NULL OR coalesce(d.last_status, 0) BETWEEN $10 AND $11) AS fits
FROM (SELECT * FROM delivery
      WHERE app_id = $1 AND endpoint_id = $2 AND message_id > $3 AND message_id < $4
      ORDER BY message_id DESC LIMIT $5) AS d
CROSS JOIN LATERAL (
    SELECT event_type, channels, tags, payload FROM message
    WHERE app_id = d.app_id AND id = d.message_id LIMIT 1) AS m
ORDER BY d.message_id DESC;

-- name: discard :many
-- Give up the letters ($1 app, $2 id) that are parked, at $3. Served by dead_letter_pkey.
UPDATE dead_letter AS l SET state = 'discarded', updated_at = $3
FROM unnest($1::text[], $2::text[]) AS w(app_id, id)
WHERE l.app_id = w.app_id AND l.id = w.id AND l.state = 'parked'
RETURNING l.app_id, l.id;

-- name: purge :many
-- Delete the letters ($1 app, $2 id) that are not on their way. Served by dead_letter_pkey.
DELETE FROM dead_letter AS l USING unnest($1::text[], $2::text[]) AS w(app_id, id)
WHERE l.app_id = w.app_id AND l.id = w.id AND l.state <> 'redelivering'
RETURNING l.app_id, l.id;

-- name: by_ids :many
-- Of the letters $4 of environment $1, those of app $2 and endpoint $3, or of any if they are null.
-- Served by dead_letter_environment_idx.
SELECT app_id, id, message_id, endpoint_id, payload IS NOT NULL AS has_payload FROM dead_letter
WHERE environment_id = $1 AND id = ANY ($4::text[])
  AND state IN ('parked', 'redelivering', 'redelivered', 'discarded')
  AND ($2::text IS NULL OR app_id = $2) AND ($3::text IS NULL OR endpoint_id = $3);
