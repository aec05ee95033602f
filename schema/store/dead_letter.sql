-- Deliveries that were given up, one by one; lists are made in dead_letter_search.py. Whatever
-- writes letters, triggers keep their groups.

-- name: by_id :one
-- Served by dead_letter_pkey.
SELECT environment_id, app_id, id, message_id, endpoint_id, state, reason, event_type, event_id,
       channels, payload, octet_length(payload) AS payload_bytes, content_type, headers, url,
       status, fault, detail, response, response_headers, error_class, fingerprint, group_id, attempts, message_at,
       first_attempt_at, last_attempt_at, last_attempt_id, parked_at, updated_at
FROM dead_letter WHERE app_id = $1 AND id = $2;

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
-- How many are parked, of the groups' counts.
SELECT coalesce(sum(parked), 0)::bigint FROM dead_letter_group;

-- name: oldest_parked :one
-- When the oldest that is parked was parked. Served by dead_letter_group_environment_count_idx and
-- dead_letter_group_idx.
SELECT min(l.parked_at)
FROM environment AS e
JOIN dead_letter_group AS g ON g.environment_id = e.id AND g.parked > 0
CROSS JOIN LATERAL (
    SELECT parked_at FROM dead_letter
    WHERE app_id = g.app_id AND group_id = g.id AND state = 'parked' ORDER BY id LIMIT 1) AS l;
