-- What was fanned out against what became of it, per app and day, and what the stream held against
-- what was taken. One dispatcher at a time writes here.

-- name: try_lock :one
-- Held until the end of the transaction.
SELECT pg_try_advisory_xact_lock(0x7265636F);

-- name: try_lock_stream :one
-- Held until the end of the transaction.
SELECT pg_try_advisory_xact_lock(0x7374726D);

-- name: state :one
-- The first day that is reconciled, and the last that was walked.
SELECT since, walked_to FROM reconciliation_state;

-- name: fold :exec
-- Add up what was fanned out, at $1; of days before $2 nothing is known any more. Where it comes to
-- a day that was counted a moment ago it is counted again $3 seconds after that. Reads and empties
-- fanned_out.
WITH gone AS (DELETE FROM fanned_out RETURNING app_ids, days, numbers)
INSERT INTO reconciliation AS r (day, app_id, environment_id, accepted, due_at)
SELECT n.day, n.app_id, a.environment_id, n.number, $1
FROM (SELECT day, app_id, sum(number) AS number
      FROM gone CROSS JOIN LATERAL unnest(app_ids, days, numbers) AS t(app_id, day, number)
      WHERE day >= $2::date GROUP BY day, app_id) AS n
JOIN app AS a ON a.id = n.app_id
ORDER BY n.day, n.app_id
ON CONFLICT (day, app_id) DO UPDATE
SET accepted = r.accepted + excluded.accepted,
    due_at = least(r.due_at, greatest($1, r.counted_at + make_interval(secs => $3)));

-- name: walk :exec
-- Of the day $1, whose messages lie between the ids $2 and $3 (exclusive), find the apps that have
-- deliveries and for which none was counted: one step per app. They are due at $4.
-- Served by delivery_pkey or delivery_endpoint_idx.
WITH RECURSIVE step AS (
    (SELECT app_id FROM delivery WHERE message_id >= $2 AND message_id < $3
     ORDER BY app_id LIMIT 1)
    UNION ALL
    SELECT next.app_id FROM step CROSS JOIN LATERAL (
        SELECT d.app_id FROM delivery AS d
        WHERE d.message_id >= $2 AND d.message_id < $3 AND d.app_id > step.app_id
        ORDER BY d.app_id LIMIT 1) AS next)
INSERT INTO reconciliation (day, app_id, environment_id, accepted, due_at)
SELECT $1, a.id, a.environment_id, 0, $4 FROM step JOIN app AS a ON a.id = step.app_id
ORDER BY a.id
ON CONFLICT (day, app_id) DO NOTHING;

-- name: walked :exec
UPDATE reconciliation_state SET walked_to = $1;

-- name: due :many
-- Which apps and days are to be counted at $1, the longest due first, but of days before $2: as many
-- as have $3 deliveries together, one at least, $4 at most. Served by reconciliation_due_idx.
SELECT day, app_id, accepted, difference
FROM (SELECT *, sum(accepted) OVER (ORDER BY due_at, day, app_id) - accepted AS before
      FROM (SELECT day, app_id, accepted, difference, due_at FROM reconciliation
            WHERE due_at <= $1 AND day >= $2::date ORDER BY due_at LIMIT $4) AS d) AS due
WHERE before < $3 ORDER BY due_at, day, app_id;

-- name: terms :many
-- What became of the deliveries of apps $1 with message ids from $2 to $3 (exclusive), by number
-- from 1. Served by delivery_pkey or delivery_endpoint_idx.
SELECT w.number, t.delivered, t.owed, t.dead, t.cancelled, t.expired
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS w(app_id, low, high, number)
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state = 'delivered') AS delivered,
           count(*) FILTER (WHERE state IN ('pending', 'retrying')) AS owed,
           count(*) FILTER (WHERE state = 'dead' AND reason IS DISTINCT FROM 'expired') AS dead,
           count(*) FILTER (WHERE state = 'cancelled') AS cancelled,
           count(*) FILTER (WHERE state = 'dead' AND reason = 'expired') AS expired
    FROM delivery
    WHERE app_id = w.app_id AND message_id >= w.low AND message_id < w.high) AS t;

