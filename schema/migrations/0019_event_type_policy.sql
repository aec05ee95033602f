-- Event types with a retry policy of their own.

ALTER TABLE event_type ADD COLUMN retry_policy jsonb;
CREATE INDEX event_type_policy_idx ON event_type (environment_id) WHERE retry_policy IS NOT NULL;
