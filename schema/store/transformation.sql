-- Transformations, by app and endpoint.

-- name: find :one
-- Served by endpoint_transformation_pkey.
SELECT code, enabled, variables, updated_at
FROM endpoint_transformation WHERE app_id = $1 AND endpoint_id = $2;

-- name: put :exec
-- Served by endpoint_transformation_pkey.
INSERT INTO endpoint_transformation (app_id, endpoint_id, code, enabled, variables, updated_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (app_id, endpoint_id) DO UPDATE
SET code = excluded.code, enabled = excluded.enabled, variables = excluded.variables,
    updated_at = excluded.updated_at;

-- name: delete_all :exec
-- Of the endpoints $2 of app $1. Served by endpoint_transformation_pkey.
DELETE FROM endpoint_transformation WHERE app_id = $1 AND endpoint_id = ANY ($2::text[]);

-- name: due :many
-- What is to be run for deliveries ($1 app, $2 endpoint, $3 message), by number from 1, and what the
-- messages tell it; those of which nothing is to be run are not in the answer. $4 and $5: the
-- smallest and largest message id. Served by endpoint_transformation_pkey and message_pkey.
SELECT w.number, t.code, t.variables, m.channels, m.params
FROM unnest($1::text[], $2::text[], $3::text[])
    WITH ORDINALITY AS w(app_id, endpoint_id, message_id, number)
JOIN endpoint_transformation AS t ON t.app_id = w.app_id AND t.endpoint_id = w.endpoint_id
     AND t.enabled AND t.code IS NOT NULL
LEFT JOIN message AS m ON m.app_id = w.app_id AND m.id = w.message_id AND m.id BETWEEN $4 AND $5;
