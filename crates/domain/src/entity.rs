//! Entities: what is known about one thing, and how an intent turns what is known now into what is known next.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Map, Value};

use crate::{
    changeset::{Intent, Rejection},
    fact::{Fact, FieldFacts},
    json,
    key::{EntityKey, FieldName, SourceName, Version},
    moment::Moment,
    profile,
    properties::Properties,
    rules::Rules,
};

/// How far ahead of `now` a caller may date a fact: 5 minutes, in microseconds.
pub const MAX_AHEAD_MICROS: i64 = 5 * 60 * 1_000_000;

/// An entity as stored: living, or the tombstone of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entity {
    /// +1 on every real change, also over a delete.
    pub version: Version,
    /// `deleted_at` of the last deletion. Facts dated at or before it change nothing, also after a revival.
    pub floor: Option<Moment>,
    /// `None` for a tombstone, which keeps nothing else.
    pub living: Option<Living>,
}

/// What a living entity has beside its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Living {
    /// When this life began.
    pub created_at: Moment,
    /// When the last real change was committed.
    pub updated_at: Moment,
    /// The revision of the rules that chose the winners.
    pub rules_revision: i32,
    /// Every fact, by field.
    pub fields: BTreeMap<FieldName, FieldFacts>,
}

/// What a plain read gives: the served values without the facts behind them.
#[derive(Clone, Debug, PartialEq)]
pub struct EntityView {
    /// Which entity.
    pub key: EntityKey,
    /// The store's ascending number of this life of the entity: the order of creation.
    pub id: i64,
    /// The version that these values have.
    pub version: Version,
    /// When this life began.
    pub created_at: Moment,
    /// When the last real change was committed.
    pub updated_at: Moment,
    /// Field → winning value.
    pub properties: Properties,
}

impl Living {
    /// The served value of each field, in the order of their names. Nulls are absent.
    pub fn served(&self) -> impl Iterator<Item = (&FieldName, &Value)> {
        self.fields.iter().map(|(field, facts)| (field, &facts.winner.value)).filter(|(_, value)| !value.is_null())
    }

    /// The served value of one field, if it has one.
    #[must_use]
    pub fn value(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).map(|facts| &facts.winner.value).filter(|value| !value.is_null())
    }

    fn newest(&self) -> Option<Moment> {
        self.fields.values().map(FieldFacts::newest).max()
    }
}

impl Entity {
    /// What an intent makes of the current state; `None` where it changes nothing.
    ///
    /// # Errors
    /// A [`Rejection`] where the intent can't be applied: invalid or too large a result, or facts dated too far ahead.
    pub fn apply(
        current: Option<&Self>,
        key: &EntityKey,
        intent: &Intent,
        now: Moment,
        rules: &Rules,
    ) -> Result<Option<Self>, Rejection> {
        match intent {
            Intent::Delete => Ok(Self::delete(current, now)),
            Intent::Restore(entity) => match current {
                Some(known) => Err(Rejection::Exists(known.version)),
                None => Ok(Some(Self::clone(entity))),
            },
            Intent::Merge(facts) => {
                refuse_dated_ahead(facts, now)?;
                Self::merge(current, key, facts.iter().cloned(), now, rules)
            }
            Intent::Replace(document) => {
                let facts = replacement(current, &normal(document), now, rules);
                Self::merge(current, key, facts.into_iter(), now, rules)
            }
            Intent::Update(fields) => {
                let document = updated(current.and_then(|entity| entity.living.as_ref()), fields);
                let facts = replacement(current, &normal(&document), now, rules);
                Self::merge(current, key, facts.into_iter(), now, rules)
            }
            Intent::Patch { fields, clear_attributes } => {
                let document = patched(key, current.and_then(|entity| entity.living.as_ref()), fields, *clear_attributes);
                let facts = replacement(current, &normal(&document), now, rules);
                Self::merge(current, key, facts.into_iter(), now, rules)
            }
        }
    }

    fn delete(current: Option<&Self>, now: Moment) -> Option<Self> {
        let entity = current?;
        let living = entity.living.as_ref()?;
        let newest = living.newest().unwrap_or(Moment::MIN);
        let floor = now.max(newest).max(entity.floor.unwrap_or(Moment::MIN));
        Some(Self { version: entity.version.next(), floor: Some(floor), living: None })
    }

