-- Work that somebody other than a shard's owner made; the owner drains it (see lane.sql).

-- name: add :exec
-- Of shard $1 and app $2, the endpoints $3; $4: something they are owed was called off.
-- Served by wake_pkey.
INSERT INTO wake AS w (shard, app_id, endpoint_id, recall)
SELECT $1, $2, endpoint_id, $4 FROM unnest($3::text[]) AS endpoint_id
ON CONFLICT (shard, app_id, endpoint_id) DO UPDATE
SET at = now(), recall = w.recall OR excluded.recall;
