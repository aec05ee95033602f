-- The log: each HTTP request with its outcome, and counts per minute so that charts never scan it.

-- Exactly one of status and fault is set. phases_ms: dns, connect, tls, first byte, body.
-- response is NULL when there was none or it was expunged (expunged_at).
CREATE TABLE attempt (
    app_id           text COLLATE "C" NOT NULL,
    id               text COLLATE "C" NOT NULL,
    message_id       text COLLATE "C" NOT NULL,
    endpoint_id      text COLLATE "C" NOT NULL,
    event_type       text NOT NULL,
    number           integer NOT NULL,
    trigger          smallint NOT NULL CHECK (trigger IN (0, 1)),
    verdict          text NOT NULL CHECK (verdict IN ('delivered', 'retry', 'park', 'failed')),
    url              text NOT NULL,
    status           integer,
    fault            text,
    detail           text NOT NULL DEFAULT '',
    started_at       timestamptz NOT NULL,
    duration_ms      integer NOT NULL,
    next_attempt_at  timestamptz,
    phases_ms        real[],
    address          text,
    reused           boolean NOT NULL DEFAULT false,
    tls              text,
    response         bytea,
    response_headers jsonb,
    truncated        boolean NOT NULL DEFAULT false,
    expunged_at      timestamptz,
    PRIMARY KEY (app_id, id),
    CHECK ((status IS NULL) <> (fault IS NULL))
) PARTITION BY RANGE (id);
CREATE TABLE attempt_default PARTITION OF attempt DEFAULT;
CREATE INDEX attempt_endpoint_idx ON attempt (app_id, endpoint_id, id);
CREATE INDEX attempt_message_idx ON attempt (app_id, message_id, id);
CREATE INDEX attempt_failed_idx ON attempt (app_id, endpoint_id, id) WHERE verdict <> 'delivered';

-- duration_ms is the sum over all attempts of the minute.
CREATE TABLE rollup_minute (
    app_id      text COLLATE "C" NOT NULL,
    endpoint_id text COLLATE "C" NOT NULL,
    bucket      timestamptz NOT NULL,
    delivered   integer NOT NULL DEFAULT 0,
    status_3xx  integer NOT NULL DEFAULT 0,
    status_4xx  integer NOT NULL DEFAULT 0,
    status_5xx  integer NOT NULL DEFAULT 0,
    no_answer   integer NOT NULL DEFAULT 0,
    parked      integer NOT NULL DEFAULT 0,
    duration_ms bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (app_id, endpoint_id, bucket)
) WITH (fillfactor = 70);
