-- What attempts came to, in one transaction per batch.

-- name: settle :one
-- $1, $2 shards and epochs that $3 holds; a delivery of another shard is not moved (but its
-- attempt is logged: it was made).
-- $4-$11 deliveries: app, message, endpoint, state, attempts, failures, due time, reason.
-- $12-$27 their attempts, null ids where there was none; $28 all responses in a row, $29 where each
-- begins, $30 its size. All but $28 are array literals. $31: stage the attempts that are logged now,
-- as operators are to be told of them; $32: as they are to be exported, where an environment wants it
-- (by app_id_key).
-- Answers with the numbers, from 1, of the deliveries that were moved, served by delivery_pkey.
WITH fence AS MATERIALIZED (
    SELECT s.id FROM unnest($1::int[], $2::bigint[]) AS f(id, epoch)
    JOIN shard AS s ON s.id = f.id AND s.epoch = f.epoch AND s.owner = $3
    FOR KEY SHARE OF s),
settled AS MATERIALIZED (
    SELECT * FROM unnest(
        $4::text::text[], $5::text::text[], $6::text::text[], $7::text::text[], $8::text::int[],
        $9::text::int[], $10::text::timestamptz[], $11::text::text[], $12::text::text[],
        $13::text::text[], $14::text::smallint[], $15::text::text[], $16::text::text[],
        $17::text::int[], $18::text::text[], $19::text::text[], $20::text::timestamptz[],
        $21::text::int[], $22::text::text[], $23::text::text[], $24::text::bool[],
        $25::text::text[], $26::text::text[], $27::text::bool[], $29::text::int[],
        $30::text::int[])
        WITH ORDINALITY AS u(app_id, message_id, endpoint_id, state, attempts, failures, due_at,
                             reason, attempt_id, event_type, trigger, verdict, url, status, fault,
                             detail, started_at, duration_ms, phases_ms, address, reused, tls,
                             response_headers, truncated, response_at, response_bytes, number)),
logged AS (
    INSERT INTO attempt (app_id, id, message_id, endpoint_id, event_type, number, trigger, verdict,
                         url, status, fault, detail, started_at, duration_ms, next_attempt_at,
                         phases_ms, address, reused, tls, response, response_headers, truncated)
    SELECT app_id, attempt_id, message_id, endpoint_id, event_type, attempts, trigger, verdict, url,
           status, fault, detail, started_at, duration_ms, due_at, phases_ms::real[], address,
           reused, tls, substring($28::bytea FROM response_at FOR response_bytes),
           response_headers::jsonb, truncated
    FROM settled WHERE attempt_id IS NOT NULL
    -- Written before, by a transaction whose answer got lost.
    ON CONFLICT (app_id, id) DO NOTHING
    RETURNING app_id, id, message_id, endpoint_id, event_type, started_at, status, verdict,
              duration_ms),
staged AS (
    INSERT INTO attempt_log (app_id, message_id, attempt_id)
    SELECT app_id, message_id, id FROM logged WHERE $31::bool),
traced AS (
    INSERT INTO otel_attempt (environment_id, app_id, message_id, attempt_id)
    SELECT a.environment_id, l.app_id, l.message_id, l.id
    FROM logged AS l
    JOIN app AS a ON a.id = l.app_id AND a.kind = 'tenant'
        AND a.environment_id = ANY (ARRAY(SELECT environment_id FROM otel_wanted))
    WHERE $32::bool),
tallied AS (
    INSERT INTO type_tally (app_ids, event_types, buckets, delivered, failed)
    SELECT array_agg(app_id), array_agg(event_type), array_agg(bucket), array_agg(delivered),
           array_agg(attempts - delivered)
    FROM (SELECT app_id, event_type, count(*) AS attempts,
                 date_bin('5 minutes', started_at, 'epoch'::timestamptz) AS bucket,
                 count(*) FILTER (WHERE status BETWEEN 200 AND 299) AS delivered
          FROM logged GROUP BY app_id, event_type, bucket) AS t
    HAVING count(*) > 0),
rolled AS (
    INSERT INTO rollup_minute AS r (app_id, endpoint_id, bucket, delivered, status_3xx, status_4xx,
                                    status_5xx, no_answer, parked, duration_ms)
    SELECT app_id, endpoint_id, date_trunc('minute', started_at),
           count(*) FILTER (WHERE status BETWEEN 200 AND 299),
           count(*) FILTER (WHERE status BETWEEN 300 AND 399),
           count(*) FILTER (WHERE status BETWEEN 400 AND 499),
           count(*) FILTER (WHERE status >= 500 OR status < 200),
           count(*) FILTER (WHERE status IS NULL),
           count(*) FILTER (WHERE verdict = 'park'), sum(duration_ms)
    FROM logged GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (app_id, endpoint_id, bucket) DO UPDATE SET
        delivered = r.delivered + excluded.delivered,
        status_3xx = r.status_3xx + excluded.status_3xx,
        status_4xx = r.status_4xx + excluded.status_4xx,
        status_5xx = r.status_5xx + excluded.status_5xx,
        no_answer = r.no_answer + excluded.no_answer,
        parked = r.parked + excluded.parked,
        duration_ms = r.duration_ms + excluded.duration_ms),
