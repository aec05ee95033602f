-- Integrations, by app. Their keys stand in api_key.

-- name: find :one
-- Served by integration_pkey.
SELECT app_id, id, name, feature_flags, sealed, created_at, updated_at
FROM integration WHERE app_id = $1 AND id = $2;

-- name: lock :one
-- For a change. Served by integration_pkey.
SELECT app_id, id, name, feature_flags, sealed, created_at, updated_at
FROM integration WHERE app_id = $1 AND id = $2 FOR UPDATE;

-- name: page_up :many
-- Of app $1: up to $3 behind $2. Served by integration_pkey.
SELECT app_id, id, name, feature_flags, sealed, created_at, updated_at
FROM integration WHERE app_id = $1 AND id > $2 ORDER BY id LIMIT $3;

-- name: page_down :many
-- The same before it. Served by integration_pkey.
SELECT app_id, id, name, feature_flags, sealed, created_at, updated_at
FROM integration WHERE app_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3;

-- name: insert :exec
INSERT INTO integration (app_id, id, name, feature_flags, sealed, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: update :exec
-- Served by integration_pkey.
UPDATE integration SET name = $3, feature_flags = $4, sealed = $5, updated_at = $6
WHERE app_id = $1 AND id = $2;

-- name: delete :exec
-- Served by integration_pkey.
DELETE FROM integration WHERE app_id = $1 AND id = $2;

-- name: delete_all :exec
-- Served by integration_pkey.
DELETE FROM integration WHERE app_id = $1;
