-- The log of attempts as operators are told of it: staged by `settle`, made events of here.

-- name: try_lock :one
-- Whether this transaction is the one that tells of attempts now.
SELECT pg_try_advisory_xact_lock(0x61746C67);

-- name: tell :one
-- Take the $1 attempts that were staged first; write what the environments that want it are told of
-- them: events of at most $2 attempts, $3 apps and about $4 bytes. Answers with how many were taken.
-- Served by attempt_log_pkey, app_id_key, attempt_pkey, message_pkey (OFFSET keeps each look-up by its
-- whole key); who wants it by app_operational_idx and endpoint_pkey.
WITH taken AS (
    DELETE FROM attempt_log
    WHERE number = ANY (ARRAY(SELECT number FROM attempt_log ORDER BY number LIMIT $1))
    RETURNING number, app_id, message_id, attempt_id),
line AS (
    SELECT a.environment_id, t.app_id, t.number, d.data,
           (dense_rank() OVER (PARTITION BY a.environment_id ORDER BY t.app_id) - 1) / $3::int
               AS apps
    FROM taken AS t
    JOIN app AS a ON a.id = t.app_id AND a.kind = 'tenant'
        AND a.environment_id = ANY (ARRAY(
            SELECT environment_id FROM operational_interest
            WHERE 'message.attempt.log' = ANY (event_types)))
    CROSS JOIN LATERAL (
        SELECT * FROM attempt AS x
        WHERE x.app_id = t.app_id AND x.id = t.attempt_id AND x.message_id = t.message_id
        OFFSET 0) AS l
    LEFT JOIN LATERAL (
        SELECT * FROM message AS x WHERE x.app_id = t.app_id AND x.id = t.message_id
        OFFSET 0) AS m ON true
    CROSS JOIN LATERAL (  -- the whole is told in milliseconds, its parts are not
        SELECT l.started_at + interval '1 ms' * l.duration_ms AS ended_at,
               l.started_at + interval '1 ms' * (l.phases_ms[1] + l.phases_ms[2] + l.phases_ms[3])
                   AS sent_at,
               interval '1 ms' * (l.phases_ms[4] + l.phases_ms[5]) AS took) AS h
    CROSS JOIN LATERAL (
        SELECT jsonb_build_object(
            'orgId', a.environment_id, 'appId', a.id, 'appUid', a.uid,
            'endpointId', l.endpoint_id, 'msgId', l.message_id, 'msgEventId', m.event_id,
            'msgCreated', coalesce(m.created_at, l.started_at),
            'attemptId', l.id, 'attemptStart', l.started_at, 'attemptEnd', h.ended_at,
            'attemptCount', l.number, 'responseStatusCode', coalesce(l.status, 0),
            'status', CASE WHEN l.verdict = 'delivered' THEN 0 ELSE 2 END,
            'eventType', l.event_type,
            'httpTimes', CASE WHEN l.status IS NOT NULL AND h.sent_at IS NOT NULL
                              THEN jsonb_build_object(
                                  'start', least(h.sent_at, h.ended_at),
                                  'end', least(h.sent_at + h.took, h.ended_at))
                         END) AS data) AS d),
weighed AS (
    SELECT *, greatest(octet_length(data::text), $4::numeric / $2::int) AS weight FROM line),
parted AS (
    SELECT *, floor((sum(weight) OVER (PARTITION BY environment_id, apps ORDER BY number) - weight)
                    / $4::numeric) AS part
    FROM weighed),
event AS (
    SELECT environment_id, min(number) AS number, array_agg(DISTINCT app_id) AS channels,
           jsonb_agg(data ORDER BY number) AS data
    FROM parted GROUP BY environment_id, apps, part),
told AS (
    INSERT INTO operational_event (environment_id, kind, key, channels, data)
    SELECT environment_id, 'message.attempt.log', '', channels, data FROM event
    WHERE operational_wanted(environment_id, 'message.attempt.log', channels)
    ORDER BY number)
SELECT count(*) FROM taken;

-- name: waiting :one
-- How many attempts are staged, counted no further than $1. Served by attempt_log_pkey.
SELECT count(*) FROM (SELECT FROM attempt_log LIMIT $1) AS counted;
