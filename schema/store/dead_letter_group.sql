-- Letters that failed alike at an endpoint; triggers on dead_letter count them. Lists are made in
-- dead_letter_group.py. A snooze that is over counts as open.

-- name: lock :one
-- Lock group ($1, $2); give where it stands at $3. Served by dead_letter_group_pkey.
SELECT CASE WHEN state = 'snoozed' AND snoozed_until <= $3::timestamptz THEN 'open'
            ELSE state END AS state
FROM dead_letter_group WHERE app_id = $1 AND id = $2 FOR NO KEY UPDATE;

-- name: set_state :exec
-- Group ($1, $2) stands at $3 since $4 by key $5, snoozed until $6 or null.
-- Served by dead_letter_group_pkey.
UPDATE dead_letter_group
SET state = $3, state_at = $4, state_by = $5, snoozed_until = $6
WHERE app_id = $1 AND id = $2;
