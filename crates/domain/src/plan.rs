//! Planning: what a changeset does to the state that a store has locked. Both stores run this and then only write.
//!
//! A store (1) loads the entities named, (2) makes a [`Draft`], (3) loads who holds the e-mail keys that the draft names,
//! (4) settles the draft into a [`Plan`], (5) writes the plan. Nothing here knows how any of it is stored.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::{Map, Value};

use crate::{
    changeset::{Changeset, EntityWrite, Expect, ItemOutcome, ItemReceipt, Receipt, Refusal, Rejection, Replay},
    entity::{Entity, Living},
    key::{EntityKey, Reference, Version},
    moment::Moment,
    profile,
    rules::Rules,
    search::{self, SearchFields, SearchKey},
    text::EmailKey,
};

/// What configuration says about how entities are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Survivorship.
    pub rules: Rules,
    /// Which attributes can be found.
    pub search_fields: SearchFields,
}

/// A changeset run against known entities, before e-mail reservations are known.
#[derive(Debug)]
pub struct Draft<'a> {
    changeset: &'a Changeset,
    entities: &'a HashMap<EntityKey, Entity>,
    policy: &'a Policy,
    run: Run,
}

/// What must be written, and the receipt for it.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// One for each entity that changes, in the order of their keys.
    pub changes: Vec<EntityChange>,
    /// Reservations to give up, sorted by key: delete these first.
    pub released: Vec<(EmailKey, Reference)>,
    /// Reservations to take, sorted by key. None of them is held by anyone once those released are.
    pub taken: Vec<(EmailKey, Reference)>,
    /// What to answer once this is committed, but for the tasks, of which the store alone knows when they are due.
    pub receipt: Receipt,
}

/// What must be written for one entity.
#[derive(Debug, PartialEq)]
pub struct EntityChange {
    /// Which.
    pub key: EntityKey,
    /// What the store must find there for this plan to hold; `None`: no row.
    pub before: Option<Version>,
    /// Whether the entity lived before.
    pub was_living: bool,
    /// What it is to become.
    pub after: Entity,
    /// Where a life begins, the row gets a new number: this is its place among those of the changeset, counted from 0 in the
    /// order of the writes. So what is created together is listed in the order in which it was given.
    pub birth: Option<usize>,
    /// Whether a life ended: earlier feed rows and idempotency receipts are blanked.
    pub ended_life: bool,
    /// The folded name.
    pub name_key: Option<String>,
    /// Search rows to remove.
    pub keys_removed: Vec<SearchKey>,
    /// Search rows to add.
    pub keys_added: Vec<SearchKey>,
    /// Feed rows to append, in order.
    pub feed: Vec<FeedEntry>,
}

/// One real change of one entity, as the feed keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedEntry {
    /// The version that the change made.
    pub version: Version,
    /// What sort of change.
    pub kind: ChangeKind,
    /// Field → `{"old": …, "new": …}` of served values; an absent value has no member.
    pub changes: Map<String, Value>,
}

/// What sort of change a feed entry tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// A life began.
    Created,
    /// Something about a living entity changed.
    Updated,
    /// A life ended.
    Deleted,
}

impl ChangeKind {
    /// As stored and published.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }

    /// From what is stored.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Created, Self::Updated, Self::Deleted].into_iter().find(|kind| kind.as_str() == text)
    }
}

/// One pass over all writes.
#[derive(Debug)]
struct Run {
    outcomes: Vec<ItemReceipt>,
    states: HashMap<EntityKey, Track>,
}

/// What has become of one entity so far.
#[derive(Debug, Default)]
struct Track {
    current: Option<Entity>,
    feed: Vec<FeedEntry>,
    /// The write by which the present life began.
    born_by: Option<usize>,
    ended_life: bool,
    /// The write that last changed the reserved e-mail.
    email_set_by: Option<usize>,
    /// Every e-mail key that was reserved at any step.
    emails_seen: BTreeSet<EmailKey>,
}

impl<'a> Draft<'a> {
    /// Runs the changeset against the entities known; those not in the map don't exist.
    ///
    /// # Errors
    /// A [`Refusal`] where a required write can't be applied.
    pub fn new(changeset: &'a Changeset, entities: &'a HashMap<EntityKey, Entity>, policy: &'a Policy) -> Result<Self, Refusal> {
        let run = Run::of(changeset, entities, policy, &HashSet::new())?;
        Ok(Self { changeset, entities, policy, run })
    }

    /// Whether nothing at all would be written for the entities.
    #[must_use]
    pub fn is_unchanged(&self) -> bool {
        self.run.states.values().all(|track| track.feed.is_empty())
    }

