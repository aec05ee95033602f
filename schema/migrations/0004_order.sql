-- Order where an endpoint asks for it, and what was asked for by hand, each by an index of its own.

-- place: where an event for an ordered endpoint stood on the stream. NULL: no order but due times.
ALTER TABLE delivery ADD COLUMN place bigint;

-- What is owed stands in one of these two.
DROP INDEX delivery_owed_idx;
CREATE INDEX delivery_owed_idx ON delivery (shard, app_id, endpoint_id, due_at, message_id)
    WHERE state IN ('pending', 'retrying') AND place IS NULL;
CREATE INDEX delivery_place_idx ON delivery (shard, app_id, endpoint_id, place, due_at)
    WHERE state IN ('pending', 'retrying') AND place IS NOT NULL;

CREATE INDEX delivery_manual_idx ON delivery (app_id, endpoint_id, due_at)
    WHERE state IN ('pending', 'retrying') AND manual;
