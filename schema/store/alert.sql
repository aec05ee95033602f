-- Looking at alert rules: whom they hold for, and what is known of that. Apps that are there only, and
-- tenants' alone: letters of an operational app belong to no environment.

-- name: try_lock :one
-- Whether this transaction is the one that looks at the rules now.
SELECT pg_try_advisory_xact_lock(0x616C6572);

-- name: at_work :many
-- The rules to look at, locked: those that are enabled, and those that are raised.
SELECT r.environment_id, r.id, r.name, r.kind, r.threshold, r.clear_below, r.window_s,
       r.least_attempts, r.app_ids, r.enabled, r.created_at, r.updated_at, r.raised_at, r.told_at
FROM alert_rule AS r JOIN environment AS e ON e.id = r.environment_id
WHERE (r.enabled OR r.raised_at IS NOT NULL) AND e.deleted_at IS NULL
ORDER BY r.environment_id, r.id FOR UPDATE OF r;

-- name: present :many
-- All alerts.
SELECT environment_id, rule_id, app_id, endpoint_id, value, raised_at, cleared_at, told
FROM alert;

-- name: parked_count :many
-- Of the rules of this kind at time $1, whom they hold for: letters that are parked, but for those
-- of snoozed groups. Served by dead_letter_group_environment_count_idx and app_id_key.
SELECT r.environment_id, r.id AS rule_id, g.app_id, '' AS endpoint_id,
       sum(g.parked)::float8 AS value
FROM alert_rule AS r
JOIN dead_letter_group AS g ON g.environment_id = r.environment_id AND g.parked > 0
WHERE r.kind = 'parked_count' AND r.enabled
  AND (g.state <> 'snoozed' OR g.snoozed_until <= $1)
  AND (r.app_ids IS NULL OR g.app_id = ANY (r.app_ids))
GROUP BY r.environment_id, r.id, g.app_id
HAVING sum(g.parked) >= r.clear_below
   AND (SELECT deleted_at IS NULL FROM app WHERE id = g.app_id);

-- name: oldest_parked_s :many
-- The same: seconds since the oldest letter was parked first.
-- Served by dead_letter_group_environment_count_idx and dead_letter_group_idx.
SELECT r.environment_id, r.id AS rule_id, g.app_id, '' AS endpoint_id,
       extract(epoch FROM $1 - min(l.parked_at))::float8 AS value
FROM alert_rule AS r
JOIN dead_letter_group AS g ON g.environment_id = r.environment_id AND g.parked > 0
CROSS JOIN LATERAL (
    SELECT parked_at FROM dead_letter
    WHERE app_id = g.app_id AND group_id = g.id AND state = 'parked' ORDER BY id LIMIT 1) AS l
WHERE r.kind = 'oldest_parked_s' AND r.enabled
  AND (g.state <> 'snoozed' OR g.snoozed_until <= $1)
  AND (r.app_ids IS NULL OR g.app_id = ANY (r.app_ids))
GROUP BY r.environment_id, r.id, g.app_id
HAVING extract(epoch FROM $1 - min(l.parked_at)) >= r.clear_below
   AND (SELECT deleted_at IS NULL FROM app WHERE id = g.app_id);

-- name: parked_per_minute :many
-- The same: letters parked in the window, per minute. Letters of late are read once for all rules.
-- Served by dead_letter_updated_idx and alert_rule_pkey.
WITH parked AS MATERIALIZED (
    SELECT environment_id, app_id, date_trunc('minute', parked_at) AS minute, count(*) AS number
    FROM dead_letter
    WHERE updated_at > $1::timestamptz - (
              SELECT make_interval(secs => coalesce(max(window_s), 0)) FROM alert_rule
              WHERE kind = 'parked_per_minute' AND enabled)
      AND environment_id IS NOT NULL
    GROUP BY 1, 2, 3)
SELECT r.environment_id, r.id AS rule_id, p.app_id, '' AS endpoint_id,
       (sum(p.number) * 60 / r.window_s)::float8 AS value
