//! One suite per port, which every adapter of that port runs whole.
//!
//! An adapter implements [`Fixture`] in its tests and calls [`store_contract!`], which makes one test of every case, so that
//! the runner runs them in parallel. A case gets a store of its own and nothing else, and takes what it must know beyond the
//! port (rows, indexes, plans) through the fixture.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use profile_domain::{EntityKey, Policy, TenantId, Version, plan::ChangeKind, search::ListQuery};
use profile_ports::Store;
use serde_json::{Map, Value};

/// A fresh, isolated store, and a look behind its port.
#[async_trait]
pub trait Fixture: Sized + Send + Sync + 'static {
    /// Makes an empty, migrated store of its own, that vanishes with the fixture.
    async fn fresh(policy: Policy) -> Self;

    /// The store under test.
    fn store(&self) -> Arc<dyn Store>;

    /// Closes the store and opens what it left, as the next process would, under a policy that may differ.
    async fn reopen(&mut self, policy: Policy);

    /// Every feed row of a tenant, in the order of appending.
    async fn feed(&self, tenant: &TenantId) -> Vec<FeedRow>;

    /// Every table with all its rows as text, sorted: equal dumps mean that nothing was written.
    async fn dump(&self) -> BTreeMap<String, Vec<String>>;

    /// Every index of every table, those behind keys included, with its columns in order.
    async fn indexes(&self) -> Vec<Index>;

    /// The query plan of the statement that answers this query, as the store explains it.
    async fn list_plan(&self, tenant: &TenantId, query: &ListQuery) -> String;
}

/// A feed row as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedRow {
    /// The entity.
    pub key: EntityKey,
    /// The version that the change made.
    pub version: Version,
    /// What sort of change.
    pub kind: ChangeKind,
    /// What changed; `None` where a deletion blanked it.
    pub changes: Option<Map<String, Value>>,
}

/// An index of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<String>,
}
