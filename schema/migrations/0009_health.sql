-- How endpoints fare, and who changed that.

-- What is known of an endpoint; one without a row has been healthy since it was made.
-- state: healthy, degraded or failing by its attempts, else the endpoint's own; state_by: a key,
-- the receiver, or hookline itself. failing_since, failures, last_failed_at: of the failures
-- without a success since, by the minute. outage_at: when the last outage began, also after its end.
-- counted_from: what was before does not count.
CREATE TABLE endpoint_health (
    app_id         text COLLATE "C" NOT NULL,
    endpoint_id    text COLLATE "C" NOT NULL,
    environment_id text COLLATE "C" NOT NULL,
    state          text NOT NULL
                   CHECK (state IN ('healthy', 'degraded', 'failing', 'paused', 'disabled')),
    state_at       timestamptz NOT NULL,
    state_by       text NOT NULL CHECK (state_by IN ('key', 'receiver', 'hookline')),
    key_id         text COLLATE "C",
    reason         text NOT NULL,
    failing_since  timestamptz,
    last_failed_at timestamptz,
    failures       integer NOT NULL DEFAULT 0,
    warned_at      timestamptz,
    outage_at      timestamptz,
    counted_from   timestamptz NOT NULL DEFAULT '-infinity',
    PRIMARY KEY (app_id, endpoint_id),
    CHECK ((failing_since IS NULL) = (last_failed_at IS NULL))
) WITH (fillfactor = 70);
-- Those that must be looked at even if nothing is sent to them.
CREATE INDEX endpoint_health_open_idx ON endpoint_health (app_id, endpoint_id)
    WHERE state IN ('degraded', 'failing') OR (state = 'healthy' AND failing_since IS NOT NULL);
CREATE INDEX endpoint_health_environment_idx ON endpoint_health (environment_id, endpoint_id)
    INCLUDE (state) WHERE state <> 'healthy';

-- The history. state_was: NULL if it was made so.
CREATE TABLE endpoint_health_change (
    app_id      text COLLATE "C" NOT NULL,
    endpoint_id text COLLATE "C" NOT NULL,
    number      bigint GENERATED ALWAYS AS IDENTITY,
    at          timestamptz NOT NULL,
    state_was   text,
    state       text NOT NULL,
    state_by    text NOT NULL,
    key_id      text COLLATE "C",
    reason      text NOT NULL,
    PRIMARY KEY (app_id, endpoint_id, number)
);
CREATE INDEX endpoint_health_change_at_idx ON endpoint_health_change (at);

-- Whoever pauses, disables or enables an endpoint, it is written down. endpoint.state_reason says
-- who did it; the gateway says by which key, for its transaction. From then on failures count anew.
-- Endpoints of operational apps have no health.
CREATE FUNCTION endpoint_state_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    environment text;
    was text;
    became text := CASE NEW.state WHEN 'active' THEN 'healthy' ELSE NEW.state END;
    who text := CASE WHEN NEW.state_reason IN ('', 'by_request') THEN 'key'
                     WHEN NEW.state_reason = 'failing' THEN 'hookline'
                     ELSE 'receiver' END;
    key text := CASE who WHEN 'key' THEN nullif(current_setting('hookline.key_id', true), '') END;
    why text := coalesce(nullif(NEW.state_reason, ''), 'by_request');
BEGIN
    IF NEW.deleted_at IS NOT NULL THEN
        DELETE FROM endpoint_health WHERE app_id = NEW.app_id AND endpoint_id = NEW.id;
        RETURN NULL;
    END IF;
    SELECT environment_id INTO environment FROM app WHERE id = NEW.app_id AND kind = 'tenant';
    IF environment IS NULL THEN
        RETURN NULL;
    END IF;
    IF TG_OP = 'UPDATE' THEN
        SELECT h.state INTO was FROM endpoint_health AS h
        WHERE h.app_id = NEW.app_id AND h.endpoint_id = NEW.id;
        was := coalesce(was, CASE OLD.state WHEN 'active' THEN 'healthy' ELSE OLD.state END);
    END IF;
    INSERT INTO endpoint_health AS h (app_id, endpoint_id, environment_id, state, state_at,
                                      state_by, key_id, reason, outage_at, counted_from)
    VALUES (NEW.app_id, NEW.id, environment, became, NEW.state_at, who, key, why,
            CASE became WHEN 'disabled' THEN NEW.state_at END, NEW.state_at)
    ON CONFLICT (app_id, endpoint_id) DO UPDATE
    SET state = excluded.state, state_at = excluded.state_at, state_by = excluded.state_by,
        key_id = excluded.key_id, reason = excluded.reason, warned_at = NULL,
        -- While it is disabled it is told since when it failed, and afterwards what that cost.
        failing_since = CASE became WHEN 'disabled' THEN h.failing_since END,
        last_failed_at = CASE became WHEN 'disabled' THEN h.last_failed_at END,
        failures = CASE became WHEN 'disabled' THEN h.failures ELSE 0 END,
        outage_at = CASE WHEN became <> 'disabled' THEN h.outage_at
                         WHEN h.state = 'failing' THEN h.failing_since
                         ELSE excluded.outage_at END,
        counted_from = excluded.counted_from;
    INSERT INTO endpoint_health_change (app_id, endpoint_id, at, state_was, state, state_by, key_id,
                                        reason)
    VALUES (NEW.app_id, NEW.id, NEW.state_at, was, became, who, key, why);
    RETURN NULL;
END $$;

CREATE TRIGGER endpoint_state_made AFTER INSERT ON endpoint
    FOR EACH ROW WHEN (NEW.state <> 'active') EXECUTE FUNCTION endpoint_state_changed();
CREATE TRIGGER endpoint_state_changed AFTER UPDATE ON endpoint
    FOR EACH ROW
    WHEN (OLD.state <> NEW.state OR (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL))
    EXECUTE FUNCTION endpoint_state_changed();

-- Those that are paused or disabled already.
INSERT INTO endpoint_health (app_id, endpoint_id, environment_id, state, state_at, state_by, reason,
                             outage_at, counted_from)
SELECT e.app_id, e.id, a.environment_id, e.state, e.state_at,
       CASE WHEN e.state_reason IN ('', 'by_request') THEN 'key' ELSE 'receiver' END,
       coalesce(nullif(e.state_reason, ''), 'by_request'),
       CASE e.state WHEN 'disabled' THEN e.state_at END, e.state_at
FROM endpoint AS e JOIN app AS a ON a.id = e.app_id AND a.kind = 'tenant'
WHERE e.state <> 'active' AND e.deleted_at IS NULL;
INSERT INTO endpoint_health_change (app_id, endpoint_id, at, state, state_by, reason)
SELECT app_id, endpoint_id, state_at, state, state_by, reason
FROM endpoint_health ORDER BY state_at, app_id, endpoint_id;
