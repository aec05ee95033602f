-- What is owed, per lane: the whole of one shard at take-over, the next few of a lane after that.
-- What has no place goes by its due time, what has one by its place (`ordered` endpoints).

-- name: survey :many
-- Every endpoint of shard $1 that is owed something without a place, with the first due time: a
-- skip scan, one step per endpoint. Served by delivery_owed_idx.
WITH RECURSIVE lane AS (
    (SELECT app_id, endpoint_id, due_at FROM delivery
     WHERE shard = $1 AND state IN ('pending', 'retrying') AND place IS NULL
     ORDER BY app_id, endpoint_id, due_at LIMIT 1)
    UNION ALL
    SELECT next.app_id, next.endpoint_id, next.due_at
    FROM lane CROSS JOIN LATERAL (
        SELECT d.app_id, d.endpoint_id, d.due_at FROM delivery AS d
        WHERE d.shard = $1 AND d.state IN ('pending', 'retrying') AND d.place IS NULL
          AND (d.app_id, d.endpoint_id) > (lane.app_id, lane.endpoint_id)
        ORDER BY d.app_id, d.endpoint_id, d.due_at LIMIT 1) AS next)
SELECT app_id, endpoint_id, due_at FROM lane;

-- name: survey_in_order :many
-- Every endpoint of shard $1 that is owed something with a place, with the due time of the first
-- in order. Served by delivery_place_idx.
WITH RECURSIVE lane AS (
    (SELECT app_id, endpoint_id, due_at FROM delivery
     WHERE shard = $1 AND state IN ('pending', 'retrying') AND place IS NOT NULL
     ORDER BY app_id, endpoint_id, place LIMIT 1)
    UNION ALL
    SELECT next.app_id, next.endpoint_id, next.due_at
    FROM lane CROSS JOIN LATERAL (
        SELECT d.app_id, d.endpoint_id, d.due_at FROM delivery AS d
        WHERE d.shard = $1 AND d.state IN ('pending', 'retrying') AND d.place IS NOT NULL
          AND (d.app_id, d.endpoint_id) > (lane.app_id, lane.endpoint_id)
        ORDER BY d.app_id, d.endpoint_id, d.place LIMIT 1) AS next)
SELECT app_id, endpoint_id, due_at FROM lane;

-- name: due :many
-- Of the lanes ($1 shard, $2 app, $3 endpoint), the first $4 deliveries due by the lane's $5, by
-- lane number from 1; and one row more with what is due next after that (is_due false). Without
-- those that have a place. Served by delivery_owed_idx.
SELECT l.number, true AS is_due, d.message_id, d.attempts, d.failures, d.run,
       d.manual, d.due_at, d.delivered_at, d.place
FROM unnest($1::int[], $2::text[], $3::text[], $4::int[], $5::timestamptz[])
    WITH ORDINALITY AS l(shard, app_id, endpoint_id, room, by, number)
CROSS JOIN LATERAL (
    SELECT * FROM delivery AS o
    WHERE o.shard = l.shard AND o.app_id = l.app_id AND o.endpoint_id = l.endpoint_id
      AND o.state IN ('pending', 'retrying') AND o.place IS NULL AND o.due_at <= l.by
    ORDER BY o.due_at, o.message_id LIMIT l.room) AS d
UNION ALL
SELECT l.number, false, d.message_id, 0, 0, 0, false, d.due_at, NULL, NULL
FROM unnest($1::int[], $2::text[], $3::text[], $5::timestamptz[])
    WITH ORDINALITY AS l(shard, app_id, endpoint_id, by, number)
CROSS JOIN LATERAL (
    SELECT o.message_id, o.due_at FROM delivery AS o
    WHERE o.shard = l.shard AND o.app_id = l.app_id AND o.endpoint_id = l.endpoint_id
      AND o.state IN ('pending', 'retrying') AND o.place IS NULL AND o.due_at > l.by
    ORDER BY o.due_at, o.message_id LIMIT 1) AS d;

-- name: in_order :many
-- Of the lanes ($1 shard, $2 app, $3 endpoint), the first $4 deliveries by place, whether they are
-- due by the lane's $5 or not. Served by delivery_place_idx.
SELECT l.number, d.due_at <= l.by AS is_due, d.message_id, d.attempts, d.failures, d.run,
       d.manual, d.due_at, d.delivered_at, d.place
FROM unnest($1::int[], $2::text[], $3::text[], $4::int[], $5::timestamptz[])
    WITH ORDINALITY AS l(shard, app_id, endpoint_id, room, by, number)
CROSS JOIN LATERAL (
    SELECT * FROM delivery AS o
    WHERE o.shard = l.shard AND o.app_id = l.app_id AND o.endpoint_id = l.endpoint_id
      AND o.state IN ('pending', 'retrying') AND o.place IS NOT NULL
    ORDER BY o.place LIMIT l.room) AS d;

-- name: by_hand :many
-- Of the lanes ($1 app, $2 endpoint), the first $3 deliveries that were asked for by hand.
-- Served by delivery_manual_idx.
SELECT l.number, true AS is_due, d.message_id, d.attempts, d.failures, d.run,
       d.manual, d.due_at, d.delivered_at, d.place
FROM unnest($1::text[], $2::text[], $3::int[])
    WITH ORDINALITY AS l(app_id, endpoint_id, room, number)
CROSS JOIN LATERAL (
    SELECT * FROM delivery AS o
    WHERE o.app_id = l.app_id AND o.endpoint_id = l.endpoint_id
      AND o.state IN ('pending', 'retrying') AND o.manual
    ORDER BY o.due_at LIMIT l.room) AS d;

-- name: unplace :exec
-- Take the places away from the first $4 deliveries of the lane ($1 shard, $2 app, $3 endpoint),
-- whose endpoint is not ordered any more. Served by delivery_place_idx and delivery_pkey.
WITH first AS (
    SELECT app_id, message_id, endpoint_id FROM delivery
    WHERE shard = $1 AND app_id = $2 AND endpoint_id = $3
      AND state IN ('pending', 'retrying') AND place IS NOT NULL
    ORDER BY place LIMIT $4 FOR UPDATE SKIP LOCKED)
UPDATE delivery AS d SET place = NULL FROM first AS s
WHERE d.app_id = s.app_id AND d.message_id = s.message_id AND d.endpoint_id = s.endpoint_id;

-- name: messages :many
-- The messages ($1 app, $2 id) in this order, as many as fit into $3 bytes of payload (one at
-- least). A message that is no more has a null event_type. $4 and $5: the smallest and largest id.
SELECT number, event_type, payload, content_type, created_at
FROM (SELECT w.number, m.event_type, m.payload, m.content_type, m.created_at,
             sum(coalesce(octet_length(m.payload), 0)) OVER (ORDER BY w.number)
             - coalesce(octet_length(m.payload), 0) AS before_bytes
      FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w(app_id, id, number)
      LEFT JOIN message AS m ON m.app_id = w.app_id AND m.id = w.id AND m.id BETWEEN $4 AND $5
     ) AS wanted
WHERE before_bytes < $3
ORDER BY number;

-- name: drain_wake :many
-- Take the work that others made for the shards $1. Served by wake_pkey.
DELETE FROM wake WHERE shard = ANY ($1::int[]) RETURNING shard, app_id, endpoint_id, recall;
