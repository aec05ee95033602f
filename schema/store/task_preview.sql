-- What a task would do, before it is made; nothing here writes. What filters mean is added up by
-- dead_letter_search.

-- name: lots_of_ids :many
-- The letters $2 of environment $1, all or those of app $3, added up by endpoint.
-- Served by dead_letter_environment_idx.
SELECT app_id, endpoint_id, count(*) AS letters,
       count(*) FILTER (WHERE state = 'redelivering') AS on_way,
       count(*) FILTER (WHERE state NOT IN ('parked', 'redelivering')) AS elsewhere,
       count(*) FILTER (WHERE state <> 'redelivering' AND payload IS NULL) AS expunged,
       coalesce(sum(octet_length(payload)), 0)::bigint AS size_bytes, min(parked_at) AS oldest_at
FROM dead_letter
WHERE environment_id = $1 AND id = ANY ($2::text[])
  AND state IN ('parked', 'redelivering', 'redelivered', 'discarded')
  AND ($3::text IS NULL OR app_id = $3)
GROUP BY app_id, endpoint_id;

-- name: missing_ids :many
-- Of the letters $2, those that environment $1 has not, or not in app $3, if it is not null; one
-- or none. Served by dead_letter_environment_idx.
SELECT w.id FROM unnest($2::text[]) AS w(id)
WHERE NOT EXISTS (
    SELECT FROM dead_letter AS l
    WHERE l.environment_id = $1 AND l.id = w.id
      AND l.state IN ('parked', 'redelivering', 'redelivered', 'discarded')
      AND ($3::text IS NULL OR l.app_id = $3))
LIMIT 1;

-- name: targets :many
-- How the endpoints ($1 app, $2 endpoint) stand, with their own rate and their app's, a second;
-- those that are no more are left out. Served by endpoint_pkey and app_id_key.
SELECT e.app_id, e.id AS endpoint_id, e.state, e.throttle_rate AS rate, a.throttle_rate AS app_rate
FROM unnest($1::text[], $2::text[]) AS w(app_id, endpoint_id)
JOIN endpoint AS e ON e.app_id = w.app_id AND e.id = w.endpoint_id AND e.deleted_at IS NULL
JOIN app AS a ON a.id = e.app_id AND a.deleted_at IS NULL;

-- name: paces :many
-- What the endpoints ($1 app, $2 endpoint) took in a second since $3, in the minutes in which they
-- took anything. Served by rollup_minute_pkey.
SELECT r.app_id, r.endpoint_id, (sum(r.delivered) / (60.0 * count(*)))::float8 AS pace
FROM unnest($1::text[], $2::text[]) AS w(app_id, endpoint_id)
JOIN rollup_minute AS r ON r.app_id = w.app_id AND r.endpoint_id = w.endpoint_id
    AND r.bucket >= $3 AND r.delivered > 0
GROUP BY r.app_id, r.endpoint_id;
