-- What was accepted, what is owed and by whom it is sent.
-- message and delivery are partitioned by message id, a day each (ids sort by time); partitions are
-- made by upkeep, `*_default` takes what has none.

CREATE TABLE shard (
    id          integer PRIMARY KEY,
    owner       text,
    epoch       bigint NOT NULL DEFAULT 0,
    lease_until timestamptz,
    -- The last sequence of the stream that intake has turned into rows for this shard.
    position    bigint NOT NULL DEFAULT 0,
    -- When the stream that the position counts in was created: another stream starts at 1 again.
    stream_at   timestamptz
) WITH (fillfactor = 50);

-- Dispatchers that are alive, so that each can tell what its even share of the shards is.
CREATE TABLE dispatcher (
    id          text PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    alive_until timestamptz NOT NULL
);

-- Work that somebody other than a shard's owner made; the owner drains it.
CREATE TABLE wake (
    shard       integer NOT NULL,
    app_id      text COLLATE "C" NOT NULL,
    endpoint_id text COLLATE "C" NOT NULL,
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (shard, app_id, endpoint_id)
);

-- The payload is NULL once it is expunged.
CREATE TABLE message (
    app_id       text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    event_type   text NOT NULL,
    event_id     text COLLATE "C",
    channels     text[],
    tags         text[],
    payload      bytea,
    content_type text NOT NULL,
    created_at   timestamptz NOT NULL,
    PRIMARY KEY (app_id, id)
) PARTITION BY RANGE (id);
CREATE TABLE message_default PARTITION OF message DEFAULT;

-- The ledger that refuses a repeated event id.
CREATE TABLE message_event_id (
    app_id     text COLLATE "C" NOT NULL,
    event_id   text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (app_id, event_id)
);

-- attempts: all there were; failures: of the present run, the place in the retry schedule.
-- run: 0 from the fan-out on, one more with each redelivery or resend that starts anew.
-- manual: the next attempt was asked for by hand.
CREATE TABLE delivery (
    app_id          text COLLATE "C" NOT NULL,
    message_id      text COLLATE "C" NOT NULL,
    endpoint_id     text COLLATE "C" NOT NULL,
    shard           integer NOT NULL,
    state           text NOT NULL DEFAULT 'pending'
                    CHECK (state IN ('pending', 'retrying', 'delivered', 'dead', 'cancelled')),
    attempts        integer NOT NULL DEFAULT 0,
    failures        integer NOT NULL DEFAULT 0,
    run             integer NOT NULL DEFAULT 0,
    manual          boolean NOT NULL DEFAULT false,
    due_at          timestamptz,
    reason          text,
    last_status     integer,
    last_attempt_at timestamptz,
    delivered_at    timestamptz,
    created_at      timestamptz NOT NULL,
    PRIMARY KEY (app_id, message_id, endpoint_id),
    CONSTRAINT delivery_due_when_owed CHECK ((state IN ('pending', 'retrying')) = (due_at IS NOT NULL))
) PARTITION BY RANGE (message_id);
CREATE TABLE delivery_default PARTITION OF delivery DEFAULT;
CREATE INDEX delivery_owed_idx ON delivery (shard, app_id, endpoint_id, due_at, message_id)
    WHERE state IN ('pending', 'retrying');
CREATE INDEX delivery_endpoint_idx ON delivery (app_id, endpoint_id, message_id);
CREATE INDEX delivery_dead_idx ON delivery (app_id, endpoint_id, message_id) WHERE state = 'dead';

-- A given-up delivery, whole; it outlives the message. One row per delivery: a letter that dies
-- again after a redelivery is parked again in place.
CREATE TABLE dead_letter (
    app_id           text COLLATE "C" NOT NULL,
    id               text COLLATE "C" NOT NULL,
    message_id       text COLLATE "C" NOT NULL,
    endpoint_id      text COLLATE "C" NOT NULL,
    state            text NOT NULL DEFAULT 'parked'
                     CHECK (state IN ('parked', 'redelivering', 'redelivered', 'discarded')),
    reason           text NOT NULL,
    event_type       text NOT NULL,
    event_id         text,
    channels         text[],
    payload          bytea,
    content_type     text NOT NULL,
    url              text NOT NULL,
    status           integer,
    fault            text,
    detail           text NOT NULL DEFAULT '',
    response         bytea,
    fingerprint      text COLLATE "C" NOT NULL,
    attempts         integer NOT NULL,
    message_at       timestamptz NOT NULL,
    first_attempt_at timestamptz,
    last_attempt_at  timestamptz,
    last_attempt_id  text COLLATE "C",
    parked_at        timestamptz NOT NULL,
    updated_at       timestamptz NOT NULL,
    PRIMARY KEY (app_id, id),
    UNIQUE (app_id, message_id, endpoint_id)
);
CREATE INDEX dead_letter_state_idx ON dead_letter (app_id, state, id);
CREATE INDEX dead_letter_endpoint_idx ON dead_letter (app_id, endpoint_id, id);

-- environment_id is NULL when not even that could be told.
CREATE TABLE rejected_event (
    id             text COLLATE "C" PRIMARY KEY,
    environment_id text COLLATE "C",
    app            text NOT NULL,
    subject        text NOT NULL,
    headers        jsonb NOT NULL,
    body           bytea NOT NULL,
    reason         text NOT NULL,
    detail         text NOT NULL,
    sequence       bigint NOT NULL,
    created_at     timestamptz NOT NULL
);
CREATE INDEX rejected_event_environment_idx ON rejected_event (environment_id, id);
