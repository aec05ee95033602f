-- What is dropped when it is old.

-- name: try_lock :one
-- Held until the end of the transaction.
SELECT pg_try_advisory_xact_lock(0x75706B70);

-- name: prune_event_ids :exec
DELETE FROM message_event_id WHERE created_at < $1;

-- name: prune_rejected_events :exec
DELETE FROM rejected_event WHERE created_at < $1;

-- name: prune_rollups :exec
DELETE FROM rollup_minute WHERE bucket < $1;

-- name: prune_secrets :exec
DELETE FROM endpoint_secret WHERE expires_at < $1;
