-- The log of HTTP requests. Ids sort by time: the `id >` and `<` bounds choose the partitions, too.
-- Pages: $3 and $4 bound the ids (both exclusive), $5 is how many. Filters, or null: $6 event
-- types, $7 smallest and $8 largest HTTP status (0 is none), $9 channel, $10 tag. $11: with the
-- response.

-- name: by_id :one
-- Served by attempt_pkey.
SELECT app_id, id, message_id, endpoint_id, event_type, number, trigger, verdict, url, status,
       fault, detail, started_at, duration_ms, next_attempt_at, phases_ms, address, reused, tls,
       response, response_headers, truncated, expunged_at
FROM attempt WHERE app_id = $1 AND id = $2;

-- name: first :one
-- The first of message ($1, $2) at endpoint $3. Served by attempt_message_idx.
SELECT app_id, id, message_id, endpoint_id, event_type, number, trigger, verdict, url, status,
       fault, detail, started_at, duration_ms, next_attempt_at, phases_ms, address, reused, tls,
       response, response_headers, truncated, expunged_at
FROM attempt WHERE app_id = $1 AND message_id = $2 AND endpoint_id = $3 ORDER BY id LIMIT 1;

-- name: endpoint_down :many
-- Of app $1, the newest to endpoint $2; $12: only those that delivered.
-- Served by attempt_endpoint_idx.
SELECT a.app_id, a.id, a.message_id, a.endpoint_id, a.event_type, a.number, a.trigger, a.verdict,
       a.url, a.status, a.fault, a.detail, a.started_at, a.duration_ms, a.next_attempt_at,
       a.phases_ms, a.address, a.reused, a.tls, CASE WHEN $11::bool THEN a.response END AS response,
       a.response_headers, a.truncated, a.expunged_at
FROM attempt AS a
WHERE a.app_id = $1 AND a.endpoint_id = $2 AND a.id > $3 AND a.id < $4
  AND ($6::text[] IS NULL OR a.event_type = ANY ($6))
  AND ($7::int IS NULL OR coalesce(a.status, 0) BETWEEN $7 AND $8)
  AND (($9::text IS NULL AND $10::text IS NULL) OR EXISTS (
      SELECT FROM message AS m WHERE m.app_id = a.app_id AND m.id = a.message_id
        AND ($9 IS NULL OR $9 = ANY (m.channels)) AND ($10 IS NULL OR $10 = ANY (m.tags))))
  AND (NOT $12::bool OR a.verdict = 'delivered')
ORDER BY a.id DESC LIMIT $5;

-- name: endpoint_up :many
-- As endpoint_down, the oldest.
SELECT a.app_id, a.id, a.message_id, a.endpoint_id, a.event_type, a.number, a.trigger, a.verdict,
       a.url, a.status, a.fault, a.detail, a.started_at, a.duration_ms, a.next_attempt_at,
       a.phases_ms, a.address, a.reused, a.tls, CASE WHEN $11::bool THEN a.response END AS response,
       a.response_headers, a.truncated, a.expunged_at
FROM attempt AS a
WHERE a.app_id = $1 AND a.endpoint_id = $2 AND a.id > $3 AND a.id < $4
  AND ($6::text[] IS NULL OR a.event_type = ANY ($6))
  AND ($7::int IS NULL OR coalesce(a.status, 0) BETWEEN $7 AND $8)
  AND (($9::text IS NULL AND $10::text IS NULL) OR EXISTS (
      SELECT FROM message AS m WHERE m.app_id = a.app_id AND m.id = a.message_id
        AND ($9 IS NULL OR $9 = ANY (m.channels)) AND ($10 IS NULL OR $10 = ANY (m.tags))))
  AND (NOT $12::bool OR a.verdict = 'delivered')
ORDER BY a.id LIMIT $5;

-- name: count :one
-- How many, counted no further than $5; $11: only those that delivered, or only the others, or null.
-- Served by attempt_endpoint_idx.
SELECT count(*) FROM (
    SELECT FROM attempt AS a
    WHERE a.app_id = $1 AND a.endpoint_id = $2 AND a.id > $3 AND a.id < $4
      AND ($6::text[] IS NULL OR a.event_type = ANY ($6))
      AND ($7::int IS NULL OR coalesce(a.status, 0) BETWEEN $7 AND $8)
      AND (($9::text IS NULL AND $10::text IS NULL) OR EXISTS (
          SELECT FROM message AS m WHERE m.app_id = a.app_id AND m.id = a.message_id
            AND ($9 IS NULL OR $9 = ANY (m.channels)) AND ($10 IS NULL OR $10 = ANY (m.tags))))
      AND ($11::bool IS NULL OR (a.verdict = 'delivered') = $11)
    LIMIT $5) AS counted;

-- name: failed_down :many
-- Of app $1, the newest to endpoint $2 that did not deliver. Served by attempt_failed_idx.
SELECT a.app_id, a.id, a.message_id, a.endpoint_id, a.event_type, a.number, a.trigger, a.verdict,
       a.url, a.status, a.fault, a.detail, a.started_at, a.duration_ms, a.next_attempt_at,
       a.phases_ms, a.address, a.reused, a.tls, CASE WHEN $11::bool THEN a.response END AS response,
       a.response_headers, a.truncated, a.expunged_at
