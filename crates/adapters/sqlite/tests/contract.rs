//! The store's whole contract, on a database of its own for each case.
#![expect(clippy::unwrap_used, reason = "a fixture that can't look at its own database is a failed test")]

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use async_trait::async_trait;
use profile_domain::{
    Changeset, EntityKey, EntityType, FeedPosition, Moment, NewTask, Policy, Reference, TaskId, TaskStatus, TaskType, TenantId,
    Version, plan::ChangeKind, search::ListQuery, task::Due,
};
use profile_port_contracts::{FeedRow, Fixture, Index};
use profile_ports::{Claim, Deadline, Detail, Entities as _, Feed as _, Store, Tasks as _};
use profile_sqlite::{Settings, SqliteStore};
use rusqlite::{Connection, types::ValueRef};

profile_port_contracts::store_contract!(SqliteFixture);

/// A file that was closed may have been put back.
#[tokio::test(flavor = "multi_thread")]
async fn each_opening_is_a_run() {
    let mut fixture = SqliteFixture::fresh(Policy::default()).await;
    let deadline = || Deadline::within(Duration::from_secs(10));
    let mut runs = Vec::new();
    for _ in 0..2 {
        let numbered = fixture.store.number_feed(deadline()).await.unwrap();
        let page = fixture.store.feed_after(FeedPosition(0), 1, Detail::Values, deadline()).await.unwrap();
        assert_eq!(numbered.state, page.state);
        runs.push(numbered.state.run);
        fixture.reopen(Policy::default()).await;
    }
    assert_ne!(runs[0], runs[1]);
}

/// Whoever begins to serve the file has what another process ran rescued at once, however long the leases are by the clock.
#[tokio::test(flavor = "multi_thread")]
async fn runs_left_behind_are_rescued_by_whoever_serves_next() {
    let mut fixture = SqliteFixture::fresh(Policy::default()).await;
    let deadline = || Deadline::within(Duration::from_secs(10));
    let (tenant, task_type) = (TenantId::parse("a").unwrap(), TaskType::parse("echo").unwrap());
    let id = TaskId::from_bytes([7; 16]);
    let task = NewTask {
        id,
        task_type: task_type.clone(),
        payload: serde_json::json!({}),
        due: Due::After(0),
        max_attempts: 3,
        unique: None,
        profile: None,
        traceparent: None,
    };
    let changeset = Changeset { tasks: vec![task], ..Changeset::of(Moment::from_micros(0), Vec::new()) };
    fixture.store.commit(&tenant, changeset, deadline()).await.unwrap();
    let hour = Duration::from_hours(1);
    let claim = Claim { task_type: &task_type, only: &[], limit: 1, worker: "w", lease: hour, patience: hour };
    assert_eq!(fixture.store.claim(claim, deadline()).await.unwrap().tasks.len(), 1);

    fixture.reopen(Policy::default()).await;
    assert_eq!(fixture.store.rescue(10, deadline()).await.unwrap(), 0, "a command may open the file beside a server");
    fixture.store.end_leases(deadline()).await.unwrap();
    assert_eq!(fixture.store.rescue(10, deadline()).await.unwrap(), 1);
    let task = fixture.store.task(&tenant, id, deadline()).await.unwrap().unwrap();
    assert_eq!((task.status, task.attempt), (TaskStatus::Retrying, 1));
}

struct SqliteFixture {
    folder: tempfile::TempDir,
    store: Arc<SqliteStore>,
}

impl SqliteFixture {
    fn path(&self) -> PathBuf {
        self.folder.path().join("store.db")
    }

    fn look(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }
}

#[async_trait]
impl Fixture for SqliteFixture {
    async fn fresh(policy: Policy) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path().join("store.db"), policy);
        Self { folder, store }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    async fn reopen(&mut self, policy: Policy) {
        self.store.close().await;
        self.store = open(self.path(), policy);
    }

    async fn feed(&self, tenant: &TenantId) -> Vec<FeedRow> {
        let look = self.look();
        let mut statement =
            look.prepare("SELECT type, reference, version, kind, changes FROM feed WHERE tenant = ?1 ORDER BY position").unwrap();
        let rows = statement.query_map([tenant.as_str()], |row| {
            Ok(FeedRow {
                key: EntityKey {
                    entity_type: EntityType::parse(&row.get::<_, String>(0)?).unwrap(),
                    reference: Reference::parse(&row.get::<_, String>(1)?).unwrap(),
                },
                version: Version::new(row.get(2)?).unwrap(),
                kind: kind(&row.get::<_, String>(3)?),
                changes: row.get::<_, Option<String>>(4)?.map(|changes| serde_json::from_str(&changes).unwrap()),
            })
        });
        rows.unwrap().map(Result::unwrap).collect()
    }

    fn shift_clock(&self, by: Duration) {
        self.store.shift_clock(by);
    }

    async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let look = self.look();
        names(&look, "SELECT name FROM sqlite_schema WHERE type = 'table'")
            .into_iter()
            .map(|table| {
                let mut rows = dump_table(&look, &table);
                rows.sort_unstable();
                (table, rows)
            })
            .collect()
    }

    async fn indexes(&self) -> Vec<Index> {
        let look = self.look();
        let mut indexes = Vec::new();
        for table in names(&look, "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'") {
            for name in names(&look, &format!("SELECT name FROM pragma_index_list('{table}')")) {
                let columns = names(&look, &format!("SELECT name FROM pragma_index_info('{name}') ORDER BY seqno"));
                indexes.push(Index { table: table.clone(), name, columns });
            }
            // The primary key by which the rows themselves lie has no entry in the list of indexes.
            let key = names(&look, &format!("SELECT name FROM pragma_table_info('{table}') WHERE pk > 0 ORDER BY pk"));
            if !indexes.iter().any(|index| index.table == table && index.columns == key) {
                indexes.push(Index { name: format!("{table} itself"), table, columns: key });
            }
        }
        indexes
    }

    async fn list_plan(&self, tenant: &TenantId, query: &ListQuery) -> String {
        self.store.explain_list(tenant, query, Deadline::within(Duration::from_secs(10))).await.unwrap()
    }
}

fn open(path: PathBuf, policy: Policy) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(&Settings::at(path), policy, &prometheus::Registry::new()).unwrap())
}

fn kind(text: &str) -> ChangeKind {
    let kinds = [ChangeKind::Created, ChangeKind::Updated, ChangeKind::Deleted];
    kinds.into_iter().find(|kind| kind.as_str() == text).unwrap()
}

fn names(look: &Connection, sql: &str) -> Vec<String> {
    let mut statement = look.prepare(sql).unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn dump_table(look: &Connection, table: &str) -> Vec<String> {
    let mut statement = look.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| {
        let cells = (0..columns).map(|column| match row.get_ref(column).unwrap() {
            ValueRef::Null => "NULL".to_owned(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => number.to_string(),
            ValueRef::Text(text) => String::from_utf8(text.to_vec()).unwrap(),
            ValueRef::Blob(bytes) => format!("{bytes:?}"),
        });
        Ok(cells.collect::<Vec<_>>().join(" | "))
    });
    rows.unwrap().map(Result::unwrap).collect()
}
