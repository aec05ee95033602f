-- Event types that payloads are held to, settings of environments, results of tasks, pollers.

-- schema_version: which of `schemas` counts; NULL is the highest.
ALTER TABLE event_type
    ADD COLUMN schema_mode text NOT NULL DEFAULT 'off'
        CHECK (schema_mode IN ('off', 'warn', 'reject')),
    ADD COLUMN schema_version text;
CREATE INDEX event_type_checked_idx ON event_type (environment_id)
    WHERE schema_mode <> 'off' AND NOT archived;

-- Where payloads of an event type were not as its schema says, added up. pointer: of JSON, with `*`
-- for places in lists. rule: the keyword that it broke. message_id: the newest such message, if it
-- was accepted.
CREATE TABLE schema_fault (
    environment_id text COLLATE "C" NOT NULL,
    event_type     text COLLATE "C" NOT NULL,
    pointer        text COLLATE "C" NOT NULL,
    rule           text COLLATE "C" NOT NULL,
    version        text NOT NULL,
    mode           text NOT NULL CHECK (mode IN ('warn', 'reject')),
    detail         text NOT NULL,
    times          bigint NOT NULL,
    first_at       timestamptz NOT NULL,
    last_at        timestamptz NOT NULL,
    message_id     text COLLATE "C",
    PRIMARY KEY (environment_id, event_type, pointer, rule)
) WITH (fillfactor = 70);
CREATE INDEX schema_fault_last_idx ON schema_fault (last_at);

-- What a task found out, for kinds that only count.
ALTER TABLE task ADD COLUMN result jsonb;

-- A way to read an app's messages by polling. Filters are as an endpoint's.
CREATE TABLE poller (
    app_id      text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    uid         text COLLATE "C",
    description text NOT NULL DEFAULT '',
    event_types text[],
    channels    text[],
    created_at  timestamptz NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (app_id, id)
);
CREATE UNIQUE INDEX poller_uid_idx ON poller (app_id, uid) WHERE uid IS NOT NULL;

-- How far a consumer has read: the id of the last message that it has done with.
CREATE TABLE poller_consumer (
    app_id      text COLLATE "C" NOT NULL,
    poller_id   text COLLATE "C" NOT NULL,
    consumer_id text COLLATE "C" NOT NULL,
    read_to     text COLLATE "C" NOT NULL,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (app_id, poller_id, consumer_id),
    FOREIGN KEY (app_id, poller_id) REFERENCES poller (app_id, id) ON DELETE CASCADE
) WITH (fillfactor = 50);