    /// Every e-mail key whose holder [`Self::settle`] needs to know, sorted: the order in which stores lock. None for an
    /// entity whose reserved address stays what it was throughout.
    #[must_use]
    pub fn email_keys(&self) -> BTreeSet<EmailKey> {
        let moving = self.run.states.values().filter(|track| track.email_set_by.is_some());
        moving.flat_map(|track| track.emails_seen.iter().cloned()).collect()
    }

    /// Decides who gets which e-mail address, and makes the plan. A write whose address is taken is rejected, and the rest is
    /// run again without it.
    ///
    /// # Errors
    /// A [`Refusal`] where the address of a required write is taken.
    pub fn settle(mut self, holders: &HashMap<EmailKey, Reference>) -> Result<Plan, Refusal> {
        let mut rejected = HashSet::new();
        loop {
            let reservations = self.reservations();
            let taken = reservations.conflicts(holders);
            if taken.is_empty() {
                return Ok(self.plan(reservations));
            }
            for index in taken {
                if self.changeset.writes[index].required {
                    return Err(Refusal { index, rejection: Rejection::EmailTaken });
                }
                rejected.insert(index);
            }
            self.run = Run::of(self.changeset, self.entities, self.policy, &rejected)?;
        }
    }

    fn reservations(&self) -> Reservations {
        let mut reservations = Reservations::default();
        for (key, track) in &self.run.states {
            let before = self.entities.get(key).and_then(|entity| profile::reserved_email(key, entity.living.as_ref()));
            let after = track.current.as_ref().and_then(|entity| profile::reserved_email(key, entity.living.as_ref()));
            if before == after {
                continue;
            }
            if let Some(email) = before {
                reservations.released.insert(email, key.reference.clone());
            }
            if let Some(email) = after {
                let index = track.email_set_by.unwrap_or_default();
                reservations.taken.entry(email).or_default().push((index, key.reference.clone()));
            }
        }
        for takers in reservations.taken.values_mut() {
            takers.sort_unstable();
        }
        reservations
    }

    fn plan(self, reservations: Reservations) -> Plan {
        let mut states = HashMap::with_capacity(self.run.states.len());
        let mut changes = Vec::new();
        let mut births: Vec<usize> = self.run.states.values().filter_map(|track| track.born_by).collect();
        births.sort_unstable();
        for (key, track) in self.run.states {
            let Some(after) = track.current else { continue };
            if !track.feed.is_empty() {
                let before = self.entities.get(&key);
                let lived = before.and_then(|entity| entity.living.as_ref());
                let keys = |living: Option<&Living>| {
                    living.map(|living| search::keys(&key, living, &self.policy.search_fields)).unwrap_or_default()
                };
                let known = keys(lived);
                let wanted = keys(after.living.as_ref());
                let (keys_added, keys_removed) = if track.born_by.is_some() || after.living.is_none() {
                    // Rows belong to a life: all of the old one's go, all of the new one's come.
                    (wanted.into_iter().collect(), known.into_iter().collect())
                } else {
                    search::difference(&known, &wanted)
                };
                changes.push(EntityChange {
                    before: before.map(|entity| entity.version),
                    was_living: lived.is_some(),
                    birth: track.born_by.map(|index| births.partition_point(|birth| *birth < index)),
                    ended_life: track.ended_life,
                    name_key: after.living.as_ref().and_then(|living| profile::name_key(&key, living)),
                    keys_removed,
                    keys_added,
                    feed: track.feed,
                    after: after.clone(),
                    key: key.clone(),
                });
            }
            states.insert(key, after);
        }
        changes.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Plan {
            changes,
            released: reservations.released.into_iter().collect(),
            taken: reservations.taken.into_iter().filter_map(|(key, takers)| Some((key, takers.into_iter().next()?.1))).collect(),
            receipt: Receipt {
                at: self.changeset.now,
                outcomes: self.run.outcomes,
                states,
                tasks: Vec::new(),
                replay: Replay::No,
            },
        }
    }
}

#[derive(Debug, Default)]
struct Reservations {
    released: BTreeMap<EmailKey, Reference>,
    /// By key, the writes that want it with their entity; the first of them in the changeset has the better claim.
    taken: BTreeMap<EmailKey, Vec<(usize, Reference)>>,
}

impl Reservations {
    /// The writes that can't have what they want.
    fn conflicts(&self, holders: &HashMap<EmailKey, Reference>) -> BTreeSet<usize> {
        let mut conflicts = BTreeSet::new();
        for (email, takers) in &self.taken {
            let free = match holders.get(email) {
                None => true,
                Some(holder) => self.released.get(email) == Some(holder),
            };
            let losers = if free { &takers[1..] } else { &takers[..] };
            conflicts.extend(losers.iter().map(|(index, _)| *index));
        }
        conflicts
    }
}

