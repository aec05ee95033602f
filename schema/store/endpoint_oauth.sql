-- What access tokens for endpoints are asked for with.

-- name: find :one
-- Of endpoint ($1, $2). Served by endpoint_oauth_pkey.
SELECT config FROM endpoint_oauth WHERE app_id = $1 AND endpoint_id = $2;

-- name: put :exec
-- Write that of endpoint ($1, $2) instead of what there was, under another version.
INSERT INTO endpoint_oauth (app_id, endpoint_id, config, refresh_token, updated_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (app_id, endpoint_id) DO UPDATE
SET version = excluded.version, config = excluded.config, rotation = 0,
    refresh_token = excluded.refresh_token, updated_at = excluded.updated_at;

-- name: delete :exec
-- Of endpoint ($1, $2). Served by endpoint_oauth_pkey.
DELETE FROM endpoint_oauth WHERE app_id = $1 AND endpoint_id = $2;

-- name: delete_all :exec
-- Of the endpoints $2 of app $1. Served by endpoint_oauth_pkey.
DELETE FROM endpoint_oauth WHERE app_id = $1 AND endpoint_id = ANY ($2::text[]);

-- name: refresh_token :one
-- The newest of endpoint ($1, $2), if version $3 is still the one. Served by endpoint_oauth_pkey.
SELECT refresh_token, rotation FROM endpoint_oauth
WHERE app_id = $1 AND endpoint_id = $2 AND version = $3;

-- name: rotate :one
-- Write the refresh token $5 that came of rotation $4, unless somebody was faster.
-- Served by endpoint_oauth_pkey.
UPDATE endpoint_oauth SET refresh_token = $5, rotation = rotation + 1
WHERE app_id = $1 AND endpoint_id = $2 AND version = $3 AND rotation = $4
RETURNING rotation;
