-- How endpoints fare. Rows of paused and disabled ones, and the history of those, are written by a
-- trigger on endpoint; of active ones by whoever looks.

-- name: try_lock :one
-- Whether this transaction is the one that looks now.
SELECT pg_try_advisory_xact_lock(0x68656C74);

-- name: open :many
-- Active endpoints that must be looked at even if nothing was sent of late.
-- Served by endpoint_health_open_idx.
SELECT app_id, endpoint_id, state, failing_since, last_failed_at, failures, warned_at
FROM endpoint_health
WHERE state IN ('degraded', 'failing') OR (state = 'healthy' AND failing_since IS NOT NULL);

-- name: tried :many
-- What came of attempts since $1, of the endpoints where any failed, or that `open` gives. Failures
-- before `counted_from` do not count. All is read once and summed up before anything is joined.
-- Served by rollup_minute_time_idx and endpoint_health_pkey.
WITH sums AS MATERIALIZED (
    SELECT app_id, endpoint_id, sum(delivered)::bigint AS delivered,
           max(bucket) FILTER (WHERE delivered > 0) AS good_at,
           array_agg(bucket) FILTER (WHERE failed > 0) AS minutes,
           array_agg(failed) FILTER (WHERE failed > 0) AS numbers
    FROM (SELECT app_id, endpoint_id, bucket, delivered,
                 status_3xx + status_4xx + status_5xx + no_answer AS failed
          FROM rollup_minute
          WHERE bucket AT TIME ZONE 'UTC' > $1::timestamptz AT TIME ZONE 'UTC') AS m
    GROUP BY app_id, endpoint_id)
SELECT s.app_id, s.endpoint_id, s.delivered, s.good_at, f.failed, f.failed_at, f.last_at,
       f.failures, f.fresh
FROM sums AS s
-- LIMIT, so that they are looked up one by one before anything is known of how many there are.
LEFT JOIN LATERAL (
    SELECT state, failing_since, last_failed_at, counted_from FROM endpoint_health
    WHERE app_id = s.app_id AND endpoint_id = s.endpoint_id LIMIT 1) AS h ON true
CROSS JOIN LATERAL (
    SELECT coalesce(sum(number), 0)::bigint AS failed,
           min(minute) FILTER (WHERE behind) AS failed_at,
           max(minute) FILTER (WHERE behind) AS last_at,
           coalesce(sum(number) FILTER (WHERE behind), 0)::bigint AS failures,
           coalesce(sum(number) FILTER (
               WHERE behind AND (h.last_failed_at IS NULL OR minute > h.last_failed_at)),
               0)::bigint AS fresh
    FROM (SELECT minute, number, s.good_at IS NULL OR minute > s.good_at AS behind
          FROM unnest(s.minutes, s.numbers) AS u(minute, number)
          WHERE h.counted_from IS NULL OR minute >= h.counted_from) AS u) AS f
WHERE s.minutes IS NOT NULL OR h.state IN ('degraded', 'failing')
   OR (h.state = 'healthy' AND h.failing_since IS NOT NULL);

-- name: hold :many
-- Of endpoints ($1 app, $2 endpoint) those that are active and nobody changes just now, locked; with
-- their environments. Served by endpoint_pkey and app_id_key.
SELECT e.app_id, e.id AS endpoint_id, a.environment_id
FROM unnest($1::text[], $2::text[]) AS n(app_id, endpoint_id)
JOIN endpoint AS e ON e.app_id = n.app_id AND e.id = n.endpoint_id
JOIN app AS a ON a.id = n.app_id
WHERE e.state = 'active' AND e.deleted_at IS NULL AND a.kind = 'tenant' AND a.deleted_at IS NULL
FOR NO KEY UPDATE OF e SKIP LOCKED;

-- name: write :exec
-- What is known of endpoints from now, $1, on: $2 environment, $3 app, $4 endpoint, $5 state, $6 why
-- it changed (null: it did not), $7-$9 failures: since, last, how many; $10 warned.
-- Served by endpoint_health_pkey.
WITH looks AS (
    SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[],
                         $7::timestamptz[], $8::timestamptz[], $9::int[], $10::timestamptz[])
        AS n(environment_id, app_id, endpoint_id, state, why, failing_since, last_failed_at,
             failures, warned_at)),
