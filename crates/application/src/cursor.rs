//! Cursors: where a page ended, signed and bound to the tenant and the query that it belongs to.
//!
//! The text is base64url of `1 | key id | entity id | name key | signature`. Everything else about the query is signed but not
//! carried, so a cursor fits no other filter, order or tenant. The page size may change from page to page.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use profile_domain::{
    TaskId, TenantId,
    search::{ListQuery, Order, Position},
};

use crate::keyring::{Keyring, SIGNATURE_BYTES};

const FORMAT: u8 = 1;
const HEAD_BYTES: usize = 1 + 4 + 8;
/// Longer than any cursor made here; a longer one is refused unread.
const MAX_CURSOR_CHARS: usize = 4_096;

/// Seals the position after which the next page begins. `None` while no key is known.
pub(crate) fn seal(keyring: &Keyring, tenant: &TenantId, query: &ListQuery, position: &Position) -> Option<String> {
    let name_key = position.name_key.as_deref().unwrap_or_default();
    let (key, signature) = keyring.sign(&signed(tenant, query, position.id, name_key))?;
    let mut sealed = Vec::with_capacity(HEAD_BYTES + name_key.len() + SIGNATURE_BYTES);
    sealed.push(FORMAT);
    sealed.extend_from_slice(&key.to_be_bytes());
    sealed.extend_from_slice(&position.id.to_be_bytes());
    sealed.extend_from_slice(name_key.as_bytes());
    sealed.extend_from_slice(&signature);
    Some(URL_SAFE_NO_PAD.encode(sealed))
}

/// The id of the key that a cursor says it was signed with.
pub(crate) fn key_id(cursor: &str) -> Option<u32> {
    let sealed = decode(cursor)?;
    Some(u32::from_be_bytes(sealed[1..5].try_into().ok()?))
}

/// The position, if the cursor was made here for this tenant and query.
pub(crate) fn open(keyring: &Keyring, tenant: &TenantId, query: &ListQuery, cursor: &str) -> Option<Position> {
    let sealed = decode(cursor)?;
    let (body, signature) = sealed.split_at(sealed.len() - SIGNATURE_BYTES);
    let key = u32::from_be_bytes(body[1..5].try_into().ok()?);
    let id = i64::from_be_bytes(body[5..HEAD_BYTES].try_into().ok()?);
    let name_key = std::str::from_utf8(&body[HEAD_BYTES..]).ok()?;
    keyring
        .verify(key, &signed(tenant, query, id, name_key), signature)
        .then(|| Position { id, name_key: (query.order == Order::Name).then(|| name_key.to_owned()) })
}

/// The same of a list of tasks, which is `2 | key id | task id | signature`; what else the list is of is signed.
const TASK_FORMAT: u8 = 2;
const TASK_BYTES: usize = 1 + 4 + 16;

/// Seals the task after which the next page begins. `None` while no key is known.
pub(crate) fn seal_task(keyring: &Keyring, tenant: &TenantId, query: [u8; 32], id: TaskId) -> Option<String> {
    let (key, signature) = keyring.sign(&task_signed(tenant, query, id))?;
    let key = key.to_be_bytes();
    let parts: [&[u8]; 4] = [&[TASK_FORMAT], &key, id.0.as_bytes(), &signature];
    Some(URL_SAFE_NO_PAD.encode(parts.concat()))
}

/// The id of the key that such a cursor says it was signed with.
pub(crate) fn task_key_id(cursor: &str) -> Option<u32> {
    Some(task_parts(cursor)?.0)
}

/// The task, if the cursor was made here for this tenant and query.
pub(crate) fn open_task(keyring: &Keyring, tenant: &TenantId, query: [u8; 32], cursor: &str) -> Option<TaskId> {
    let (key, id, signature) = task_parts(cursor)?;
    keyring.verify(key, &task_signed(tenant, query, id), &signature).then_some(id)
}

fn task_parts(cursor: &str) -> Option<(u32, TaskId, Vec<u8>)> {
    let sealed =
        Some(cursor).filter(|cursor| cursor.len() <= MAX_CURSOR_CHARS).and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())?;
    if sealed.len() != TASK_BYTES + SIGNATURE_BYTES || sealed[0] != TASK_FORMAT {
        return None;
    }
    let key = u32::from_be_bytes(sealed[1..5].try_into().ok()?);
    Some((key, TaskId::from_bytes(sealed[5..TASK_BYTES].try_into().ok()?), sealed[TASK_BYTES..].to_vec()))
}

fn task_signed(tenant: &TenantId, query: [u8; 32], id: TaskId) -> Vec<u8> {
    // The name of a tenant has no zero byte.
    let parts: [&[u8]; 5] = [b"task cursor", tenant.as_str().as_bytes(), &[0], &query, id.0.as_bytes()];
    parts.concat()
}

