//! What a real store of this shape would say about its indexes and plans.

use profile_domain::search::{ListQuery, Order};
use profile_port_contracts::Index;

pub(crate) fn indexes(shared: bool) -> Vec<Index> {
    let mut indexes: Vec<Index> = [
        ("entities", "entities_pkey", vec!["tenant", "type", "reference"]),
        ("emails", "emails_pkey", vec!["tenant", "email_key"]),
        ("values", "values_pkey", vec!["tenant", "key", "entity"]),
        ("feed", "feed_position", vec!["position"]),
        ("secrets", "secrets_pkey", vec!["id"]),
    ]
    .into_iter()
    .map(|(table, name, columns)| Index {
        table: table.into(),
        name: name.into(),
        columns: columns.into_iter().map(str::to_owned).collect(),
    })
    .collect();
    if shared {
        indexes.push(Index {
            table: "emails".into(),
            name: "by_email".into(),
            columns: vec!["email_key".into(), "tenant".into()],
        });
    }
    indexes
}

pub(crate) fn plan(query: &ListQuery, scans: bool) -> String {
    // The bug is in one kind of query alone: all kinds must be asked about.
    if scans && query.order == Order::CreatedDescending && query.filters.len() == 3 && query.after.is_some() {
        return "SEARCH values USING PRIMARY KEY\nUSE TEMP B-TREE FOR ORDER BY".into();
    }
    "SEARCH entities USING INDEX by_creation (tenant=? AND id>?)".into()
}
