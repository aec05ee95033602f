-- Attempts of an environment, exported to a collector of its own by OTLP.

-- Where to. headers: what is sent along, sealed. failures: in a row; nothing is sent before next_at.
-- claimed_until, claim: whoever exports now, so that a collector that hangs holds no transaction.
CREATE TABLE otel_config (
    environment_id text COLLATE "C" PRIMARY KEY,
    url            text NOT NULL,
    headers        bytea,
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    failures       integer NOT NULL DEFAULT 0,
    next_at        timestamptz NOT NULL,
    claim          text,
    claimed_until  timestamptz,
    last_error     text,
    last_error_at  timestamptz,
    exported_at    timestamptz
);
ALTER TABLE otel_config SET (autovacuum_vacuum_scale_factor = 0,
                             autovacuum_vacuum_threshold = 500);

-- How often one is tried, and with what, is nobody's configuration: a change of that rings nothing.
CREATE TRIGGER otel_config_changed AFTER INSERT OR DELETE ON otel_config
    FOR EACH ROW EXECUTE FUNCTION notify_changed();

-- The environments whose attempts are exported. Like the others, the setting is kept as it was given.
CREATE VIEW otel_wanted AS
SELECT c.environment_id
FROM otel_config AS c
JOIN environment AS v ON v.id = c.environment_id AND v.deleted_at IS NULL
WHERE v.settings -> 'enableOtlp' = 'true';

-- Attempts that are still to be exported, staged by the statement that logs them.
CREATE TABLE otel_attempt (
    environment_id text COLLATE "C" NOT NULL,
    number         bigint GENERATED ALWAYS AS IDENTITY,
    app_id         text COLLATE "C" NOT NULL,
    message_id     text COLLATE "C" NOT NULL,
    attempt_id     text COLLATE "C" NOT NULL,
    PRIMARY KEY (environment_id, number)
);
ALTER TABLE otel_attempt SET (autovacuum_vacuum_scale_factor = 0,
                              autovacuum_vacuum_threshold = 20000);
