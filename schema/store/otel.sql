-- Attempts exported by OTLP: where to, and those that `settle` staged.

-- name: wanted :one
-- Whether any environment has its attempts exported. Served by otel_config_pkey, environment_pkey.
SELECT EXISTS (SELECT FROM otel_wanted);

-- name: find :one
-- The collector of environment $1, how it has been going, and how many attempts wait for it, counted
-- no further than $2. Served by otel_config_pkey and otel_attempt_pkey.
SELECT c.environment_id, c.url, c.headers, c.created_at, c.updated_at, c.failures, c.next_at,
       c.last_error, c.last_error_at, c.exported_at,
       (SELECT count(*) FROM (SELECT FROM otel_attempt WHERE environment_id = $1 LIMIT $2) AS t)
           AS waiting
FROM otel_config AS c WHERE c.environment_id = $1;

-- name: put :exec
-- Environment $1 exports to $2 with headers $3, from now, $4, on. Who exports just now is not
-- believed any more. Served by otel_config_pkey.
INSERT INTO otel_config AS c (environment_id, url, headers, created_at, updated_at, next_at)
VALUES ($1, $2, $3, $4, $4, $4)
ON CONFLICT (environment_id) DO UPDATE
SET url = excluded.url, headers = excluded.headers, updated_at = excluded.updated_at, failures = 0,
    next_at = excluded.next_at, claim = NULL, claimed_until = NULL, last_error = NULL,
    last_error_at = NULL;

-- name: delete :exec
-- Served by otel_config_pkey.
DELETE FROM otel_config WHERE environment_id = $1;

-- name: claim :many
-- Of the environments that have something to export at $1, up to $5 whose last export failed ($4) or
-- did not, those that have waited longest; claim them as $3 until $2.
-- Served by otel_config_pkey and otel_attempt_pkey.
WITH due AS (
    SELECT c.environment_id FROM otel_config AS c
    WHERE c.next_at <= $1 AND (c.claimed_until IS NULL OR c.claimed_until <= $1)
      AND (c.failures > 0) = $4
      AND c.environment_id IN (SELECT environment_id FROM otel_wanted)
      AND EXISTS (SELECT FROM otel_attempt AS t WHERE t.environment_id = c.environment_id)
    ORDER BY c.next_at LIMIT $5 FOR UPDATE OF c SKIP LOCKED)
UPDATE otel_config AS c SET claim = $3, claimed_until = $2
FROM due WHERE c.environment_id = due.environment_id
RETURNING c.environment_id, c.url, c.headers, c.failures;

-- name: page :many
-- The $2 attempts of environment $1 that were staged first; what is gone of them is null. Served by
-- otel_attempt_pkey, app_id_key, attempt_pkey, message_pkey (OFFSET keeps each look-up by its whole
-- key).
SELECT t.number AS place, t.app_id, a.uid AS app_uid, l.endpoint_id, t.message_id, m.event_id,
       t.attempt_id, l.event_type, l.number, l.verdict = 'delivered' AS delivered, l.url, l.status,
       l.fault, l.detail, l.started_at, l.duration_ms, l.phases_ms
FROM (SELECT * FROM otel_attempt WHERE environment_id = $1 ORDER BY number LIMIT $2) AS t
LEFT JOIN app AS a ON a.id = t.app_id
LEFT JOIN LATERAL (
    SELECT * FROM attempt AS x
    WHERE x.app_id = t.app_id AND x.id = t.attempt_id AND x.message_id = t.message_id
    OFFSET 0) AS l ON true
LEFT JOIN LATERAL (
    SELECT event_id FROM message AS x WHERE x.app_id = t.app_id AND x.id = t.message_id
    OFFSET 0) AS m ON true
ORDER BY t.number;

-- name: done :exec
-- Forget the attempts $2 of environment $1. Served by otel_attempt_pkey.
DELETE FROM otel_attempt WHERE environment_id = $1 AND number = ANY ($2::bigint[]);

-- name: went_well :exec
-- The export of environment $1 that was claimed as $2 ended at $3; $4 says what the collector did not
-- like all the same, or null. Served by otel_config_pkey.
UPDATE otel_config
SET claim = NULL, claimed_until = NULL, failures = 0, next_at = $3, exported_at = $3,
    last_error = coalesce($4, last_error),
    last_error_at = CASE WHEN $4::text IS NULL THEN last_error_at ELSE $3 END
WHERE environment_id = $1 AND claim = $2;

-- name: failed :exec
-- It failed at $3, as $4 says, and is not tried again before $5. Served by otel_config_pkey.
UPDATE otel_config
SET claim = NULL, claimed_until = NULL, failures = failures + 1, next_at = $5, last_error = $4,
    last_error_at = $3
WHERE environment_id = $1 AND claim = $2;

-- name: try_lock :one
-- Whether this transaction is the one that tidies up now.
SELECT pg_try_advisory_xact_lock(0x6F74656C);

-- name: trim :one
-- Forget the oldest attempts of each environment of which more than $1 wait; say how many.
-- Served by otel_attempt_pkey.
WITH gone AS (
    DELETE FROM otel_attempt AS t USING (
        SELECT c.environment_id, (
            SELECT number FROM otel_attempt AS x WHERE x.environment_id = c.environment_id
            ORDER BY number DESC OFFSET $1 LIMIT 1) AS last
        FROM otel_config AS c) AS u
    WHERE t.environment_id = u.environment_id AND t.number <= u.last
    RETURNING 1)
SELECT count(*) FROM gone;

-- name: sweep :one
-- Forget up to $1 attempts that nobody wants any more; say how many. Served by otel_attempt_pkey.
WITH gone AS (
    DELETE FROM otel_attempt
    WHERE (environment_id, number) IN (
        SELECT environment_id, number FROM otel_attempt
        WHERE environment_id <> ALL (ARRAY(SELECT environment_id FROM otel_wanted)) LIMIT $1)
    RETURNING 1)
SELECT count(*) FROM gone;

-- name: waiting :one
-- How many attempts are still to be exported, counted no further than $1. Served by otel_attempt_pkey.
SELECT count(*) FROM (SELECT FROM otel_attempt LIMIT $1) AS counted;
