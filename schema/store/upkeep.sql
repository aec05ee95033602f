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

-- name: prune_types :exec
-- Served by rollup_type_time_idx.
DELETE FROM rollup_type WHERE bucket < $1;

-- name: prune_health :exec
-- The history alone. Served by endpoint_health_change_at_idx.
DELETE FROM endpoint_health_change WHERE at < $1;

-- name: prune_stray_attempts :many
-- Up to $2 attempts before id $1 in no day's partition, unless their delivery is still owed.
-- Served by attempt_default_id_idx and delivery_pkey: deliveries are looked up one by one.
DELETE FROM attempt_default WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM attempt_default AS a
    WHERE a.id || '' < $1 AND NOT coalesce((
        SELECT d.state IN ('pending', 'retrying') FROM delivery AS d
        WHERE d.app_id = a.app_id AND d.message_id = a.message_id
          AND d.endpoint_id = a.endpoint_id), false)
    ORDER BY a.id || '' LIMIT $2 FOR UPDATE OF a SKIP LOCKED))
RETURNING id;

-- name: prune_stray_deliveries :many
-- The same of deliveries. Served by delivery_default_message_idx.
DELETE FROM delivery_default WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM delivery_default
    WHERE message_id || '' < $1 AND state NOT IN ('pending', 'retrying')
    ORDER BY message_id || '' LIMIT $2 FOR UPDATE SKIP LOCKED))
RETURNING message_id;

-- name: prune_stray_messages :many
-- The same of messages of which nothing is owed. Served by message_default_id_idx and delivery_pkey.
DELETE FROM message_default WHERE ctid = ANY (ARRAY(
    SELECT m.ctid FROM message_default AS m
    WHERE m.id || '' < $1 AND NOT (
        SELECT coalesce(bool_or(d.state IN ('pending', 'retrying')), false) FROM delivery AS d
        WHERE d.app_id = m.app_id AND d.message_id = m.id)
    ORDER BY m.id || '' LIMIT $2 FOR UPDATE OF m SKIP LOCKED))
RETURNING id;

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

-- name: prune_message_keys :exec
-- Idempotency keys of messages before id $1. Served by message_key_age_idx.
DELETE FROM message_key WHERE message_id < $1;

-- name: prune_answers :exec
-- Served by kept_answer_age_idx.
DELETE FROM kept_answer WHERE begun_at < $1;

-- name: expire_messages :many
-- Forget up to $2 payloads that were to be kept until $1 or before.
-- Served by message_payload_until_idx and message_pkey.
WITH due AS MATERIALIZED (
    SELECT app_id, id FROM message WHERE payload_until <= $1
    ORDER BY payload_until LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE message AS m SET payload = NULL, payload_until = NULL, params = NULL
FROM due AS d WHERE m.app_id = d.app_id AND m.id = d.id
RETURNING m.id;

-- name: expire_letters :many
-- The same of dead letters. Served by dead_letter_payload_until_idx and dead_letter_pkey.
WITH due AS MATERIALIZED (
    SELECT app_id, id FROM dead_letter WHERE payload_until <= $1
    ORDER BY payload_until LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE dead_letter AS l SET payload = NULL, payload_until = NULL, updated_at = $1
FROM due AS d WHERE l.app_id = d.app_id AND l.id = d.id
RETURNING l.id;
