-- What is dropped when it is old.

-- name: try_lock :one
-- Held until the end of the transaction.
SELECT pg_try_advisory_xact_lock(0x75706B70);

-- name: prune_event_ids :exec
DELETE FROM message_event_id WHERE created_at < $1;

-- name: prune_rejected_events :exec
DELETE FROM rejected_event WHERE created_at < $1;

-- name: prune_letters :many
-- Up to $2 letters that nothing was done to since before $1, whatever they are but on their way.
-- Served by dead_letter_updated_idx.
DELETE FROM dead_letter
WHERE (app_id, id) IN (
    SELECT app_id, id FROM dead_letter WHERE updated_at < $1 AND state <> 'redelivering'
    ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING id;

-- name: prune_groups :exec
-- Groups that nothing came to since before $1 and that have no letters.
-- Served by dead_letter_group_idx.
DELETE FROM dead_letter_group AS g
WHERE g.last_seen_at < $1 AND g.parked = 0 AND g.redelivering = 0
  AND NOT EXISTS (SELECT FROM dead_letter AS l WHERE l.app_id = g.app_id AND l.group_id = g.id);

-- name: prune_hours :exec
-- Served by dead_letter_hour_bucket_idx.
DELETE FROM dead_letter_hour WHERE bucket < $1;

-- name: prune_rollups :exec
DELETE FROM rollup_minute WHERE bucket < $1;

-- name: prune_health :exec
-- The history alone. Served by endpoint_health_change_at_idx.
DELETE FROM endpoint_health_change WHERE at < $1;

-- name: prune_keys :exec
-- Of portals alone: nobody lists them, and there are many. Served by api_key_portal_idx.
DELETE FROM api_key
WHERE kind = 'portal' AND expires_at AT TIME ZONE 'UTC' < $1::timestamptz AT TIME ZONE 'UTC';

-- name: prune_tokens :exec
-- Those that have ended by themselves. Served by revoked_token_forget_idx.
DELETE FROM revoked_token WHERE forget_at < $1;

-- name: prune_schema_faults :exec
-- Served by schema_fault_last_idx.
DELETE FROM schema_fault WHERE last_at < $1;

-- name: prune_secrets :exec
DELETE FROM endpoint_secret WHERE expires_at < $1;

-- name: prune_origins :exec
-- Served by message_origin_created_idx.
DELETE FROM message_origin WHERE created_at < $1;
