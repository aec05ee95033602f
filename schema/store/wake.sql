-- Work that somebody other than a shard's owner made; the owner drains it (see lane.sql).

-- name: add :exec
-- Of shard $1 and app $2, the endpoints $3. Served by wake_pkey.
INSERT INTO wake (shard, app_id, endpoint_id)
SELECT $1, $2, endpoint_id FROM unnest($3::text[]) AS endpoint_id
ON CONFLICT (shard, app_id, endpoint_id) DO UPDATE SET at = now();
