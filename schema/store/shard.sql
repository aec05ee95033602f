-- Leases of shards, and who is there to share them.

-- name: announce :many
-- Say that dispatcher $1 lives for $2 more seconds; forget the dead; give all that live, sorted.
WITH me AS (
    INSERT INTO dispatcher (id, started_at, alive_until)
    VALUES ($1, now(), now() + make_interval(secs => $2))
    ON CONFLICT (id) DO UPDATE SET alive_until = excluded.alive_until),
gone AS (DELETE FROM dispatcher WHERE alive_until < now() - interval '1 minute' AND id <> $1)
SELECT id FROM dispatcher WHERE alive_until >= now() AND id <> $1
UNION SELECT $1 ORDER BY id;

-- name: leave :exec
DELETE FROM dispatcher WHERE id = $1;

-- name: count :one
SELECT count(*) FROM shard;

-- name: renew :many
-- Keep the shards $2 with epochs $3 for $4 more seconds; what is not in the answer is lost. Says
-- how far their intake has come.
-- Whoever writes several shards locks them by their ids' order, or two would wait for each other.
WITH held AS MATERIALIZED (
    SELECT s.id FROM unnest($2::int[], $3::bigint[]) AS f(id, epoch)
    JOIN shard AS s ON s.id = f.id AND s.epoch = f.epoch AND s.owner = $1
    ORDER BY s.id FOR NO KEY UPDATE OF s)
UPDATE shard AS s SET lease_until = now() + make_interval(secs => $4)
FROM held WHERE s.id = held.id
RETURNING s.id, s.position, s.stream_at;

-- name: claim :many
-- Take up to $2 shards that nobody holds, or that $1 held in a former life, for $3 seconds.
WITH free AS (
    SELECT id FROM shard
    WHERE (owner IS NULL OR lease_until < now() OR owner = $1) AND NOT id = ANY ($4::int[])
    ORDER BY (owner = $1) DESC NULLS LAST, id LIMIT $2 FOR UPDATE SKIP LOCKED)
UPDATE shard AS s
SET owner = $1, epoch = s.epoch + 1, lease_until = now() + make_interval(secs => $3)
FROM free WHERE s.id = free.id
RETURNING s.id, s.epoch, s.position, s.stream_at;

-- name: release :exec
-- Give the shards $2 with epochs $3 back.
WITH held AS MATERIALIZED (
    SELECT s.id FROM unnest($2::int[], $3::bigint[]) AS f(id, epoch)
    JOIN shard AS s ON s.id = f.id AND s.epoch = f.epoch AND s.owner = $1
    ORDER BY s.id FOR NO KEY UPDATE OF s)
UPDATE shard AS s SET owner = NULL, lease_until = NULL
FROM held WHERE s.id = held.id;

-- name: positions :many
SELECT id, position FROM shard ORDER BY id;
