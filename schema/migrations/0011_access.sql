-- Keys of portals and integrations, and Svix's tokens that count no more.

-- capabilities: NULL is everything that an app's holder may do. feature_flags: of the holder.
ALTER TABLE api_key
    ADD COLUMN capabilities text[],
    ADD COLUMN feature_flags text[] NOT NULL DEFAULT '{}',
    ADD COLUMN integration_id text COLLATE "C",
    DROP CONSTRAINT api_key_kind_check,
    ADD CONSTRAINT api_key_kind_check
        CHECK (kind IN ('operator', 'app', 'portal', 'integration')),
    ADD CHECK ((kind = 'integration') = (integration_id IS NOT NULL));

-- Portals make many keys: whoever looks for others passes them by. '' is the environment itself.
DROP INDEX api_key_environment_idx;
CREATE INDEX api_key_owner_idx ON api_key (environment_id, coalesce(app_id, ''), kind, id);
-- By an expression, so that nobody who asks about one app is led here.
CREATE INDEX api_key_portal_idx ON api_key ((expires_at AT TIME ZONE 'UTC')) WHERE kind = 'portal';

-- `sealed` is the text of its key, as Svix shows it again.
CREATE TABLE integration (
    app_id        text COLLATE "C" NOT NULL,
    id            text COLLATE "C" NOT NULL,
    name          text NOT NULL,
    feature_flags text[] NOT NULL DEFAULT '{}',
    sealed        bytea NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    PRIMARY KEY (app_id, id)
);

-- Tokens of an app that end at ends_at though their text says otherwise: the one that `token`
-- names, or all ('') that were issued before a time. forget_at: when they have ended by themselves.
CREATE TABLE revoked_token (
    app_id        text COLLATE "C" NOT NULL,
    token         text COLLATE "C" NOT NULL,
    issued_before timestamptz NOT NULL,
    ends_at       timestamptz NOT NULL,
    forget_at     timestamptz,
    PRIMARY KEY (app_id, token, issued_before)
);
CREATE INDEX revoked_token_forget_idx ON revoked_token (forget_at);

-- Keys are remembered by their app, or by their environment. A new one is remembered by nobody, and
-- one that has ended counts for nobody: neither needs to be told.
CREATE FUNCTION notify_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(OLD, NEW));
BEGIN
    PERFORM pg_notify('hookline_changed', TG_TABLE_NAME || ':'
                      || coalesce(changed ->> 'app_id', changed ->> 'environment_id'));
    RETURN NULL;
END $$;

DROP TRIGGER api_key_changed ON api_key;
CREATE TRIGGER api_key_changed
    AFTER UPDATE OF kind, app_id, scopes, expires_at, revoked_at, capabilities, feature_flags
    ON api_key FOR EACH ROW EXECUTE FUNCTION notify_key_changed();
CREATE TRIGGER api_key_deleted AFTER DELETE ON api_key
    FOR EACH ROW WHEN (OLD.expires_at IS NULL OR OLD.expires_at > now())
    EXECUTE FUNCTION notify_key_changed();
CREATE TRIGGER revoked_token_changed AFTER INSERT OR UPDATE ON revoked_token
    FOR EACH ROW EXECUTE FUNCTION notify_key_changed();
