-- Certificates of endpoints, by what they are for.

-- name: find :one
-- Of endpoint ($1, $2), of kind $3. Served by endpoint_certificate_pkey.
SELECT kind, content, subject, ends_at, updated_at FROM endpoint_certificate
WHERE app_id = $1 AND endpoint_id = $2 AND kind = $3;

-- name: put :exec
-- Write those of endpoint ($1, $2) of kind $3, instead of what there was.
INSERT INTO endpoint_certificate
    (app_id, endpoint_id, kind, content, subject, ends_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (app_id, endpoint_id, kind) DO UPDATE
SET content = excluded.content, subject = excluded.subject, ends_at = excluded.ends_at,
    updated_at = excluded.updated_at;

-- name: delete :exec
-- Of endpoint ($1, $2), of kind $3. Served by endpoint_certificate_pkey.
DELETE FROM endpoint_certificate WHERE app_id = $1 AND endpoint_id = $2 AND kind = $3;

-- name: delete_all :exec
-- Of the endpoints $2 of app $1. Served by endpoint_certificate_pkey.
DELETE FROM endpoint_certificate WHERE app_id = $1 AND endpoint_id = ANY ($2::text[]);

-- name: ending :one
-- How many have ended at $1, and how many more will have at $2.
-- Served by endpoint_certificate_ends_idx.
SELECT count(*) FILTER (WHERE ends_at <= $1) AS ended,
       count(*) FILTER (WHERE ends_at > $1) AS ending
FROM endpoint_certificate WHERE ends_at <= $2;