FROM parked AS p
JOIN alert_rule AS r ON r.environment_id = p.environment_id
    AND r.kind = 'parked_per_minute' AND r.enabled
    AND (r.app_ids IS NULL OR p.app_id = ANY (r.app_ids))
    AND p.minute > $1 - make_interval(secs => r.window_s)
GROUP BY r.environment_id, r.id, p.app_id
HAVING sum(p.number) * 60 / r.window_s >= r.clear_below
   AND (SELECT deleted_at IS NULL FROM app WHERE id = p.app_id);

-- name: failure_percent :many
-- The same: of the attempts in the window, those that failed, per endpoint. What all endpoints did is
-- summed up once for each window that a rule has.
-- Served by rollup_minute_time_idx, app_id_key and alert_rule_pkey.
WITH tried AS MATERIALIZED (
    SELECT w.window_s, m.app_id, m.endpoint_id, sum(m.delivered) AS delivered,
           sum(m.status_3xx + m.status_4xx + m.status_5xx + m.no_answer) AS failed
    FROM (SELECT DISTINCT window_s FROM alert_rule
          WHERE kind = 'failure_percent' AND enabled) AS w
    JOIN rollup_minute AS m
        ON m.bucket AT TIME ZONE 'UTC'
           > $1::timestamptz AT TIME ZONE 'UTC' - make_interval(secs => w.window_s)
    GROUP BY 1, 2, 3)
SELECT r.environment_id, r.id AS rule_id, t.app_id, t.endpoint_id,
       (100.0 * t.failed / (t.failed + t.delivered))::float8 AS value
FROM tried AS t
-- LIMIT, so that apps are looked up one by one before anything is known of how many there are.
CROSS JOIN LATERAL (
    SELECT environment_id FROM app WHERE id = t.app_id AND kind = 'tenant' AND deleted_at IS NULL
    LIMIT 1) AS a
JOIN alert_rule AS r ON r.environment_id = a.environment_id
    AND r.kind = 'failure_percent' AND r.enabled AND r.window_s = t.window_s
    AND (r.app_ids IS NULL OR t.app_id = ANY (r.app_ids))
WHERE t.failed + t.delivered >= r.least_attempts
  AND 100.0 * t.failed / nullif(t.failed + t.delivered, 0) >= r.clear_below;

-- name: told :exec
-- It was told at $4 of rule ($1, $2), which is raised since $3. Served by alert_rule_pkey.
UPDATE alert_rule SET raised_at = $3, told_at = $4 WHERE environment_id = $1 AND id = $2;

-- name: keep :exec
-- Alerts of rule ($1, $2): app, endpoint, value, since and until when, whether it was told.
-- Served by alert_pkey.
INSERT INTO alert (environment_id, rule_id, app_id, endpoint_id, value, raised_at, cleared_at, told)
SELECT $1, $2, n.* FROM unnest($3::text[], $4::text[], $5::float8[], $6::timestamptz[],
                               $7::timestamptz[], $8::boolean[]) AS n
ON CONFLICT (environment_id, rule_id, app_id, endpoint_id) DO UPDATE
SET value = excluded.value, raised_at = excluded.raised_at, cleared_at = excluded.cleared_at,
    told = excluded.told;

-- name: forget :exec
-- The alerts of rule ($1, $2) for apps $3 and endpoints $4. Served by alert_pkey.
DELETE FROM alert AS a USING unnest($3::text[], $4::text[]) AS n(app_id, endpoint_id)
WHERE a.environment_id = $1 AND a.rule_id = $2
  AND a.app_id = n.app_id AND a.endpoint_id = n.endpoint_id;

-- name: names :many
-- What apps ($1) and endpoints ($2) are called by their owners. Served by app_id_key and endpoint_pkey.
SELECT n.app_id, n.endpoint_id, a.uid AS app_uid, e.uid AS endpoint_uid
FROM unnest($1::text[], $2::text[]) AS n(app_id, endpoint_id)
LEFT JOIN app AS a ON a.id = n.app_id
LEFT JOIN endpoint AS e ON e.app_id = n.app_id AND e.id = n.endpoint_id;
