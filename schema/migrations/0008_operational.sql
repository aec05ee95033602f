-- What the installation tells its operators: operational webhooks, and alerts.

-- 'operational': the app whose endpoints are an environment's operational endpoints. Nobody finds it
-- by its id or in a list, and it makes no operational events itself.
ALTER TABLE app
    ADD COLUMN kind text NOT NULL DEFAULT 'tenant' CHECK (kind IN ('tenant', 'operational'));
CREATE UNIQUE INDEX app_operational_idx ON app (environment_id) WHERE kind = 'operational';

-- Which endpoints hear of operational events. NULL filters let everything pass.
CREATE VIEW operational_interest AS
SELECT a.environment_id, e.event_types, e.channels
FROM app AS a
JOIN environment AS v ON v.id = a.environment_id AND v.deleted_at IS NULL
JOIN endpoint AS e ON e.app_id = a.id AND e.deleted_at IS NULL AND e.state <> 'disabled'
WHERE a.kind = 'operational';

-- Events that are written, in the transaction of what they tell, and not published yet.
-- key: of one kind and key only so many are published in a minute.
CREATE TABLE operational_event (
    number         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    environment_id text COLLATE "C" NOT NULL,
    app_id         text COLLATE "C",
    kind           text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    channels       text[] NOT NULL,
    data           jsonb NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT now()
);
-- Rows come and go: have the vacuum come by their number, not by their share.
ALTER TABLE operational_event SET (autovacuum_vacuum_scale_factor = 0,
                                   autovacuum_vacuum_threshold = 5000);

-- How many events of a kind and key were published in a minute, and how many were only counted.
CREATE TABLE operational_minute (
    environment_id text COLLATE "C" NOT NULL,
    kind           text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    minute         timestamptz NOT NULL,
    app_id         text COLLATE "C",
    published      integer NOT NULL,
    suppressed     integer NOT NULL,
    PRIMARY KEY (environment_id, kind, key, minute)
);
CREATE INDEX operational_minute_minute_idx ON operational_minute (minute);

-- By what an app's operational events can be told apart: its id, and its uid if a channel may be
-- called so.
CREATE FUNCTION operational_channels(app_id text, uid text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_remove(ARRAY[app_id, CASE WHEN length(uid) <= 128 THEN uid END], NULL)
$$;

CREATE FUNCTION operational_wanted(environment text, kind text, told text[]) RETURNS boolean
LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM operational_interest AS i
                   WHERE i.environment_id = environment
                     AND (i.event_types IS NULL OR kind = ANY (i.event_types))
                     AND (i.channels IS NULL OR i.channels && told))
$$;

-- A group got its first letter, or the first since it was resolved or its snooze was over.
CREATE FUNCTION note_group_opened() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO operational_event (environment_id, app_id, kind, key, channels, data)
    SELECT NEW.environment_id, NEW.app_id, 'dead_letter.group_opened', NEW.endpoint_id, c.channels,
           jsonb_build_object(
               'appId', NEW.app_id, 'appUid', a.uid, 'endpointId', NEW.endpoint_id,
               'endpointUid', e.uid, 'groupId', NEW.id, 'letterId', NEW.letter_id,
               'errorClass', NEW.error_class, 'responseStatusCode', coalesce(NEW.status, 0),
               'reopened', TG_OP = 'UPDATE', 'firstSeenAt', NEW.first_seen_at)
    FROM app AS a
    LEFT JOIN endpoint AS e ON e.app_id = a.id AND e.id = NEW.endpoint_id
    CROSS JOIN LATERAL (SELECT operational_channels(a.id, a.uid) AS channels) AS c
    WHERE a.id = NEW.app_id AND a.kind = 'tenant'
      AND operational_wanted(NEW.environment_id, 'dead_letter.group_opened', c.channels);
    RETURN NULL;
END $$;

CREATE TRIGGER dead_letter_group_made AFTER INSERT ON dead_letter_group
    FOR EACH ROW EXECUTE FUNCTION note_group_opened();
CREATE TRIGGER dead_letter_group_opened AFTER UPDATE ON dead_letter_group
    FOR EACH ROW
    WHEN (OLD.state IN ('resolved', 'snoozed') AND NEW.state = 'open' AND NEW.total > OLD.total)
    EXECUTE FUNCTION note_group_opened();

-- When to raise an alert, and about whom: apps, or endpoints where `kind` is failure_percent.
-- One is raised from `threshold` on, and cleared below `clear_below`. window_s: over which time is
-- measured; least_attempts: in it, below which an endpoint is not judged. app_ids: NULL is all.
-- raised_at: since when one is raised; told_at: when that was told last.
CREATE TABLE alert_rule (
    environment_id text COLLATE "C" NOT NULL,
    id             text COLLATE "C" NOT NULL,
    name           text NOT NULL,
    kind           text NOT NULL CHECK (kind IN ('parked_count', 'parked_per_minute',
                                                 'oldest_parked_s', 'failure_percent')),
    threshold      integer NOT NULL CHECK (threshold > 0),
    clear_below    integer NOT NULL,
    window_s       integer NOT NULL CHECK (window_s BETWEEN 60 AND 3600),
    least_attempts integer NOT NULL CHECK (least_attempts > 0),
    app_ids        text[],
    enabled        boolean NOT NULL,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    raised_at      timestamptz,
    told_at        timestamptz,
    PRIMARY KEY (environment_id, id),
    CHECK (clear_below > 0 AND clear_below <= threshold)
);

-- For whom a rule was raised. told: whether listeners know that it began and not yet that it is over.
CREATE TABLE alert (
    environment_id text COLLATE "C" NOT NULL,
    rule_id        text COLLATE "C" NOT NULL,
    app_id         text COLLATE "C" NOT NULL,
    endpoint_id    text COLLATE "C" NOT NULL DEFAULT '',
    value          double precision NOT NULL,
    raised_at      timestamptz NOT NULL,
    cleared_at     timestamptz,
    told           boolean NOT NULL,
    PRIMARY KEY (environment_id, rule_id, app_id, endpoint_id)
);

-- What all endpoints did of late is looked for by time. By an expression, so that nobody who asks
-- about one endpoint is led here: this index is much smaller than its key.
CREATE INDEX rollup_minute_time_idx ON rollup_minute ((bucket AT TIME ZONE 'UTC'));

-- Every environment starts with these. Their ids are derived, and sort first.
CREATE FUNCTION give_alert_rules(environment text) RETURNS void LANGUAGE sql AS $$
    INSERT INTO alert_rule (environment_id, id, name, kind, threshold, clear_below, window_s,
                            least_attempts, enabled, created_at, updated_at)
    SELECT environment, 'alr_0000000000' || left(md5(environment || kind), 17), name, kind,
           threshold, clear_below, window_s, 20, true, now(), now()
    FROM (VALUES ('Many dead letters', 'parked_count', 1000, 800, 300),
                 ('Dead letters arrive fast', 'parked_per_minute', 60, 30, 300),
                 ('A dead letter waits for a day', 'oldest_parked_s', 86400, 86400, 300),
                 ('An endpoint fails', 'failure_percent', 50, 25, 900))
        AS d(name, kind, threshold, clear_below, window_s)
$$;
CREATE FUNCTION environment_made() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM give_alert_rules(NEW.id);
    RETURN NULL;
END $$;
CREATE TRIGGER environment_made AFTER INSERT ON environment
    FOR EACH ROW EXECUTE FUNCTION environment_made();
SELECT give_alert_rules(id) FROM environment;
