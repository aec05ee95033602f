-- What is counted across apps, some apps at a time.

-- name: attempts :many
-- Of environment $1, the $3 apps behind id $2 (of those in $6, if it is not null), with how many
-- attempts were made for each from $4 to before $5, by the minute.
-- Served by app_pkey, the counts by rollup_minute_pkey.
SELECT a.id, a.uid, coalesce(r.attempts, 0) AS attempts
FROM (SELECT id, uid FROM app
      WHERE environment_id = $1 AND id > $2 AND kind = 'tenant' AND deleted_at IS NULL
        AND ($6::text[] IS NULL OR id = ANY ($6))
      ORDER BY id LIMIT $3) AS a
LEFT JOIN LATERAL (
    SELECT sum(delivered + status_3xx + status_4xx + status_5xx + no_answer)::bigint AS attempts
    FROM rollup_minute AS m
    WHERE m.app_id = a.id AND m.bucket >= $4::timestamptz AND m.bucket < $5::timestamptz
    OFFSET 0) AS r ON true
ORDER BY a.id;

-- name: subscriptions :many
-- Of environment $1, the $3 apps behind id $2, with the event types that their endpoints ask for,
-- and whether one asks for all. Served by app_pkey and endpoint_pkey.
SELECT a.id, e.event_types, coalesce(e.takes_all, false) AS takes_all
FROM (SELECT id FROM app
      WHERE environment_id = $1 AND id > $2 AND kind = 'tenant' AND deleted_at IS NULL
      ORDER BY id LIMIT $3) AS a
LEFT JOIN LATERAL (
    SELECT array_agg(DISTINCT t.name ORDER BY t.name) FILTER (WHERE t.name IS NOT NULL) AS event_types,
           bool_or(p.event_types IS NULL) AS takes_all
    FROM endpoint AS p LEFT JOIN LATERAL unnest(p.event_types) AS t(name) ON true
    WHERE p.app_id = a.id AND p.deleted_at IS NULL
    OFFSET 0) AS e ON true
ORDER BY a.id;

-- name: attempted :many
-- The attempts for app $1 from $2 to before $3, in periods of $4 seconds that begin at $2: which
-- period, and how many were delivered and how many not. Served by rollup_minute_pkey.
SELECT floor(extract(epoch FROM bucket - $2::timestamptz) / $4::integer)::integer AS period,
       sum(delivered)::bigint AS delivered,
       sum(status_3xx + status_4xx + status_5xx + no_answer)::bigint AS failed
FROM rollup_minute
WHERE app_id = $1 AND bucket >= $2::timestamptz AND bucket < $3::timestamptz
GROUP BY 1;

-- name: endpoints :one
-- How many endpoints environment $1 has that are disabled, and that are not; $2 without those at
-- Svix Play. Served by app_pkey and endpoint_pkey.
SELECT coalesce(sum(e.active), 0)::bigint AS active, coalesce(sum(e.disabled), 0)::bigint AS disabled
FROM app AS a
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE state <> 'disabled') AS active,
           count(*) FILTER (WHERE state = 'disabled') AS disabled
    FROM endpoint
    WHERE app_id = a.id AND deleted_at IS NULL
      AND (NOT $2 OR url !~ '^https?://(api\.)?play\.svix\.com/')
    OFFSET 0) AS e
WHERE a.environment_id = $1 AND a.kind = 'tenant' AND a.deleted_at IS NULL;

-- name: active_apps :one
-- How many apps of environment $1 have an endpoint: $2 one that is not at Svix Play, $3 that is not
-- disabled. Served by app_pkey and endpoint_pkey.
SELECT count(*)
FROM app AS a
CROSS JOIN LATERAL (
    SELECT FROM endpoint
    WHERE app_id = a.id AND deleted_at IS NULL AND (NOT $3 OR state <> 'disabled')
      AND (NOT $2 OR url !~ '^https?://(api\.)?play\.svix\.com/')
    LIMIT 1) AS e
WHERE a.environment_id = $1 AND a.kind = 'tenant' AND a.deleted_at IS NULL;