    fn merge(
        current: Option<&Self>,
        key: &EntityKey,
        facts: impl Iterator<Item = (FieldName, Fact)>,
        now: Moment,
        rules: &Rules,
    ) -> Result<Option<Self>, Rejection> {
        let floor = current.and_then(|entity| entity.floor);
        let living = current.and_then(|entity| entity.living.as_ref());
        let outdated = living.is_some_and(|living| living.rules_revision < rules.revision);

        let news: Vec<(FieldName, Fact)> = facts
            .map(|(field, mut fact)| {
                if !json::is_normal(&fact.value) {
                    fact.value = json::normalise(fact.value);
                }
                (field, fact)
            })
            .filter(|(_, fact)| floor.is_none_or(|floor| fact.reference_date > floor))
            .filter(|(field, fact)| !living.and_then(|living| living.fields.get(field)).is_some_and(|known| known.absorbs(fact)))
            .collect();
        if news.is_empty() && !outdated {
            return Ok(None);
        }
        profile::check_facts(key, &news)?;

        let mut next = living.cloned().unwrap_or_else(|| Living {
            created_at: now,
            updated_at: now,
            rules_revision: rules.revision,
            fields: BTreeMap::new(),
        });
        let mut changed = false;
        for (field, fact) in news {
            if let Some(known) = next.fields.get_mut(&field) {
                if known.merge(fact) {
                    rules.resolve(&field, known);
                    changed = true;
                }
            } else {
                next.fields.insert(field, FieldFacts::new(fact));
                changed = true;
            }
        }
        if outdated {
            for (field, facts) in &mut next.fields {
                let before = facts.winner.source.clone();
                rules.resolve(field, facts);
                changed |= facts.winner.source != before;
            }
        }
        if !changed {
            return Ok(None);
        }
        profile::check_limits(key, &next)?;
        // A write by an instance with older rules says so, and the next one with newer rules resolves everything anew.
        next.rules_revision = rules.revision;
        next.updated_at = now;
        let version = current.map_or(Version::FIRST, |entity| entity.version.next());
        Ok(Some(Self { version, floor, living: Some(next) }))
    }
}

fn refuse_dated_ahead(facts: &[(FieldName, Fact)], now: Moment) -> Result<(), Rejection> {
    let latest = now.plus_micros(MAX_AHEAD_MICROS);
    match facts.iter().find(|(_, fact)| fact.reference_date > latest) {
        Some((field, fact)) => Err(Rejection::DatedAhead { field: field.clone(), reference_date: fact.reference_date, latest }),
        None => Ok(()),
    }
}

/// The document with every number in its one form. Bodies of requests are parsed into it; other callers need not know.
fn normal(document: &Map<String, Value>) -> Cow<'_, Map<String, Value>> {
    if document.values().all(json::is_normal) {
        Cow::Borrowed(document)
    } else {
        Cow::Owned(document.iter().map(|(field, value)| (field.clone(), json::normalise(value.clone()))).collect())
    }
}

/// The facts by which a document becomes what is served: one for each field whose served value differs, dated after
/// everything that is known of that field.
fn replacement(current: Option<&Entity>, document: &Map<String, Value>, now: Moment, rules: &Rules) -> Vec<(FieldName, Fact)> {
    let empty = BTreeMap::new();
    let fields = current.and_then(|entity| entity.living.as_ref()).map_or(&empty, |living| &living.fields);
    let floor = current.and_then(|entity| entity.floor).map_or(Moment::MIN, Moment::next);
    let source = SourceName::api();
    let fact = |field: &FieldName, value: &Value| {
        let known = fields.get(field);
        let newest = known.map_or(Moment::MIN, |facts| facts.newest().next());
        let fact = Fact { source: source.clone(), reference_date: now.max(newest).max(floor), value: value.clone() };
        // Said before, and outvoted by rule now as it was then: saying it again would change the date and nothing else.
        let futile = known.is_some_and(|facts| {
            facts.of(&source).is_some_and(|said| said.value == *value)
                && facts.winner.source != source
                && !rules.of(field).prefers(&fact, &facts.winner)
        });
        (!futile).then_some(fact)
    };
    let gone = fields
        .iter()
        .filter(|(field, facts)| !facts.winner.value.is_null() && document.get(field.as_str()).is_none_or(Value::is_null))
        .filter_map(|(field, _)| fact(field, &Value::Null).map(|fact| (field.clone(), fact)));
    let given = document.iter().filter(|(_, value)| !value.is_null()).filter_map(|(name, value)| {
        let field = FieldName::parse(name).ok()?;
        if fields.get(&field).is_some_and(|facts| facts.winner.value == *value) {
            return None;
        }
        fact(&field, value).map(|fact| (field, fact))
    });
    gone.chain(given).collect()
}

/// What is served now, as a document.
fn served(living: Option<&Living>) -> Map<String, Value> {
    let served = living.into_iter().flat_map(Living::served);
    served.map(|(field, value)| (field.as_str().to_owned(), value.clone())).collect()
}

/// The served document with some fields set or, by `null`, removed.
fn updated(living: Option<&Living>, fields: &Map<String, Value>) -> Map<String, Value> {
    let mut document = served(living);
    for (field, value) in fields {
        document.insert(field.clone(), value.clone());
    }
    document
}

/// The served document after a merge patch; a nested value is part of its field.
fn patched(key: &EntityKey, living: Option<&Living>, patch: &Map<String, Value>, clear_attributes: bool) -> Map<String, Value> {
    let mut document = served(living);
    if clear_attributes {
        document.retain(|field, _| key.entity_type.is_profile() && profile::is_own_field(field));
    }
    for (field, change) in patch {
        if change.is_null() {
            document.remove(field);
        } else {
            let merged = json::merge_patch(document.get(field), change);
            document.insert(field.clone(), merged);
        }
    }
    document
}
