//! Pages of a list. Each order and each set of filters is a walk of one index from the cursor on, so that a page costs the
//! same wherever it begins, and none is sorted.

use std::collections::BTreeSet;

use profile_domain::{
    EntityView, TenantId,
    search::{ListQuery, Order, Position},
};
use rusqlite::{Connection, types::Value};

use crate::{error::Failure, row};

const COLUMNS: &str = "e.reference, e.id, e.version, e.created_at, e.updated_at, e.properties";
/// How far the walks of several filters are compared to find the shortest.
const PROBE: &str = "SELECT count(*) FROM (SELECT 1 FROM entity_values WHERE tenant = ?1 AND key = ?2 LIMIT 1000)";

/// A page, in the order asked for.
pub(crate) fn page(connection: &Connection, tenant: &TenantId, query: &ListQuery) -> Result<Vec<EntityView>, Failure> {
    let keys = keys(connection, tenant, query)?;
    let mut after = query.after.clone();
    let mut page = Vec::new();
    loop {
        let wanted = query.limit - page.len();
        let (sql, parameters) = statement(tenant, query, &keys, after.as_ref(), wanted);
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query(rusqlite::params_from_iter(parameters))?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            found += 1;
            let view = row::view(row, &query.entity_type)?;
            after = Some(Position { id: view.id, name_key: None });
            // Keys are hashes: two values may share one. A page that loses rows to that is filled up from behind, because a
            // short one says that it is the last.
            if query.filters.iter().all(|filter| filter.matches(&query.entity_type, &view.properties)) {
                page.push(view);
            }
        }
        if found < wanted || page.len() == query.limit {
            return Ok(page);
        }
    }
}

/// The search keys of the filters; the rarest first, because its rows are walked and the others looked up.
pub(crate) fn keys(connection: &Connection, tenant: &TenantId, query: &ListQuery) -> Result<Vec<i64>, Failure> {
    let distinct: BTreeSet<i64> = query.filters.iter().map(|filter| filter.key(&query.entity_type).0).collect();
    let mut keys: Vec<i64> = distinct.into_iter().collect();
    if keys.len() > 1 {
        let mut probe = connection.prepare_cached(PROBE)?;
        let mut counted = Vec::with_capacity(keys.len());
        for key in keys {
            counted.push((probe.query_row((tenant.as_str(), key), |row| row.get::<_, i64>(0))?, key));
        }
        counted.sort_unstable();
        keys = counted.into_iter().map(|(_, key)| key).collect();
    }
    Ok(keys)
}

/// The statement for a page and its parameters.
pub(crate) fn statement(
    tenant: &TenantId,
    query: &ListQuery,
    keys: &[i64],
    after: Option<&Position>,
    limit: usize,
) -> (String, Vec<Value>) {
    let mut parameters = vec![
        Value::from(tenant.as_str().to_owned()),
        Value::from(query.entity_type.as_str().to_owned()),
        Value::from(i64::try_from(limit).unwrap_or(i64::MAX)),
    ];
    let sql = if query.order == Order::Name {
        by_name(query.name_prefix.as_deref(), after, &mut parameters)
    } else {
        by_creation(query.order, keys, after, &mut parameters)
    };
    (sql, parameters)
}

fn by_creation(order: Order, keys: &[i64], after: Option<&Position>, parameters: &mut Vec<Value>) -> String {
    let (beyond, direction, start) = match order {
        Order::CreatedDescending => ("<", "DESC", i64::MAX),
        Order::Created | Order::Name => (">", "ASC", 0),
    };
    parameters.push(Value::from(after.map_or(start, |position| position.id)));
    if keys.is_empty() {
        return format!(
            "SELECT {COLUMNS} FROM entities e
WHERE e.tenant = ?1 AND e.type = ?2 AND e.id IS NOT NULL AND e.id {beyond} ?4 ORDER BY e.id {direction} LIMIT ?3"
        );
    }
    let others = |each: fn(usize) -> String| (1..keys.len()).map(each).collect::<String>();
    let tables = others(|index| format!(" CROSS JOIN entity_values v{index}"));
    let equal = others(|index| {
        let key = 5 + index;
        format!(" AND v{index}.tenant = ?1 AND v{index}.key = ?{key} AND v{index}.entity = v0.entity")
    });
    // CROSS JOIN keeps the order of the tables: the first walks its rows in the order of entities, so nothing is sorted.
    let sql = format!(
        "SELECT {COLUMNS} FROM entity_values v0{tables} CROSS JOIN entities e
WHERE v0.tenant = ?1 AND v0.key = ?5 AND v0.entity {beyond} ?4{equal}
AND e.tenant = ?1 AND e.type = ?2 AND e.id = v0.entity AND e.id IS NOT NULL ORDER BY v0.entity {direction} LIMIT ?3"
    );
    parameters.extend(keys.iter().copied().map(Value::from));
    sql
}

/// Entities without a name are not in this order. The last two conditions are what lets the partial index serve.
fn by_name(prefix: Option<&str>, after: Option<&Position>, parameters: &mut Vec<Value>) -> String {
    let prefix = prefix.unwrap_or_default();
    let after = after.and_then(|position| Some((position.name_key.as_deref()?, position.id)));
    // Ids begin at 1, so (prefix, 0) lies before every name that begins with it.
    let (name, id) = after.unwrap_or_default().max((prefix, 0));
    parameters.push(Value::from(name.to_owned()));
    parameters.push(Value::from(id));
    let below = match successor(prefix) {
        None => "",
        Some(successor) => {
            parameters.push(Value::from(successor));
            " AND e.name_key < ?6"
        }
    };
    format!(
        "SELECT {COLUMNS} FROM entities e
WHERE e.tenant = ?1 AND e.type = ?2 AND (e.name_key, e.id) > (?4, ?5){below} AND e.id IS NOT NULL AND e.name_key IS NOT NULL
ORDER BY e.name_key, e.id LIMIT ?3"
    )
}

/// The least text above everything that begins with this prefix; `None` where there is none.
///
/// By characters, because texts are compared as UTF-8, whose bytes sort as its characters do.
fn successor(prefix: &str) -> Option<String> {
    let mut chars = prefix.chars();
    while let Some(last) = chars.next_back() {
        if let Some(next) = (last..=char::MAX).nth(1) {
            let mut successor = chars.as_str().to_owned();
            successor.push(next);
            return Some(successor);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::successor;

    #[test]
    fn successor_is_just_above_every_text_with_the_prefix() {
        assert_eq!(successor(""), None);
        assert_eq!(successor("ada").as_deref(), Some("adb"));
        assert_eq!(successor("a\u{10ffff}\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(successor("\u{10ffff}"), None);
        // Surrogates are no characters.
        assert_eq!(successor("x\u{d7ff}").as_deref(), Some("x\u{e000}"));
    }
}
