-- Deliveries that were given up. Pages: of app $1, between the ids $2 and $3 (both exclusive), $4
-- how many, in state $5. Filters, or null: $6 event types, $7 reason, $8 smallest and $9 largest
-- HTTP status (0 is none), $10 fault.

-- name: by_id :one
-- Served by dead_letter_pkey.
SELECT app_id, id, message_id, endpoint_id, state, reason, event_type, event_id, channels, payload,
       content_type, url, status, fault, detail, response, fingerprint, attempts, message_at,
       first_attempt_at, last_attempt_at, last_attempt_id, parked_at, updated_at
FROM dead_letter WHERE app_id = $1 AND id = $2;

-- name: page_down :many
-- The newest. Served by dead_letter_state_idx.
SELECT app_id, id, message_id, endpoint_id, state, reason, event_type, event_id, channels,
       NULL::bytea AS payload, content_type, url, status, fault, detail, NULL::bytea AS response,
       fingerprint, attempts, message_at, first_attempt_at, last_attempt_at, last_attempt_id,
       parked_at, updated_at
FROM dead_letter
WHERE app_id = $1 AND id > $2 AND id < $3 AND state = $5
  AND ($6::text[] IS NULL OR event_type = ANY ($6)) AND ($7::text IS NULL OR reason = $7)
  AND ($8::int IS NULL OR coalesce(status, 0) BETWEEN $8 AND $9)
  AND ($10::text IS NULL OR fault = $10)
ORDER BY id DESC LIMIT $4;

-- name: page_up :many
-- The oldest. Served by dead_letter_state_idx.
SELECT app_id, id, message_id, endpoint_id, state, reason, event_type, event_id, channels,
       NULL::bytea AS payload, content_type, url, status, fault, detail, NULL::bytea AS response,
       fingerprint, attempts, message_at, first_attempt_at, last_attempt_at, last_attempt_id,
       parked_at, updated_at
FROM dead_letter
WHERE app_id = $1 AND id > $2 AND id < $3 AND state = $5
  AND ($6::text[] IS NULL OR event_type = ANY ($6)) AND ($7::text IS NULL OR reason = $7)
  AND ($8::int IS NULL OR coalesce(status, 0) BETWEEN $8 AND $9)
  AND ($10::text IS NULL OR fault = $10)
ORDER BY id LIMIT $4;

-- name: endpoint_down :many
-- The newest of endpoint $11. Served by dead_letter_endpoint_idx.
SELECT app_id, id, message_id, endpoint_id, state, reason, event_type, event_id, channels,
       NULL::bytea AS payload, content_type, url, status, fault, detail, NULL::bytea AS response,
       fingerprint, attempts, message_at, first_attempt_at, last_attempt_at, last_attempt_id,
       parked_at, updated_at
FROM dead_letter
WHERE app_id = $1 AND endpoint_id = $11 AND id > $2 AND id < $3 AND state = $5
  AND ($6::text[] IS NULL OR event_type = ANY ($6)) AND ($7::text IS NULL OR reason = $7)
  AND ($8::int IS NULL OR coalesce(status, 0) BETWEEN $8 AND $9)
  AND ($10::text IS NULL OR fault = $10)
ORDER BY id DESC LIMIT $4;

-- name: endpoint_up :many
-- The oldest of endpoint $11. Served by dead_letter_endpoint_idx.
SELECT app_id, id, message_id, endpoint_id, state, reason, event_type, event_id, channels,
       NULL::bytea AS payload, content_type, url, status, fault, detail, NULL::bytea AS response,
       fingerprint, attempts, message_at, first_attempt_at, last_attempt_at, last_attempt_id,
       parked_at, updated_at
FROM dead_letter
WHERE app_id = $1 AND endpoint_id = $11 AND id > $2 AND id < $3 AND state = $5
  AND ($6::text[] IS NULL OR event_type = ANY ($6)) AND ($7::text IS NULL OR reason = $7)
  AND ($8::int IS NULL OR coalesce(status, 0) BETWEEN $8 AND $9)
  AND ($10::text IS NULL OR fault = $10)
ORDER BY id LIMIT $4;

-- name: redeliver :one
-- Letter ($1, $2) is on its way again, at $3, unless it is already. Served by dead_letter_pkey.
UPDATE dead_letter SET state = 'redelivering', updated_at = $3
WHERE app_id = $1 AND id = $2 AND state <> 'redelivering' RETURNING id;

-- name: redeliver_of :exec
-- The letter of message ($1, $2) and endpoint $3, if there is one, is on its way again, at $4.
-- Served by dead_letter_app_id_message_id_endpoint_id_key.
UPDATE dead_letter SET state = 'redelivering', updated_at = $4
WHERE app_id = $1 AND message_id = $2 AND endpoint_id = $3 AND state <> 'redelivering';

-- name: discard :one
-- Letter ($1, $2) is given up for good, at $3, if it is parked. Served by dead_letter_pkey.
UPDATE dead_letter SET state = 'discarded', updated_at = $3
WHERE app_id = $1 AND id = $2 AND state = 'parked' RETURNING id;

-- name: park_cancelled :exec
-- The letters of message ($1, $2) that were on their way and were called off are parked again, at
-- $3. Served by dead_letter_app_id_message_id_endpoint_id_key.
UPDATE dead_letter SET state = 'parked', updated_at = $3
WHERE app_id = $1 AND message_id = $2 AND state = 'redelivering';

-- name: parked :one
-- How many are parked. Served by dead_letter_state_idx, which it reads whole.
SELECT count(*) FROM dead_letter WHERE state = 'parked';
