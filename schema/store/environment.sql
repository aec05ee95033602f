-- Environments. Few, so that all of them are read by primary key.

-- name: find :one
-- Served by environment_pkey.
SELECT id, name, kind, is_default, retry_policy, settings, created_at, updated_at
FROM environment WHERE id = $1 AND deleted_at IS NULL;

-- name: find_default :one
-- Served by environment_default_idx.
SELECT id, name, kind, is_default, retry_policy, settings, created_at, updated_at
FROM environment WHERE is_default AND deleted_at IS NULL;

-- name: lock :one
-- For a change. Served by environment_pkey.
SELECT id, name, kind, is_default, retry_policy, settings, created_at, updated_at
FROM environment WHERE id = $1 AND deleted_at IS NULL FOR UPDATE;

-- name: page_up :many
-- $1 a key, $2 how many behind it. Served by environment_pkey.
SELECT id, name, kind, is_default, retry_policy, settings, created_at, updated_at
FROM environment WHERE id > $1 AND deleted_at IS NULL ORDER BY id LIMIT $2;

-- name: page_down :many
-- $1 a key, $2 how many before it. Served by environment_pkey.
SELECT id, name, kind, is_default, retry_policy, settings, created_at, updated_at
FROM environment WHERE id < $1 AND deleted_at IS NULL ORDER BY id DESC LIMIT $2;

-- name: insert :exec
INSERT INTO environment (id, name, kind, is_default, retry_policy, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: ensure :one
-- Unless there is one with this id, be it deleted. Served by environment_pkey.
INSERT INTO environment (id, name, kind, is_default, created_at, updated_at)
VALUES ($1, $2, $3, false, $4, $4)
ON CONFLICT (id) DO NOTHING
RETURNING id;

-- name: update :exec
-- Served by environment_pkey.
UPDATE environment SET name = $2, retry_policy = $3, settings = $4, updated_at = $5 WHERE id = $1;

-- name: delete :exec
-- Its keys and apps stay as rows and count no more. Served by environment_pkey.
UPDATE environment SET deleted_at = $2, updated_at = $2 WHERE id = $1;