told AS (
    INSERT INTO endpoint_health_change (app_id, endpoint_id, at, state_was, state, state_by, reason)
    SELECT n.app_id, n.endpoint_id, $1, coalesce(h.state, 'healthy'), n.state, 'hookline', n.why
    FROM looks AS n
    LEFT JOIN endpoint_health AS h ON h.app_id = n.app_id AND h.endpoint_id = n.endpoint_id
    WHERE n.why IS NOT NULL)
INSERT INTO endpoint_health AS h (app_id, endpoint_id, environment_id, state, state_at, state_by,
                                  reason, failing_since, last_failed_at, failures, warned_at,
                                  outage_at)
SELECT n.app_id, n.endpoint_id, n.environment_id, n.state,
       CASE WHEN n.why IS NULL THEN e.created_at ELSE $1 END, 'hookline', coalesce(n.why, ''),
       n.failing_since, n.last_failed_at, n.failures, n.warned_at,
       CASE n.state WHEN 'failing' THEN n.failing_since END
FROM looks AS n JOIN endpoint AS e ON e.app_id = n.app_id AND e.id = n.endpoint_id
ON CONFLICT (app_id, endpoint_id) DO UPDATE
SET state = excluded.state, failing_since = excluded.failing_since,
    last_failed_at = excluded.last_failed_at, failures = excluded.failures,
    warned_at = excluded.warned_at, outage_at = coalesce(excluded.outage_at, h.outage_at),
    state_at = CASE h.state WHEN excluded.state THEN h.state_at ELSE excluded.state_at END,
    state_by = CASE h.state WHEN excluded.state THEN h.state_by ELSE 'hookline' END,
    key_id = CASE h.state WHEN excluded.state THEN h.key_id END,
    reason = CASE h.state WHEN excluded.state THEN h.reason ELSE excluded.reason END;

-- name: good :many
-- Of endpoints ($1 app, $2 endpoint) those that a message reached at $3 or later, however late that
-- was written; the last time at which it did. Served by rollup_minute_pkey.
SELECT n.app_id, n.endpoint_id, max(m.bucket) AS good_at
FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS n(app_id, endpoint_id, since)
JOIN rollup_minute AS m ON m.app_id = n.app_id AND m.endpoint_id = n.endpoint_id
    AND m.bucket >= n.since AND m.delivered > 0
GROUP BY 1, 2;

-- name: disable :exec
-- Disable endpoints ($1 app, $2 endpoint), which `hold` gave, at $3 for reason $4.
-- Served by endpoint_pkey.
UPDATE endpoint AS e SET state = 'disabled', state_reason = $4, state_at = $3, updated_at = $3
FROM unnest($1::text[], $2::text[]) AS n(app_id, endpoint_id)
WHERE e.app_id = n.app_id AND e.id = n.endpoint_id AND e.state = 'active';

-- name: act_as :one
-- Whatever this transaction does to an endpoint's state is done with key $1.
SELECT set_config('hookline.key_id', $1, true);

-- name: find :one
-- What is known of endpoint ($1, $2). Served by endpoint_health_pkey.
SELECT app_id, endpoint_id, state, state_at, state_by, key_id, reason, failing_since,
       last_failed_at, failures, warned_at, outage_at
FROM endpoint_health WHERE app_id = $1 AND endpoint_id = $2;

-- name: page_up :many
-- Endpoints of environment $1 that are not healthy, behind key $2, of states $3, up to $4.
-- Served by endpoint_health_environment_idx.
SELECT h.app_id, h.endpoint_id, h.state, h.state_at, h.state_by, h.key_id, h.reason,
       h.failing_since, h.last_failed_at, h.failures, h.warned_at, h.outage_at,
       a.uid AS app_uid, e.uid AS endpoint_uid, e.url
FROM endpoint_health AS h
JOIN app AS a ON a.id = h.app_id
JOIN endpoint AS e ON e.app_id = h.app_id AND e.id = h.endpoint_id
WHERE h.environment_id = $1 AND h.state <> 'healthy' AND h.endpoint_id > $2
  AND h.state = ANY ($3::text[])
ORDER BY h.endpoint_id LIMIT $4;

-- name: page_down :many
-- The same before a key.
SELECT h.app_id, h.endpoint_id, h.state, h.state_at, h.state_by, h.key_id, h.reason,
       h.failing_since, h.last_failed_at, h.failures, h.warned_at, h.outage_at,
       a.uid AS app_uid, e.uid AS endpoint_uid, e.url
