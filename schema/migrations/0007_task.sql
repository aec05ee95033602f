-- Work that takes a while and outlives whoever does it: redelivering, discarding, replaying.

-- plan: what was asked for. job_id: the caller's own name for it, so that asking twice makes one.
-- items: how many were numbered; open: how many of them have not ended. A dispatcher works on it
-- while it holds the lease; the epoch refuses what a former one writes late.
CREATE TABLE task (
    environment_id text COLLATE "C" NOT NULL,
    id             text COLLATE "C" NOT NULL UNIQUE,
    app_id         text COLLATE "C",
    kind           text NOT NULL,
    state          text NOT NULL
                   CHECK (state IN ('scheduled', 'running', 'paused', 'finished', 'failed',
                                    'cancelled')),
    why            text NOT NULL DEFAULT '',
    plan           jsonb NOT NULL,
    job_id         text,
    total          bigint,
    total_exact    boolean NOT NULL DEFAULT false,
    items          bigint NOT NULL DEFAULT 0,
    open           integer NOT NULL DEFAULT 0,
    done           bigint NOT NULL DEFAULT 0,
    delivered      bigint NOT NULL DEFAULT 0,
    retrying       bigint NOT NULL DEFAULT 0,
    failed         bigint NOT NULL DEFAULT 0,
    skipped        bigint NOT NULL DEFAULT 0,
    created_at     timestamptz NOT NULL,
    created_by     text COLLATE "C",
    start_at       timestamptz NOT NULL,
    started_at     timestamptz,
    ended_at       timestamptz,
    updated_at     timestamptz NOT NULL,
    owner          text,
    lease_until    timestamptz,
    epoch          bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (environment_id, id)
) WITH (fillfactor = 50);
CREATE UNIQUE INDEX task_job_idx ON task (environment_id, job_id) WHERE job_id IS NOT NULL;
CREATE INDEX task_open_idx ON task (start_at)
    WHERE state IN ('scheduled', 'running') OR open > 0;
CREATE INDEX task_ended_idx ON task (updated_at);

-- A task goes endpoint by endpoint, each for itself. cursor: behind which it goes on.
CREATE TABLE task_part (
    task_id        text COLLATE "C" NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    number         integer NOT NULL,
    app_id         text COLLATE "C",
    endpoint_id    text COLLATE "C",
    state          text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'read', 'stopped')),
    why            text NOT NULL DEFAULT '',
    cursor         text COLLATE "C" NOT NULL DEFAULT '',
    sent           bigint NOT NULL DEFAULT 0,
    tried          bigint NOT NULL DEFAULT 0,
    missed         bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (task_id, number)
) WITH (fillfactor = 50);
CREATE INDEX task_part_open_idx ON task_part (task_id, number) WHERE state = 'open';

-- What became of each. endpoint_id: to which it is sent. run: of the delivery, which was begun.
CREATE TABLE task_item (
    task_id     text COLLATE "C" NOT NULL REFERENCES task (id) ON DELETE CASCADE,
    number      bigint NOT NULL,
    part        integer NOT NULL,
    app_id      text COLLATE "C" NOT NULL,
    message_id  text COLLATE "C" NOT NULL,
    endpoint_id text COLLATE "C" NOT NULL,
    letter_id   text COLLATE "C",
    run         integer,
    state       text NOT NULL
                CHECK (state IN ('sent', 'retrying', 'delivered', 'failed', 'skipped', 'done')),
    detail      text NOT NULL DEFAULT '',
    at          timestamptz NOT NULL,
    PRIMARY KEY (task_id, number)
) WITH (fillfactor = 70);
CREATE INDEX task_item_open_idx ON task_item (task_id, state, number)
    WHERE state IN ('sent', 'retrying');
