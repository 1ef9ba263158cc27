//! Search: which values of an entity can be found, and the narrow keys under which stores index them.
//!
//! A store keeps one row (tenant, [`SearchKey`], entity) per findable value. A key is 64 bits of a hash, so that rows stay
//! narrow whatever the values are; whoever reads by key therefore checks [`Filter::matches`] on what it found.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use crate::{
    entity::Living,
    json::canonical,
    key::{EntityKey, EntityType, FieldName},
    profile,
    properties::Properties,
    text::EmailAddress,
};

/// The longest value, in bytes of its text, that can be found.
pub const MAX_VALUE_BYTES: usize = 256;
/// Filters that one query may combine.
pub const MAX_FILTERS: usize = 4;

/// Namespace of the hash; any change of it makes every stored search row stale.
const NAMESPACE: Uuid = Uuid::from_u128(0x7d0e_6a0c_51d7_5c4e_9a53_3f0f_66c2_9b10);

/// The first 64 bits of a UUID v5 (RFC 9562) over entity type, field and value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SearchKey(pub i64);

/// Which attributes can be found. Configuration `SEARCH_FIELDS`; e-mail addresses always can.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SearchFields {
    /// Every attribute.
    #[default]
    All,
    /// These attributes, their members included.
    Only(BTreeSet<FieldName>),
}

impl SearchFields {
    /// Whether a path, an attribute or `attribute.member`, can be found at all.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(fields) => fields
                .iter()
                .any(|field| path.strip_prefix(field.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))),
        }
    }

    fn includes(&self, field: &FieldName) -> bool {
        match self {
            Self::All => true,
            Self::Only(fields) => fields.contains(field),
        }
    }
}

/// Equality of one field, or of one member of an object (`field.member`), with a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Filter {
    field: String,
    text: String,
}

impl Filter {
    /// Profiles that serve this e-mail address, whatever its case.
    #[must_use]
    pub fn email(address: &EmailAddress) -> Self {
        Self { field: "email".into(), text: address.key().as_str().to_owned() }
    }

    /// Entities whose attribute has this value: a string's text, or a number, `true` or `false` as canonical JSON.
    #[must_use]
    pub fn attribute(path: &str, text: &str) -> Self {
        Self { field: path.to_owned(), text: text.to_owned() }
    }

    /// The key under which entities of a type that may match are indexed.
    #[must_use]
    pub fn key(&self, entity_type: &EntityType) -> SearchKey {
        hash(entity_type, &self.field, &self.text)
    }

    /// Whether served values really match.
    #[must_use]
    pub fn matches(&self, entity_type: &EntityType, properties: &Properties) -> bool {
        // The path may be a field, or a field and a member.
        let may_match = |field: &str| self.field.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        let members = properties.members().unwrap_or_default();
        members.iter().filter(|(field, _)| may_match(field)).any(|(field, value)| {
            let mut found = false;
            // Malformed text is left to whoever serves it.
            let value = serde_json::from_str(value).unwrap_or_default();
            each_text(entity_type, field, &value, &mut |path, text| found |= path == self.field && text == self.text);
            found
        })
    }
}

/// The keys under which an entity is found.
#[must_use]
pub fn keys(key: &EntityKey, living: &Living, fields: &SearchFields) -> BTreeSet<SearchKey> {
    let mut keys = BTreeSet::new();
    for (field, value) in living.served() {
        let own = key.entity_type.is_profile() && profile::is_own_field(field.as_str());
        if own || fields.includes(field) {
            each_text(&key.entity_type, field.as_str(), value, &mut |path, text| {
                keys.insert(hash(&key.entity_type, path, text));
            });
        }
    }
    keys
}

/// The findable texts of one field: its own, or one for each scalar member of an object.
fn each_text(entity_type: &EntityType, field: &str, value: &Value, found: &mut dyn FnMut(&str, &str)) {
    if entity_type.is_profile() {
        match field {
            "email" => {
                if let Some(address) = value.as_str().and_then(EmailAddress::parse) {
                    found(field, address.key().as_str());
                }
                return;
            }
            "name" | "bio" => return,
            _ => {}
        }
    }
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                with_text(value, |text| found(&format!("{field}.{member}"), text));
            }
        }
        value => with_text(value, |text| found(field, text)),
    }
}

fn with_text(value: &Value, found: impl FnOnce(&str)) {
    match value {
        Value::String(text) if text.len() <= MAX_VALUE_BYTES => found(text),
        Value::Number(_) | Value::Bool(_) => found(&canonical(value)),
        _ => {}
    }
}

fn hash(entity_type: &EntityType, field: &str, text: &str) -> SearchKey {
    let mut name = Vec::with_capacity(entity_type.as_str().len() + field.len() + text.len() + 2);
    for (index, part) in [entity_type.as_str(), field, text].into_iter().enumerate() {
        if index > 0 {
            name.push(0);
        }
        name.extend_from_slice(part.as_bytes());
    }
    let (high, _) = Uuid::new_v5(&NAMESPACE, &name).as_u64_pair();
    SearchKey(high.cast_signed())
}

/// Counts of keys to add and to remove, for an entity that changes.
#[must_use]
pub fn difference(before: &BTreeSet<SearchKey>, after: &BTreeSet<SearchKey>) -> (Vec<SearchKey>, Vec<SearchKey>) {
    (after.difference(before).copied().collect(), before.difference(after).copied().collect())
}

/// How a list is ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Oldest first.
    #[default]
    Created,
    /// Newest first.
    CreatedDescending,
    /// By folded name, then by creation.
    Name,
}

/// Where a page ended: the next one begins after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The number of the last entity given.
    pub id: i64,
    /// Its folded name, under [`Order::Name`].
    pub name_key: Option<String>,
}

/// One page of a list of living entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListQuery {
    /// Of this type.
    pub entity_type: EntityType,
    /// All of these must match; at most [`MAX_FILTERS`]. Only under an order by creation.
    pub filters: Vec<Filter>,
    /// Folded prefix of the name. Only under [`Order::Name`], without filters.
    pub name_prefix: Option<String>,
    /// The order, which the cursor belongs to.
    pub order: Order,
    /// Where the previous page ended.
    pub after: Option<Position>,
    /// How many to give at most.
    pub limit: usize,
}
