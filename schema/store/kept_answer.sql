-- What requests with an idempotency key were answered, and which are under way.

-- name: hold :one
-- Take key $1 for holder $2, from now ($3) until $4, and give it; nothing if it has an answer of
-- since $5, or if somebody else works on it. Served by kept_answer_pkey.
INSERT INTO kept_answer AS a (key, holder, begun_at, held_until) VALUES ($1, $2, $3, $4)
ON CONFLICT (key) DO UPDATE
SET holder = excluded.holder, begun_at = excluded.begun_at, held_until = excluded.held_until,
    status = NULL, headers = NULL, body = NULL
WHERE a.begun_at < $5 OR (a.status IS NULL AND a.held_until < excluded.begun_at)
RETURNING key;

-- name: find :one
-- The answer to key $1, if there is one. Served by kept_answer_pkey.
SELECT status, headers, body FROM kept_answer WHERE key = $1 AND status IS NOT NULL;

-- name: keep :exec
-- Write the answer of holder $2 to key $1. Served by kept_answer_pkey.
UPDATE kept_answer SET status = $3, headers = $4, body = $5 WHERE key = $1 AND holder = $2;

-- name: let_go :exec
-- Forget key $1 of holder $2. Served by kept_answer_pkey.
DELETE FROM kept_answer WHERE key = $1 AND holder = $2;
