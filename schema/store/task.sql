-- Tasks and what became of their items, as the API makes and reads them; task_step.sql has what
-- dispatchers do.

-- name: create :one
-- Make a task, unless the environment has one of the same job_id ($7): that is given then.
-- $1 environment, $2 id, $3 app, $4 kind, $5 state, $6 plan, $8 now, $9 key, $10 when to start.
-- Served by task_job_idx.
WITH made AS (
    INSERT INTO task (environment_id, id, app_id, kind, state, plan, job_id, created_at, created_by,
                      start_at, updated_at)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $8)
    ON CONFLICT (environment_id, job_id) WHERE job_id IS NOT NULL DO NOTHING
    RETURNING id)
SELECT id FROM made
UNION ALL
SELECT id FROM task WHERE environment_id = $1 AND job_id = $7 AND NOT EXISTS (SELECT FROM made);

-- name: by_id :one
-- Served by task_pkey.
SELECT environment_id, id, app_id, kind, state, why, plan, job_id, total, total_exact, items, open,
       done, delivered, retrying, failed, skipped, created_at, created_by, start_at, started_at,
       ended_at, updated_at
FROM task WHERE environment_id = $1 AND id = $2;

-- name: result :one
-- What task ($1, $2) found out. Served by task_pkey.
SELECT result FROM task WHERE environment_id = $1 AND id = $2;

-- name: page_down :many
-- Of environment $1, the $4 newest tasks with ids between $2 and $3 (exclusive); filters or null:
-- $5 states, $6 kinds, $7 app. Served by task_pkey.
SELECT environment_id, id, app_id, kind, state, why, plan, job_id, total, total_exact, items, open,
       done, delivered, retrying, failed, skipped, created_at, created_by, start_at, started_at,
       ended_at, updated_at
FROM task
WHERE environment_id = $1 AND id > $2 AND id < $3 AND ($5::text[] IS NULL OR state = ANY ($5))
  AND ($6::text[] IS NULL OR kind = ANY ($6)) AND ($7::text IS NULL OR app_id = $7)
ORDER BY id DESC LIMIT $4;

-- name: page_up :many
-- As page_down, the oldest.
SELECT environment_id, id, app_id, kind, state, why, plan, job_id, total, total_exact, items, open,
       done, delivered, retrying, failed, skipped, created_at, created_by, start_at, started_at,
       ended_at, updated_at
FROM task
WHERE environment_id = $1 AND id > $2 AND id < $3 AND ($5::text[] IS NULL OR state = ANY ($5))
  AND ($6::text[] IS NULL OR kind = ANY ($6)) AND ($7::text IS NULL OR app_id = $7)
ORDER BY id LIMIT $4;

-- name: lock :one
-- Where task ($1, $2) stands; nobody else moves it until the end of the transaction.
-- Served by task_pkey.
SELECT state FROM task WHERE environment_id = $1 AND id = $2 FOR UPDATE;

-- name: set_state :exec
-- Task ($1, $2) stands at $3 since $4, as $5 says. Served by task_pkey.
UPDATE task
SET state = $3::text, why = $5, updated_at = $4::timestamptz,
    ended_at = CASE WHEN $3::text IN ('finished', 'failed', 'cancelled') THEN $4::timestamptz END
WHERE environment_id = $1 AND id = $2;

-- name: items_up :many
-- Of task $1, the $4 next items behind number $2 and before $3, all or those that stand at $5.
-- Served by task_item_pkey.
SELECT number, part, app_id, message_id, endpoint_id, letter_id, run, state, detail, at
FROM task_item
WHERE task_id = $1 AND number > $2 AND number < $3 AND ($5::text[] IS NULL OR state = ANY ($5))
ORDER BY number LIMIT $4;

-- name: items_down :many
-- As items_up, the ones before.
SELECT number, part, app_id, message_id, endpoint_id, letter_id, run, state, detail, at
FROM task_item
WHERE task_id = $1 AND number > $2 AND number < $3 AND ($5::text[] IS NULL OR state = ANY ($5))
ORDER BY number DESC LIMIT $4;

-- name: pace :one
-- Of the $2 newest items of task $1: how many are over, and when the first of all of them became
-- what it is. Served by task_item_pkey.
SELECT count(*) FILTER (WHERE state NOT IN ('sent', 'retrying')) AS items, min(at) AS since
FROM (SELECT state, at FROM task_item WHERE task_id = $1 ORDER BY number DESC LIMIT $2) AS newest;

-- name: stopped_parts :many
-- The endpoints that task $1 stopped sending to, and why. Served by task_part_pkey.
SELECT number, app_id, endpoint_id, state, why, cursor, sent, tried, missed
FROM task_part WHERE task_id = $1 AND state = 'stopped' ORDER BY number LIMIT $2;

-- name: prune :many
-- Up to $2 tasks that ended before $1, with their parts and items. Served by task_ended_idx.
DELETE FROM task WHERE id IN (
    SELECT id FROM task
    WHERE updated_at < $1 AND state IN ('finished', 'failed', 'cancelled') AND open = 0
    ORDER BY updated_at LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING id;
