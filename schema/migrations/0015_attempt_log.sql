-- Attempts that operators are still to be told of, in message.attempt.log. Staged by the statement that
-- logs them, while any operational endpoint wants them; whose they are is looked at when they are told.
CREATE TABLE attempt_log (
    number     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    app_id     text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    attempt_id text COLLATE "C" NOT NULL
);
ALTER TABLE attempt_log SET (autovacuum_vacuum_scale_factor = 0,
                             autovacuum_vacuum_threshold = 20000);

-- As before, but that NULL filters do not let the log pass: it has to be named.
CREATE OR REPLACE FUNCTION operational_wanted(environment text, kind text, told text[])
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM operational_interest AS i
                   WHERE i.environment_id = environment
                     AND (kind = ANY (i.event_types)
                          OR (i.event_types IS NULL AND kind <> 'message.attempt.log'))
                     AND (i.channels IS NULL OR i.channels && told))
$$;
