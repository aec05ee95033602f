-- Attempts counted by event type, in buckets of five minutes. One dispatcher at a time adds up.

-- name: try_lock :one
-- Held until the end of the transaction.
SELECT pg_try_advisory_xact_lock(0x74797065);

-- name: fold :one
-- Add up what $1 statements counted, at most. An app has $2 event types in a bucket at most: those
-- that came first; the rest is counted together, under no name. Gives how many statements there were
-- and how many attempts got no name. Served by rollup_type_pkey.
WITH gone AS (
    DELETE FROM type_tally WHERE ctid = ANY (ARRAY(SELECT ctid FROM type_tally LIMIT $1))
    RETURNING app_ids, event_types, buckets, delivered, failed),
counted AS MATERIALIZED (
    SELECT app_id, bucket, event_type, sum(t.delivered)::integer AS delivered,
           sum(t.failed)::integer AS failed
    FROM gone CROSS JOIN LATERAL unnest(app_ids, event_types, buckets, gone.delivered, gone.failed)
        AS t(app_id, event_type, bucket, delivered, failed)
    GROUP BY 1, 2, 3),
known AS MATERIALIZED (
    SELECT c.*, r.app_id IS NOT NULL AS is_known
    FROM counted AS c LEFT JOIN LATERAL (
        SELECT app_id FROM rollup_type
        WHERE app_id = c.app_id AND bucket = c.bucket AND event_type = c.event_type LIMIT 1) AS r
        ON true),
room AS (
    SELECT k.app_id, k.bucket, $2 - r.number AS number
    FROM (SELECT DISTINCT app_id, bucket FROM known WHERE NOT is_known) AS k
    CROSS JOIN LATERAL (
        SELECT count(*) AS number FROM rollup_type
        WHERE app_id = k.app_id AND bucket = k.bucket AND event_type <> '') AS r),
named AS MATERIALIZED (
    SELECT app_id, bucket, delivered, failed,
           CASE WHEN is_known OR room.number >= row_number()
                     OVER (PARTITION BY app_id, bucket, is_known ORDER BY event_type)
                THEN event_type ELSE '' END AS event_type
    FROM known LEFT JOIN room USING (app_id, bucket)),
added AS (
    INSERT INTO rollup_type AS r (app_id, bucket, event_type, delivered, failed)
    SELECT app_id, bucket, event_type, sum(delivered), sum(failed)
    FROM named GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (app_id, bucket, event_type) DO UPDATE SET
        delivered = r.delivered + excluded.delivered, failed = r.failed + excluded.failed)
SELECT (SELECT count(*) FROM gone) AS statements,
       (SELECT coalesce(sum(delivered + failed), 0) FROM named WHERE event_type = '') AS nameless;

-- name: by_type :many
-- The attempts for app $1 from $2 to before $3, of event types $4 (null: all), by event type: the $5
-- that have most, and under an empty name the rest. Served by rollup_type_pkey.
SELECT CASE WHEN place <= $5 THEN event_type ELSE '' END AS event_type,
       sum(delivered)::bigint AS delivered, sum(failed)::bigint AS failed
FROM (SELECT event_type, sum(delivered) AS delivered, sum(failed) AS failed,
             row_number() OVER (ORDER BY sum(delivered + failed) DESC, event_type) AS place
      FROM rollup_type
      WHERE app_id = $1 AND bucket >= $2 AND bucket < $3
        AND ($4::text[] IS NULL OR event_type = ANY ($4))
      GROUP BY event_type) AS t
GROUP BY 1 ORDER BY 1;

-- name: by_period :many
-- The attempts for app $1 of event types $5 from $2 to before $3, in periods of $4 seconds that
-- begin at $2: which period, and how many were delivered and how many not. Served by
-- rollup_type_pkey.
SELECT floor(extract(epoch FROM bucket - $2::timestamptz) / $4::integer)::integer AS period,
       sum(delivered)::bigint AS delivered, sum(failed)::bigint AS failed
FROM rollup_type
WHERE app_id = $1 AND bucket >= $2::timestamptz AND bucket < $3::timestamptz
  AND event_type = ANY ($5::text[])
GROUP BY 1;
