-- Pollers, their consumers, and what they read.

-- name: by_id :one
-- Served by poller_pkey.
SELECT app_id, id, uid, description, event_types, channels, created_at, updated_at
FROM poller WHERE app_id = $1 AND id = $2;

-- name: by_uid :one
-- Served by poller_uid_idx.
SELECT app_id, id, uid, description, event_types, channels, created_at, updated_at
FROM poller WHERE app_id = $1 AND uid = $2;

-- name: all :many
-- Of app $1; they are few. Served by poller_pkey.
SELECT app_id, id, uid, description, event_types, channels, created_at, updated_at
FROM poller WHERE app_id = $1 ORDER BY id;

-- name: insert :exec
-- Fails on poller_uid_idx when the uid is taken.
INSERT INTO poller (app_id, id, uid, description, event_types, channels, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8);

-- name: update :exec
-- Fails on poller_uid_idx when the uid is taken. Served by poller_pkey.
UPDATE poller
SET uid = $3, description = $4, event_types = $5, channels = $6, updated_at = $8
WHERE app_id = $1 AND id = $2 AND created_at = $7;

-- name: delete :exec
-- With its consumers. Served by poller_pkey.
DELETE FROM poller WHERE app_id = $1 AND id = $2;

-- name: lock_consumer :one
-- How far consumer ($1, $2, $3) has read; others of its name wait. Served by poller_consumer_pkey.
SELECT read_to FROM poller_consumer
WHERE app_id = $1 AND poller_id = $2 AND consumer_id = $3 FOR UPDATE;

-- name: consumers :one
-- How many consumers poller ($1, $2) has, counted no further than $3.
-- Served by poller_consumer_pkey.
SELECT count(*) FROM (
    SELECT FROM poller_consumer WHERE app_id = $1 AND poller_id = $2 LIMIT $3) AS counted;

-- name: set_consumer :exec
-- Consumer ($1, $2, $3) has read to $4 at $5, and holds nothing: the offsets of what it held are not
-- given again. Served by poller_consumer_pkey.
INSERT INTO poller_consumer (app_id, poller_id, consumer_id, read_to, updated_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (app_id, poller_id, consumer_id)
DO UPDATE SET read_to = excluded.read_to, updated_at = excluded.updated_at,
    first_offset = poller_consumer.first_offset + cardinality(poller_consumer.leased),
    leased = '{}', leased_until = NULL;

-- name: begin_consumer :exec
-- Consumer ($1, $2, $3) begins behind $4 at $5, unless it has begun. Served by poller_consumer_pkey.
INSERT INTO poller_consumer (app_id, poller_id, consumer_id, read_to, updated_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (app_id, poller_id, consumer_id) DO NOTHING;

-- name: lock_lease :one
-- What consumer ($1, $2, $3) holds; others of its name wait. Served by poller_consumer_pkey.
SELECT read_to, first_offset, leased, leased_until FROM poller_consumer
WHERE app_id = $1 AND poller_id = $2 AND consumer_id = $3 FOR UPDATE;

-- name: set_lease :exec
-- Consumer ($1, $2, $3) has read to $4, and holds $6 (the first at offset $5) until $7, as of $8.
-- Served by poller_consumer_pkey.
UPDATE poller_consumer
SET read_to = $4, first_offset = $5, leased = $6, leased_until = $7, updated_at = $8
WHERE app_id = $1 AND poller_id = $2 AND consumer_id = $3;

-- name: set_key :exec
-- Served by poller_pkey.
UPDATE poller SET sealed_key = $3 WHERE app_id = $1 AND id = $2;

-- name: sealed_key :one
-- Served by poller_pkey.
SELECT sealed_key FROM poller WHERE app_id = $1 AND id = $2;

-- name: look :many
-- Of app $1, between the ids $2 and $3 (both exclusive), the oldest $4 messages, and whether they
-- fit: $5 event types, $6 channels (one of them), $7 a channel as well; each may be null.
-- Served by message_pkey.
SELECT id, ($5::text[] IS NULL OR event_type = ANY ($5))
           AND ($6::text[] IS NULL OR coalesce(channels && $6, false))
           AND ($7::text IS NULL OR coalesce($7 = ANY (channels), false)) AS fits
FROM message WHERE app_id = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $4;

-- name: read :many
-- The messages $2 of app $1; $3 and $4 are the smallest and largest of them. Served by message_pkey.
SELECT app_id, id, event_type, event_id, channels, tags, payload, content_type, created_at,
       deliver_at
FROM message WHERE app_id = $1 AND id = ANY ($2::text[]) AND id BETWEEN $3 AND $4;
