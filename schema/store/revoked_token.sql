-- Svix's tokens of apps that end before their time: one each, or all that an app had.

-- name: ends_at :one
-- When token $2 of app $1, issued at $3, ends; NULL is when it says. Served by revoked_token_pkey.
SELECT min(ends_at) FROM revoked_token
WHERE app_id = $1 AND token IN ($2, '') AND issued_before > $3;

-- name: revoke :exec
-- One, at $3; it ends by itself at $4. Served by revoked_token_pkey.
INSERT INTO revoked_token (app_id, token, issued_before, ends_at, forget_at)
VALUES ($1, $2, 'infinity', $3, $4)
ON CONFLICT (app_id, token, issued_before) DO NOTHING;

-- name: revoke_all :exec
-- All of app $1 that were issued before $2 end at $3. Served by revoked_token_pkey.
INSERT INTO revoked_token AS t (app_id, token, issued_before, ends_at) VALUES ($1, '', $2, $3)
ON CONFLICT (app_id, token, issued_before) DO UPDATE
SET ends_at = least(t.ends_at, excluded.ends_at);

-- name: forget_covered :exec
-- What was said of all of app $1 before $2 and is covered by their end at $3.
-- Served by revoked_token_pkey.
DELETE FROM revoked_token
WHERE app_id = $1 AND token = '' AND issued_before < $2 AND ends_at >= $3;
