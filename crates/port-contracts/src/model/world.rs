//! One tenant's entities, kept naively.

use std::collections::{BTreeMap, BTreeSet};

use profile_domain::{
    Changeset, Entity, EntityKey, EntityView, EntityWrite, Expect, Fact, FieldFacts, FieldName, Intent, ItemOutcome, Living,
    Moment, Rejection, Replay, Rules, Version, plan::ChangeKind, search::Order,
};
use serde_json::{Map, Value};

use super::{
    history::Question,
    life::Life,
    values::{differences, is_valid, matches, patch},
};
use crate::build::{after, source, version};

/// What a commit is answered with.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answer {
    Receipt { at: Moment, outcomes: Outcomes, replay: Replay },
    Forgotten,
    Refused { index: usize, rejection: Rejection },
    KeyReused,
}

/// What became of each write, with its entity.
type Outcomes = Vec<(EntityKey, ItemOutcome)>;

/// The feed of each entity: version, kind, changes.
pub(super) type Feed = BTreeMap<EntityKey, Vec<(Version, ChangeKind, Map<String, Value>)>>;

pub(super) struct World {
    rules: Rules,
    state: State,
    keys: BTreeMap<String, Kept>,
    last_id: i64,
}

#[derive(Clone, Default)]
struct State {
    entities: BTreeMap<EntityKey, Known>,
    feed: Feed,
}

/// What was answered under an idempotency key.
struct Kept {
    fingerprint: [u8; 32],
    entity: EntityKey,
    answer: Answer,
}

/// Whatever was ever written to; version 0 if nothing came of it.
#[derive(Clone, Default)]
struct Known {
    version: i64,
    floor: Option<Moment>,
    life: Option<Life>,
}

impl Known {
    fn address(&self, key: &EntityKey) -> Option<String> {
        self.life.as_ref().filter(|_| key.entity_type.is_profile()).and_then(Life::address)
    }
}

impl World {
    pub(super) fn new(rules: &Rules) -> Self {
        Self { rules: rules.clone(), state: State::default(), keys: BTreeMap::new(), last_id: 0 }
    }

    pub(super) fn commit(&mut self, changeset: &Changeset) -> Answer {
        if let Some(idempotency) = &changeset.idempotency
            && let Some(kept) = self.keys.get(&idempotency.key)
        {
            return if kept.fingerprint == idempotency.fingerprint { kept.answer.clone() } else { Answer::KeyReused };
        }
        let (state, outcomes) = match self.settle(changeset) {
            Ok(settled) => settled,
            Err((index, rejection)) => return Answer::Refused { index, rejection },
        };
        for (key, outcome) in &outcomes {
            if matches!(outcome, ItemOutcome::Deleted(_)) {
                self.keys.values_mut().filter(|kept| kept.entity == *key).for_each(|kept| kept.answer = Answer::Forgotten);
            }
        }
        self.state = state;
        let receipt = |replay| Answer::Receipt { at: changeset.now, outcomes: outcomes.clone(), replay };
        if let Some(idempotency) = &changeset.idempotency {
            let entity = changeset.writes[0].key.clone();
            let kept = Kept { fingerprint: idempotency.fingerprint, entity, answer: receipt(Replay::Yes) };
            self.keys.insert(idempotency.key.clone(), kept);
        }
        receipt(Replay::No)
    }

    /// Runs the writes again and again, without those that want what they can't have, until all can have what they want.
    fn settle(&self, changeset: &Changeset) -> Result<(State, Outcomes), (usize, Rejection)> {
        let mut hopeless = BTreeSet::new();
        loop {
            let mut state = self.state.clone();
            let mut moved = BTreeMap::new();
            let mut outcomes = Vec::new();
            for (index, write) in changeset.writes.iter().enumerate() {
                let before = state.entities.get(&write.key).and_then(|known| known.address(&write.key));
                let result = if hopeless.contains(&index) {
                    Err(Rejection::EmailTaken)
                } else {
                    self.write(&mut state, write, changeset.now)
                };
                let outcome = match result {
                    Ok(outcome) => outcome,
                    Err(rejection) if write.required => return Err((index, rejection)),
                    Err(rejection) => ItemOutcome::Rejected(rejection),
                };
                if state.entities.get(&write.key).and_then(|known| known.address(&write.key)) != before {
                    moved.insert(write.key.clone(), index);
                }
                outcomes.push((write.key.clone(), outcome));
            }
            let losers = self.losers(&state, &moved);
            if losers.is_empty() {
                return Ok((state, outcomes));
            }
            if let Some(index) = losers.iter().find(|index| changeset.writes[**index].required) {
                return Err((*index, Rejection::EmailTaken));
            }
            hopeless.extend(losers);
        }
    }

