-- What apps are owed, counted up to a limit: for the quota of the gateway.

-- name: settings :one
-- For the transaction: the plan goes by index whatever the planner thinks of young partitions.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_bitmapscan', 'off', true),
       set_config('plan_cache_mode', 'force_custom_plan', true);

-- name: owed :many
-- How many deliveries each of the apps ($1 shard, $2 app) is owed, at most $3, in their order.
-- Served by delivery_owed_idx and delivery_place_idx alone: pairs are compared so that no index that
-- begins with the app, and has what was delivered as well, looks as good.
SELECT (SELECT count(*) FROM (
            SELECT 1 FROM delivery AS d
            WHERE (d.shard, d.app_id) >= (w.shard, w.app_id)
              AND (d.shard, d.app_id) <= (w.shard, w.app_id)
              AND d.state IN ('pending', 'retrying') AND d.place IS NULL
            UNION ALL
            SELECT 1 FROM delivery AS d
            WHERE (d.shard, d.app_id) >= (w.shard, w.app_id)
              AND (d.shard, d.app_id) <= (w.shard, w.app_id)
              AND d.state IN ('pending', 'retrying') AND d.place IS NOT NULL
            LIMIT $3) AS o) AS owed
FROM unnest($1::int[], $2::text[]) WITH ORDINALITY AS w(shard, app_id, number) ORDER BY w.number;
