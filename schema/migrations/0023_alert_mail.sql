-- E-mails to apps about their endpoints.

-- To whom: addresses with commas. An app without a row may have them in its metadata, as Svix has it.
CREATE TABLE alert_email (
    app_id     text COLLATE "C" PRIMARY KEY,
    email      text NOT NULL,
    updated_at timestamptz NOT NULL
);

-- Of what the apps of which environments are told; a list that names nothing is all there is.
CREATE VIEW alert_mail_interest AS
SELECT v.id AS environment_id, k.kind
FROM environment AS v
CROSS JOIN unnest(ARRAY['endpoint.disabled', 'message.attempt.exhausted']) AS k(kind)
WHERE v.deleted_at IS NULL AND v.settings -> 'enableApplicationAlerts' = 'true'
  AND (coalesce(v.settings -> 'applicationAlertEvents', '[]') = '[]'
       OR v.settings -> 'applicationAlertEvents' ? k.kind);

-- What is told of an endpoint, one row for each kind. pending: how many events are not told yet, since
-- the first and up to last_at. due_at: when they are; NULL: there is nothing to tell. claim: who tells
-- it now; due_at is then when somebody else may. failing_since: mails of it have failed since then.
CREATE TABLE alert_mail (
    app_id        text COLLATE "C" NOT NULL,
    endpoint_id   text COLLATE "C" NOT NULL,
    kind          text COLLATE "C" NOT NULL,
    pending       bigint NOT NULL,
    since         timestamptz NOT NULL,
    last_at       timestamptz NOT NULL,
    fail_since    timestamptz,
    reason        text,
    due_at        timestamptz,
    claim         text,
    failures      integer NOT NULL DEFAULT 0,
    failing_since timestamptz,
    sent_at       timestamptz,
    PRIMARY KEY (app_id, endpoint_id, kind)
);
CREATE INDEX alert_mail_due_idx ON alert_mail (due_at) WHERE due_at IS NOT NULL;
