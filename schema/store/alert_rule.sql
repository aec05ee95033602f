-- Alert rules.

-- name: by_id :one
-- Served by alert_rule_pkey.
SELECT environment_id, id, name, kind, threshold, clear_below, window_s, least_attempts, app_ids,
       enabled, created_at, updated_at, raised_at, told_at
FROM alert_rule WHERE environment_id = $1 AND id = $2;

-- name: lock :one
-- For a change. Served by alert_rule_pkey.
SELECT environment_id, id, name, kind, threshold, clear_below, window_s, least_attempts, app_ids,
       enabled, created_at, updated_at, raised_at, told_at
FROM alert_rule WHERE environment_id = $1 AND id = $2 FOR UPDATE;

-- name: page_up :many
-- $1 environment, $2 a key, $3 how many behind it. Served by alert_rule_pkey.
SELECT environment_id, id, name, kind, threshold, clear_below, window_s, least_attempts, app_ids,
       enabled, created_at, updated_at, raised_at, told_at
FROM alert_rule WHERE environment_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: page_down :many
-- The same before a key.
SELECT environment_id, id, name, kind, threshold, clear_below, window_s, least_attempts, app_ids,
       enabled, created_at, updated_at, raised_at, told_at
FROM alert_rule WHERE environment_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: count :one
-- How many rules environment $1 has. Served by alert_rule_pkey.
SELECT count(*) FROM alert_rule WHERE environment_id = $1;

-- name: insert :exec
-- Primary key: alert_rule_pkey.
INSERT INTO alert_rule (environment_id, id, name, kind, threshold, clear_below, window_s,
                        least_attempts, app_ids, enabled, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12);

-- name: update :exec
-- Served by alert_rule_pkey.
UPDATE alert_rule SET name = $3, kind = $4, threshold = $5, clear_below = $6, window_s = $7,
                      least_attempts = $8, app_ids = $9, enabled = $10, updated_at = $11
WHERE environment_id = $1 AND id = $2;

-- name: delete :exec
-- A rule with its alerts. Served by alert_rule_pkey and alert_pkey.
WITH alerts AS (DELETE FROM alert WHERE environment_id = $1 AND rule_id = $2)
DELETE FROM alert_rule WHERE environment_id = $1 AND id = $2;

-- name: alerts :many
-- For whom rule ($1, $2) is raised, up to $3. Served by alert_pkey.
SELECT environment_id, rule_id, app_id, endpoint_id, value, raised_at, cleared_at, told
FROM alert WHERE environment_id = $1 AND rule_id = $2 AND cleared_at IS NULL
ORDER BY app_id, endpoint_id LIMIT $3;

-- name: raised :one
-- How many rules are raised.
SELECT count(*) FROM alert_rule WHERE raised_at IS NOT NULL;
