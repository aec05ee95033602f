-- Attempts counted by event type.

-- What a statement that settles counted, by app, event type and five minutes: one row for each
-- statement, in its transaction, so that counting waits for nobody. They are added up and deleted
-- within seconds.
CREATE TABLE type_tally (
    app_ids     text[] NOT NULL,
    event_types text[] NOT NULL,
    buckets     timestamptz[] NOT NULL,
    delivered   integer[] NOT NULL,
    failed      integer[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- event_type: empty is all that had no room of its own.
CREATE TABLE rollup_type (
    app_id     text COLLATE "C" NOT NULL,
    bucket     timestamptz NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    delivered  integer NOT NULL DEFAULT 0,
    failed     integer NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, bucket, event_type)
) WITH (fillfactor = 70);
CREATE INDEX rollup_type_time_idx ON rollup_type USING brin (bucket);
