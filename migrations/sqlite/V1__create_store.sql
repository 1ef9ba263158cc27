-- Everything that profiles need. The dialect's twin is migrations/postgres/V1__create_store.sql.
--
-- Every key and index starts with the tenant, so that no query of one tenant walks rows of another. Exceptions, because what
-- they hold is no tenant's: `sequences`, `secrets`, and the feed's `position`, which orders the changes of all tenants.
--
-- Times are microseconds since 1970 UTC. Text compares by bytes (BINARY), as it does in PostgreSQL under COLLATE "C".

-- Numbers that ascend and are never given out again, not even after a rollback of the highest row or a restart. A table and
-- not AUTOINCREMENT, because an entity keeps its row but gets a new number with every life.
CREATE TABLE sequences (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO sequences (name, value) VALUES ('entity', 0);

-- An entity or the tombstone of one. A tombstone has no id and keeps only its version and the date of its deletion.
CREATE TABLE entities (
    tenant TEXT NOT NULL,
    type TEXT NOT NULL,
    reference TEXT NOT NULL,
    id INTEGER,
    properties TEXT,
    provenance TEXT,
    superseded TEXT,
    version INTEGER NOT NULL CHECK (version >= 1),
    rules_revision INTEGER,
    name_key TEXT,
    created_at INTEGER,
    updated_at INTEGER,
    -- The floor: facts dated at or before it stay out. A revived entity keeps it.
    deleted_at INTEGER,
    PRIMARY KEY (tenant, type, reference),
    CONSTRAINT entities_are_whole CHECK (
        (id IS NULL) = (properties IS NULL)
        AND (id IS NULL) = (provenance IS NULL)
        AND (id IS NULL) = (rules_revision IS NULL)
        AND (id IS NULL) = (created_at IS NULL)
        AND (id IS NULL) = (updated_at IS NULL)
        AND (id IS NOT NULL OR (superseded IS NULL AND name_key IS NULL AND deleted_at IS NOT NULL))
    )
) STRICT;

-- The order of creation, and the way from a search row to its entity.
CREATE UNIQUE INDEX entities_by_creation ON entities (tenant, type, id) WHERE id IS NOT NULL;

CREATE INDEX entities_by_name ON entities (tenant, type, name_key, id) WHERE id IS NOT NULL AND name_key IS NOT NULL;

-- A row for every findable value of a living entity: `key` is the domain's SearchKey, `entity` is entities.id. Kept by
-- commit, not by a foreign key.
CREATE TABLE entity_values (
    tenant TEXT NOT NULL,
    key INTEGER NOT NULL,
    entity INTEGER NOT NULL,
    PRIMARY KEY (tenant, key, entity)
) STRICT, WITHOUT ROWID;

-- E-mail addresses that profiles hold reserved, by their folded form.
CREATE TABLE profile_emails (
    tenant TEXT NOT NULL,
    email_key TEXT NOT NULL,
    reference TEXT NOT NULL,
    PRIMARY KEY (tenant, email_key)
) STRICT, WITHOUT ROWID;

-- Every change in the order of commits. `entity` is the id of the life that the change was of, NULL where that life began
-- and ended in one changeset; `changes` is NULL once a deletion blanked it. `at` is the moment of the changeset; `written`, a little
-- before the commit, is by this machine's clock, whose milliseconds are enough. AUTOINCREMENT, so that the position of a pruned
-- row is never given out again.
CREATE TABLE feed (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    type TEXT NOT NULL,
    reference TEXT NOT NULL,
    entity INTEGER,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('created', 'updated', 'deleted')),
    changes TEXT,
    at INTEGER NOT NULL,
    written INTEGER NOT NULL DEFAULT (CAST(unixepoch('subsec') * 1000 AS INTEGER) * 1000)
) STRICT;

-- For the deletion of an entity, which blanks what the feed says of it.
CREATE INDEX feed_by_entity ON feed (tenant, entity);

-- Which feed this is: random, another one in each new store and with each restore. One row.
CREATE TABLE feed_lives (
    life BLOB NOT NULL
) STRICT;

INSERT INTO feed_lives (life) VALUES (randomblob(16));

-- What was answered under a client's key. `receipt` is NULL once the entity it names was deleted.
CREATE TABLE idempotency_keys (
    tenant TEXT NOT NULL,
    route TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    receipt TEXT,
    type TEXT,
    reference TEXT,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (tenant, route, key)
) STRICT, WITHOUT ROWID;

-- For the deletion of an entity, which takes its receipts along.
CREATE INDEX idempotency_keys_by_entity ON idempotency_keys (tenant, type, reference);

-- Keys for signing, shared by all who open this store. The highest id signs.
CREATE TABLE secrets (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL
) STRICT;
