-- API keys, found by the hash of their text.

-- name: by_hash :one
-- Only of a living environment. Served by api_key_hash_key and environment_pkey.
SELECT k.id, k.environment_id, k.app_id, k.kind, k.name, k.hint, k.scopes, k.session_id,
       k.created_at, k.expires_at, k.revoked_at, k.last_used_at, k.capabilities, k.feature_flags,
       k.integration_id, k.poller_id, k.endpoint_id
FROM api_key AS k JOIN environment AS e ON e.id = k.environment_id AND e.deleted_at IS NULL
WHERE k.hash = $1;

-- name: by_id :one
-- Of environment $1: the key $2, which is of kind $4 and of app $3 ('': of none).
-- Served by api_key_pkey.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at, capabilities, feature_flags, integration_id,
       poller_id, endpoint_id
FROM api_key
WHERE id = $2 AND environment_id = $1 AND coalesce(app_id, '') = $3 AND kind = $4;

-- name: lock :one
-- The same for a change. Served by api_key_pkey.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at, capabilities, feature_flags, integration_id,
       poller_id, endpoint_id
FROM api_key
WHERE id = $2 AND environment_id = $1 AND coalesce(app_id, '') = $3 AND kind = $4 FOR UPDATE;

-- name: page_up :many
-- Keys of environment $1, app $2 ('': of none) and kind $3 that count at $6: up to $5 behind key $4.
-- Served by api_key_owner_idx.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at, capabilities, feature_flags, integration_id,
       poller_id, endpoint_id
FROM api_key
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND kind = $3 AND id > $4
  AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $6)
ORDER BY id LIMIT $5;

-- name: page_down :many
-- The same before a key.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at, capabilities, feature_flags, integration_id,
       poller_id, endpoint_id
FROM api_key
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND kind = $3 AND id < $4
  AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $6)
ORDER BY id DESC LIMIT $5;

-- name: list_all :many
-- Every key there ever was, for the command line. Served by api_key_pkey.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at, capabilities, feature_flags, integration_id,
       poller_id, endpoint_id
FROM api_key ORDER BY id;

-- name: insert :exec
INSERT INTO api_key (id, environment_id, app_id, kind, name, hash, hint, scopes, session_id,
                     created_at, expires_at, capabilities, feature_flags, integration_id,
                     poller_id, endpoint_id)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16);

-- name: update :exec
-- Served by api_key_pkey.
UPDATE api_key SET name = $2, scopes = $3, expires_at = $4 WHERE id = $1;

-- name: exchange :one
-- Key $1, which counts at $4 by the hash $2, gets the text of hash $3 and hint $5 instead: once.
-- expires_at is named so that gateways hear of it. Served by api_key_pkey or api_key_hash_key.
UPDATE api_key SET hash = $3, hint = $5, expires_at = expires_at
WHERE id = $1 AND hash = $2 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $4)
RETURNING id;

-- name: revoke :one
-- Once: what was revoked stays so. Served by api_key_pkey.
UPDATE api_key SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1 RETURNING id;

-- name: revoke_of_app :exec
-- Served by api_key_owner_idx.
UPDATE api_key SET revoked_at = $3
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND revoked_at IS NULL;

-- name: end_portal :exec
-- Portals' keys of app $2 end at $3 at the latest, of sessions $4 alone (NULL: all).
-- Served by api_key_owner_idx.
UPDATE api_key SET expires_at = $3
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND kind = 'portal'
  AND revoked_at IS NULL AND expires_at > $3 AND ($4::text[] IS NULL OR session_id = ANY ($4));

-- name: revoke_of_integration :exec
-- Served by api_key_owner_idx.
UPDATE api_key SET revoked_at = $4
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND kind = 'integration'
  AND integration_id = $3 AND revoked_at IS NULL;

-- name: flag_integration :exec
-- Its key sees what the integration sees. Served by api_key_owner_idx.
UPDATE api_key SET feature_flags = $4
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND kind = 'integration'
  AND integration_id = $3 AND revoked_at IS NULL;

-- name: of_poller :one
-- The newest key of poller $3 that counts at $4. Served by api_key_owner_idx.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at, capabilities, feature_flags, integration_id,
       poller_id, endpoint_id
FROM api_key
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND kind = 'poller' AND poller_id = $3
  AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $4)
ORDER BY id DESC LIMIT 1;

-- name: end_of_poller :exec
-- Keys of poller $3 end at $4 at the latest. Served by api_key_owner_idx.
UPDATE api_key SET expires_at = $4
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND kind = 'poller' AND poller_id = $3
  AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > $4);

-- name: of_endpoint :one
-- The key that configures endpoint $3. Served by api_key_owner_idx.
SELECT id, environment_id, app_id, kind, name, hint, scopes, session_id, created_at, expires_at,
       revoked_at, last_used_at, capabilities, feature_flags, integration_id,
       poller_id, endpoint_id
FROM api_key
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND kind = 'auto-config'
  AND endpoint_id = $3 AND revoked_at IS NULL
ORDER BY id DESC LIMIT 1;

-- name: revoke_of_endpoint :exec
-- The keys that configure endpoint $3, at $4. Served by api_key_owner_idx.
UPDATE api_key SET revoked_at = $4
WHERE environment_id = $1 AND coalesce(app_id, '') = $2 AND kind = 'auto-config'
  AND endpoint_id = $3 AND revoked_at IS NULL;

-- name: touch :exec
-- The keys $1 were used at the times $2. Served by api_key_pkey.
UPDATE api_key AS k SET last_used_at = greatest(k.last_used_at, u.at)
FROM unnest($1::text[], $2::timestamptz[]) AS u(id, at) WHERE k.id = u.id;
