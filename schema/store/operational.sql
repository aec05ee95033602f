-- Operational events: what the installation tells its operators. Nothing is written that no
-- endpoint wants, nor of the operational app itself. Whether one wants it is looked up by
-- app_operational_idx and endpoint_pkey; an app's id and uid are its channels and stand in the data.

-- name: note :exec
-- $1 environment, $2 app or null, $3 kind, $4 key or null, $5 data; $6 ids of apps to tell apart by
-- where $2 is null. Served by app_id_key.
INSERT INTO operational_event (environment_id, app_id, kind, key, channels, data)
SELECT $1, $2, $3, coalesce($4, $2, ''), c.channels,
       CASE WHEN $2::text IS NULL THEN $5::jsonb
            ELSE jsonb_build_object('appId', $2::text, 'appUid', a.uid) || $5::jsonb END
FROM (SELECT) AS one
LEFT JOIN app AS a ON a.id = $2
CROSS JOIN LATERAL (SELECT operational_channels($2, a.uid) || $6::text[] AS channels) AS c
WHERE a.kind IS DISTINCT FROM 'operational'
  AND operational_wanted($1, $3, c.channels);

-- name: note_endpoints :exec
-- $1 kind; of endpoints ($2 app, $3 endpoint), what else there is to say ($4). Served by app_id_key
-- and endpoint_pkey.
INSERT INTO operational_event (environment_id, app_id, kind, key, channels, data)
SELECT a.environment_id, a.id, $1, e.id, c.channels,
       jsonb_build_object('appId', a.id, 'appUid', a.uid, 'endpointId', e.id,
                          'endpointUid', e.uid) || n.more
FROM unnest($2::text[], $3::text[], $4::jsonb[]) AS n(app_id, endpoint_id, more)
JOIN app AS a ON a.id = n.app_id AND a.kind = 'tenant'
JOIN endpoint AS e ON e.app_id = n.app_id AND e.id = n.endpoint_id
CROSS JOIN LATERAL (SELECT operational_channels(a.id, a.uid) AS channels) AS c
WHERE operational_wanted(a.environment_id, $1, c.channels);

-- name: note_attempts :exec
-- $1 kinds; of deliveries ($2 app, $3 message, $4 endpoint) the attempts $5, their status $6 and time
-- $7. Served by app_id_key, message_pkey and endpoint_pkey.
INSERT INTO operational_event (environment_id, app_id, kind, key, channels, data)
SELECT a.environment_id, a.id, n.kind, n.endpoint_id, c.channels,
       jsonb_build_object(
           'appId', a.id, 'appUid', a.uid, 'msgId', n.message_id, 'msgEventId', m.event_id,
           'endpointId', n.endpoint_id, 'endpointUid', e.uid,
           'lastAttempt', jsonb_build_object('id', n.attempt_id, 'timestamp', n.started_at,
                                             'responseStatusCode', coalesce(n.status, 0)))
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::int[],
            $7::timestamptz[])
    AS n(kind, app_id, message_id, endpoint_id, attempt_id, status, started_at)
JOIN app AS a ON a.id = n.app_id AND a.kind = 'tenant'
LEFT JOIN message AS m ON m.app_id = n.app_id AND m.id = n.message_id
LEFT JOIN endpoint AS e ON e.app_id = n.app_id AND e.id = n.endpoint_id
CROSS JOIN LATERAL (SELECT operational_channels(a.id, a.uid) AS channels) AS c
WHERE operational_wanted(a.environment_id, n.kind, c.channels);

-- name: interest :many
-- The filters of all operational endpoints. Served by app_operational_idx and endpoint_pkey.
SELECT DISTINCT event_types FROM operational_interest;

-- name: try_lock :one
-- Whether this transaction is the one that publishes operational events now.
SELECT pg_try_advisory_xact_lock(0x6E6F7465);

-- name: page :many
-- The $1 oldest events. `passes`: among the first $2 of their kind and key in their minute; digests
-- and logs, which are gathered already, always do. Served by operational_event_pkey and operational_minute_pkey.
SELECT e.number, e.environment_id, e.kind, e.channels, e.data, e.created_at,
       e.kind IN ('alert.digest', 'message.attempt.log')
       OR coalesce(m.published, 0) + row_number() OVER (
              PARTITION BY e.environment_id, e.kind, e.key, date_trunc('minute', e.created_at)
              ORDER BY e.number) <= $2 AS passes
FROM (SELECT * FROM operational_event ORDER BY number LIMIT $1) AS e
LEFT JOIN operational_minute AS m
    ON m.environment_id = e.environment_id AND m.kind = e.kind AND m.key = e.key
   AND m.minute = date_trunc('minute', e.created_at)
ORDER BY e.number;

-- name: finish :exec
-- The events $1 are done with; of them $2 were published. Served by operational_event_pkey.
WITH done AS (DELETE FROM operational_event WHERE number = ANY ($1::bigint[]) RETURNING *)
INSERT INTO operational_minute AS m (environment_id, kind, key, minute, app_id, published,
                                     suppressed)
SELECT environment_id, kind, key, date_trunc('minute', created_at), min(app_id),
       count(*) FILTER (WHERE number = ANY ($2::bigint[])),
       count(*) FILTER (WHERE number <> ALL ($2::bigint[]))
FROM done GROUP BY 1, 2, 3, 4
ON CONFLICT (environment_id, kind, key, minute) DO UPDATE
SET published = m.published + excluded.published, suppressed = m.suppressed + excluded.suppressed;

-- name: digest :exec
-- Forget the minutes before $1; of what was only counted in them, one event per app, which names up
-- to $2 kinds and keys, the most first. Served by operational_minute_minute_idx.
WITH past AS (DELETE FROM operational_minute WHERE minute < $1 RETURNING *),
counted AS (
    SELECT environment_id, app_id, kind, key, sum(suppressed) AS number,
           min(minute) AS since, max(minute) + interval '1 minute' AS until,
           row_number() OVER (PARTITION BY environment_id, app_id
                              ORDER BY sum(suppressed) DESC, kind, key) AS place
    FROM past WHERE suppressed > 0 GROUP BY 1, 2, 3, 4),
digest AS (
    SELECT environment_id, app_id,
           jsonb_build_object(
               'since', min(since), 'until', max(until), 'suppressed', sum(number),
               'events', jsonb_agg(jsonb_build_object('type', kind, 'key', key, 'count', number)
                                   ORDER BY place) FILTER (WHERE place <= $2)) AS data
    FROM counted GROUP BY 1, 2)
INSERT INTO operational_event (environment_id, app_id, kind, key, channels, data)
SELECT d.environment_id, d.app_id, 'alert.digest', coalesce(d.app_id, ''), c.channels,
       jsonb_build_object('appId', d.app_id, 'appUid', a.uid) || d.data
FROM digest AS d
LEFT JOIN app AS a ON a.id = d.app_id
CROSS JOIN LATERAL (SELECT operational_channels(d.app_id, a.uid) AS channels) AS c
WHERE operational_wanted(d.environment_id, 'alert.digest', c.channels);

-- name: waiting :one
-- How many events wait to be published, counted no further than $1. Served by operational_event_pkey.
SELECT count(*) FROM (SELECT FROM operational_event LIMIT $1) AS counted;
