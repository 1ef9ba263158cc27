-- Work for later. `attempt` is raised by every start. `started_at`, `worker`, `ended_at` and `error` are of the last one; `earlier`
-- has those before it: [[number, started_at, ended_at, worker, error], …], times in microseconds. `lease_until` is there while one
-- runs. `payload` is NULL once the profile that the task belongs to was deleted.
CREATE TABLE tasks (
    tenant       text COLLATE "C" NOT NULL,
    id           uuid NOT NULL,
    type         text COLLATE "C" NOT NULL,
    status       text COLLATE "C" NOT NULL,
    payload      json,
    run_at       timestamptz NOT NULL,
    created_at   timestamptz NOT NULL,
    attempt      integer NOT NULL DEFAULT 0,
    max_attempts integer NOT NULL,
    last_attempt integer NOT NULL,
    unique_key   text COLLATE "C",
    profile      text COLLATE "C",
    traceparent  text,
    cancelling   boolean NOT NULL DEFAULT false,
    queued_at    timestamptz,
    worker       text,
    started_at   timestamptz,
    lease_until  timestamptz,
    ended_at     timestamptz,
    error        text,
    earlier      jsonb,
    CONSTRAINT tasks_pkey PRIMARY KEY (tenant, id),
    CONSTRAINT tasks_status CHECK
        (status IN ('scheduled', 'queued', 'running', 'succeeded', 'retrying', 'dead', 'cancelled')),
    CONSTRAINT tasks_run_under_a_lease CHECK ((status = 'running') = (lease_until IS NOT NULL))
) WITH (autovacuum_vacuum_scale_factor = 0.02); -- every row changes a few times and then never again

-- What is due next, by tenant, so that none waits for all of another's.
CREATE INDEX tasks_waiting ON tasks (tenant, type, run_at, id) WHERE status IN ('scheduled', 'queued', 'retrying');
-- A unique key holds until the first start or the cancellation.
CREATE UNIQUE INDEX tasks_unique ON tasks (tenant, type, unique_key)
WHERE unique_key IS NOT NULL AND attempt = 0 AND status IN ('scheduled', 'queued');
CREATE INDEX tasks_running ON tasks (tenant, lease_until) WHERE status = 'running';
CREATE INDEX tasks_ended ON tasks (tenant, ended_at) WHERE status IN ('succeeded', 'dead', 'cancelled');
-- For the deletion of a profile, which cancels its tasks.
CREATE INDEX tasks_by_profile ON tasks (tenant, profile, id) WHERE profile IS NOT NULL;
