-- What consumers of pollers hold by lease, and keys that read one poller.

-- leased: the messages behind read_to that somebody has, or had, in hand, in order; the first has the
-- offset first_offset, and nobody else gets them before leased_until.
ALTER TABLE poller_consumer
    ADD COLUMN first_offset bigint NOT NULL DEFAULT 0,
    ADD COLUMN leased text[] COLLATE "C" NOT NULL DEFAULT '{}',
    ADD COLUMN leased_until timestamptz;

-- sealed_key: the text of its newest key, as Svix shows it again.
ALTER TABLE poller ADD COLUMN sealed_key bytea;

ALTER TABLE api_key
    ADD COLUMN poller_id text COLLATE "C",
    DROP CONSTRAINT api_key_kind_check,
    ADD CONSTRAINT api_key_kind_check
        CHECK (kind IN ('operator', 'app', 'portal', 'integration', 'poller')),
    ADD CHECK ((kind = 'poller') = (poller_id IS NOT NULL));