impl Run {
    fn of(
        changeset: &Changeset,
        entities: &HashMap<EntityKey, Entity>,
        policy: &Policy,
        email_taken: &HashSet<usize>,
    ) -> Result<Self, Refusal> {
        let mut run = Self { outcomes: Vec::with_capacity(changeset.writes.len()), states: HashMap::new() };
        for (index, write) in changeset.writes.iter().enumerate() {
            let track = run.states.entry(write.key.clone()).or_insert_with(|| Track::of(&write.key, entities.get(&write.key)));
            let outcome = if email_taken.contains(&index) {
                Err(Rejection::EmailTaken)
            } else {
                track.apply(index, write, changeset.now, &policy.rules)
            };
            let outcome = match outcome {
                Ok(outcome) => outcome,
                Err(rejection) if write.required => return Err(Refusal { index, rejection }),
                Err(rejection) => ItemOutcome::Rejected(rejection),
            };
            run.outcomes.push(ItemReceipt { key: write.key.clone(), outcome });
        }
        Ok(run)
    }
}

impl Track {
    fn of(key: &EntityKey, entity: Option<&Entity>) -> Self {
        let email = entity.and_then(|entity| profile::reserved_email(key, entity.living.as_ref()));
        Self { current: entity.cloned(), emails_seen: email.into_iter().collect(), ..Self::default() }
    }

    fn apply(&mut self, index: usize, write: &EntityWrite, now: Moment, rules: &Rules) -> Result<ItemOutcome, Rejection> {
        expect(&write.expect, self.current.as_ref())?;
        let Some(next) = Entity::apply(self.current.as_ref(), &write.key, &write.intent, now, rules)? else {
            return Ok(ItemOutcome::Unchanged(self.current.as_ref().map(|entity| entity.version)));
        };
        let lived = self.current.as_ref().and_then(|entity| entity.living.as_ref());
        let kind = match (lived, &next.living) {
            (None, Some(_)) => ChangeKind::Created,
            (Some(_), Some(_)) => ChangeKind::Updated,
            // A tombstone that is restored tells of a deletion, too.
            (_, None) => ChangeKind::Deleted,
        };
        let email = |living| profile::reserved_email(&write.key, living);
        let reserved = email(next.living.as_ref());
        if reserved != email(lived) {
            self.email_set_by = Some(index);
            self.emails_seen.extend(reserved);
        }
        let changes = match kind {
            ChangeKind::Deleted => Map::new(),
            _ => field_changes(lived, next.living.as_ref()),
        };
        if kind == ChangeKind::Deleted {
            self.ended_life = true;
            self.born_by = None;
            self.feed.iter_mut().for_each(|entry| entry.changes.clear());
        }
        if kind == ChangeKind::Created {
            self.born_by = Some(index);
        }
        let version = next.version;
        self.feed.push(FeedEntry { version, kind, changes });
        self.current = Some(next);
        Ok(match kind {
            ChangeKind::Created => ItemOutcome::Created(version),
            ChangeKind::Updated => ItemOutcome::Updated(version),
            ChangeKind::Deleted => ItemOutcome::Deleted(version),
        })
    }
}

fn expect(expect: &Expect, current: Option<&Entity>) -> Result<(), Rejection> {
    let living = current.filter(|entity| entity.living.is_some()).map(|entity| entity.version);
    match (expect, living) {
        (Expect::Any, _) | (Expect::Absent | Expect::Fresh, None) | (Expect::Present, Some(_)) => Ok(()),
        (Expect::Absent | Expect::Fresh, Some(version)) => Err(Rejection::Exists(version)),
        (Expect::Present | Expect::Version(_), None) => Err(Rejection::Absent),
        (Expect::Version(versions), Some(actual)) if versions.contains(&actual) => Ok(()),
        (Expect::Version(_), Some(actual)) => Err(Rejection::VersionConflict { actual }),
    }
}

/// Field → `{"old": …, "new": …}` for every served value that differs.
fn field_changes(before: Option<&Living>, after: Option<&Living>) -> Map<String, Value> {
    let mut changes: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for (living, side, other) in [(before, "old", after), (after, "new", before)] {
        for (field, value) in living.into_iter().flat_map(Living::served) {
            if other.and_then(|other| other.value(field.as_str())) != Some(value) {
                changes.entry(field.as_str()).or_default().insert(side.to_owned(), value.clone());
            }
        }
    }
    changes.into_iter().map(|(field, change)| (field.to_owned(), Value::Object(change))).collect()
}
