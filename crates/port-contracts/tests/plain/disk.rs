//! Tables as maps.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::{Duration, Instant},
};

use profile_domain::{
    Entity, EntityKey, EntityView, FeedChange, FeedPosition, Incarnation, Living, Moment, Properties, Reference, TenantId,
    Version,
    plan::{EntityChange, Plan},
    search::{ListQuery, Order, SearchKey},
    text::EmailKey,
};
use profile_port_contracts::{FeedRow, TaskTable};
use profile_ports::{FeedState, SecretKey};
use serde_json::{Map, Value};

use super::Bug;

#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) entities: BTreeMap<(TenantId, EntityKey), Row>,
    pub(crate) feed: Vec<(TenantId, FeedRow)>,
    /// When each of these was written.
    written: Vec<Instant>,
    /// Of the feed, from the beginning.
    trimmed: usize,
    pub(crate) incarnation: u128,
    pub(crate) keys: BTreeMap<(TenantId, &'static str, String), Kept>,
    pub(crate) secrets: Vec<SecretKey>,
    pub(crate) tasks: TaskTable,
    emails: BTreeMap<(TenantId, EmailKey), Reference>,
    values: BTreeSet<(TenantId, SearchKey, i64)>,
    last_id: i64,
    pub(crate) touched: u64,
}

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) entity: Entity,
    pub(crate) id: i64,
    name_key: Option<String>,
}

#[derive(Clone, Debug)]
pub(crate) struct Kept {
    pub(crate) fingerprint: [u8; 32],
    pub(crate) entity: Option<EntityKey>,
    pub(crate) receipt: Option<Value>,
}

impl Disk {
    pub(crate) fn entity(&self, tenant: &TenantId, key: &EntityKey) -> Option<Entity> {
        self.entities.get(&(tenant.clone(), key.clone())).map(|row| row.entity.clone())
    }

    pub(crate) fn holders(&self, tenant: &TenantId, keys: &BTreeSet<EmailKey>) -> HashMap<EmailKey, Reference> {
        keys.iter().filter_map(|key| Some((key.clone(), self.emails.get(&(tenant.clone(), key.clone()))?.clone()))).collect()
    }

    pub(crate) fn write_plan(&mut self, tenant: &TenantId, plan: Plan, bug: u8) {
        let is = |planted: Bug| bug == planted as u8;
        if is(Bug::TouchesAlways) {
            self.touched += 1;
        }
        let taken = plan.taken.into_iter().map(|(email, taker)| ((tenant.clone(), email), taker));
        if is(Bug::TakesBeforeReleasing) {
            self.emails.extend(taken);
            plan.released.into_iter().for_each(|(email, _)| drop(self.emails.remove(&(tenant.clone(), email))));
        } else {
            plan.released.into_iter().for_each(|(email, _)| drop(self.emails.remove(&(tenant.clone(), email))));
            self.emails.extend(taken);
        }
        // Lives are numbered in the order of their writes.
        let mut changes = plan.changes;
        changes.sort_by_key(|change| (change.birth.is_none(), change.birth));
        for change in changes {
            self.write(tenant, change, bug);
        }
    }

    pub(crate) fn write(&mut self, tenant: &TenantId, change: EntityChange, bug: u8) {
        let is = |planted: Bug| bug == planted as u8;
        let place = (tenant.clone(), change.key.clone());
        let old_id = self.entities.get(&place).map_or(0, |row| row.id);
        if change.ended_life {
            let earlier = self.feed.iter_mut().filter(|(of, row)| of == tenant && row.key == change.key);
            earlier.filter(|_| !is(Bug::KeepsTheFeed)).for_each(|(_, row)| row.changes = None);
            let receipts =
                self.keys.iter_mut().filter(|((of, ..), kept)| of == tenant && kept.entity.as_ref() == Some(&change.key));
            receipts.filter(|_| !is(Bug::KeepsReceipts)).for_each(|(_, kept)| kept.receipt = None);
        }
        let id = if change.birth.is_some() && (old_id == 0 || !is(Bug::KeepsTheNumber)) {
            self.last_id += 1;
            self.last_id
        } else {
            old_id
        };
        for key in change.keys_removed.into_iter().filter(|_| !is(Bug::KeepsSearchRows)) {
            self.values.remove(&(tenant.clone(), key, old_id));
        }
        self.values.extend(change.keys_added.into_iter().map(|key| (tenant.clone(), key, id)));
        let rows = change.feed.into_iter().map(|entry| {
            let row = FeedRow { key: change.key.clone(), version: entry.version, kind: entry.kind, changes: Some(entry.changes) };
            (tenant.clone(), row)
        });
        if is(Bug::FeedBackwards) {
            self.feed.extend(rows.rev());
        } else {
            self.feed.extend(rows);
        }
        self.written.resize(self.feed.len(), Instant::now());
        let entity = spoiled(change.after, change.was_living || change.ended_life, bug);
        self.entities.insert(place, Row { entity, id, name_key: change.name_key });
    }

