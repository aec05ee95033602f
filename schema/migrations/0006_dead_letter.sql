-- Dead letters that can be worked through: selected by any of their properties, and counted in
-- groups that failed alike. Rejected events get states.

-- headers: those added to the endpoint's requests when it was parked, sealed as the endpoint's are.
-- error_class: of what kind the failure was. group_id: of those that failed alike at an endpoint.
ALTER TABLE dead_letter
    ADD COLUMN environment_id text COLLATE "C",
    ADD COLUMN headers bytea,
    ADD COLUMN error_class text NOT NULL GENERATED ALWAYS AS (
        CASE WHEN reason IN ('gone', 'aborted', 'endpoint_disabled', 'endpoint_deleted', 'expired')
             THEN reason
             WHEN fault IS NOT NULL THEN fault
             WHEN status BETWEEN 300 AND 399 THEN 'http_3xx'
             WHEN status BETWEEN 400 AND 499 THEN 'http_4xx'
             WHEN status BETWEEN 500 AND 599 THEN 'http_5xx'
             ELSE 'http_other' END) STORED,
    ADD COLUMN group_id text COLLATE "C" NOT NULL
        GENERATED ALWAYS AS ('dlg_' || md5(endpoint_id || ':' || fingerprint)) STORED;
UPDATE dead_letter AS l SET environment_id = a.environment_id FROM app AS a WHERE a.id = l.app_id;

-- What a list may be filtered by stands in the two wide indexes, so that whatever does not match is
-- passed over without a look at its row.
DROP INDEX dead_letter_state_idx;
CREATE INDEX dead_letter_state_idx ON dead_letter (app_id, state, id)
    INCLUDE (endpoint_id, group_id, event_type, reason, error_class, fault, status, attempts);
CREATE INDEX dead_letter_environment_idx ON dead_letter (environment_id, state, id)
    INCLUDE (app_id, endpoint_id, group_id, event_type, reason, error_class, fault, status,
             attempts);
DROP INDEX dead_letter_endpoint_idx;
CREATE INDEX dead_letter_endpoint_idx ON dead_letter (app_id, endpoint_id, state, id);
CREATE INDEX dead_letter_group_idx ON dead_letter (app_id, group_id, state, id);
CREATE INDEX dead_letter_updated_idx ON dead_letter (updated_at);
-- Indexes are read alone where a vacuum has been: have it come sooner than by default.
ALTER TABLE dead_letter SET (autovacuum_vacuum_scale_factor = 0.05,
                             autovacuum_vacuum_insert_scale_factor = 0.05);

