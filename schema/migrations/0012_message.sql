-- Requests that are repeated; messages for later, for a while, and called off.

-- The ledger that refuses a repeated idempotency key of publishing, for half a day.
-- key: the characters by which the message's id differs from others of its moment; they are derived
-- from the caller's key. The id says when it was.
CREATE TABLE message_key (
    app_id     text COLLATE "C" NOT NULL,
    key        text COLLATE "C" NOT NULL,
    message_id text COLLATE "C" NOT NULL,
    PRIMARY KEY (app_id, key)
);
CREATE INDEX message_key_age_idx ON message_key (message_id);

-- What any other request with an idempotency key was answered, and which is under way.
-- key: a hash of who called, the key, and where. holder: who works on it, until held_until.
-- status is NULL until there is an answer; body is sealed, as an answer may hold a secret.
CREATE TABLE kept_answer (
    key        bytea PRIMARY KEY,
    holder     bytea NOT NULL,
    held_until timestamptz NOT NULL,
    begun_at   timestamptz NOT NULL,
    status     integer,
    headers    text[],
    body       bytea
);
CREATE INDEX kept_answer_age_idx ON kept_answer (begun_at);

-- deliver_at: when the first attempt is due, if not at once.
-- payload_until: when the payload is forgotten, if before the message; NULL again once it was.
ALTER TABLE message ADD COLUMN deliver_at timestamptz, ADD COLUMN payload_until timestamptz;
CREATE INDEX message_payload_until_idx ON message (payload_until) WHERE payload_until IS NOT NULL;
-- A letter may outlive its message.
ALTER TABLE dead_letter ADD COLUMN payload_until timestamptz;
CREATE INDEX dead_letter_payload_until_idx ON dead_letter (payload_until)
    WHERE payload_until IS NOT NULL;

-- recall: what the owner holds in memory of the endpoint may have been called off.
ALTER TABLE wake ADD COLUMN recall boolean NOT NULL DEFAULT false;

CREATE INDEX delivery_cancelled_idx ON delivery (app_id, endpoint_id, message_id)
    WHERE state = 'cancelled';
