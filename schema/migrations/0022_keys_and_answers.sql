-- Two more kinds of keys: of group admins, who see to environments and reach nothing of an app; and
-- of endpoints that configure themselves. And dead letters with the headers of the last answer.

-- endpoint_id: what alone a key of kind 'auto-config' may configure.
ALTER TABLE api_key
    ADD COLUMN endpoint_id text COLLATE "C",
    DROP CONSTRAINT api_key_kind_check,
    ADD CONSTRAINT api_key_kind_check CHECK (kind IN ('operator', 'app', 'portal', 'integration',
                                                      'poller', 'group-admin', 'auto-config')),
    DROP CONSTRAINT api_key_check,
    ADD CONSTRAINT api_key_check
        CHECK ((kind IN ('operator', 'group-admin')) = (app_id IS NULL)),
    ADD CHECK ((kind = 'auto-config') = (endpoint_id IS NOT NULL));

-- One that awaits its configuration is disabled, and by whoever made it.
CREATE OR REPLACE FUNCTION endpoint_state_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    environment text;
    was text;
    became text := CASE NEW.state WHEN 'active' THEN 'healthy' ELSE NEW.state END;
    who text := CASE WHEN NEW.state_reason IN ('', 'by_request', 'awaiting_configuration')
                          THEN 'key'
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

-- As pairs, in the order in which they came, of the answer that `response` is of.
ALTER TABLE dead_letter ADD COLUMN response_headers jsonb;

-- Days that have no partition are pruned row by row, oldest first. Mostly there are none. By an
-- expression, so that nobody who asks about one app is led here.
CREATE INDEX attempt_default_id_idx ON attempt_default ((id || ''));
CREATE INDEX delivery_default_message_idx ON delivery_default ((message_id || ''));
CREATE INDEX message_default_id_idx ON message_default ((id || ''));