-- name: note :exec
-- The apps $2 on the days $1 were counted at $9, with these terms ($3-$7), and are due again at $8.
-- Served by reconciliation_pkey.
UPDATE reconciliation AS r
SET delivered = n.delivered, owed = n.owed, dead = n.dead, cancelled = n.cancelled,
    expired = n.expired, counted_at = $9, due_at = n.due_at,
    difference = r.accepted - n.delivered - n.owed - n.dead - n.cancelled - n.expired
FROM unnest($1::date[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
            $7::bigint[], $8::timestamptz[])
    AS n(day, app_id, delivered, owed, dead, cancelled, expired, due_at)
WHERE r.day = n.day AND r.app_id = n.app_id;

-- name: give_up :exec
-- Count no more of days before $1: their deliveries may be dropped. Served by reconciliation_pkey.
UPDATE reconciliation SET due_at = NULL WHERE due_at IS NOT NULL AND day < $1;

-- name: prune :exec
-- Served by reconciliation_pkey.
DELETE FROM reconciliation WHERE day < $1;

-- name: difference :one
-- By how many deliveries what was counted does not add up, all together.
-- Served by reconciliation_difference_idx.
SELECT coalesce(sum(abs(difference)), 0)::bigint AS number FROM reconciliation
WHERE difference <> 0;

-- name: page_down :many
-- Of environment $1, the newest $6 app-days between ($2 day, $3 app) and ($4 day, $5 app), both
-- exclusive; of app $7, if not null; only those that do not add up, if $8.
-- Served by reconciliation_environment_idx.
SELECT r.day, r.app_id, a.uid, r.accepted, r.delivered, r.owed, r.dead, r.cancelled, r.expired,
       r.difference, r.counted_at, r.due_at
FROM reconciliation AS r JOIN app AS a ON a.id = r.app_id
WHERE r.environment_id = $1 AND (r.day, r.app_id) > ($2, $3) AND (r.day, r.app_id) < ($4, $5)
  AND ($7::text IS NULL OR r.app_id = $7) AND (NOT $8::bool OR r.difference <> 0)
ORDER BY r.day DESC, r.app_id DESC LIMIT $6;

-- name: page_up :many
-- As page_down, the oldest.
SELECT r.day, r.app_id, a.uid, r.accepted, r.delivered, r.owed, r.dead, r.cancelled, r.expired,
       r.difference, r.counted_at, r.due_at
FROM reconciliation AS r JOIN app AS a ON a.id = r.app_id
WHERE r.environment_id = $1 AND (r.day, r.app_id) > ($2, $3) AND (r.day, r.app_id) < ($4, $5)
  AND ($7::text IS NULL OR r.app_id = $7) AND (NOT $8::bool OR r.difference <> 0)
ORDER BY r.day, r.app_id LIMIT $6;

-- name: unchecked :many
-- Shards whose intake has gone on since the stream was asked last: how far it is on which stream with
-- how many events taken since where, and the same of then, or null.
SELECT s.id, s.position, s.stream_at, s.taken, s.counted_from,
       c.position AS was_position, c.stream_at AS was_stream_at, c.taken AS was_taken
FROM shard AS s LEFT JOIN shard_check AS c ON c.shard = s.id
WHERE s.stream_at IS NOT NULL AND s.counted_to = s.position
  AND (c.position IS DISTINCT FROM s.position OR c.stream_at IS DISTINCT FROM s.stream_at)
ORDER BY s.id;

-- name: checked :exec
-- Shard $1 was compared up to position $2 on the stream of $3, where $4 events had been taken.
INSERT INTO shard_check (shard, position, stream_at, taken) VALUES ($1, $2, $3, $4)
ON CONFLICT (shard) DO UPDATE
SET position = excluded.position, stream_at = excluded.stream_at, taken = excluded.taken;
