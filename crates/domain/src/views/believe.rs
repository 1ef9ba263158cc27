//! Who is believed about which field, among sources that answered.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::{
    fact::{Fact, FieldFacts},
    key::{FieldName, SourceName},
    rules::{Rule, Rules, outranks},
};

/// How much a source is believed: 0 before all others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Priorities {
    /// For fields that have none of their own. Without: after every number.
    pub default: Option<u32>,
    /// By field.
    pub fields: BTreeMap<FieldName, u32>,
}

impl Priorities {
    fn of(&self, field: &FieldName) -> Option<u32> {
        self.fields.get(field).copied().or(self.default)
    }
}

/// Who is believed among some sources. For a field about which one of them has a priority, these count: equal ones go by date,
/// then by name. For any other it is the rule by which stored facts go.
#[derive(Clone, Debug)]
pub struct Believed<'c> {
    /// The sources, each with its priorities.
    pub priorities: BTreeMap<&'c SourceName, &'c Priorities>,
    /// The rules of what is stored.
    pub rules: &'c Rules,
}

impl Believed<'_> {
    /// Merges what sources said, at most one fact per field and source, in whatever order it came.
    #[must_use]
    pub fn merge(&self, facts: impl IntoIterator<Item = (FieldName, Fact)>) -> BTreeMap<FieldName, FieldFacts> {
        let mut merged: BTreeMap<FieldName, FieldFacts> = BTreeMap::new();
        for (field, fact) in facts {
            if let Some(known) = merged.get_mut(&field) {
                known.merge(fact);
            } else {
                merged.insert(field, FieldFacts::new(fact));
            }
        }
        for (field, known) in &mut merged {
            if self.has_priorities(field) {
                known.resolve_by(|challenger, holder| outranks(|fact| self.rank(field, fact), challenger, holder));
            } else {
                known.resolve(self.rules.of(field));
            }
        }
        merged
    }

    /// The rule for a field, for people.
    #[must_use]
    pub fn explain(&self, field: &FieldName) -> Value {
        if self.has_priorities(field) {
            let ranked = self
                .priorities
                .iter()
                .filter_map(|(source, priorities)| Some((source.as_str().to_owned(), priorities.of(field)?.into())));
            return json!({"name": "priority", "priorities": ranked.collect::<Map<_, _>>()});
        }
        match self.rules.of(field) {
            rule @ Rule::Newest => json!({"name": rule.name()}),
            rule @ Rule::Priority(sources) => {
                json!({"name": rule.name(), "sources": sources.iter().map(SourceName::as_str).collect::<Vec<_>>()})
            }
        }
    }

    fn has_priorities(&self, field: &FieldName) -> bool {
        self.priorities.values().any(|priorities| priorities.of(field).is_some())
    }

    fn rank(&self, field: &FieldName, fact: &Fact) -> usize {
        let priority = self.priorities.get(&fact.source).and_then(|priorities| priorities.of(field));
        priority.map_or(usize::MAX, |priority| usize::try_from(priority).unwrap_or(usize::MAX - 1))
    }
}
