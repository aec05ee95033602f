-- Events that could not become messages. $2 and $3 bound the ids (both exclusive), $4 is how many;
-- $5: also those of no environment. $6 reason, or null.

-- name: by_id :one
-- Rejected event $1 of environment $2; $3: also of none. Served by rejected_event_pkey.
SELECT id, environment_id, app, subject, headers, body, reason, detail, sequence, created_at
FROM rejected_event
WHERE id = $1 AND (environment_id = $2 OR ($3::bool AND environment_id IS NULL));

-- name: page_down :many
-- The newest of environment $1, without bodies. Served by rejected_event_environment_idx.
(SELECT id, environment_id, app, subject, headers, ''::bytea AS body, reason, detail,
        sequence, created_at
 FROM rejected_event
 WHERE environment_id = $1 AND id > $2 AND id < $3 AND ($6::text IS NULL OR reason = $6)
 ORDER BY id DESC LIMIT $4)
UNION ALL
(SELECT id, environment_id, app, subject, headers, ''::bytea AS body, reason, detail,
        sequence, created_at
 FROM rejected_event
 WHERE environment_id IS NULL AND $5::bool AND id > $2 AND id < $3
   AND ($6::text IS NULL OR reason = $6)
 ORDER BY id DESC LIMIT $4)
ORDER BY id DESC LIMIT $4;

-- name: page_up :many
-- As page_down, the oldest.
(SELECT id, environment_id, app, subject, headers, ''::bytea AS body, reason, detail,
        sequence, created_at
 FROM rejected_event
 WHERE environment_id = $1 AND id > $2 AND id < $3 AND ($6::text IS NULL OR reason = $6)
 ORDER BY id LIMIT $4)
UNION ALL
(SELECT id, environment_id, app, subject, headers, ''::bytea AS body, reason, detail,
        sequence, created_at
 FROM rejected_event
 WHERE environment_id IS NULL AND $5::bool AND id > $2 AND id < $3
   AND ($6::text IS NULL OR reason = $6)
 ORDER BY id LIMIT $4)
ORDER BY id LIMIT $4;
