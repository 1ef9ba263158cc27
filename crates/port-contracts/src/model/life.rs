//! One life of an entity, with every fact ever accepted about it.

use std::{cmp::Reverse, collections::BTreeSet};

use profile_domain::{Fact, FieldName, Moment, Rule, Rules, SourceName};
use serde_json::{Map, Value};

#[derive(Clone)]
pub(super) struct Life {
    /// As the store numbered it.
    pub(super) id: Option<i64>,
    pub(super) created_at: Moment,
    pub(super) updated_at: Moment,
    /// Every fact that was ever news, in the order of arrival.
    pub(super) facts: Vec<(FieldName, Fact)>,
}

impl Life {
    pub(super) fn fields(&self) -> BTreeSet<FieldName> {
        self.facts.iter().map(|(field, _)| field.clone()).collect()
    }

    /// What each source holds of a field now, the one that is served first.
    pub(super) fn voices(&self, field: &FieldName, rules: &Rules) -> Vec<Fact> {
        let about: Vec<&Fact> = self.facts.iter().filter(|(of, _)| of == field).map(|(_, fact)| fact).collect();
        let sources: BTreeSet<&SourceName> = about.iter().map(|fact| &fact.source).collect();
        let mut voices: Vec<Fact> = sources
            .into_iter()
            .filter_map(|source| about.iter().filter(|fact| fact.source == *source).max_by_key(|fact| age(fact)))
            .map(|fact| (*fact).clone())
            .collect();
        let rank = |fact: &Fact| match rules.fields.get(field).unwrap_or(&rules.default) {
            Rule::Newest => 0,
            Rule::Priority(order) => order.iter().take_while(|source| **source != fact.source).count(),
        };
        voices.sort_by_key(|fact| (rank(fact), Reverse(fact.reference_date), fact.source.clone()));
        voices
    }

    pub(super) fn served(&self, rules: &Rules) -> Map<String, Value> {
        let winner = |field: FieldName| (field.as_str().to_owned(), self.voices(&field, rules).swap_remove(0).value);
        self.fields().into_iter().map(winner).filter(|(_, value)| !value.is_null()).collect()
    }

    /// Whether a fact would be forgotten at once, because its source said something later of the field.
    pub(super) fn knows(&self, field: &FieldName, fact: &Fact) -> bool {
        self.facts.iter().any(|(of, known)| of == field && known.source == fact.source && age(known) >= age(fact))
    }

    /// The address that source `api` gives, in lower case.
    pub(super) fn address(&self) -> Option<String> {
        let said = self.facts.iter().filter(|(field, fact)| field.as_str() == "email" && fact.source.as_str() == "api");
        let last = said.map(|(_, fact)| fact).max_by_key(|fact| age(fact))?;
        last.value.as_str().map(str::to_lowercase)
    }
}

/// Later facts of one source replace earlier ones; of equal dates, the greater text.
fn age(fact: &Fact) -> (Moment, String) {
    (fact.reference_date, fact.value.to_string())
}
