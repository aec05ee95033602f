-- What is owed and what became of it, per message and endpoint, as the logs show it.
-- Pages by endpoint: of app $1 and endpoint $2, messages between the ids $3 and $4 (both
-- exclusive), $5 how many. Filters, or null: $6 event types, $7 channel, $8 tag. $9: with payload.

-- name: endpoint_down :many
-- The newest messages. More filters: $10 states, $11 whether it was attempted.
-- Served by delivery_endpoint_idx and message_pkey.
SELECT d.state, d.attempts, d.due_at, d.reason, d.last_status, d.last_attempt_at, d.delivered_at,
       m.*
FROM delivery AS d
CROSS JOIN LATERAL (
    SELECT app_id, id, event_type, event_id, channels, tags,
           CASE WHEN $9::bool THEN payload END AS payload, content_type, created_at,
           deliver_at
    FROM message WHERE app_id = d.app_id AND id = d.message_id LIMIT 1) AS m
WHERE d.app_id = $1 AND d.endpoint_id = $2 AND d.message_id > $3 AND d.message_id < $4
  AND ($6::text[] IS NULL OR m.event_type = ANY ($6))
  AND ($7::text IS NULL OR $7 = ANY (m.channels)) AND ($8::text IS NULL OR $8 = ANY (m.tags))
  AND ($10::text[] IS NULL OR d.state = ANY ($10)) AND ($11::bool IS NULL OR (d.attempts > 0) = $11)
ORDER BY d.message_id DESC LIMIT $5;

-- name: endpoint_up :many
-- As endpoint_down, the oldest.
SELECT d.state, d.attempts, d.due_at, d.reason, d.last_status, d.last_attempt_at, d.delivered_at,
       m.*
FROM delivery AS d
CROSS JOIN LATERAL (
    SELECT app_id, id, event_type, event_id, channels, tags,
           CASE WHEN $9::bool THEN payload END AS payload, content_type, created_at,
           deliver_at
    FROM message WHERE app_id = d.app_id AND id = d.message_id LIMIT 1) AS m
WHERE d.app_id = $1 AND d.endpoint_id = $2 AND d.message_id > $3 AND d.message_id < $4
  AND ($6::text[] IS NULL OR m.event_type = ANY ($6))
  AND ($7::text IS NULL OR $7 = ANY (m.channels)) AND ($8::text IS NULL OR $8 = ANY (m.tags))
  AND ($10::text[] IS NULL OR d.state = ANY ($10)) AND ($11::bool IS NULL OR (d.attempts > 0) = $11)
ORDER BY d.message_id LIMIT $5;

-- name: dead_down :many
-- The newest messages that were given up. Served by delivery_dead_idx and message_pkey.
SELECT d.state, d.attempts, d.due_at, d.reason, d.last_status, d.last_attempt_at, d.delivered_at,
       m.*
FROM delivery AS d
CROSS JOIN LATERAL (
    SELECT app_id, id, event_type, event_id, channels, tags,
           CASE WHEN $9::bool THEN payload END AS payload, content_type, created_at,
           deliver_at
    FROM message WHERE app_id = d.app_id AND id = d.message_id LIMIT 1) AS m
WHERE d.app_id = $1 AND d.endpoint_id = $2 AND d.message_id > $3 AND d.message_id < $4
  AND ($6::text[] IS NULL OR m.event_type = ANY ($6))
  AND ($7::text IS NULL OR $7 = ANY (m.channels)) AND ($8::text IS NULL OR $8 = ANY (m.tags))
  AND d.state = 'dead'
ORDER BY d.message_id DESC LIMIT $5;

-- name: dead_up :many
-- As dead_down, the oldest.
SELECT d.state, d.attempts, d.due_at, d.reason, d.last_status, d.last_attempt_at, d.delivered_at,
       m.*
FROM delivery AS d
CROSS JOIN LATERAL (
    SELECT app_id, id, event_type, event_id, channels, tags,
           CASE WHEN $9::bool THEN payload END AS payload, content_type, created_at,
           deliver_at
    FROM message WHERE app_id = d.app_id AND id = d.message_id LIMIT 1) AS m
WHERE d.app_id = $1 AND d.endpoint_id = $2 AND d.message_id > $3 AND d.message_id < $4
  AND ($6::text[] IS NULL OR m.event_type = ANY ($6))
  AND ($7::text IS NULL OR $7 = ANY (m.channels)) AND ($8::text IS NULL OR $8 = ANY (m.tags))
  AND d.state = 'dead'
ORDER BY d.message_id LIMIT $5;

