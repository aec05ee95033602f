-- E-mails to apps: to whom, and what is to be told of which endpoint.

-- name: email :one
-- Where mails for app $1 go: what was set, or what its metadata say. Served by alert_email_pkey and
-- app_id_key.
SELECT coalesce(e.email, a.metadata ->> 'svix.email') AS email
FROM app AS a LEFT JOIN alert_email AS e ON e.app_id = a.id WHERE a.id = $1;

-- name: set_email :exec
-- Mails for app $1 go to $2 from $3 on. Served by alert_email_pkey.
INSERT INTO alert_email (app_id, email, updated_at) VALUES ($1, $2, $3)
ON CONFLICT (app_id) DO UPDATE SET email = excluded.email, updated_at = excluded.updated_at;

-- name: clear_email :exec
-- Served by alert_email_pkey.
DELETE FROM alert_email WHERE app_id = $1;

-- name: wanted :one
-- Whether any environment has its apps told by mail. Served by environment_pkey.
SELECT EXISTS (SELECT FROM alert_mail_interest);

-- name: note :exec
-- $1 kind; of endpoints ($2 app, $3 endpoint) how many events ($4), since when they fail ($5) and why
-- they were disabled ($6). They are told in $7 seconds, and not within $8 seconds of the mail before.
-- Served by app_id_key, alert_email_pkey and alert_mail_pkey.
INSERT INTO alert_mail AS m (app_id, endpoint_id, kind, pending, since, last_at, fail_since, reason,
                             due_at)
SELECT n.app_id, n.endpoint_id, $1, n.number, now(), now(), n.fail_since, n.reason,
       now() + make_interval(secs => $7)
FROM unnest($2::text[], $3::text[], $4::int[], $5::timestamptz[], $6::text[])
    AS n(app_id, endpoint_id, number, fail_since, reason)
JOIN app AS a ON a.id = n.app_id AND a.kind = 'tenant' AND a.deleted_at IS NULL
JOIN alert_mail_interest AS i ON i.environment_id = a.environment_id AND i.kind = $1
WHERE a.metadata ? 'svix.email' OR EXISTS (SELECT FROM alert_email AS e WHERE e.app_id = a.id)
ORDER BY n.app_id, n.endpoint_id
ON CONFLICT (app_id, endpoint_id, kind) DO UPDATE
SET pending = m.pending + excluded.pending,
    since = CASE m.pending WHEN 0 THEN excluded.since ELSE m.since END,
    last_at = excluded.last_at, fail_since = excluded.fail_since, reason = excluded.reason,
    due_at = CASE m.pending
                 WHEN 0 THEN greatest(excluded.due_at, m.sent_at + make_interval(secs => $8))
                 ELSE m.due_at END;

-- name: claim :many
-- Up to $4 that are due at $1, those first that have been for longest, and what else there is of the
-- same endpoints and due $5 seconds later; claim them as $2 until $3.
-- Served by alert_mail_due_idx and alert_mail_pkey.
WITH ripe AS (
    SELECT app_id, endpoint_id, kind FROM alert_mail
    WHERE due_at <= $1 ORDER BY due_at LIMIT $4 FOR UPDATE SKIP LOCKED),
near AS (
    SELECT m.app_id, m.endpoint_id, m.kind
    FROM alert_mail AS m JOIN ripe AS r ON r.app_id = m.app_id AND r.endpoint_id = m.endpoint_id
    WHERE m.due_at <= $1::timestamptz + make_interval(secs => $5) FOR UPDATE OF m SKIP LOCKED),
due AS (SELECT * FROM ripe UNION SELECT * FROM near)
UPDATE alert_mail AS m SET claim = $2, due_at = $3
FROM due WHERE m.app_id = due.app_id AND m.endpoint_id = due.endpoint_id AND m.kind = due.kind
RETURNING m.app_id, m.endpoint_id, m.kind, m.pending, m.since, m.last_at, m.fail_since, m.reason,
          m.failures, m.failing_since;

