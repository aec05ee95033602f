-- Code of customers that makes another request of what an endpoint is sent.

-- code NULL: there is none, as if it were not enabled. variables: a sealed JSON object of texts.
CREATE TABLE endpoint_transformation (
    app_id      text COLLATE "C" NOT NULL,
    endpoint_id text COLLATE "C" NOT NULL,
    code        text,
    enabled     boolean NOT NULL DEFAULT false,
    variables   bytea,
    updated_at  timestamptz NOT NULL,
    PRIMARY KEY (app_id, endpoint_id)
);

-- What an app's endpoints do with a message is remembered with the app.
CREATE FUNCTION notify_app_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('hookline_changed', TG_TABLE_NAME || ':' || coalesce(NEW.app_id, OLD.app_id));
    RETURN NULL;
END $$;
CREATE TRIGGER endpoint_transformation_changed AFTER INSERT OR UPDATE OR DELETE
    ON endpoint_transformation FOR EACH ROW EXECUTE FUNCTION notify_app_changed();

-- params: what a message tells transformations besides its payload, a JSON object; it is forgotten
-- with the payload.
ALTER TABLE message ADD COLUMN params text;
