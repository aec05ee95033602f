-- Event types, by name within an environment.

-- name: find :one
-- Served by event_type_pkey.
SELECT environment_id, name, description, schemas, schema_mode, schema_version, archived,
       deprecated, group_name, feature_flags, retry_policy, created_at, updated_at
FROM event_type WHERE environment_id = $1 AND name = $2;

-- name: lock :one
-- For a change. Served by event_type_pkey.
SELECT environment_id, name, description, schemas, schema_mode, schema_version, archived,
       deprecated, group_name, feature_flags, retry_policy, created_at, updated_at
FROM event_type WHERE environment_id = $1 AND name = $2 FOR UPDATE;

-- name: lock_some :many
-- For a change of those of the names $2 that there are, in one order. Served by event_type_pkey.
SELECT environment_id, name, description, schemas, schema_mode, schema_version, archived,
       deprecated, group_name, feature_flags, retry_policy, created_at, updated_at
FROM event_type WHERE environment_id = $1 AND name = ANY ($2::text[]) ORDER BY name FOR UPDATE;

-- name: page_up :many
-- $1 environment, $2 a name, $3 how many behind it, $4 archived ones too, $5 the flags whose
-- event types are seen (NULL: all are), $6 with schemas. Served by event_type_pkey.
SELECT environment_id, name, description, CASE WHEN $6 THEN schemas END AS schemas,
       schema_mode, schema_version, archived, deprecated, group_name, feature_flags,
       retry_policy, created_at, updated_at
FROM event_type
WHERE environment_id = $1 AND name > $2 AND ($4 OR NOT archived)
  AND ($5::text[] IS NULL OR feature_flags IS NULL OR feature_flags && $5)
ORDER BY name LIMIT $3;

-- name: page_down :many
-- The same before a name.
SELECT environment_id, name, description, CASE WHEN $6 THEN schemas END AS schemas,
       schema_mode, schema_version, archived, deprecated, group_name, feature_flags,
       retry_policy, created_at, updated_at
FROM event_type
WHERE environment_id = $1 AND name < $2 AND ($4 OR NOT archived)
  AND ($5::text[] IS NULL OR feature_flags IS NULL OR feature_flags && $5)
ORDER BY name DESC LIMIT $3;

-- name: insert :one
-- Write a new one, or over an archived one, which keeps its retry policy if $14 says so; no row
-- when a living one is there. Served by event_type_pkey.
INSERT INTO event_type AS t (environment_id, name, description, schemas, archived, deprecated,
                             group_name, feature_flags, created_at, updated_at, schema_mode,
                             schema_version, retry_policy)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (environment_id, name) DO UPDATE
SET description = excluded.description, schemas = excluded.schemas, archived = excluded.archived,
    deprecated = excluded.deprecated, group_name = excluded.group_name,
    feature_flags = excluded.feature_flags, updated_at = excluded.updated_at,
    schema_mode = excluded.schema_mode, schema_version = excluded.schema_version,
    retry_policy = CASE WHEN $14 THEN t.retry_policy ELSE excluded.retry_policy END
WHERE t.archived
RETURNING created_at, retry_policy;

-- name: upsert :one
-- Write a new one, or over whatever is there. Served by event_type_pkey.
INSERT INTO event_type AS t (environment_id, name, description, schemas, archived, deprecated,
                             group_name, feature_flags, created_at, updated_at, schema_mode,
                             schema_version, retry_policy)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
ON CONFLICT (environment_id, name) DO UPDATE
SET description = excluded.description, schemas = excluded.schemas, archived = excluded.archived,
    deprecated = excluded.deprecated, group_name = excluded.group_name,
    feature_flags = excluded.feature_flags, updated_at = excluded.updated_at,
    schema_mode = excluded.schema_mode, schema_version = excluded.schema_version,
    retry_policy = excluded.retry_policy
RETURNING created_at, xmax = 0 AS is_new;

-- name: expunge :exec
-- With what was wrong with its payloads. Served by event_type_pkey and schema_fault_pkey.
WITH faults AS (DELETE FROM schema_fault WHERE environment_id = $1 AND event_type = $2)
DELETE FROM event_type WHERE environment_id = $1 AND name = $2;

-- name: usable :many
-- Of the names $2 those that a filter may use, seen with flags $3 (NULL: all are).
-- Served by event_type_pkey.
SELECT name FROM event_type
WHERE environment_id = $1 AND name = ANY ($2::text[]) AND NOT archived
  AND ($3::text[] IS NULL OR feature_flags IS NULL OR feature_flags && $3);

-- name: checked :many
-- Those of environment $1 that payloads are held to. Served by event_type_checked_idx.
SELECT name, schemas, schema_mode, schema_version FROM event_type
WHERE environment_id = $1 AND schema_mode <> 'off' AND NOT archived;

-- name: policies :many
-- The retry policies of event types of the environments $1. Served by event_type_policy_idx.
SELECT environment_id, name, retry_policy FROM event_type
WHERE environment_id = ANY ($1::text[]) AND retry_policy IS NOT NULL;

-- name: export :many
-- The first $2 of environment $1 behind name $3, with schemas. Served by event_type_pkey.
SELECT environment_id, name, description, schemas, schema_mode, schema_version, archived,
       deprecated, group_name, feature_flags, retry_policy, created_at, updated_at
FROM event_type WHERE environment_id = $1 AND name > $3 ORDER BY name LIMIT $2;
