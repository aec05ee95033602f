-- Accepted events. Ids sort by time: `$n id >` and `<` bounds choose the partitions, too.

-- name: by_id :one
-- Served by message_pkey.
SELECT app_id, id, event_type, event_id, channels, tags, payload, content_type, created_at,
       deliver_at
FROM message WHERE app_id = $1 AND id = $2;

-- name: by_event_id :one
-- Served by message_event_id_pkey and message_pkey.
SELECT m.app_id, m.id, m.event_type, m.event_id, m.channels, m.tags, m.payload, m.content_type,
       m.created_at, m.deliver_at
FROM message_event_id AS l JOIN message AS m ON m.app_id = l.app_id AND m.id = l.message_id
WHERE l.app_id = $1 AND l.event_id = $2;

-- name: by_key :one
-- The message of app $1 whose idempotency key is $2. Served by message_key_pkey and message_pkey.
SELECT m.app_id, m.id, m.event_type, m.event_id, m.channels, m.tags, m.payload, m.content_type,
       m.created_at, m.deliver_at
FROM message_key AS k JOIN message AS m ON m.app_id = k.app_id AND m.id = k.message_id
WHERE k.app_id = $1 AND k.key = $2;

-- name: known :many
-- Which messages the event ids ($1 app, $2 event id or null) and idempotency keys ($1, $3 key or
-- null) belong to already, by number from 1; keys of messages behind id $4 alone.
-- Served by message_event_id_pkey and message_key_pkey.
SELECT w.number, l.message_id AS by_event_id, k.message_id AS by_key
FROM unnest($1::text[], $2::text[], $3::text[])
    WITH ORDINALITY AS w(app_id, event_id, key, number)
LEFT JOIN LATERAL (
    SELECT message_id FROM message_event_id
    WHERE app_id = w.app_id AND event_id = w.event_id LIMIT 1) AS l ON true
LEFT JOIN LATERAL (
    SELECT message_id FROM message_key
    WHERE app_id = w.app_id AND key = w.key AND message_id > $4 LIMIT 1) AS k ON true
WHERE l.message_id IS NOT NULL OR k.message_id IS NOT NULL;

-- name: page_down :many
-- Of app $1, between the ids $2 and $3 (both exclusive), the newest $4. Filters, or null: $5 event
-- types, $6 channel, $7 tag. $8: with payload. Served by message_pkey.
SELECT app_id, id, event_type, event_id, channels, tags,
       CASE WHEN $8::bool THEN payload END AS payload, content_type, created_at, deliver_at
FROM message
WHERE app_id = $1 AND id > $2 AND id < $3 AND ($5::text[] IS NULL OR event_type = ANY ($5))
  AND ($6::text IS NULL OR $6 = ANY (channels)) AND ($7::text IS NULL OR $7 = ANY (tags))
ORDER BY id DESC LIMIT $4;

-- name: page_up :many
-- As page_down, the oldest.
SELECT app_id, id, event_type, event_id, channels, tags,
       CASE WHEN $8::bool THEN payload END AS payload, content_type, created_at, deliver_at
FROM message
WHERE app_id = $1 AND id > $2 AND id < $3 AND ($5::text[] IS NULL OR event_type = ANY ($5))
  AND ($6::text IS NULL OR $6 = ANY (channels)) AND ($7::text IS NULL OR $7 = ANY (tags))
ORDER BY id LIMIT $4;

-- name: named :many
-- The messages $2 of app $1, without payload; $3 and $4 are the smallest and largest of them.
-- Served by message_pkey.
SELECT app_id, id, event_type, event_id, channels, tags, NULL::bytea AS payload, content_type,
       created_at, deliver_at
FROM message WHERE app_id = $1 AND id = ANY ($2::text[]) AND id BETWEEN $3 AND $4;

-- name: expunge :one
-- Forget the payload of message ($1, $2), in its dead letters as well. Served by message_pkey and
-- dead_letter_app_id_message_id_endpoint_id_key.
WITH letters AS (
    UPDATE dead_letter SET payload = NULL, payload_until = NULL, updated_at = $3
    WHERE app_id = $1 AND message_id = $2 AND payload IS NOT NULL)
UPDATE message SET payload = NULL, payload_until = NULL, params = NULL
WHERE app_id = $1 AND id = $2 RETURNING id;

-- name: restore :exec
-- Bring message ($1, $3) back from dead letter ($1, $2), if retention took it away.
INSERT INTO message (app_id, id, event_type, event_id, channels, payload, content_type, created_at,
                     payload_until)
SELECT app_id, message_id, event_type, event_id, channels, payload, content_type, message_at,
       payload_until
FROM dead_letter WHERE app_id = $1 AND id = $2 AND message_id = $3 AND payload IS NOT NULL
ON CONFLICT DO NOTHING;

-- name: origin :one
-- The letter that message ($1, $2) was made of, and its message, unless the letter is no more.
-- Served by message_origin_pkey and dead_letter_pkey.
SELECT o.letter_id, l.message_id
FROM message_origin AS o LEFT JOIN dead_letter AS l ON l.app_id = o.app_id AND l.id = o.letter_id
WHERE o.app_id = $1 AND o.message_id = $2 AND o.letter_id IS NOT NULL;

-- name: made_of :many
-- The messages that were made of letter ($1, $2). Served by message_origin_letter_idx.
SELECT message_id FROM message_origin WHERE app_id = $1 AND letter_id = $2
ORDER BY message_id DESC LIMIT 100;
