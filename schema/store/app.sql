-- Apps. Deleted ones stay as rows for the logs' sake and have given up their uid. Operational apps
-- are found by none of these.

-- name: by_id :one
-- Served by app_pkey.
SELECT environment_id, id, uid, name, throttle_rate, retry_policy, metadata, created_at, updated_at
FROM app WHERE environment_id = $1 AND id = $2 AND kind = 'tenant' AND deleted_at IS NULL;

-- name: by_uid :one
-- Served by app_uid_idx.
SELECT environment_id, id, uid, name, throttle_rate, retry_policy, metadata, created_at, updated_at
FROM app WHERE environment_id = $1 AND uid = $2 AND kind = 'tenant' AND deleted_at IS NULL;

-- name: named :many
-- Of environment $1, the apps with the ids or uids $2. Served by app_pkey and app_uid_idx.
SELECT id, uid FROM app
WHERE environment_id = $1 AND (id = ANY ($2::text[]) OR uid = ANY ($2::text[]))
  AND kind = 'tenant' AND deleted_at IS NULL;

-- name: lock :one
-- For a change. Served by app_pkey.
SELECT environment_id, id, uid, name, throttle_rate, retry_policy, metadata, created_at, updated_at
FROM app WHERE environment_id = $1 AND id = $2 AND kind = 'tenant' AND deleted_at IS NULL FOR UPDATE;

-- name: page_up :many
-- $1 environment, $2 a key, $3 how many behind it; $4 without those that have no endpoint,
-- $5 that have disabled ones only, $6 that have ones at Svix Play only.
-- No EXISTS: the planner would hash all endpoints there are for it.
-- Served by app_pkey, the filters by endpoint_pkey.
SELECT environment_id, id, uid, name, throttle_rate, retry_policy, metadata, created_at, updated_at
FROM app AS a
WHERE environment_id = $1 AND id > $2 AND kind = 'tenant' AND deleted_at IS NULL
  AND (NOT $4 OR coalesce((SELECT true FROM endpoint AS e
                           WHERE e.app_id = a.id AND e.deleted_at IS NULL LIMIT 1), false))
  AND (NOT $5 OR coalesce((SELECT bool_or(e.state <> 'disabled') FROM endpoint AS e
                           WHERE e.app_id = a.id AND e.deleted_at IS NULL), true))
  AND (NOT $6 OR coalesce((SELECT bool_or(e.url !~ '^https?://(api\.)?play\.svix\.com/')
                           FROM endpoint AS e WHERE e.app_id = a.id AND e.deleted_at IS NULL), true))
ORDER BY id LIMIT $3;

-- name: page_down :many
-- The same before a key.
SELECT environment_id, id, uid, name, throttle_rate, retry_policy, metadata, created_at, updated_at
FROM app AS a
WHERE environment_id = $1 AND id < $2 AND kind = 'tenant' AND deleted_at IS NULL
  AND (NOT $4 OR coalesce((SELECT true FROM endpoint AS e
                           WHERE e.app_id = a.id AND e.deleted_at IS NULL LIMIT 1), false))
  AND (NOT $5 OR coalesce((SELECT bool_or(e.state <> 'disabled') FROM endpoint AS e
                           WHERE e.app_id = a.id AND e.deleted_at IS NULL), true))
  AND (NOT $6 OR coalesce((SELECT bool_or(e.url !~ '^https?://(api\.)?play\.svix\.com/')
                           FROM endpoint AS e WHERE e.app_id = a.id AND e.deleted_at IS NULL), true))
ORDER BY id DESC LIMIT $3;

-- name: ids_behind :many
-- Of environment $1, behind key $2, the next $3. Served by app_pkey.
SELECT id FROM app WHERE environment_id = $1 AND id > $2 AND kind = 'tenant' AND deleted_at IS NULL
ORDER BY id LIMIT $3;

-- name: insert :exec
-- Fails on app_uid_idx when the uid is taken.
INSERT INTO app (environment_id, id, uid, name, throttle_rate, retry_policy, metadata, created_at,
                 updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- name: insert_operational :exec
-- Of environment $1, unless it is there. Served by app_id_key.
INSERT INTO app (environment_id, id, name, kind, created_at, updated_at)
VALUES ($1, $2, 'operational', 'operational', $3, $3)
ON CONFLICT (id) DO NOTHING;

-- name: update :exec
-- Fails on app_uid_idx when the uid is taken. Served by app_pkey.
UPDATE app SET uid = $3, name = $4, throttle_rate = $5, retry_policy = $6, metadata = $7,
               updated_at = $8
WHERE environment_id = $1 AND id = $2;

-- name: delete :exec
-- Served by app_pkey.
UPDATE app SET uid = NULL, deleted_at = $3, updated_at = $3 WHERE environment_id = $1 AND id = $2;