    pub(crate) fn view(&self, tenant: &TenantId, key: &EntityKey, bug: u8) -> Option<EntityView> {
        let found = if bug == Bug::MixesTenants as u8 {
            self.entities.iter().find(|((_, of), _)| of == key).map(|(_, row)| row)
        } else {
            self.entities.get(&(tenant.clone(), key.clone()))
        };
        let row = found?;
        let Some(living) = &row.entity.living else {
            let at = row.entity.floor?;
            let (id, version) = (row.id, row.entity.version);
            let tombstone =
                EntityView { key: key.clone(), id, version, created_at: at, updated_at: at, properties: (&Map::new()).into() };
            return (bug == Bug::ShowsTombstones as u8).then_some(tombstone);
        };
        Some(EntityView {
            key: key.clone(),
            id: row.id,
            version: row.entity.version,
            created_at: living.created_at,
            updated_at: living.updated_at,
            properties: served(living),
        })
    }

    pub(crate) fn list(&self, tenant: &TenantId, query: &ListQuery, bug: u8) -> Vec<EntityView> {
        let is = |planted: Bug| bug == planted as u8;
        let matches = |row: &Row| {
            let properties = row.entity.living.as_ref().map_or_else(|| (&Map::new()).into(), served);
            // A row may be left of what isn't so any more, unless the planted bug is just to believe it.
            let mut found = query.filters.iter().map(|filter| {
                self.values.contains(&(tenant.clone(), filter.key(&query.entity_type), row.id))
                    && (is(Bug::KeepsSearchRows) || filter.matches(&query.entity_type, &properties))
            });
            if is(Bug::AnyFilter) && !query.filters.is_empty() { found.any(|found| found) } else { found.all(|found| found) }
        };
        let prefix = query.name_prefix.as_deref().unwrap_or_default();
        let begins = |name: &str| {
            name.starts_with(prefix) || is(Bug::PatternPrefix) && (prefix.starts_with(['%', '_']) || name.contains(prefix))
        };
        let by_name = query.order == Order::Name;
        let mut rows: Vec<(&EntityKey, &Row)> = self
            .entities
            .iter()
            .filter(|((of, key), _)| of == tenant && key.entity_type == query.entity_type)
            .map(|((_, key), row)| (key, row))
            .filter(|(_, row)| row.entity.living.is_some() && matches(row))
            .filter(|(_, row)| !by_name || row.name_key.as_deref().is_some_and(begins))
            .collect();
        rows.sort_by_key(|(_, row)| (row.name_key.clone().filter(|_| by_name), row.id));
        if query.order == Order::CreatedDescending {
            rows.reverse();
        }
        if let Some(after) = &query.after {
            let place = (after.name_key.clone().filter(|_| by_name), after.id);
            let end = rows.iter().rposition(|(_, row)| {
                let here = (row.name_key.clone().filter(|_| by_name), row.id);
                if query.order == Order::CreatedDescending { here >= place } else { here <= place }
            });
            let begin = end.map_or(0, |end| end + usize::from(!is(Bug::OverlappingPages)));
            // By offset, as far as that can be told from a key: the id counts what came before.
            let offset = usize::try_from(after.id).unwrap_or(0).min(rows.len());
            rows.drain(..if is(Bug::PagesByOffset) { offset } else { begin });
        }
        let limit = if is(Bug::ShortPages) && query.limit > 1 { query.limit - 1 } else { query.limit };
        rows.into_iter().take(limit).filter_map(|(key, _)| self.view(tenant, key, 0)).collect()
    }

