-- Payloads forgotten by the hundred, and what is still owed of them called off.

-- name: find :many
-- The messages of app $1 that the refs $2 mean, be they ids or event ids, by number from 1.
-- Served by message_pkey and message_event_id_pkey.
SELECT w.number, coalesce(m.id, l.message_id) AS id
FROM unnest($2::text[]) WITH ORDINALITY AS w(ref, number)
LEFT JOIN LATERAL (SELECT id FROM message WHERE app_id = $1 AND id = w.ref LIMIT 1) AS m ON true
LEFT JOIN LATERAL (
    SELECT message_id FROM message_event_id WHERE app_id = $1 AND event_id = w.ref LIMIT 1) AS l
    ON true
WHERE m.id IS NOT NULL OR l.message_id IS NOT NULL;

-- name: page :many
-- The first $4 messages of app $1 with ids between $2 and $3 (exclusive). Served by message_pkey.
SELECT id FROM message WHERE app_id = $1 AND id > $2 AND id < $3 ORDER BY id LIMIT $4;

-- name: cancel :many
-- Call off what is owed of the messages $2 of app $1, of which $3 and $4 are the smallest and largest
-- id, by request; give the endpoints. Served by delivery_pkey.
UPDATE delivery SET state = 'cancelled', due_at = NULL, manual = false, reason = 'by_request'
WHERE app_id = $1 AND message_id = ANY ($2::text[]) AND message_id BETWEEN $3 AND $4
  AND state IN ('pending', 'retrying')
RETURNING endpoint_id;

-- name: forget :many
-- Forget the payloads of the messages $2 of app $1, of which $3 and $4 are the smallest and largest
-- id, at $5; in their dead letters as well, which are parked again if they were on their way.
-- Gives those that had one. Served by message_pkey and
-- dead_letter_app_id_message_id_endpoint_id_key.
WITH letters AS (
    UPDATE dead_letter
    SET payload = NULL, payload_until = NULL, updated_at = $5,
        state = CASE state WHEN 'redelivering' THEN 'parked' ELSE state END
    WHERE app_id = $1 AND message_id = ANY ($2::text[])
      AND (payload IS NOT NULL OR state = 'redelivering'))
UPDATE message SET payload = NULL, payload_until = NULL, params = NULL
WHERE app_id = $1 AND id = ANY ($2::text[]) AND id BETWEEN $3 AND $4 AND payload IS NOT NULL
RETURNING id;

-- name: cancel_of_endpoint :many
-- Call off up to $5 deliveries that endpoint ($2, $3) of shard $1 is owed of messages before id $4;
-- their letters that were on their way are parked again at $6.
-- Served by delivery_owed_idx, delivery_place_idx, delivery_pkey and
-- dead_letter_app_id_message_id_endpoint_id_key.
WITH owed AS MATERIALIZED (
    (SELECT app_id, message_id, endpoint_id FROM delivery
     WHERE shard = $1 AND app_id = $2 AND endpoint_id = $3 AND message_id < $4
       AND state IN ('pending', 'retrying') AND place IS NULL
     LIMIT $5)
    UNION ALL
    (SELECT app_id, message_id, endpoint_id FROM delivery
     WHERE shard = $1 AND app_id = $2 AND endpoint_id = $3 AND message_id < $4
       AND state IN ('pending', 'retrying') AND place IS NOT NULL
     LIMIT $5)),
cancelled AS (
    UPDATE delivery AS d
    SET state = 'cancelled', due_at = NULL, manual = false, reason = 'by_request'
    FROM (SELECT * FROM owed LIMIT $5) AS o
    WHERE d.app_id = o.app_id AND d.message_id = o.message_id AND d.endpoint_id = o.endpoint_id
      AND d.state IN ('pending', 'retrying')
    RETURNING d.message_id),
letters AS (
    UPDATE dead_letter AS l SET state = 'parked', updated_at = $6
    FROM cancelled AS c
    WHERE l.app_id = $2 AND l.message_id = c.message_id AND l.endpoint_id = $3
      AND l.state = 'redelivering')
SELECT message_id FROM cancelled;
