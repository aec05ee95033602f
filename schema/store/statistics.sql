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