FROM attempt AS a
WHERE a.app_id = $1 AND a.endpoint_id = $2 AND a.id > $3 AND a.id < $4 AND a.verdict <> 'delivered'
  AND ($6::text[] IS NULL OR a.event_type = ANY ($6))
  AND ($7::int IS NULL OR coalesce(a.status, 0) BETWEEN $7 AND $8)
  AND (($9::text IS NULL AND $10::text IS NULL) OR EXISTS (
      SELECT FROM message AS m WHERE m.app_id = a.app_id AND m.id = a.message_id
        AND ($9 IS NULL OR $9 = ANY (m.channels)) AND ($10 IS NULL OR $10 = ANY (m.tags))))
ORDER BY a.id DESC LIMIT $5;

-- name: failed_up :many
-- As failed_down, the oldest.
SELECT a.app_id, a.id, a.message_id, a.endpoint_id, a.event_type, a.number, a.trigger, a.verdict,
       a.url, a.status, a.fault, a.detail, a.started_at, a.duration_ms, a.next_attempt_at,
       a.phases_ms, a.address, a.reused, a.tls, CASE WHEN $11::bool THEN a.response END AS response,
       a.response_headers, a.truncated, a.expunged_at
FROM attempt AS a
WHERE a.app_id = $1 AND a.endpoint_id = $2 AND a.id > $3 AND a.id < $4 AND a.verdict <> 'delivered'
  AND ($6::text[] IS NULL OR a.event_type = ANY ($6))
  AND ($7::int IS NULL OR coalesce(a.status, 0) BETWEEN $7 AND $8)
  AND (($9::text IS NULL AND $10::text IS NULL) OR EXISTS (
      SELECT FROM message AS m WHERE m.app_id = a.app_id AND m.id = a.message_id
        AND ($9 IS NULL OR $9 = ANY (m.channels)) AND ($10 IS NULL OR $10 = ANY (m.tags))))
ORDER BY a.id LIMIT $5;

-- name: message_down :many
-- Of app $1, the newest for message $2. More filters, or null: $12 endpoint, $13 whether it
-- delivered. Served by attempt_message_idx.
SELECT a.app_id, a.id, a.message_id, a.endpoint_id, a.event_type, a.number, a.trigger, a.verdict,
       a.url, a.status, a.fault, a.detail, a.started_at, a.duration_ms, a.next_attempt_at,
       a.phases_ms, a.address, a.reused, a.tls, CASE WHEN $11::bool THEN a.response END AS response,
       a.response_headers, a.truncated, a.expunged_at
FROM attempt AS a
WHERE a.app_id = $1 AND a.message_id = $2 AND a.id > $3 AND a.id < $4
  AND ($6::text[] IS NULL OR a.event_type = ANY ($6))
  AND ($7::int IS NULL OR coalesce(a.status, 0) BETWEEN $7 AND $8)
  AND (($9::text IS NULL AND $10::text IS NULL) OR EXISTS (
      SELECT FROM message AS m WHERE m.app_id = a.app_id AND m.id = a.message_id
        AND ($9 IS NULL OR $9 = ANY (m.channels)) AND ($10 IS NULL OR $10 = ANY (m.tags))))
  AND ($12::text IS NULL OR a.endpoint_id = $12)
  AND ($13::bool IS NULL OR (a.verdict = 'delivered') = $13)
ORDER BY a.id DESC LIMIT $5;

-- name: message_up :many
-- As message_down, the oldest.
SELECT a.app_id, a.id, a.message_id, a.endpoint_id, a.event_type, a.number, a.trigger, a.verdict,
       a.url, a.status, a.fault, a.detail, a.started_at, a.duration_ms, a.next_attempt_at,
       a.phases_ms, a.address, a.reused, a.tls, CASE WHEN $11::bool THEN a.response END AS response,
       a.response_headers, a.truncated, a.expunged_at
FROM attempt AS a
WHERE a.app_id = $1 AND a.message_id = $2 AND a.id > $3 AND a.id < $4
  AND ($6::text[] IS NULL OR a.event_type = ANY ($6))
  AND ($7::int IS NULL OR coalesce(a.status, 0) BETWEEN $7 AND $8)
  AND (($9::text IS NULL AND $10::text IS NULL) OR EXISTS (
      SELECT FROM message AS m WHERE m.app_id = a.app_id AND m.id = a.message_id
        AND ($9 IS NULL OR $9 = ANY (m.channels)) AND ($10 IS NULL OR $10 = ANY (m.tags))))
  AND ($12::text IS NULL OR a.endpoint_id = $12)
  AND ($13::bool IS NULL OR (a.verdict = 'delivered') = $13)
ORDER BY a.id LIMIT $5;

-- name: expunge :one
-- Forget what the receiver answered to attempt ($1, $3) for message $2. Served by attempt_pkey.
UPDATE attempt SET response = NULL, response_headers = NULL, expunged_at = coalesce(expunged_at, $4)
WHERE app_id = $1 AND message_id = $2 AND id = $3 RETURNING id;

-- name: expunge_letter :exec
-- The same in the dead letter that ended with attempt ($1, $3) for message $2.
-- Served by dead_letter_app_id_message_id_endpoint_id_key.
UPDATE dead_letter SET response = NULL, response_headers = NULL, updated_at = $4
WHERE app_id = $1 AND message_id = $2 AND last_attempt_id = $3;
