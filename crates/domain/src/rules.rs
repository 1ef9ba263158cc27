//! Survivorship: the rule by which the facts about a field become the value that is served.

use std::collections::BTreeMap;

use crate::{
    fact::{Fact, FieldFacts},
    key::{FieldName, SourceName},
};

/// How the winner among the facts about one field is found. Both rules pick *one* stored fact as the maximum of a total
/// order, so the result never depends on the order of arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The fact with the latest reference date; of equals, that of the source whose name sorts first.
    #[default]
    Newest,
    /// The fact whose source stands first in the list; sources that aren't listed come after it, by [`Rule::Newest`].
    Priority(Vec<SourceName>),
}

impl Rule {
    /// Whether `challenger` wins over `holder`. A strict total order over facts of different sources.
    #[must_use]
    pub fn prefers(&self, challenger: &Fact, holder: &Fact) -> bool {
        match self {
            Self::Newest => outranks(|_| 0, challenger, holder),
            Self::Priority(sources) => {
                let rank = |fact: &Fact| sources.iter().position(|source| *source == fact.source).unwrap_or(sources.len());
                outranks(rank, challenger, holder)
            }
        }
    }

    /// The name used in configuration and in `?explain=true`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Newest => "newest",
            Self::Priority(_) => "priority",
        }
    }
}

/// The order that every rule is made of, for what is stored as for what is live: the lower rank wins, then the later date, then
/// the source whose name sorts first.
pub(crate) fn outranks(rank: impl Fn(&Fact) -> usize, challenger: &Fact, holder: &Fact) -> bool {
    match rank(challenger).cmp(&rank(holder)) {
        std::cmp::Ordering::Less => true,
        std::cmp::Ordering::Greater => false,
        std::cmp::Ordering::Equal => (challenger.reference_date, &holder.source) > (holder.reference_date, &challenger.source),
    }
}

/// The rules in force, numbered: a row remembers the revision that resolved it, and a write resolves it anew under a
/// higher one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Raised by whoever changes the rules.
    pub revision: i32,
    /// For fields that have no rule of their own.
    pub default: Rule,
    /// Rules of single fields.
    pub fields: BTreeMap<FieldName, Rule>,
}

impl Rules {
    /// The rule for one field.
    #[must_use]
    pub fn of(&self, field: &FieldName) -> &Rule {
        self.fields.get(field).unwrap_or(&self.default)
    }

    /// Finds the winner anew.
    pub(crate) fn resolve(&self, field: &FieldName, facts: &mut FieldFacts) {
        facts.resolve(self.of(field));
    }
}
