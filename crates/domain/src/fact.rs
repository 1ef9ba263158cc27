//! Facts: one field's value as one source reported it, and how facts about one field merge.

use serde_json::Value;

use crate::{json::canonical, key::SourceName, moment::Moment, rules::Rule};

/// One field's value as one source reported it, with the time at which it was true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Who reported it.
    pub source: SourceName,
    /// When it was true.
    pub reference_date: Moment,
    /// Normalised. `Null` says "gone at that time": it wins and loses like any other, and is served as absent.
    pub value: Value,
}

impl Fact {
    /// Whether this fact replaces another *of the same source*: the later date stays; at equal dates the greater canonical
    /// JSON. A join of a semilattice, so any order of arrival ends in the same fact.
    #[must_use]
    pub fn replaces(&self, other: &Self) -> bool {
        match self.reference_date.cmp(&other.reference_date) {
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => self.value != other.value && canonical(&self.value) > canonical(&other.value),
        }
    }
}

/// The facts about one field: at most one per source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldFacts {
    /// The fact that is served.
    pub winner: Fact,
    /// The facts that lost, by source name.
    pub superseded: Vec<Fact>,
}

impl FieldFacts {
    /// A field of which one source reported.
    #[must_use]
    pub fn new(fact: Fact) -> Self {
        Self { winner: fact, superseded: Vec::new() }
    }

    /// Every fact, the winner first.
    pub fn iter(&self) -> impl Iterator<Item = &Fact> {
        std::iter::once(&self.winner).chain(&self.superseded)
    }

    /// What one source says of this field.
    #[must_use]
    pub fn of(&self, source: &SourceName) -> Option<&Fact> {
        self.iter().find(|fact| fact.source == *source)
    }

    /// The latest date of any fact here.
    #[must_use]
    pub fn newest(&self) -> Moment {
        self.superseded.iter().fold(self.winner.reference_date, |newest, fact| newest.max(fact.reference_date))
    }

    /// Whether a fact would change nothing here.
    #[must_use]
    pub fn absorbs(&self, fact: &Fact) -> bool {
        self.of(&fact.source).is_some_and(|known| !fact.replaces(known))
    }

    /// Takes a fact in. `false` if it changed nothing. The winner is stale until [`Self::resolve`].
    pub(crate) fn merge(&mut self, fact: Fact) -> bool {
        if self.absorbs(&fact) {
            return false;
        }
        if self.winner.source == fact.source {
            self.winner = fact;
        } else {
            match self.superseded.binary_search_by(|known| known.source.cmp(&fact.source)) {
                Ok(index) => self.superseded[index] = fact,
                Err(index) => self.superseded.insert(index, fact),
            }
        }
        true
    }

    /// Makes the maximum under a rule the winner.
    pub(crate) fn resolve(&mut self, rule: &Rule) {
        self.resolve_by(|challenger, holder| rule.prefers(challenger, holder));
    }

    /// Makes the maximum of a total order the winner.
    pub(crate) fn resolve_by(&mut self, prefers: impl Fn(&Fact, &Fact) -> bool) {
        let best = (0..self.superseded.len()).fold(None, |best: Option<usize>, index| {
            let holder = best.map_or(&self.winner, |best| &self.superseded[best]);
            if prefers(&self.superseded[index], holder) { Some(index) } else { best }
        });
        if let Some(index) = best {
            std::mem::swap(&mut self.winner, &mut self.superseded[index]);
            self.superseded.sort_unstable_by(|a, b| a.source.cmp(&b.source));
        }
    }
}