moved AS (
    UPDATE delivery AS d
    SET state = u.state, attempts = u.attempts, failures = u.failures, due_at = u.due_at,
        reason = u.reason, last_status = coalesce(u.status, d.last_status),
        last_attempt_at = coalesce(u.started_at, d.last_attempt_at),
        delivered_at = CASE WHEN u.status BETWEEN 200 AND 299 THEN u.started_at
                            ELSE d.delivered_at END,
        manual = false
    FROM settled AS u
    WHERE d.app_id = u.app_id AND d.message_id = u.message_id AND d.endpoint_id = u.endpoint_id
      -- Written so that neither delivery_owed_idx nor a range of the key fits: rows are looked up
      -- one by one, by their whole key, and not found by going through all that is owed.
      AND d.state || '' IN ('pending', 'retrying') AND d.shard = ANY (ARRAY(SELECT id FROM fence))
    RETURNING u.number)
SELECT array_agg(number) AS moved FROM moved;

-- name: park :exec
-- Park the deliveries ($1 app, $2 message, $3 endpoint) with $4 reasons under $5 ids at $6: whole,
-- with what the newest attempt came to; $7 fingerprints. Runs after `settle`, in its transaction.
-- A trigger keeps the groups. Letters of an operational app belong to no environment: they stand in
-- no list but that app's own.
INSERT INTO dead_letter AS l (
    environment_id, app_id, id, message_id, endpoint_id, reason, event_type, event_id, channels,
    payload, content_type, headers, url, status, fault, detail, response, response_headers,
    fingerprint, attempts, message_at, first_attempt_at, last_attempt_at, last_attempt_id, parked_at, updated_at,
    payload_until)
SELECT a.environment_id, p.app_id, p.id, p.message_id, p.endpoint_id, p.reason,
       coalesce(m.event_type, ''), m.event_id, m.channels, m.payload, coalesce(m.content_type, ''),
       e.headers, coalesce(last.url, e.url, ''), last.status, last.fault,
       coalesce(last.detail, ''), last.response, last.response_headers, p.fingerprint, coalesce(last.number, 0),
       coalesce(m.created_at, $6), first.started_at, last.started_at, last.id, $6, $6,
       m.payload_until
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $7::text[])
    AS p(app_id, message_id, endpoint_id, reason, id, fingerprint)
LEFT JOIN app AS a ON a.id = p.app_id AND a.kind = 'tenant'
LEFT JOIN message AS m ON m.app_id = p.app_id AND m.id = p.message_id
LEFT JOIN endpoint AS e ON e.app_id = p.app_id AND e.id = p.endpoint_id
LEFT JOIN LATERAL (
    SELECT * FROM attempt AS a
    WHERE a.app_id = p.app_id AND a.message_id = p.message_id AND a.endpoint_id = p.endpoint_id
    ORDER BY a.id DESC LIMIT 1) AS last ON true
LEFT JOIN LATERAL (
    SELECT a.started_at FROM attempt AS a
    WHERE a.app_id = p.app_id AND a.message_id = p.message_id AND a.endpoint_id = p.endpoint_id
    ORDER BY a.id LIMIT 1) AS first ON true
ON CONFLICT (app_id, message_id, endpoint_id) DO UPDATE SET
    state = 'parked', reason = excluded.reason, headers = excluded.headers, url = excluded.url,
    status = excluded.status, fault = excluded.fault, detail = excluded.detail,
    response = excluded.response, response_headers = excluded.response_headers,
    payload = coalesce(excluded.payload, l.payload),
    payload_until = coalesce(excluded.payload_until, l.payload_until),
    fingerprint = excluded.fingerprint, attempts = excluded.attempts,
    last_attempt_at = excluded.last_attempt_at, last_attempt_id = excluded.last_attempt_id,
    parked_at = excluded.parked_at, updated_at = excluded.updated_at;

-- name: redelivered :exec
-- The letters of ($1 app, $2 message, $3 endpoint) have arrived at $4 after all. Served by
-- dead_letter_app_id_message_id_endpoint_id_key: the state is written so that no other index fits.
UPDATE dead_letter AS l SET state = 'redelivered', updated_at = $4
FROM unnest($1::text[], $2::text[], $3::text[]) AS p(app_id, message_id, endpoint_id)
WHERE l.app_id = p.app_id AND l.message_id = p.message_id AND l.endpoint_id = p.endpoint_id
  AND l.state || '' = 'redelivering';

-- name: called_off :exec
-- The letters of ($1 app, $2 message, $3 endpoint) that were on their way are parked again at $4.
-- Served by dead_letter_app_id_message_id_endpoint_id_key, as above.
UPDATE dead_letter AS l SET state = 'parked', updated_at = $4
FROM unnest($1::text[], $2::text[], $3::text[]) AS p(app_id, message_id, endpoint_id)
WHERE l.app_id = p.app_id AND l.message_id = p.message_id AND l.endpoint_id = p.endpoint_id
  AND l.state || '' = 'redelivering';

-- name: disable :many
-- The receivers ($1 app, $2 endpoint) asked for no more, at $4; $3 says in which words. Gives those
-- that were not disabled yet.
UPDATE endpoint AS e
SET state = 'disabled', state_reason = p.reason, state_at = $4, updated_at = $4
FROM unnest($1::text[], $2::text[], $3::text[]) AS p(app_id, endpoint_id, reason)
WHERE e.app_id = p.app_id AND e.id = p.endpoint_id AND e.state <> 'disabled'
  AND e.deleted_at IS NULL
RETURNING e.app_id, e.id, e.state_reason;