fn decode(cursor: &str) -> Option<Vec<u8>> {
    if cursor.len() > MAX_CURSOR_CHARS {
        return None;
    }
    let sealed = URL_SAFE_NO_PAD.decode(cursor).ok()?;
    (sealed.len() >= HEAD_BYTES + SIGNATURE_BYTES && sealed[0] == FORMAT).then_some(sealed)
}

/// Every part with its length, so that no two queries are signed alike.
fn signed(tenant: &TenantId, query: &ListQuery, id: i64, name_key: &str) -> Vec<u8> {
    let order = match query.order {
        Order::Created => "created_at",
        Order::CreatedDescending => "-created_at",
        Order::Name => "name",
    };
    let mut filters: Vec<String> = query.filters.iter().map(|filter| format!("{filter:?}")).collect();
    filters.sort_unstable();
    let mut message = b"cursor".to_vec();
    let mut part = |text: &str| {
        message.extend_from_slice(&(text.len() as u64).to_be_bytes());
        message.extend_from_slice(text.as_bytes());
    };
    part(tenant.as_str());
    part(query.entity_type.as_str());
    part(order);
    part(query.name_prefix.as_deref().map_or("-", |_| "prefix"));
    part(query.name_prefix.as_deref().unwrap_or_default());
    part(&filters.len().to_string());
    for filter in &filters {
        part(filter);
    }
    part(name_key);
    message.extend_from_slice(&id.to_be_bytes());
    message
}

#[cfg(test)]
mod tests {
    use profile_domain::{EntityType, search::Filter};

    use super::*;

    fn query(order: Order, filters: Vec<Filter>) -> ListQuery {
        ListQuery { entity_type: EntityType::profile(), filters, name_prefix: None, order, after: None, limit: 50 }
    }

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("a tenant")
    }

    #[test]
    fn a_cursor_opens_on_any_instance_with_the_same_secret_and_for_another_page_size() {
        let position = Position { id: 42, name_key: Some("ada — å".into()) };
        let first = Keyring::configured(["secret"]);
        let sealed = seal(&first, &tenant("a"), &query(Order::Name, vec![]), &position).expect("a cursor");
        let mut other_size = query(Order::Name, vec![]);
        other_size.limit = 7;
        let second = Keyring::configured(["newer", "secret"]);
        assert_eq!(open(&second, &tenant("a"), &other_size, &sealed), Some(position));
    }

    #[test]
    fn a_cursor_opens_for_no_other_tenant_filter_order_or_secret() {
        let keyring = Keyring::configured(["secret"]);
        let pro = || vec![Filter::attribute("plan", "pro")];
        let position = Position { id: 42, name_key: None };
        let sealed = seal(&keyring, &tenant("a"), &query(Order::Created, pro()), &position).expect("a cursor");
        assert_eq!(open(&keyring, &tenant("a"), &query(Order::Created, pro()), &sealed), Some(position));

        let opens = |keyring: &Keyring, name: &str, query: &ListQuery| open(keyring, &tenant(name), query, &sealed).is_some();
        assert!(!opens(&keyring, "b", &query(Order::Created, pro())));
        assert!(!opens(&keyring, "a", &query(Order::CreatedDescending, pro())));
        assert!(!opens(&keyring, "a", &query(Order::Created, vec![])));
        assert!(!opens(&keyring, "a", &query(Order::Created, vec![Filter::attribute("plan", "free")])));
        assert!(!opens(&Keyring::configured(["other"]), "a", &query(Order::Created, pro())));
    }

    #[test]
    fn a_cursor_opens_for_no_other_prefix() {
        let keyring = Keyring::configured(["secret"]);
        let prefixed = |prefix: Option<&str>| ListQuery { name_prefix: prefix.map(Into::into), ..query(Order::Name, vec![]) };
        let position = Position { id: 42, name_key: Some("adam".into()) };
        for made_for in [Some("ad"), Some("a"), None] {
            let sealed = seal(&keyring, &tenant("a"), &prefixed(made_for), &position).expect("a cursor");
            for used_for in [Some("ad"), Some("a"), None] {
                let opened = open(&keyring, &tenant("a"), &prefixed(used_for), &sealed);
                assert_eq!(opened.is_some(), made_for == used_for, "made for {made_for:?}, used for {used_for:?}");
            }
        }
    }

    #[test]
    fn a_cursor_that_was_altered_anywhere_does_not_open() {
        let keyring = Keyring::configured(["secret"]);
        let query = query(Order::Name, vec![]);
        let position = Position { id: 42, name_key: Some("ada".into()) };
        let sealed = seal(&keyring, &tenant("a"), &query, &position).expect("a cursor");
        let bytes = URL_SAFE_NO_PAD.decode(&sealed).expect("base64");
        for index in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[index] ^= 1;
            assert_eq!(open(&keyring, &tenant("a"), &query, &URL_SAFE_NO_PAD.encode(altered)), None, "byte {index}");
        }
        for text in ["", "AA", "not base64!", &sealed[..sealed.len() - 2], &"A".repeat(10_000)] {
            assert_eq!(open(&keyring, &tenant("a"), &query, text), None, "{text:.20}");
        }
    }
}
