-- Two more kinds of keys: of group admins, who see to environments and reach nothing of an app; and
-- of endpoints that configure themselves.

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
