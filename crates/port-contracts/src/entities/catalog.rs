//! What the store's own catalog and planner say.

use std::collections::BTreeSet;

use profile_domain::search::{Filter, ListQuery, Order, Position};
use serde_json::json;

use crate::{
    Fixture,
    build::{create, everything, profile, start},
};

/// Every kind of list is answered from an index in its order: no sort, no scan of a table or of an index from end to end.
pub async fn list_is_backed_by_an_index<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let document = |n: u32| json!({"name": format!("name {n}"), "email": format!("p{n}@example.com"), "a": n % 2, "b": n % 3, "c": n % 5, "d": n});
    client.commit(0, (0..500).map(|n| create(&profile(n), document(n)))).await;

    let filters = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")].map(|(path, text)| Filter::attribute(path, text));
    let by_creation = (0..=filters.len()).flat_map(|count| {
        [Order::Created, Order::CreatedDescending].map(|order| ListQuery { filters: filters[..count].to_vec(), order, ..page() })
    });
    let by_name = [None, Some("name".to_owned())].map(|name_prefix| ListQuery { name_prefix, order: Order::Name, ..page() });
    for query in by_creation.chain(by_name) {
        let name_key = (query.order == Order::Name).then(|| "name 3".to_owned());
        for after in [None, Some(Position { id: 250, name_key })] {
            let query = ListQuery { after, ..query.clone() };
            let plan = fixture.list_plan(&client.tenant, &query).await;
            assert!(!plan.trim().is_empty(), "there is a plan");
            for line in plan.lines() {
                assert!(!is_costly(line), "{line:?} in the plan of {query:?}:\n{plan}");
            }
        }
    }
}

fn page() -> ListQuery {
    ListQuery { limit: 50, ..everything(&profile(0)) }
}

/// SQLite writes its steps in capitals, PostgreSQL its nodes in mixed case.
fn is_costly(line: &str) -> bool {
    let sqlite = line.contains("TEMP B-TREE") || (line.contains("SCAN ") && !line.contains("CONSTANT ROW"));
    let postgres = line.contains("Seq Scan") || line.contains("Sort");
    sqlite || postgres
}

/// Tables whose indexes don't start with the tenant, and why.
const NO_TENANT: [(&str, &str); 7] = [
    ("refinery_schema_history", "migrations are of the store, not of a tenant"),
    ("secrets", "all tenants' cursors are signed with the same keys"),
    ("sequences", "numbers are given across tenants"),
    ("feed", "its position orders the changes of all tenants"),
    ("feed_lives", "which feed all of them are of"),
    ("feed_rounds", "they give positions to the changes of all tenants"),
    ("timelines", "they are the servers', not a tenant's"),
];

/// Every index starts with the tenant, those behind keys included; the exceptions are named above, and an exception in the
/// feed is of its position, or of what gives it one.
pub async fn every_index_starts_with_the_tenant<F: Fixture>() {
    let (fixture, _client) = start::<F>().await;
    let indexes = fixture.indexes().await;
    let tables: BTreeSet<&str> = indexes.iter().map(|index| index.table.as_str()).collect();
    assert!(tables.len() >= 3, "too few tables to be true: {tables:?}");
    for index in &indexes {
        let of_positions = index.columns.len() == 1 || index.name == "feed_by_xid";
        let excepted = NO_TENANT.iter().any(|(table, _)| *table == index.table) && (index.table != "feed" || of_positions);
        let first = index.columns.first().map(String::as_str);
        assert!(excepted || first == Some("tenant"), "{} on {} begins with {first:?}", index.name, index.table);
    }
}
