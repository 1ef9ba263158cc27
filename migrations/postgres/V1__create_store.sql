-- Text that is compared carries COLLATE "C": bytes, as SQLite and the domain compare, whatever the cluster's locale.
-- Constraints and indexes have names, because the adapter maps names to errors.

-- Numbers the lives of entities: ascending, never given out twice.
CREATE SEQUENCE entity_ids AS bigint;

-- An entity: living, or the tombstone of one. `id` is the number of its life, so it is NULL for a tombstone, which keeps
-- nothing but its version and `deleted_at`. `deleted_at` stays after a revival: facts dated at or before it stay out.
CREATE TABLE entities (
    tenant         text COLLATE "C" NOT NULL,
    type           text COLLATE "C" NOT NULL,
    reference      text COLLATE "C" NOT NULL,
    id             bigint,
    properties     json,
    provenance     json,
    superseded     json,
    version        bigint NOT NULL,
    rules_revision integer,
    name_key       text COLLATE "C",
    created_at     timestamptz,
    updated_at     timestamptz,
    deleted_at     timestamptz,
    CONSTRAINT entities_pkey PRIMARY KEY (tenant, type, reference),
    CONSTRAINT entities_living CHECK (CASE WHEN id IS NULL
        THEN num_nonnulls(properties, provenance, superseded, rules_revision, name_key, created_at, updated_at) = 0
            AND deleted_at IS NOT NULL
        ELSE num_nulls(properties, provenance, rules_revision, created_at, updated_at) = 0 END)
) WITH (fillfactor = 85); -- room on the page, so that an update of properties alone touches no index

CREATE UNIQUE INDEX entities_by_id ON entities (tenant, type, id) WHERE id IS NOT NULL;
CREATE INDEX entities_by_name ON entities (tenant, type, name_key, id) WHERE id IS NOT NULL AND name_key IS NOT NULL;

-- Which living entities have a value. `key` is a hash, so a reader checks what it found. No foreign key: commit keeps the
-- rows true, and a check for each row would cost more than the row.
CREATE TABLE entity_values (
    tenant text COLLATE "C" NOT NULL,
    key    bigint NOT NULL,
    entity bigint NOT NULL,
    CONSTRAINT entity_values_pkey PRIMARY KEY (tenant, key, entity)
);

-- Reservations of e-mail addresses by profiles.
CREATE TABLE profile_emails (
    tenant    text COLLATE "C" NOT NULL,
    email_key text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    CONSTRAINT profile_emails_pkey PRIMARY KEY (tenant, email_key)
);

-- Every committed change, in an order that ascends per entity. `xid` tells which rows a snapshot sees, which is how they
-- are numbered later. `entity` is the life that changed; `changes` is NULL once that life has ended. `at` is the moment of the
-- changeset; `written`, a little before the commit, is by this server's clock.
CREATE TABLE feed (
    tenant    text COLLATE "C" NOT NULL,
    id        bigint GENERATED ALWAYS AS IDENTITY (SEQUENCE NAME feed_ids),
    xid       xid8 NOT NULL DEFAULT pg_current_xact_id(),
    type      text COLLATE "C" NOT NULL,
    reference text COLLATE "C" NOT NULL,
    entity    bigint,
    version   bigint NOT NULL,
    kind      text COLLATE "C" NOT NULL,
    changes   json,
    at        timestamptz NOT NULL,
    written   timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT feed_pkey PRIMARY KEY (tenant, id)
);

CREATE INDEX feed_by_entity ON feed (tenant, entity);
-- For rounds, which are of all tenants.
CREATE INDEX feed_by_xid ON feed (xid, id);

-- Rounds give changes their positions. A change belongs to the round whose `seen` sees it and whose `before` doesn't, and, where
-- several share these because there were so many, to that between whose ids (`low`, `high`) its own lies. Its position is `first`
-- plus its rank by id among those of the round, of which there are `size`. None of them was committed before `oldest`, and all
-- were at `at`, by this server's clock.
CREATE TABLE feed_rounds (
    first  bigint NOT NULL,
    size   bigint NOT NULL,
    low    bigint NOT NULL,
    high   bigint NOT NULL,
    before pg_snapshot NOT NULL,
    seen   pg_snapshot NOT NULL,
    oldest timestamptz NOT NULL,
    at     timestamptz NOT NULL,
    CONSTRAINT feed_rounds_pkey PRIMARY KEY (first)
);

-- What the feed is of. `database` is the one in which its transaction numbers were given: they mean nothing in another, to which
-- a dump or a copy brings them, and there a new feed begins. `life` is random, another one with each restore. One row; there is
-- no key, so that one that a dump adds is noticed and not refused.
CREATE TABLE feed_lives (
    database text COLLATE "C" NOT NULL,
    life     uuid NOT NULL
);

-- Which feed this is, where it is: whether its transaction numbers mean something here, and the number of its incarnation,
-- which is another one on each timeline too.
CREATE VIEW feed_identity AS
SELECT here.database, coalesce(bool_and(feed_lives.database = here.database), false) AS is_ours,
    substr(sha256(convert_to(concat_ws(' ',
        here.database, here.timeline, string_agg(feed_lives::text, ' ' ORDER BY feed_lives::text)
    ), 'UTF8')), 1, 16) AS incarnation
FROM (
    SELECT concat_ws('.',
            system_identifier, (SELECT oid FROM pg_database WHERE datname = current_database()), 'feed'::regclass::oid
        ) AS database,
        left(pg_walfile_name(pg_current_wal_lsn()), 8) AS timeline
    FROM pg_control_system()
) AS here LEFT JOIN feed_lives ON true
GROUP BY here.database, here.timeline;

INSERT INTO feed_lives SELECT database, gen_random_uuid() FROM feed_identity;

-- The timelines that this database has been through, which whoever takes the writes notes once. A copy that knows the last one has
-- followed it there; one that kept what the new primary never had stays at the one before. Numbers mean something among the copies of
-- one server, which share `servers`, and nothing where a dump or an upgrade has brought the rows to.
CREATE TABLE timelines (
    servers  bigint NOT NULL,
    timeline bigint NOT NULL,
    CONSTRAINT timelines_pkey PRIMARY KEY (servers, timeline)
);

-- Changesets that happen once. `type` and `reference` name the entity of the first write; `receipt` is NULL once that
-- entity was deleted.
CREATE TABLE idempotency_keys (
    tenant      text COLLATE "C" NOT NULL,
    route       text COLLATE "C" NOT NULL,
    key         text COLLATE "C" NOT NULL,
    fingerprint bytea NOT NULL,
    receipt     json,
    type        text COLLATE "C" NOT NULL,
    reference   text COLLATE "C" NOT NULL,
    created_at  timestamptz NOT NULL,
    CONSTRAINT idempotency_keys_pkey PRIMARY KEY (tenant, route, key)
);

CREATE INDEX idempotency_keys_by_entity ON idempotency_keys (tenant, type, reference);

-- Keys that all instances sign with. The one table without a tenant.
CREATE TABLE secrets (
    id  integer NOT NULL,
    key bytea NOT NULL,
    CONSTRAINT secrets_pkey PRIMARY KEY (id)
);