-- name: about :many
-- What there is to say of ($1 app, $2 endpoint, $3 kind), as far as it is still to be told. Served by
-- app_id_key, environment_pkey, alert_email_pkey, endpoint_pkey and attempt_failed_idx.
SELECT n.app_id, n.endpoint_id, n.kind, a.name, a.uid, v.settings, e.url,
       coalesce(t.email, a.metadata ->> 'svix.email') AS email,
       l.started_at, l.status, l.detail
FROM unnest($1::text[], $2::text[], $3::text[]) AS n(app_id, endpoint_id, kind)
JOIN app AS a ON a.id = n.app_id AND a.deleted_at IS NULL
JOIN environment AS v ON v.id = a.environment_id
JOIN alert_mail_interest AS i ON i.environment_id = v.id AND i.kind = n.kind
JOIN endpoint AS e ON e.app_id = n.app_id AND e.id = n.endpoint_id AND e.deleted_at IS NULL
LEFT JOIN alert_email AS t ON t.app_id = n.app_id
LEFT JOIN LATERAL (
    SELECT x.started_at, x.status, coalesce(nullif(x.detail, ''), x.fault, '') AS detail
    FROM attempt AS x
    WHERE x.app_id = n.app_id AND x.endpoint_id = n.endpoint_id AND x.verdict <> 'delivered'
    ORDER BY x.id DESC LIMIT 1) AS l ON true
WHERE coalesce(t.email, a.metadata ->> 'svix.email') IS NOT NULL;

-- name: told :exec
-- Of ($3 app, $4 endpoint, $5 kind), claimed as $1, $6 events each were told at $2; what came since is
-- told $7 seconds later. Served by alert_mail_pkey.
UPDATE alert_mail AS m
SET claim = NULL, pending = m.pending - n.number, since = m.last_at, sent_at = $2, failures = 0,
    failing_since = NULL,
    due_at = CASE WHEN m.pending > n.number THEN $2::timestamptz + make_interval(secs => $7) END
FROM unnest($3::text[], $4::text[], $5::text[], $6::bigint[])
    AS n(app_id, endpoint_id, kind, number)
WHERE m.app_id = n.app_id AND m.endpoint_id = n.endpoint_id AND m.kind = n.kind AND m.claim = $1;

-- name: delayed :exec
-- Nothing of ($3 app, $4 endpoint, $5 kind), claimed as $1, was told at $2; again at $6.
-- Served by alert_mail_pkey.
UPDATE alert_mail AS m
SET claim = NULL, failures = m.failures + 1, due_at = $6,
    failing_since = coalesce(m.failing_since, $2)
FROM unnest($3::text[], $4::text[], $5::text[]) AS n(app_id, endpoint_id, kind)
WHERE m.app_id = n.app_id AND m.endpoint_id = n.endpoint_id AND m.kind = n.kind AND m.claim = $1;

-- name: release :exec
-- ($3 app, $4 endpoint, $5 kind), claimed as $1, are due at $2 again. Served by alert_mail_pkey.
UPDATE alert_mail AS m SET claim = NULL, due_at = $2
FROM unnest($3::text[], $4::text[], $5::text[]) AS n(app_id, endpoint_id, kind)
WHERE m.app_id = n.app_id AND m.endpoint_id = n.endpoint_id AND m.kind = n.kind AND m.claim = $1;

-- name: forget :exec
-- Nothing that waits of ($2 app, $3 endpoint, $4 kind), claimed as $1, is told any more.
-- Served by alert_mail_pkey.
UPDATE alert_mail AS m
SET claim = NULL, pending = 0, due_at = NULL, failures = 0, failing_since = NULL
FROM unnest($2::text[], $3::text[], $4::text[]) AS n(app_id, endpoint_id, kind)
WHERE m.app_id = n.app_id AND m.endpoint_id = n.endpoint_id AND m.kind = n.kind AND m.claim = $1;

-- name: prune :exec
-- Drop what has nothing to tell and was told before $1, or never. The table has a row for each
-- endpoint that was in trouble of late.
DELETE FROM alert_mail WHERE due_at IS NULL AND (sent_at IS NULL OR sent_at < $1);

-- name: waiting :one
-- About how many endpoints something is to be told. Served by alert_mail_due_idx.
SELECT count(*) FROM (SELECT FROM alert_mail WHERE due_at IS NOT NULL LIMIT $1) AS counted;
