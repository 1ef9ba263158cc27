-- Work for later. `attempt` is raised by every start. `started_at`, `worker`, `ended_at` and `error` are of the last one; `earlier`
-- has those before it: [[number, started_at, ended_at, worker, error], …]. `lease_until` is there while one runs.
-- `payload` is NULL once the profile that the task belongs to was deleted.
CREATE TABLE tasks (
    tenant TEXT NOT NULL,
    id BLOB NOT NULL,
    type TEXT NOT NULL,
    status TEXT NOT NULL
        CHECK (status IN ('scheduled', 'queued', 'running', 'succeeded', 'retrying', 'dead', 'cancelled')),
    payload TEXT,
    run_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    attempt INTEGER NOT NULL DEFAULT 0,
    max_attempts INTEGER NOT NULL,
    last_attempt INTEGER NOT NULL,
    unique_key TEXT,
    profile TEXT,
    traceparent TEXT,
    cancelling INTEGER NOT NULL DEFAULT 0,
    queued_at INTEGER,
    worker TEXT,
    started_at INTEGER,
    lease_until INTEGER,
    ended_at INTEGER,
    error TEXT,
    earlier TEXT,
    PRIMARY KEY (tenant, id),
    CONSTRAINT tasks_run_under_a_lease CHECK ((status = 'running') = (lease_until IS NOT NULL))
) STRICT;

-- What is due next, by tenant, so that none waits for all of another's.
CREATE INDEX tasks_waiting ON tasks (tenant, type, run_at, id) WHERE status IN ('scheduled', 'queued', 'retrying');
-- A unique key holds until the first start or the cancellation.
CREATE UNIQUE INDEX tasks_unique ON tasks (tenant, type, unique_key)
WHERE unique_key IS NOT NULL AND attempt = 0 AND status IN ('scheduled', 'queued');
CREATE INDEX tasks_running ON tasks (tenant, lease_until) WHERE status = 'running';
CREATE INDEX tasks_ended ON tasks (tenant, ended_at) WHERE status IN ('succeeded', 'dead', 'cancelled');
-- For the deletion of a profile, which cancels its tasks.
CREATE INDEX tasks_by_profile ON tasks (tenant, profile, id) WHERE profile IS NOT NULL;