-- Letters that failed alike at an endpoint. parked, redelivering: how many are so now; total: how
-- often one was parked. letter_id: the newest. state_by: the key that set the state; NULL: nobody.
CREATE TABLE dead_letter_group (
    app_id         text COLLATE "C" NOT NULL,
    id             text COLLATE "C" NOT NULL,
    environment_id text COLLATE "C",
    endpoint_id    text COLLATE "C" NOT NULL,
    fingerprint    text COLLATE "C" NOT NULL,
    error_class    text NOT NULL,
    status         integer,
    letter_id      text COLLATE "C" NOT NULL,
    parked         integer NOT NULL DEFAULT 0,
    redelivering   integer NOT NULL DEFAULT 0,
    total          bigint NOT NULL DEFAULT 0,
    first_seen_at  timestamptz NOT NULL,
    last_seen_at   timestamptz NOT NULL,
    state          text NOT NULL DEFAULT 'open'
                   CHECK (state IN ('open', 'acknowledged', 'snoozed', 'resolved')),
    state_at       timestamptz NOT NULL,
    state_by       text COLLATE "C",
    snoozed_until  timestamptz,
    PRIMARY KEY (app_id, id),
    CHECK (state <> 'snoozed' OR snoozed_until IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX dead_letter_group_seen_idx ON dead_letter_group (app_id, last_seen_at, id);
CREATE INDEX dead_letter_group_count_idx ON dead_letter_group (app_id, parked, id);
CREATE INDEX dead_letter_group_environment_seen_idx
    ON dead_letter_group (environment_id, last_seen_at, id);
CREATE INDEX dead_letter_group_environment_count_idx
    ON dead_letter_group (environment_id, parked, id);

-- How many letters of a group were parked in an hour.
CREATE TABLE dead_letter_hour (
    app_id   text COLLATE "C" NOT NULL,
    group_id text COLLATE "C" NOT NULL,
    bucket   timestamptz NOT NULL,
    parked   integer NOT NULL,
    PRIMARY KEY (app_id, group_id, bucket)
) WITH (fillfactor = 70);
CREATE INDEX dead_letter_hour_bucket_idx ON dead_letter_hour (bucket);

-- What a statement did to the letters of a group that were parked in the same hour.
CREATE TYPE dead_letter_change AS (
    app_id       text COLLATE "C",
    group_id     text COLLATE "C",
    bucket       timestamptz,
    arrived      integer,
    parked       integer,
    redelivering integer,
    first_at     timestamptz,
    last_at      timestamptz,
    letter_id    text COLLATE "C"
);

-- Keeps the groups, whoever writes letters. A group is resolved when none of its letters is parked
-- or on its way; the next letter opens it, or leaves it snoozed until its time. Groups are locked in
-- the order of their keys.
CREATE FUNCTION count_dead_letters() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changes dead_letter_change[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        SELECT array_agg(c) INTO changes FROM (
            SELECT app_id, group_id, date_trunc('hour', parked_at, 'UTC'), count(*),
                   count(*) FILTER (WHERE state = 'parked'),
                   count(*) FILTER (WHERE state = 'redelivering'),
                   min(parked_at), max(parked_at), max(id)
            FROM new_rows GROUP BY 1, 2, 3) AS c;
    ELSIF TG_OP = 'DELETE' THEN
        SELECT array_agg(c) INTO changes FROM (
            SELECT app_id, group_id, NULL::timestamptz, 0,
                   -count(*) FILTER (WHERE state = 'parked'),
                   -count(*) FILTER (WHERE state = 'redelivering'),
                   NULL::timestamptz, NULL::timestamptz, NULL::text
            FROM old_rows GROUP BY 1, 2) AS c;
    ELSE
        SELECT array_agg(c) INTO changes FROM (
            SELECT app_id, group_id, date_trunc('hour', parked_at, 'UTC'),
                   count(*) FILTER (WHERE arrived),
                   coalesce(sum(sign) FILTER (WHERE state = 'parked'), 0) AS parked,
                   coalesce(sum(sign) FILTER (WHERE state = 'redelivering'), 0) AS redelivering,
                   min(parked_at) FILTER (WHERE arrived), max(parked_at) FILTER (WHERE arrived),
                   max(id) FILTER (WHERE arrived)
            FROM (SELECT *, sign = 1 AND parked_at <> lag(parked_at)
                            OVER (PARTITION BY app_id, id ORDER BY sign) AS arrived
                  FROM (SELECT app_id, id, group_id, state, parked_at, -1 AS sign FROM old_rows
                        UNION ALL
                        SELECT app_id, id, group_id, state, parked_at, 1 FROM new_rows) AS r) AS l
            GROUP BY 1, 2, 3
            HAVING bool_or(arrived) OR sum(sign) FILTER (WHERE state = 'parked') <> 0
                OR sum(sign) FILTER (WHERE state = 'redelivering') <> 0) AS c;
    END IF;
    IF changes IS NULL THEN
        RETURN NULL;
    END IF;

    INSERT INTO dead_letter_group (app_id, id, environment_id, endpoint_id, fingerprint,
                                   error_class, status, letter_id, first_seen_at, last_seen_at,
                                   state_at)
    SELECT l.app_id, l.group_id, l.environment_id, l.endpoint_id, l.fingerprint, l.error_class,
           l.status, l.id, c.first_at, c.first_at, c.first_at
    FROM (SELECT app_id, group_id, max(letter_id) AS letter_id,
                 min(first_at) AS first_at
          FROM unnest(changes) WHERE arrived > 0 GROUP BY 1, 2) AS c
    JOIN dead_letter AS l ON l.app_id = c.app_id AND l.id = c.letter_id
    ORDER BY l.app_id, l.group_id
    ON CONFLICT (app_id, id) DO NOTHING;

    INSERT INTO dead_letter_hour AS h (app_id, group_id, bucket, parked)
    SELECT app_id, group_id, bucket, sum(arrived) FROM unnest(changes) WHERE arrived > 0
    GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
    ON CONFLICT (app_id, group_id, bucket) DO UPDATE SET parked = h.parked + excluded.parked;

    PERFORM FROM dead_letter_group AS g
    JOIN (SELECT DISTINCT app_id, group_id FROM unnest(changes)) AS c
        ON g.app_id = c.app_id AND g.id = c.group_id
    ORDER BY g.app_id, g.id FOR NO KEY UPDATE OF g;

    UPDATE dead_letter_group AS g
    SET parked = n.parked, redelivering = n.redelivering, total = g.total + n.arrived,
        first_seen_at = least(g.first_seen_at, n.first_at),
        last_seen_at = greatest(g.last_seen_at, n.last_at),
        letter_id = greatest(g.letter_id, n.letter_id), state = n.state,
        state_at = CASE WHEN n.state = g.state THEN g.state_at ELSE now() END,
        state_by = CASE WHEN n.state = g.state THEN g.state_by END
    FROM (SELECT p.app_id, p.id, p.parked + c.parked AS parked,
                 p.redelivering + c.redelivering AS redelivering, c.arrived, c.first_at, c.last_at,
                 c.letter_id,
                 CASE WHEN p.parked + c.parked + p.redelivering + c.redelivering = 0 THEN 'resolved'
                      WHEN c.arrived = 0 OR p.state = 'acknowledged' THEN p.state
                      WHEN p.snoozed_until > c.last_at THEN 'snoozed'
                      ELSE 'open' END AS state
          FROM (SELECT app_id, group_id, sum(arrived) AS arrived, sum(parked) AS parked,
                       sum(redelivering) AS redelivering, min(first_at) AS first_at,
                       max(last_at) AS last_at, max(letter_id) AS letter_id
                FROM unnest(changes) GROUP BY 1, 2) AS c
          JOIN dead_letter_group AS p ON p.app_id = c.app_id AND p.id = c.group_id) AS n
    WHERE g.app_id = n.app_id AND g.id = n.id;
    RETURN NULL;
END $$;

INSERT INTO dead_letter_group (app_id, id, environment_id, endpoint_id, fingerprint, error_class,
                               status, letter_id, parked, redelivering, total, first_seen_at,
                               last_seen_at, state, state_at)
SELECT app_id, group_id, min(environment_id), min(endpoint_id), min(fingerprint), min(error_class),
       min(status), max(id), count(*) FILTER (WHERE state = 'parked'),
       count(*) FILTER (WHERE state = 'redelivering'), count(*), min(parked_at), max(parked_at),
       CASE WHEN bool_or(state IN ('parked', 'redelivering')) THEN 'open' ELSE 'resolved' END, now()
FROM dead_letter GROUP BY app_id, group_id;

CREATE TRIGGER dead_letter_parked AFTER INSERT ON dead_letter
    REFERENCING NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_dead_letters();
CREATE TRIGGER dead_letter_moved AFTER UPDATE ON dead_letter
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_dead_letters();
CREATE TRIGGER dead_letter_dropped AFTER DELETE ON dead_letter
    REFERENCING OLD TABLE AS old_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_dead_letters();

-- Bytes as JSON, or as text to search in; NULL and '' if they are none.
CREATE FUNCTION json_of(bytes bytea) RETURNS jsonb LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN convert_from(bytes, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded OR statement_too_complex THEN
    RETURN NULL;
END $$;
CREATE FUNCTION text_of(bytes bytea) RETURNS text LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN coalesce(convert_from(bytes, 'UTF8'), '');
EXCEPTION WHEN data_exception THEN
    RETURN encode(bytes, 'escape');
END $$;

-- message_id: under which it was published again, from the first try on; state_by: the key.
ALTER TABLE rejected_event
    ADD COLUMN state text NOT NULL DEFAULT 'rejected'
        CHECK (state IN ('rejected', 'resubmitted', 'discarded')),
    ADD COLUMN state_at timestamptz,
    ADD COLUMN state_by text COLLATE "C",
    ADD COLUMN app_id text COLLATE "C",
    ADD COLUMN message_id text COLLATE "C";
DROP INDEX rejected_event_environment_idx;
CREATE INDEX rejected_event_environment_idx ON rejected_event (environment_id, state, id)
    INCLUDE (app, reason);