    pub(crate) fn feed_state(&self) -> FeedState {
        let place = |count: usize| FeedPosition(i64::try_from(count).expect("few changes"));
        FeedState { incarnation: Incarnation(self.incarnation), trimmed: place(self.trimmed), head: place(self.feed.len()) }
    }

    pub(crate) fn feed_after(&self, after: FeedPosition, limit: usize, bug: u8) -> Vec<FeedChange> {
        let is = |planted: Bug| bug == planted as u8;
        let mut rows: Vec<&(TenantId, FeedRow)> = self.feed.iter().collect();
        if is(Bug::PlacesByTenant) {
            rows.sort_by_key(|(tenant, _)| tenant.clone());
        }
        let begin = usize::try_from(after.0).expect("a place");
        if begin < self.trimmed {
            return Vec::new();
        }
        let skipped = usize::from(is(Bug::SkipsBetweenPages) && limit < 10 && begin > 0);
        rows.into_iter()
            .skip(begin + skipped)
            .zip((after.0..).skip(1))
            .take(limit)
            .map(|((tenant, row), place)| FeedChange {
                position: FeedPosition(place),
                tenant: tenant.clone(),
                key: row.key.clone(),
                version: row.version,
                kind: row.kind,
                changes: row.changes.clone(),
                at: Moment::MIN,
            })
            .collect()
    }

    pub(crate) fn unread(&self, after: FeedPosition, bug: u8) -> Option<Duration> {
        let is = |planted: Bug| bug == planted as u8;
        let next = usize::try_from(after.0).expect("a place");
        let written = self.written.get(next)?;
        let told = if is(Bug::AgeOfTheRead) && next > 0 { &self.written[next - 1] } else { written };
        (!is(Bug::NothingUnread)).then(|| told.elapsed())
    }

    pub(crate) fn trim_feed(&mut self, bug: u8) {
        if bug == Bug::PlacesMove as u8 {
            self.feed.clear();
        }
        self.trimmed = self.feed.len();
    }

    pub(crate) fn dump(&self) -> BTreeMap<String, Vec<String>> {
        let mut dump = BTreeMap::new();
        let mut table = |name: &str, rows: Vec<String>| drop(dump.insert(name.to_owned(), rows));
        table("entities", self.entities.iter().map(|row| format!("{row:?}")).collect());
        table("feed", self.feed.iter().map(|row| format!("{row:?}")).collect());
        table("keys", self.keys.iter().map(|row| format!("{row:?}")).collect());
        table("emails", self.emails.iter().map(|((tenant, email), of)| format!("{tenant} {} {of}", email.as_str())).collect());
        table("values", self.values.iter().map(|row| format!("{row:?}")).collect());
        table("tasks", self.tasks.dump());
        table("touched", vec![self.touched.to_string()]);
        dump
    }
}

/// The entity as a store with a bug would keep it.
fn spoiled(mut entity: Entity, existed: bool, bug: u8) -> Entity {
    let is = |planted: Bug| bug == planted as u8;
    if is(Bug::ForgetsTheFloor) && entity.living.is_some() {
        entity.floor = None;
    }
    if is(Bug::VersionsBeginAnew) && !existed {
        entity.version = Version::FIRST;
    }
    for facts in entity.living.iter_mut().flat_map(|living| living.fields.values_mut()) {
        if is(Bug::DropsLosers) {
            facts.superseded.clear();
        }
        if is(Bug::RoundsNumbers)
            && let Some(exact) = facts.winner.value.as_f64().filter(|_| facts.winner.value.is_f64())
        {
            #[expect(clippy::cast_possible_truncation, reason = "this is the bug")]
            let rounded = exact as f32;
            facts.winner.value = Value::from(f64::from(rounded));
        }
    }
    entity
}

fn served(living: &Living) -> Properties {
    let values: Map<String, Value> = living.served().map(|(field, value)| (field.to_string(), value.clone())).collect();
    (&values).into()
}
