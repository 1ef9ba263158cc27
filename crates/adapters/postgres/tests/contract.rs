//! The store's whole contract, on a database of its own for each case.

#![allow(clippy::unwrap_used, reason = "a test says by panicking what went wrong")]

mod support;

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc, time::Duration};

use async_trait::async_trait;
use profile_domain::{EntityKey, EntityType, Policy, Reference, TenantId, Version, plan::ChangeKind, search::ListQuery};
use profile_port_contracts::{FeedRow, Fixture, Index};
use profile_ports::Store;
use profile_postgres::PostgresStore;
use tokio_postgres::types::{Json, Type};

use crate::support::{Database, open};

profile_port_contracts::store_contract!(PostgresFixture);

struct PostgresFixture {
    store: Arc<PostgresStore>,
    database: Database,
}

#[async_trait]
impl Fixture for PostgresFixture {
    async fn fresh(policy: Policy) -> Self {
        let database = Database::create().await;
        Self { store: database.store(policy).await, database }
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    async fn reopen(&mut self, policy: Policy) {
        self.store.close().await;
        self.store = open(&self.database.settings(), policy);
    }

    async fn feed(&self, tenant: &TenantId) -> Vec<FeedRow> {
        let sql = "SELECT type, reference, version, kind, changes FROM feed WHERE tenant = $1 ORDER BY id";
        let rows = self.database.look().await.query(sql, &[&tenant.as_str()]).await.unwrap();
        rows.iter()
            .map(|row| FeedRow {
                key: EntityKey {
                    entity_type: EntityType::parse(row.get("type")).unwrap(),
                    reference: Reference::parse(row.get("reference")).unwrap(),
                },
                version: Version::new(row.get("version")).unwrap(),
                kind: kind(row.get("kind")),
                changes: row.get::<_, Option<Json<_>>>("changes").map(|Json(changes)| changes),
            })
            .collect()
    }

    fn shift_clock(&self, by: Duration) {
        self.store.shift_clock(by);
    }

    async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let look = self.database.look().await;
        let mut dump = BTreeMap::new();
        for table in look.query("SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'", &[]).await.unwrap() {
            let table: String = table.get(0);
            let rows = look.query(&format!("SELECT t::text AS row FROM \"{table}\" AS t ORDER BY row"), &[]).await.unwrap();
            dump.insert(table, rows.iter().map(|row| row.get(0)).collect());
        }
        dump
    }

    async fn indexes(&self) -> Vec<Index> {
        let sql = "SELECT i.indrelid::regclass::text, i.indexrelid::regclass::text, array_agg(a.attname::text ORDER BY a.attnum)
            FROM pg_index AS i
            JOIN pg_class AS c ON c.oid = i.indrelid AND c.relnamespace = 'public'::regnamespace
            JOIN pg_attribute AS a ON a.attrelid = i.indexrelid
            GROUP BY i.indrelid, i.indexrelid";
        let rows = self.database.look().await.query(sql, &[]).await.unwrap();
        rows.iter().map(|row| Index { table: row.get(0), name: row.get(1), columns: row.get(2) }).collect()
    }

    /// Both plans that the server may choose: the one for any values, and one for values that it sees. Sequential and bitmap
    /// scans are made unattractive, because for a few rows they are cheapest, whatever must then be sorted.
    async fn list_plan(&self, tenant: &TenantId, query: &ListQuery) -> String {
        let (sql, types) = profile_postgres::explain_list(query);
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for (index, kind) in types.iter().enumerate() {
            names.push(kind.name());
            values.push(match index {
                0 => format!("'{tenant}'"),
                1 => format!("'{}'", query.entity_type),
                _ if *kind == Type::TEXT => "'name 3'".to_owned(),
                _ => "50".to_owned(),
            });
        }
        let (names, values) = (names.join(", "), values.join(", "));
        let look = self.database.look().await;
        look.batch_execute(&format!(
            "ANALYZE; SET enable_seqscan = off; SET enable_bitmapscan = off; PREPARE list ({names}) AS {sql}"
        ))
        .await
        .unwrap();
        let mut plans = String::new();
        for mode in ["force_generic_plan", "force_custom_plan"] {
            look.batch_execute(&format!("SET plan_cache_mode = {mode}")).await.unwrap();
            let lines = look.simple_query(&format!("EXPLAIN (COSTS OFF) EXECUTE list ({values})")).await.unwrap();
            for line in lines {
                if let tokio_postgres::SimpleQueryMessage::Row(line) = line {
                    writeln!(plans, "{}", line.get(0).unwrap_or_default()).unwrap();
                }
            }
        }
        plans
    }
}

fn kind(text: &str) -> ChangeKind {
    let kinds = [ChangeKind::Created, ChangeKind::Updated, ChangeKind::Deleted];
    kinds.into_iter().find(|kind| kind.as_str() == text).unwrap()
}
