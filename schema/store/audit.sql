-- The audit trail: only ever added to.

-- name: add :exec
-- Primary key: audit_pkey.
INSERT INTO audit (environment_id, id, key_id, action, object, detail, at)
VALUES ($1, $2, $3, $4, $5, $6, $7);
