-- API keys, found by the hash of their text.

-- name: by_hash :one
-- Only of a living environment. Served by api_key_hash_key and environment_pkey.
SELECT k.id, k.environment_id, k.app_id, k.kind, k.name, k.hint, k.scopes, k.session_id,
       k.created_at, k.expires_at, k.revoked_at, k.last_used_at
FROM api_key AS k JOIN environment AS e ON e.id = k.environment_id AND e.deleted_at IS NULL
WHERE k.hash = $1;

-- name: by_id :one
-- Of an operator. Served by api_key_pkey.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at
FROM api_key WHERE id = $2 AND environment_id = $1 AND kind = 'operator';

-- name: lock :one
-- For a change. Served by api_key_pkey.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at
FROM api_key WHERE id = $2 AND environment_id = $1 AND kind = 'operator' FOR UPDATE;

-- name: page_up :many
-- Operators' keys of environment $1 that count at $4: up to $3 behind key $2.
-- Served by api_key_environment_idx.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at
FROM api_key
WHERE environment_id = $1 AND id > $2 AND kind = 'operator' AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > $4)
ORDER BY id LIMIT $3;

-- name: page_down :many
-- The same before a key.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at
FROM api_key
WHERE environment_id = $1 AND id < $2 AND kind = 'operator' AND revoked_at IS NULL
  AND (expires_at IS NULL OR expires_at > $4)
ORDER BY id DESC LIMIT $3;

-- name: list_all :many
-- Every key there ever was, for the command line. Served by api_key_pkey.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at
FROM api_key ORDER BY id;

-- name: insert :exec
INSERT INTO api_key (id, environment_id, app_id, kind, name, hash, hint, scopes, session_id,
                     created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- name: update :exec
-- Served by api_key_pkey.
UPDATE api_key SET name = $2, scopes = $3, expires_at = $4 WHERE id = $1;

-- name: revoke :one
-- Once: what was revoked stays so. Served by api_key_pkey.
UPDATE api_key SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING id;

-- name: revoke_of_app :exec
-- Served by api_key_environment_idx.
UPDATE api_key SET revoked_at = $3
WHERE environment_id = $1 AND app_id = $2 AND revoked_at IS NULL;

-- name: touch :exec
-- The keys $1 were used at the times $2. Served by api_key_pkey.
UPDATE api_key AS k SET last_used_at = greatest(k.last_used_at, u.at)
FROM unnest($1::text[], $2::timestamptz[]) AS u(id, at) WHERE k.id = u.id;
