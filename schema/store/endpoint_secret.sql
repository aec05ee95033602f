-- Signing secrets at rest. The one without expires_at is current; the others sign until they expire.

-- name: live :many
-- Of endpoint ($1, $2) at $3, the current one first. Served by endpoint_secret_pkey.
SELECT id, kind, sealed, created_at, expires_at FROM endpoint_secret
WHERE app_id = $1 AND endpoint_id = $2 AND (expires_at IS NULL OR expires_at > $3)
ORDER BY expires_at DESC NULLS FIRST, id DESC;

-- name: insert :exec
INSERT INTO endpoint_secret (app_id, endpoint_id, id, kind, sealed, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7);

-- name: retire :exec
-- Let the current one of endpoint ($1, $2) end at $3. Served by endpoint_secret_pkey.
UPDATE endpoint_secret SET expires_at = $3
WHERE app_id = $1 AND endpoint_id = $2 AND expires_at IS NULL;

-- name: delete_some :exec
-- Of endpoint ($1, $2) those of ids $3, and those that had ended at $4.
-- Served by endpoint_secret_pkey.
DELETE FROM endpoint_secret
WHERE app_id = $1 AND endpoint_id = $2 AND (id = ANY ($3::text[]) OR expires_at <= $4);

-- name: delete_all :exec
-- Of the endpoints $2 of app $1. Served by endpoint_secret_pkey.
DELETE FROM endpoint_secret WHERE app_id = $1 AND endpoint_id = ANY ($2::text[]);