FROM endpoint_health AS h
JOIN app AS a ON a.id = h.app_id
JOIN endpoint AS e ON e.app_id = h.app_id AND e.id = h.endpoint_id
WHERE h.environment_id = $1 AND h.state <> 'healthy' AND h.endpoint_id < $2
  AND h.state = ANY ($3::text[])
ORDER BY h.endpoint_id DESC LIMIT $4;

-- name: history_up :many
-- Changes of endpoint ($1, $2) behind number $3, up to $4. Served by endpoint_health_change_pkey.
SELECT number, at, state_was, state, state_by, key_id, reason
FROM endpoint_health_change
WHERE app_id = $1 AND endpoint_id = $2 AND number > $3 ORDER BY number LIMIT $4;

-- name: history_down :many
-- The same before a number.
SELECT number, at, state_was, state, state_by, key_id, reason
FROM endpoint_health_change
WHERE app_id = $1 AND endpoint_id = $2 AND number < $3 ORDER BY number DESC LIMIT $4;

-- name: rates :one
-- Attempts to endpoint ($1, $2) that arrived and that failed, since $3 and since $4, which is
-- earlier. Served by rollup_minute_pkey.
SELECT coalesce(sum(delivered) FILTER (WHERE bucket > $3), 0)::bigint AS delivered,
       coalesce(sum(status_3xx + status_4xx + status_5xx + no_answer)
                FILTER (WHERE bucket > $3), 0)::bigint AS failed,
       coalesce(sum(delivered), 0)::bigint AS day_delivered,
       coalesce(sum(status_3xx + status_4xx + status_5xx + no_answer), 0)::bigint AS day_failed
FROM rollup_minute
WHERE app_id = $1 AND endpoint_id = $2 AND bucket > $4;

-- name: owed :one
-- Deliveries owed to endpoint ($2, $3) in shard $1, counted no further than $4.
-- Served by delivery_owed_idx and delivery_place_idx.
SELECT count(*) FROM (
    SELECT FROM delivery
    WHERE shard = $1 AND app_id = $2 AND endpoint_id = $3
      AND state IN ('pending', 'retrying') AND place IS NULL
    UNION ALL
    SELECT FROM delivery
    WHERE shard = $1 AND app_id = $2 AND endpoint_id = $3
      AND state IN ('pending', 'retrying') AND place IS NOT NULL
    LIMIT $4) AS counted;

-- name: parked :one
-- Letters of endpoint ($1, $2) that are parked, counted no further than $3.
-- Served by dead_letter_endpoint_idx.
SELECT count(*) FROM (
    SELECT FROM dead_letter
    WHERE app_id = $1 AND endpoint_id = $2 AND state = 'parked' LIMIT $3) AS counted;

-- name: oldest_lost :one
-- When the oldest message was made that was parked for endpoint ($1, $2) under letter id $3 or later;
-- no more than $4 are looked at. Served by dead_letter_endpoint_idx.
SELECT min(message_at) FROM (
    SELECT message_at FROM dead_letter
    WHERE app_id = $1 AND endpoint_id = $2 AND state = 'parked' AND id >= $3
    ORDER BY id LIMIT $4) AS lost;

-- name: dead :one
-- Deliveries to endpoint ($1, $2) that are dead, of messages from id $3 on, counted no further than
-- $4: what recovering chooses. Served by delivery_dead_idx.
SELECT count(*) FROM (
    SELECT FROM delivery
    WHERE app_id = $1 AND endpoint_id = $2 AND state = 'dead' AND message_id >= $3 LIMIT $4)
    AS counted;

-- name: by_state :many
-- How many endpoints of tenants there are, by state.
SELECT coalesce(h.state, CASE e.state WHEN 'active' THEN 'healthy' ELSE e.state END) AS state,
       count(*) AS number
FROM endpoint AS e
JOIN app AS a ON a.id = e.app_id AND a.kind = 'tenant' AND a.deleted_at IS NULL
LEFT JOIN endpoint_health AS h ON h.app_id = e.app_id AND h.endpoint_id = e.id
WHERE e.deleted_at IS NULL GROUP BY 1;

-- name: spared :many
-- Of endpoints ($1 app, $2 endpoint) those whose environment disables none by itself.
-- Served by app_id_key and environment_pkey.
SELECT n.app_id, n.endpoint_id
FROM unnest($1::text[], $2::text[]) AS n(app_id, endpoint_id)
JOIN app AS a ON a.id = n.app_id
JOIN environment AS e ON e.id = a.environment_id
WHERE e.settings -> 'disableEndpointOnFailure' = 'false';