    /// The writes by which an entity came to an address that another has a better claim to: who had it before and has it
    /// still, else who asked for it first.
    fn losers(&self, state: &State, moved: &BTreeMap<EntityKey, usize>) -> BTreeSet<usize> {
        let before = |key: &EntityKey| self.state.entities.get(key).and_then(|known| known.address(key));
        let mut losers = BTreeSet::new();
        for (key, known) in &state.entities {
            let Some(address) = known.address(key).filter(|address| before(key).as_ref() != Some(address)) else { continue };
            let index = moved[key];
            let rivals =
                state.entities.iter().filter(|(rival, known)| *rival != key && known.address(rival).as_ref() == Some(&address));
            for (rival, _) in rivals {
                let had_it = before(rival).as_ref() == Some(&address);
                if had_it || moved[rival] < index {
                    losers.insert(index);
                }
            }
        }
        losers
    }

    fn write(&self, state: &mut State, write: &EntityWrite, now: Moment) -> Result<ItemOutcome, Rejection> {
        let known = state.entities.entry(write.key.clone()).or_default();
        let living = known.life.is_some();
        let actual = Version::new(known.version);
        match &write.expect {
            Expect::Absent | Expect::Fresh if living => return Err(Rejection::Exists(version(known.version))),
            Expect::Present | Expect::Version(_) if !living => return Err(Rejection::Absent),
            Expect::Version(allowed) if !allowed.iter().any(|allowed| allowed.get() == known.version) => {
                return Err(Rejection::VersionConflict { actual: version(known.version) });
            }
            _ => {}
        }
        let feed = state.feed.entry(write.key.clone()).or_default();
        let before = known.life.as_ref().map(|life| life.served(&self.rules)).unwrap_or_default();
        let facts = match &write.intent {
            Intent::Delete => {
                let Some(life) = known.life.take() else { return Ok(ItemOutcome::Unchanged(actual)) };
                let dates = life.facts.iter().map(|(_, fact)| fact.reference_date).chain([now]).chain(known.floor);
                known.floor = dates.max();
                known.version += 1;
                for (_, _, changes) in feed.iter_mut() {
                    changes.clear();
                }
                feed.push((version(known.version), ChangeKind::Deleted, Map::new()));
                return Ok(ItemOutcome::Deleted(version(known.version)));
            }
            Intent::Merge(facts) => {
                let latest = now.plus_micros(5 * 60 * 1_000_000);
                if let Some((field, fact)) = facts.iter().find(|(_, fact)| fact.reference_date > latest) {
                    return Err(Rejection::DatedAhead { field: field.clone(), reference_date: fact.reference_date, latest });
                }
                facts.clone()
            }
            Intent::Restore(entity) => return self.restore(known, feed, entity),
            Intent::Update(fields) => {
                let mut document = before.clone();
                document.extend(fields.clone());
                self.said(known, &before, &document, now)
            }
            Intent::Replace(document) => self.said(known, &before, document, now),
            Intent::Patch { fields, clear_attributes } => {
                let mut document = before.clone();
                let typed = |name: &str| write.key.entity_type.is_profile() && matches!(name, "name" | "email" | "bio");
                if *clear_attributes {
                    document.retain(|name, _| typed(name));
                }
                patch(&mut document, fields);
                self.said(known, &before, &document, now)
            }
        };
        let news: Vec<_> = facts
            .into_iter()
            .filter(|(_, fact)| known.floor.is_none_or(|floor| fact.reference_date > floor))
            .filter(|(field, fact)| !known.life.as_ref().is_some_and(|life| life.knows(field, fact)))
            .collect();
        if news.is_empty() {
            return Ok(ItemOutcome::Unchanged(actual));
        }
        if write.key.entity_type.is_profile() && news.iter().any(|(field, fact)| !is_valid(field, &fact.value)) {
            return Err(Rejection::Invalid(Vec::new()));
        }
        let life = known.life.get_or_insert_with(|| Life { id: None, created_at: now, updated_at: now, facts: Vec::new() });
        life.facts.extend(news);
        life.updated_at = now;
        known.version += 1;
        let kind = if living { ChangeKind::Updated } else { ChangeKind::Created };
        feed.push((version(known.version), kind, differences(&before, &life.served(&self.rules))));
        Ok(if living { ItemOutcome::Updated(version(known.version)) } else { ItemOutcome::Created(version(known.version)) })
    }

    /// Takes an entity as it is given, where none was ever known.
    fn restore(
        &self,
        known: &mut Known,
        feed: &mut Vec<(Version, ChangeKind, Map<String, Value>)>,
        entity: &Entity,
    ) -> Result<ItemOutcome, Rejection> {
        if known.version > 0 {
            return Err(Rejection::Exists(version(known.version)));
        }
        (known.version, known.floor) = (entity.version.get(), entity.floor);
        let Some(living) = &entity.living else {
            feed.push((entity.version, ChangeKind::Deleted, Map::new()));
            return Ok(ItemOutcome::Deleted(entity.version));
        };
        let facts = living.fields.iter().flat_map(|(field, facts)| facts.iter().map(|fact| (field.clone(), fact.clone())));
        let life = Life { id: None, created_at: living.created_at, updated_at: living.updated_at, facts: facts.collect() };
        feed.push((entity.version, ChangeKind::Created, differences(&Map::new(), &life.served(&self.rules))));
        known.life = Some(life);
        Ok(ItemOutcome::Created(entity.version))
    }

