-- Events that could not become messages. Of a page or count: $1 environment, $2 and $3 bound the ids
-- (both exclusive), $4 is how many; $5: also those of no environment. $6 state. Filters, or null:
-- $7 reason, $8 app as it was named.

-- name: by_id :one
-- Rejected event $1 of environment $2; $3: also of none. Served by rejected_event_pkey.
SELECT id, environment_id, app, subject, headers, body, reason, detail, sequence, created_at, state,
       state_at, state_by, app_id, message_id
FROM rejected_event
WHERE id = $1 AND (environment_id = $2 OR ($3::bool AND environment_id IS NULL));

-- name: page_down :many
-- The newest of environment $1, without bodies. Served by rejected_event_environment_idx.
(SELECT id, environment_id, app, subject, headers, ''::bytea AS body, reason, detail,
        sequence, created_at, state, state_at, state_by, app_id, message_id
 FROM rejected_event
 WHERE environment_id = $1 AND state = $6 AND id > $2 AND id < $3
   AND ($7::text IS NULL OR reason = $7) AND ($8::text IS NULL OR app = $8)
 ORDER BY id DESC LIMIT $4)
UNION ALL
(SELECT id, environment_id, app, subject, headers, ''::bytea AS body, reason, detail,
        sequence, created_at, state, state_at, state_by, app_id, message_id
 FROM rejected_event
 WHERE environment_id IS NULL AND $5::bool AND state = $6 AND id > $2 AND id < $3
   AND ($7::text IS NULL OR reason = $7) AND ($8::text IS NULL OR app = $8)
 ORDER BY id DESC LIMIT $4)
ORDER BY id DESC LIMIT $4;

-- name: page_up :many
-- As page_down, the oldest.
(SELECT id, environment_id, app, subject, headers, ''::bytea AS body, reason, detail,
        sequence, created_at, state, state_at, state_by, app_id, message_id
 FROM rejected_event
 WHERE environment_id = $1 AND state = $6 AND id > $2 AND id < $3
   AND ($7::text IS NULL OR reason = $7) AND ($8::text IS NULL OR app = $8)
 ORDER BY id LIMIT $4)
UNION ALL
(SELECT id, environment_id, app, subject, headers, ''::bytea AS body, reason, detail,
        sequence, created_at, state, state_at, state_by, app_id, message_id
 FROM rejected_event
 WHERE environment_id IS NULL AND $5::bool AND state = $6 AND id > $2 AND id < $3
   AND ($7::text IS NULL OR reason = $7) AND ($8::text IS NULL OR app = $8)
 ORDER BY id LIMIT $4)
ORDER BY id LIMIT $4;

-- name: count :one
-- How many, up to $4. Served by rejected_event_environment_idx.
SELECT count(*) FROM (
    (SELECT FROM rejected_event
     WHERE environment_id = $1 AND state = $6 AND id > $2 AND id < $3
       AND ($7::text IS NULL OR reason = $7) AND ($8::text IS NULL OR app = $8) LIMIT $4)
    UNION ALL
    (SELECT FROM rejected_event
     WHERE environment_id IS NULL AND $5::bool AND state = $6 AND id > $2 AND id < $3
       AND ($7::text IS NULL OR reason = $7) AND ($8::text IS NULL OR app = $8) LIMIT $4)
    LIMIT $4) AS found;

-- name: discard :one
-- Rejected event $1 is given up at $2 by key $3, if nothing became of it.
-- Served by rejected_event_pkey.
UPDATE rejected_event SET state = 'discarded', state_at = $2, state_by = $3
WHERE id = $1 AND state = 'rejected' RETURNING id;

-- name: reserve :one
-- Rejected event $1 is to become a message of app $3: $2, or the one that an earlier try for the
-- same app chose since $4; not if it became one. Served by rejected_event_pkey.
UPDATE rejected_event
SET message_id = CASE WHEN app_id = $3 AND message_id > $4 THEN message_id ELSE $2 END, app_id = $3
WHERE id = $1 AND state <> 'resubmitted' RETURNING message_id;

-- name: resubmitted :one
-- Rejected event $1 became message $2 of app $3 at $4 by key $5. Served by rejected_event_pkey.
UPDATE rejected_event
SET state = 'resubmitted', message_id = $2, app_id = $3, state_at = $4, state_by = $5
WHERE id = $1 AND state <> 'resubmitted' RETURNING id;
