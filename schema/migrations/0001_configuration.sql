-- Who there is and what they asked for: environments, keys, apps, endpoints, event types, audit.
-- Every key begins with the tenant. Deleted things stay as rows (deleted_at) for the logs' sake.

CREATE TABLE environment (
    id           text COLLATE "C" PRIMARY KEY,
    name         text NOT NULL,
    kind         text NOT NULL DEFAULT 'development' CHECK (kind IN ('development', 'production')),
    is_default   boolean NOT NULL DEFAULT false,
    retry_policy jsonb,
    settings     jsonb NOT NULL DEFAULT '{}',
    created_at   timestamptz NOT NULL,
    updated_at   timestamptz NOT NULL,
    deleted_at   timestamptz
);
CREATE UNIQUE INDEX environment_default_idx ON environment (is_default) WHERE is_default;

-- A key's text is never stored: `hash` is its SHA-256. `scopes`: '*' is the installation's operator.
CREATE TABLE api_key (
    id             text COLLATE "C" PRIMARY KEY,
    environment_id text COLLATE "C" NOT NULL,
    app_id         text COLLATE "C",
    kind           text NOT NULL CHECK (kind IN ('operator', 'app', 'portal')),
    name           text NOT NULL DEFAULT '',
    hash           bytea NOT NULL UNIQUE,
    hint           text NOT NULL,
    scopes         text[] NOT NULL DEFAULT '{}',
    session_id     text,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz,
    revoked_at     timestamptz,
    last_used_at   timestamptz,
    CHECK ((kind = 'operator') = (app_id IS NULL))
);
CREATE INDEX api_key_environment_idx ON api_key (environment_id, id);

CREATE TABLE app (
    environment_id text COLLATE "C" NOT NULL,
    id             text COLLATE "C" NOT NULL UNIQUE,
    uid            text COLLATE "C",
    name           text NOT NULL,
    throttle_rate  integer CHECK (throttle_rate > 0),
    retry_policy   jsonb,
    metadata       jsonb NOT NULL DEFAULT '{}',
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    deleted_at     timestamptz,
    PRIMARY KEY (environment_id, id)
);
CREATE UNIQUE INDEX app_uid_idx ON app (environment_id, uid) WHERE uid IS NOT NULL;

-- `headers` is a sealed JSON object (they may hold credentials).
-- `state`: active, paused (held) or disabled; `state_reason` says who or what, since `state_at`.
CREATE TABLE endpoint (
    app_id        text COLLATE "C" NOT NULL,
    id            text COLLATE "C" NOT NULL,
    uid           text COLLATE "C",
    url           text NOT NULL,
    description   text NOT NULL DEFAULT '',
    version       integer NOT NULL DEFAULT 1 CHECK (version > 0),
    event_types   text[],
    channels      text[],
    headers       bytea,
    throttle_rate integer CHECK (throttle_rate > 0),
    retry_policy  jsonb,
    ordered       boolean NOT NULL DEFAULT false,
    metadata      jsonb NOT NULL DEFAULT '{}',
    state         text NOT NULL DEFAULT 'active' CHECK (state IN ('active', 'paused', 'disabled')),
    state_reason  text NOT NULL DEFAULT '',
    state_at      timestamptz NOT NULL,
    created_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    deleted_at    timestamptz,
    PRIMARY KEY (app_id, id)
);
CREATE UNIQUE INDEX endpoint_uid_idx ON endpoint (app_id, uid) WHERE uid IS NOT NULL;

-- The newest row without expires_at is current; older ones sign too until they expire.
CREATE TABLE endpoint_secret (
    app_id      text COLLATE "C" NOT NULL,
    endpoint_id text COLLATE "C" NOT NULL,
    id          text COLLATE "C" NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('hmac256', 'ed25519')),
    sealed      bytea NOT NULL,
    created_at  timestamptz NOT NULL,
    expires_at  timestamptz,
    PRIMARY KEY (app_id, endpoint_id, id)
);

CREATE TABLE event_type (
    environment_id text COLLATE "C" NOT NULL,
    name           text COLLATE "C" NOT NULL,
    description    text NOT NULL DEFAULT '',
    schemas        jsonb,
    archived       boolean NOT NULL DEFAULT false,
    deprecated     boolean NOT NULL DEFAULT false,
    group_name     text,
    feature_flags  text[],
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    PRIMARY KEY (environment_id, name)
);

CREATE TABLE audit (
    environment_id text COLLATE "C" NOT NULL,
    id             text COLLATE "C" NOT NULL,
    key_id         text COLLATE "C",
    action         text NOT NULL,
    object         text NOT NULL,
    detail         jsonb NOT NULL DEFAULT '{}',
    at             timestamptz NOT NULL,
    PRIMARY KEY (environment_id, id)
);

-- Whoever changes configuration, the caches of every process hear of it: '<table>:<tenant>'.
CREATE FUNCTION notify_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(NEW, OLD));
BEGIN
    PERFORM pg_notify('hookline_changed', TG_TABLE_NAME || ':' || CASE TG_TABLE_NAME
        WHEN 'app' THEN changed ->> 'id'
        WHEN 'environment' THEN changed ->> 'id'
        WHEN 'endpoint' THEN changed ->> 'app_id'
        WHEN 'endpoint_secret' THEN changed ->> 'app_id'
        ELSE changed ->> 'environment_id' END);
    RETURN NULL;
END $$;

CREATE TRIGGER environment_changed AFTER INSERT OR UPDATE OR DELETE ON environment
    FOR EACH ROW EXECUTE FUNCTION notify_changed();
CREATE TRIGGER app_changed AFTER INSERT OR UPDATE OR DELETE ON app
    FOR EACH ROW EXECUTE FUNCTION notify_changed();
CREATE TRIGGER endpoint_changed AFTER INSERT OR UPDATE OR DELETE ON endpoint
    FOR EACH ROW EXECUTE FUNCTION notify_changed();
CREATE TRIGGER endpoint_secret_changed AFTER INSERT OR UPDATE OR DELETE ON endpoint_secret
    FOR EACH ROW EXECUTE FUNCTION notify_changed();
CREATE TRIGGER event_type_changed AFTER INSERT OR UPDATE OR DELETE ON event_type
    FOR EACH ROW EXECUTE FUNCTION notify_changed();
CREATE TRIGGER api_key_changed AFTER INSERT OR DELETE
    OR UPDATE OF kind, app_id, scopes, expires_at, revoked_at ON api_key
    FOR EACH ROW EXECUTE FUNCTION notify_changed();