    /// What `api` must say so that a document is served.
    fn said(
        &self,
        known: &Known,
        served: &Map<String, Value>,
        document: &Map<String, Value>,
        now: Moment,
    ) -> Vec<(FieldName, Fact)> {
        let names: BTreeSet<&String> = served.keys().chain(document.keys()).collect();
        let mut facts = Vec::new();
        for name in names {
            let wanted = document.get(name).unwrap_or(&Value::Null);
            if served.get(name).unwrap_or(&Value::Null) == wanted {
                continue;
            }
            let field = crate::build::field(name);
            let old = known.life.iter().flat_map(|life| &life.facts).filter(|(of, _)| *of == field).map(|(_, fact)| fact);
            let dates = old.map(|fact| fact.reference_date).chain(known.floor).map(Moment::next).chain([now]);
            let reference_date = dates.max().expect("now, at least");
            let fact = Fact { source: source("api"), reference_date, value: wanted.clone() };
            if !self.is_futile(known, &field, &fact) {
                facts.push((field, fact));
            }
        }
        facts
    }

    /// Whether `api` holds this already and would be outvoted again.
    fn is_futile(&self, known: &Known, field: &FieldName, fact: &Fact) -> bool {
        let Some(life) = &known.life else { return false };
        let said_before =
            life.voices(field, &self.rules).iter().any(|voice| voice.source == fact.source && voice.value == fact.value);
        let mut after = life.clone();
        after.facts.push((field.clone(), fact.clone()));
        said_before && after.voices(field, &self.rules)[0].source != fact.source
    }

    /// Takes over the numbers that the store gave to the lives that a commit began: any, above all before, each once.
    pub(super) fn number(&mut self, begun: BTreeMap<EntityKey, i64>, context: &str) {
        let numbers: BTreeSet<i64> = begun.values().copied().collect();
        assert_eq!(numbers.len(), begun.len(), "a number was given twice: {context}");
        assert!(numbers.first().is_none_or(|first| *first > self.last_id), "numbers ascend: {context}");
        self.last_id = numbers.last().copied().unwrap_or(self.last_id);
        for (key, id) in begun {
            if let Some(life) = self.state.entities.get_mut(&key).and_then(|known| known.life.as_mut()) {
                life.id = Some(id);
            }
        }
    }

    /// The lives that have no number yet.
    pub(super) fn begun(&self) -> Vec<EntityKey> {
        let begun = |known: &Known| known.life.as_ref().is_some_and(|life| life.id.is_none());
        self.state.entities.iter().filter(|(_, known)| begun(known)).map(|(key, _)| key.clone()).collect()
    }

    pub(super) fn view(&self, key: &EntityKey) -> Option<EntityView> {
        let known = self.state.entities.get(key)?;
        let life = known.life.as_ref()?;
        Some(EntityView {
            key: key.clone(),
            id: life.id.unwrap_or(-1),
            version: version(known.version),
            created_at: life.created_at,
            updated_at: life.updated_at,
            properties: (&life.served(&self.rules)).into(),
        })
    }

    pub(super) fn entity(&self, key: &EntityKey) -> Option<Entity> {
        let known = self.state.entities.get(key).filter(|known| known.version > 0)?;
        let living = known.life.as_ref().map(|life| {
            let facts = |field: FieldName| {
                let mut voices = life.voices(&field, &self.rules);
                let winner = voices.remove(0);
                voices.sort_by(|a, b| a.source.cmp(&b.source));
                (field, FieldFacts { winner, superseded: voices })
            };
            let fields = life.fields().into_iter().map(facts).collect();
            let rules_revision = self.rules.revision;
            Living { created_at: life.created_at, updated_at: life.updated_at, rules_revision, fields }
        });
        Some(Entity { version: version(known.version), floor: known.floor, living })
    }

    /// The whole list, whatever the query's limit.
    pub(super) fn list(&self, Question { query, wanted }: &Question) -> Vec<EntityView> {
        let mut views: Vec<EntityView> = self
            .state
            .entities
            .keys()
            .filter(|key| key.entity_type == query.entity_type)
            .filter_map(|key| self.view(key))
            .filter(|view| wanted.iter().all(|(path, text)| matches(view, path, text)))
            .collect();
        views.sort_by_key(|view| view.id);
        match query.order {
            Order::Created => {}
            Order::CreatedDescending => views.reverse(),
            Order::Name => {
                let name = |view: &EntityView| after(view, Order::Name).name_key;
                let prefix = query.name_prefix.as_deref().unwrap_or_default();
                views.retain(|view| name(view).is_some_and(|name| name.starts_with(prefix)));
                views.sort_by_key(name);
            }
        }
        views
    }

    pub(super) fn feed(&self) -> Feed {
        self.state.feed.iter().filter(|(_, rows)| !rows.is_empty()).map(|(key, rows)| (key.clone(), rows.clone())).collect()
    }
}
