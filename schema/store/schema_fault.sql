-- Where payloads were not as their event type's schema says.

-- name: add :exec
-- Add up faults, by columns: $1 environments, $2 event types, $3 pointers, $4 rules, $5 versions,
-- $6 modes, $7 details, $8 how often, $9 messages; $10 now. An event type has $11 places at most:
-- what else goes wrong with it is not kept. Served by schema_fault_pkey.
WITH noted AS (
    SELECT n.*, k.rule IS NOT NULL AS known
    FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[],
                $8::bigint[], $9::text[])
         AS n(environment_id, event_type, pointer, rule, version, mode, detail, times, message_id)
    LEFT JOIN schema_fault AS k USING (environment_id, event_type, pointer, rule)),
placed AS (
    SELECT n.*, row_number() OVER (PARTITION BY environment_id, event_type, known
                                   ORDER BY pointer, rule) AS place
    FROM noted AS n)
INSERT INTO schema_fault AS f (environment_id, event_type, pointer, rule, version, mode, detail,
                               times, first_at, last_at, message_id)
SELECT p.environment_id, p.event_type, p.pointer, p.rule, p.version, p.mode, p.detail, p.times,
       $10, $10, p.message_id
FROM placed AS p
WHERE p.known OR $11 >= p.place + (SELECT count(*) FROM schema_fault AS k
                                   WHERE k.environment_id = p.environment_id
                                     AND k.event_type = p.event_type)
ORDER BY p.environment_id, p.event_type, p.pointer, p.rule
ON CONFLICT (environment_id, event_type, pointer, rule) DO UPDATE
SET version = excluded.version, mode = excluded.mode, detail = excluded.detail,
    times = f.times + excluded.times, last_at = excluded.last_at,
    message_id = coalesce(excluded.message_id, f.message_id);

-- name: of_event_type :many
-- Of environment $1 and event type $2, the $3 that went wrong last. Served by schema_fault_pkey.
SELECT pointer, rule, version, mode, detail, times, first_at, last_at, message_id
FROM schema_fault WHERE environment_id = $1 AND event_type = $2
ORDER BY last_at DESC, pointer, rule LIMIT $3;

-- name: clear :exec
-- Served by schema_fault_pkey.
DELETE FROM schema_fault WHERE environment_id = $1 AND event_type = $2;