-- name: message_up :many
-- Of message ($1, $2), the deliveries to the $5 next endpoints between the ids $3 and $4 (both
-- exclusive), deleted endpoints too. Served by delivery_pkey and endpoint_pkey.
SELECT d.state, d.attempts, d.due_at, d.reason, d.last_status, d.last_attempt_at, d.delivered_at,
       e.id, e.uid, e.url, e.description, e.version, e.event_types, e.channels, e.throttle_rate,
       e.metadata, e.state AS endpoint_state, e.created_at, e.updated_at, e.deleted_at
FROM delivery AS d
CROSS JOIN LATERAL (
    SELECT * FROM endpoint WHERE app_id = d.app_id AND id = d.endpoint_id LIMIT 1) AS e
WHERE d.app_id = $1 AND d.message_id = $2 AND d.endpoint_id > $3 AND d.endpoint_id < $4
ORDER BY d.endpoint_id LIMIT $5;

-- name: message_down :many
-- As message_up, the endpoints before.
SELECT d.state, d.attempts, d.due_at, d.reason, d.last_status, d.last_attempt_at, d.delivered_at,
       e.id, e.uid, e.url, e.description, e.version, e.event_types, e.channels, e.throttle_rate,
       e.metadata, e.state AS endpoint_state, e.created_at, e.updated_at, e.deleted_at
FROM delivery AS d
CROSS JOIN LATERAL (
    SELECT * FROM endpoint WHERE app_id = d.app_id AND id = d.endpoint_id LIMIT 1) AS e
WHERE d.app_id = $1 AND d.message_id = $2 AND d.endpoint_id > $3 AND d.endpoint_id < $4
ORDER BY d.endpoint_id DESC LIMIT $5;

-- name: ended :one
-- Why the delivery of message ($1, $2) to endpoint $3 is not owed any more; no row while it is.
-- Served by delivery_pkey.
SELECT coalesce(reason, state) AS why FROM delivery
WHERE app_id = $1 AND message_id = $2 AND endpoint_id = $3 AND state || '' NOT IN ('pending', 'retrying');

-- name: lock :one
-- Hold the delivery of message ($1, $2) to endpoint $3. Served by delivery_pkey.
SELECT state FROM delivery WHERE app_id = $1 AND message_id = $2 AND endpoint_id = $3 FOR UPDATE;

-- name: resend :exec
-- Owe message ($1, $2) to endpoint $3 of shard $4 now ($5), by hand. What is owed already is only
-- due sooner; whatever had ended starts a new run, outside of any order. One that it never was for
-- is counted for the message's day $6. Served by delivery_pkey.
WITH made AS (
    INSERT INTO delivery AS d (app_id, message_id, endpoint_id, shard, manual, due_at, created_at)
    VALUES ($1, $2, $3, $4, true, $5, $5)
    ON CONFLICT (app_id, message_id, endpoint_id) DO UPDATE SET
        state = CASE WHEN d.state = 'retrying' THEN d.state ELSE 'pending' END,
        failures = CASE WHEN d.state IN ('pending', 'retrying') THEN d.failures ELSE 0 END,
        run = CASE WHEN d.state IN ('pending', 'retrying') THEN d.run ELSE d.run + 1 END,
        place = CASE WHEN d.state IN ('pending', 'retrying') THEN d.place END,
        manual = true, due_at = excluded.due_at, reason = NULL
    RETURNING d.app_id, old.app_id IS NULL AS is_new)
INSERT INTO fanned_out (app_ids, days, numbers)
SELECT ARRAY[app_id], ARRAY[$6::date], ARRAY[1] FROM made WHERE is_new;

-- name: cancel :many
-- Call off what is owed of message ($1, $2), by request; give the endpoints.
-- Served by delivery_pkey.
UPDATE delivery SET state = 'cancelled', due_at = NULL, manual = false, reason = 'by_request'
WHERE app_id = $1 AND message_id = $2 AND state IN ('pending', 'retrying')
RETURNING endpoint_id;

-- name: owed :one
-- How many deliveries are owed, to whichever endpoint, and since when the oldest of those that
-- could go is due. Served by delivery_owed_idx and delivery_place_idx, which it reads whole.
SELECT coalesce(sum(l.owed), 0)::bigint AS owed,
       min(l.due_at) FILTER (WHERE e.state = 'active') AS due_at
FROM (SELECT app_id, endpoint_id, count(*) AS owed, min(due_at) AS due_at FROM delivery
      WHERE state IN ('pending', 'retrying') AND place IS NULL
      GROUP BY shard, app_id, endpoint_id
      UNION ALL
      SELECT app_id, endpoint_id, count(*), min(due_at) FROM delivery
      WHERE state IN ('pending', 'retrying') AND place IS NOT NULL
      GROUP BY shard, app_id, endpoint_id) AS l
LEFT JOIN endpoint AS e ON e.app_id = l.app_id AND e.id = l.endpoint_id AND e.deleted_at IS NULL;
