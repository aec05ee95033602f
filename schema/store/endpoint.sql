-- Endpoints. Deleted ones stay as rows for the logs' sake, without uid, headers and secrets.

-- name: by_id :one
-- Served by endpoint_pkey.
SELECT app_id, id, uid, url, description, version, event_types, channels, headers, throttle_rate,
       retry_policy, ordered, metadata, state, state_reason, state_at, created_at, updated_at
FROM endpoint WHERE app_id = $1 AND id = $2 AND deleted_at IS NULL;

-- name: by_uid :one
-- Served by endpoint_uid_idx.
SELECT app_id, id, uid, url, description, version, event_types, channels, headers, throttle_rate,
       retry_policy, ordered, metadata, state, state_reason, state_at, created_at, updated_at
FROM endpoint WHERE app_id = $1 AND uid = $2 AND deleted_at IS NULL;

-- name: lock :one
-- For a change. Served by endpoint_pkey.
SELECT app_id, id, uid, url, description, version, event_types, channels, headers, throttle_rate,
       retry_policy, ordered, metadata, state, state_reason, state_at, created_at, updated_at
FROM endpoint WHERE app_id = $1 AND id = $2 AND deleted_at IS NULL FOR UPDATE;

-- name: page_up :many
-- $1 app, $2 a key, $3 how many behind it. Served by endpoint_pkey.
SELECT app_id, id, uid, url, description, version, event_types, channels, headers, throttle_rate,
       retry_policy, ordered, metadata, state, state_reason, state_at, created_at, updated_at
FROM endpoint WHERE app_id = $1 AND id > $2 AND deleted_at IS NULL ORDER BY id LIMIT $3;

-- name: page_down :many
-- $1 app, $2 a key, $3 how many before it. Served by endpoint_pkey.
SELECT app_id, id, uid, url, description, version, event_types, channels, headers, throttle_rate,
       retry_policy, ordered, metadata, state, state_reason, state_at, created_at, updated_at
FROM endpoint WHERE app_id = $1 AND id < $2 AND deleted_at IS NULL ORDER BY id DESC LIMIT $3;

-- name: insert :exec
-- Fails on endpoint_uid_idx when the uid is taken.
INSERT INTO endpoint (app_id, id, uid, url, description, version, event_types, channels, headers,
                      throttle_rate, retry_policy, ordered, metadata, state, state_reason, state_at,
                      created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18);

-- name: update :exec
-- Fails on endpoint_uid_idx when the uid is taken. Served by endpoint_pkey.
UPDATE endpoint
SET uid = $3, url = $4, description = $5, version = $6, event_types = $7, channels = $8,
    headers = $9, throttle_rate = $10, retry_policy = $11, ordered = $12, metadata = $13,
    state = $14, state_reason = $15, state_at = $16, updated_at = $17
WHERE app_id = $1 AND id = $2;

-- name: delete :exec
-- Served by endpoint_pkey.
UPDATE endpoint SET uid = NULL, headers = NULL, deleted_at = $3, updated_at = $3
WHERE app_id = $1 AND id = $2 AND deleted_at IS NULL;

-- name: delete_all :many
-- Those of app $1 that are left; gives their ids. Served by endpoint_pkey.
UPDATE endpoint SET uid = NULL, headers = NULL, deleted_at = $2, updated_at = $2
WHERE app_id = $1 AND deleted_at IS NULL
RETURNING id;

-- name: attempted :one
-- Attempts of endpoint ($1, $2) from $3 until before $4, in whole minutes.
-- Served by rollup_minute_pkey.
SELECT coalesce(sum(delivered), 0)::bigint AS delivered,
       coalesce(sum(status_3xx + status_4xx + status_5xx + no_answer), 0)::bigint AS failed
FROM rollup_minute
WHERE app_id = $1 AND endpoint_id = $2 AND bucket >= date_trunc('minute', $3::timestamptz)
  AND bucket < $4;

-- name: takes :one
-- Whether an endpoint of app $1 takes messages of event type $2 with channels $3 (null is none).
-- Served by endpoint_pkey.
SELECT EXISTS (
    SELECT FROM endpoint
    WHERE app_id = $1 AND deleted_at IS NULL AND state <> 'disabled'
      AND (event_types IS NULL OR $2::text = ANY (event_types))
      AND (channels IS NULL OR channels && $3::text[]));

-- name: overdue_since :one
-- Since when the first delivery has been due that endpoint ($2, $3) of shard $1 is owed since before
-- $4; null if there is none, or if the endpoint fails. Served by delivery_owed_idx,
-- delivery_place_idx and endpoint_health_pkey.
SELECT min(due_at) FROM (
    (SELECT due_at FROM delivery
     WHERE shard = $1 AND app_id = $2 AND endpoint_id = $3 AND due_at < $4
       AND state IN ('pending', 'retrying') AND place IS NULL
     ORDER BY due_at LIMIT 1)
    UNION ALL
    (SELECT due_at FROM delivery
     WHERE shard = $1 AND app_id = $2 AND endpoint_id = $3 AND due_at < $4
       AND state IN ('pending', 'retrying') AND place IS NOT NULL
     ORDER BY place LIMIT 1)) AS first
WHERE NOT EXISTS (SELECT FROM endpoint_health
                  WHERE app_id = $2 AND endpoint_id = $3 AND state = 'failing');

-- name: cancelled :one
-- Deliveries to endpoint ($1, $2) that were called off, of messages from id $3 until before id $4,
-- counted no further than $5. Served by delivery_cancelled_idx.
SELECT count(*) FROM (
    SELECT FROM delivery
    WHERE app_id = $1 AND endpoint_id = $2 AND message_id >= $3 AND message_id < $4
      AND state = 'cancelled' LIMIT $5) AS counted;

-- name: owed :one
-- Deliveries owed to endpoint ($2, $3) in shard $1 of messages from id $4 until before id $5,
-- counted no further than $6. Served by delivery_owed_idx and delivery_place_idx.
SELECT count(*) FILTER (WHERE state = 'pending') AS pending,
       count(*) FILTER (WHERE state = 'retrying') AS retrying
FROM (SELECT state FROM delivery
      WHERE shard = $1 AND app_id = $2 AND endpoint_id = $3
        AND state IN ('pending', 'retrying') AND place IS NULL
        AND message_id >= $4 AND message_id < $5
      UNION ALL
      SELECT state FROM delivery
      WHERE shard = $1 AND app_id = $2 AND endpoint_id = $3
        AND state IN ('pending', 'retrying') AND place IS NOT NULL
        AND message_id >= $4 AND message_id < $5
      LIMIT $6) AS counted;

-- name: number_of :one
-- How many endpoints app $1 has, counted no further than $2. Served by endpoint_pkey.
SELECT count(*) FROM (
    SELECT FROM endpoint WHERE app_id = $1 AND deleted_at IS NULL LIMIT $2) AS counted;
