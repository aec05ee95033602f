-- What a dispatcher must know of apps and endpoints to fan out and to send.

-- name: apps_by_id :many
-- Served by app_id_key.
SELECT a.id, a.environment_id, a.kind, a.uid, a.throttle_rate, a.retry_policy,
       e.retry_policy AS environment_retry_policy
FROM app AS a JOIN environment AS e ON e.id = a.environment_id
WHERE a.id = ANY ($1::text[]) AND a.deleted_at IS NULL AND e.deleted_at IS NULL;

-- name: ids_by_uid :many
-- The apps called $2 in the environments $1 (null: the default one). Served by app_uid_idx.
SELECT w.environment_id AS asked_environment, w.uid, a.id
FROM unnest($1::text[], $2::text[]) AS w(environment_id, uid)
JOIN environment AS e ON e.deleted_at IS NULL
     AND (e.id = w.environment_id OR (w.environment_id IS NULL AND e.is_default))
JOIN app AS a ON a.environment_id = e.id AND a.uid = w.uid AND a.deleted_at IS NULL;

-- name: endpoints :many
-- Served by endpoint_pkey, endpoint_certificate_pkey, endpoint_oauth_pkey and
-- endpoint_transformation_pkey.
SELECT e.app_id, e.id, e.url, e.event_types, e.channels, e.headers, e.throttle_rate, e.retry_policy,
       e.ordered, e.state, a.content AS authorities, i.content AS identity,
       o.version AS oauth_version, o.config AS oauth_config,
       t.enabled IS TRUE AND t.code IS NOT NULL AS transforms
FROM endpoint AS e
LEFT JOIN endpoint_certificate AS a
       ON a.app_id = e.app_id AND a.endpoint_id = e.id AND a.kind = 'authorities'
LEFT JOIN endpoint_certificate AS i
       ON i.app_id = e.app_id AND i.endpoint_id = e.id AND i.kind = 'identity'
LEFT JOIN endpoint_oauth AS o ON o.app_id = e.app_id AND o.endpoint_id = e.id
LEFT JOIN endpoint_transformation AS t ON t.app_id = e.app_id AND t.endpoint_id = e.id
WHERE e.app_id = ANY ($1::text[]) AND e.deleted_at IS NULL
ORDER BY e.app_id, e.id;

-- name: secrets :many
-- Newest first within an endpoint: the current one signs first. Served by endpoint_secret_pkey.
SELECT app_id, endpoint_id, id, kind, sealed, created_at, expires_at FROM endpoint_secret
WHERE app_id = ANY ($1::text[]) AND (expires_at IS NULL OR expires_at > $2)
ORDER BY app_id, endpoint_id, expires_at DESC NULLS FIRST, id DESC;
