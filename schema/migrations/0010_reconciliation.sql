-- Proof that nothing is missing: what was fanned out is counted apart from what became of it.

-- How many deliveries a statement made of new, by app and the day of the message's id: one row for
-- each statement, in its transaction, so that counting waits for nobody. The reconciliation adds
-- them up and deletes them.
CREATE TABLE fanned_out (
    app_ids text[] NOT NULL,
    days    date[] NOT NULL,
    numbers integer[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- accepted: deliveries that were made. The terms and the difference are of counted_at, all of one
-- snapshot: difference = accepted then - (delivered + owed + dead + cancelled + expired).
-- due_at: when it is counted next. NULL: the day is over and nothing is owed; it is closed.
CREATE TABLE reconciliation (
    day            date NOT NULL,
    app_id         text COLLATE "C" NOT NULL,
    environment_id text COLLATE "C" NOT NULL,
    accepted       bigint NOT NULL,
    delivered      bigint NOT NULL DEFAULT 0,
    owed           bigint NOT NULL DEFAULT 0,
    dead           bigint NOT NULL DEFAULT 0,
    cancelled      bigint NOT NULL DEFAULT 0,
    expired        bigint NOT NULL DEFAULT 0,
    difference     bigint NOT NULL DEFAULT 0,
    counted_at     timestamptz,
    due_at         timestamptz,
    PRIMARY KEY (day, app_id)
) WITH (fillfactor = 70);
CREATE INDEX reconciliation_environment_idx ON reconciliation (environment_id, day, app_id);
CREATE INDEX reconciliation_due_idx ON reconciliation (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX reconciliation_difference_idx ON reconciliation (environment_id, day, app_id)
    WHERE difference <> 0;

-- since: the first day that is reconciled; before it nobody counted what was fanned out.
-- walked_to: up to this day the deliveries were gone through for apps that nobody counted for.
CREATE TABLE reconciliation_state (
    only_one  boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    since     date NOT NULL,
    walked_to date NOT NULL
);
INSERT INTO reconciliation_state (since, walked_to)
SELECT CASE WHEN made THEN today + 1 ELSE '-infinity' END,
       CASE WHEN made THEN today ELSE today - 1 END
FROM (SELECT EXISTS (SELECT FROM delivery) AS made, (now() AT TIME ZONE 'UTC')::date AS today) AS d;

-- taken: how many events the intake has taken between the two counted_*; what moves the position and
-- counts nothing, as former versions do, makes it begin anew. shard_check: where that was compared
-- with the stream's own count last.
ALTER TABLE shard
    ADD COLUMN taken bigint NOT NULL DEFAULT 0,
    ADD COLUMN counted_from bigint,
    ADD COLUMN counted_to bigint;
CREATE TABLE shard_check (
    shard     integer PRIMARY KEY,
    position  bigint NOT NULL,
    stream_at timestamptz NOT NULL,
    taken     bigint NOT NULL
) WITH (fillfactor = 50);

-- What a message's event said of it: the one endpoint that it is for, past its filters; the dead
-- letter that it was made of. Most say neither, and have no row.
CREATE TABLE message_origin (
    app_id      text COLLATE "C" NOT NULL,
    message_id  text COLLATE "C" NOT NULL,
    endpoint_id text COLLATE "C",
    letter_id   text COLLATE "C",
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (app_id, message_id)
);
CREATE INDEX message_origin_letter_idx ON message_origin (app_id, letter_id, message_id)
    WHERE letter_id IS NOT NULL;
CREATE INDEX message_origin_created_idx ON message_origin (created_at);
