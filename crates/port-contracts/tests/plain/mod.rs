//! A store that is nothing but memory and the domain's plan, into which bugs can be planted.

mod bulk;
mod catalog;
mod disk;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use profile_domain::{
    Changeset, Entity, EntityKey, EntityType, EntityView, FeedPosition, Moment, Policy, Receipt, Reference, TenantId,
    changeset::MAX_ITEMS,
    plan::{Draft, Plan},
    search::ListQuery,
    stored::{receipt_from_json, receipt_to_json},
    task::MAX_TASKS,
};
use profile_port_contracts::{FeedRow, Fixture, Index, TaskBug, TaskTable};
use profile_ports::{
    CommitError, Deadline, Entities, Feed, FeedPage, FeedState, Numbered, SecretKey, Secrets, Store, StoreError,
};

use disk::{Disk, Kept};

/// What may be wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Bug {
    None,
    /// Plans on what it has read, and writes later without looking again.
    Unlocked,
    /// Writes entity by entity, with pauses.
    ItemByItem,
    /// Keeps what was written before the write that refuses the changeset.
    HalfRefused,
    /// Takes any number of writes.
    Unbounded,
    /// Acknowledges before it writes.
    LosesTheLast,
    /// Reads what was there one commit ago.
    StaleReads,
    /// Looks for an entity in every tenant.
    MixesTenants,
    /// Writes a row about every commit, whether it changed something or not.
    TouchesAlways,
    /// Keeps the winners alone.
    DropsLosers,
    /// Lets a revival keep the number of the life before.
    KeepsTheNumber,
    /// Forgets the date of a deletion when the entity is revived.
    ForgetsTheFloor,
    /// Begins again at version 1 after a deletion.
    VersionsBeginAnew,
    /// Serves tombstones as empty entities.
    ShowsTombstones,
    /// Leaves earlier feed rows as they are at a deletion.
    KeepsTheFeed,
    /// Appends feed rows of one commit backwards.
    FeedBackwards,
    /// Knows no idempotency.
    Repeats,
    /// Stores a key only if something changed.
    ForgetsIdleKeys,
    /// Keeps receipts of the deleted.
    KeepsReceipts,
    /// Inserts taken addresses before it removes released ones.
    TakesBeforeReleasing,
    /// Doesn't look who holds an address.
    IgnoresHolders,
    /// Adds search rows and removes none.
    KeepsSearchRows,
    /// Lets one filter of several be enough.
    AnyFilter,
    /// Takes a prefix as a pattern.
    PatternPrefix,
    /// Begins a page with the last of the page before.
    OverlappingPages,
    /// Cuts pages by their number and not by a key.
    PagesByOffset,
    /// Gives one less than was asked for.
    ShortPages,
    /// Keeps numbers as 32-bit floats where they aren't integers.
    RoundsNumbers,
    /// Makes a secret for each caller.
    ManySecrets,
    /// Keeps every secret for ever.
    KeepsSecrets,
    /// Sorts and scans.
    Scans,
    /// Has an index over all tenants.
    SharedIndex,
    /// Gives places by tenant.
    PlacesByTenant,
    /// Leaves a change out between two pages.
    SkipsBetweenPages,
    /// Counts places from the oldest that is kept.
    PlacesMove,
    /// Gives every caller's changes places anew.
    NumbersTwice,
    /// Says of every page that nothing follows it.
    NothingUnread,
    /// Tells the age of the change before.
    AgeOfTheRead,
    /// Goes on as the same feed.
    KeepsTheIncarnation,
    /// Has one of the bugs of [`TaskBug`], by its place there.
    Tasks,
}

/// The number of a bug of tasks.
pub(crate) const fn of_tasks(bug: TaskBug) -> u8 {
    Bug::Tasks as u8 + bug as u8
}

/// The bug of tasks that a number stands for.
fn task_bug(bug: u8) -> TaskBug {
    TaskBug::ALL.into_iter().find(|planted| of_tasks(*planted) == bug).unwrap_or_default()
}

/// A fixture over memory, with the bug of this number.
pub(crate) struct Plain<const BUG: u8> {
    disk: Arc<Mutex<Disk>>,
    store: Arc<PlainStore>,
}

struct PlainStore {
    policy: Policy,
    bug: u8,
    disk: Arc<Mutex<Disk>>,
    before: Mutex<Disk>,
}

impl PlainStore {
    fn has(&self, bug: Bug) -> bool {
        self.bug == bug as u8
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        locked(&self.disk)
    }

    /// What reads see.
    fn seen(&self) -> MutexGuard<'_, Disk> {
        if self.has(Bug::StaleReads) { locked(&self.before) } else { self.disk() }
    }

    fn plan(&self, disk: &Disk, tenant: &TenantId, changeset: &Changeset) -> Result<Plan, CommitError> {
        let entities: HashMap<EntityKey, Entity> =
            changeset.writes.iter().filter_map(|write| Some((write.key.clone(), disk.entity(tenant, &write.key)?))).collect();
        let draft = Draft::new(changeset, &entities, &self.policy)?;
        let holders = if self.has(Bug::IgnoresHolders) { HashMap::new() } else { disk.holders(tenant, &draft.email_keys()) };
        Ok(draft.settle(&holders)?)
    }

    fn replay(&self, disk: &Disk, tenant: &TenantId, changeset: &Changeset) -> Option<Result<Receipt, CommitError>> {
        let idempotency = changeset.idempotency.as_ref().filter(|_| !self.has(Bug::Repeats))?;
        let kept = disk.keys.get(&(tenant.clone(), idempotency.route, idempotency.key.clone()))?;
        if kept.fingerprint != idempotency.fingerprint {
            return Some(Err(CommitError::KeyReused));
        }
        Some(receipt_from_json(kept.receipt.as_ref()).map_err(|error| StoreError::Corrupt(error.into()).into()))
    }

    /// All that a changeset does to tasks, or nothing.
    fn write_tasks(&self, disk: &mut Disk, tenant: &TenantId, changeset: &Changeset, plan: &mut Plan) -> Result<(), CommitError> {
        let after = |reference: &Reference| {
            let key = EntityKey { entity_type: EntityType::profile(), reference: reference.clone() };
            let changed = plan.changes.iter().find(|change| change.key == key).map(|change| change.after.clone());
            changed.or_else(|| disk.entity(tenant, &key)).is_some_and(|entity| entity.living.is_some())
        };
        let ended = plan.changes.iter().filter(|change| change.ended_life && change.key.entity_type.is_profile());
        let ended: Vec<Reference> = ended.map(|change| change.key.reference.clone()).collect();
        let mut tasks = disk.tasks.clone();
        plan.receipt.tasks = tasks.commit(tenant, changeset, after, &ended)?;
        disk.tasks = tasks;
        Ok(())
    }

    fn keep_key(&self, disk: &mut Disk, tenant: &TenantId, changeset: &Changeset, receipt: &Receipt, idle: bool) {
        let Some(idempotency) = &changeset.idempotency else { return };
        if idle && self.has(Bug::ForgetsIdleKeys) {
            return;
        }
        let kept =
            Kept { fingerprint: idempotency.fingerprint, entity: changeset.kept_with(), receipt: Some(receipt_to_json(receipt)) };
        disk.keys.insert((tenant.clone(), idempotency.route, idempotency.key.clone()), kept);
    }
}

fn locked(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Entities for PlainStore {
    async fn commit(&self, tenant: &TenantId, changeset: Changeset, _: Deadline) -> Result<Receipt, CommitError> {
        if (changeset.writes.len() > MAX_ITEMS && !self.has(Bug::Unbounded)) || changeset.tasks.len() > MAX_TASKS {
            return Err(CommitError::TooLarge);
        }
        let plan = {
            let mut disk = self.disk();
            if let Some(replay) = self.replay(&disk, tenant, &changeset) {
                return replay;
            }
            if self.has(Bug::StaleReads) {
                *locked(&self.before) = disk.clone();
            }
            let plan = match self.plan(&disk, tenant, &changeset) {
                Err(CommitError::Refused(refusal)) if self.has(Bug::HalfRefused) => {
                    let half = Changeset { writes: changeset.writes[..refusal.index].to_vec(), ..changeset };
                    let plan = self.plan(&disk, tenant, &half)?;
                    plan.changes.into_iter().for_each(|change| disk.write(tenant, change, self.bug));
                    return Err(refusal.into());
                }
                Err(error) => {
                    if TaskBug::SurvivesRefusal == task_bug(self.bug) {
                        let tasks = Changeset { fence: None, ..changeset };
                        drop(disk.tasks.commit(tenant, &tasks, |_| true, &[]));
                    }
                    return Err(error);
                }
                Ok(plan) => plan,
            };
            let mut plan = plan;
            self.write_tasks(&mut disk, tenant, &changeset, &mut plan)?;
            if !self.has(Bug::Unlocked) && !self.has(Bug::ItemByItem) {
                let receipt = plan.receipt.clone();
                self.keep_key(&mut disk, tenant, &changeset, &receipt, plan.changes.is_empty());
                disk.write_plan(tenant, plan, self.bug);
                return Ok(receipt);
            }
            plan
        };
        tokio::task::yield_now().await;
        if self.has(Bug::Unlocked) {
            let receipt = plan.receipt.clone();
            let mut disk = self.disk();
            self.keep_key(&mut disk, tenant, &changeset, &receipt, plan.changes.is_empty());
            disk.write_plan(tenant, plan, self.bug);
            return Ok(receipt);
        }
        for change in plan.changes {
            self.disk().write(tenant, change, self.bug);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(plan.receipt)
    }

    async fn view(&self, tenant: &TenantId, key: &EntityKey, _: Deadline) -> Result<Option<EntityView>, StoreError> {
        Ok(self.seen().view(tenant, key, self.bug))
    }

    async fn entity(&self, tenant: &TenantId, key: &EntityKey, _: Deadline) -> Result<Option<Entity>, StoreError> {
        Ok(self.seen().entity(tenant, key))
    }

    async fn list(&self, tenant: &TenantId, query: &ListQuery, _: Deadline) -> Result<Vec<EntityView>, StoreError> {
        Ok(self.seen().list(tenant, query, self.bug))
    }
}

#[async_trait]
impl Feed for PlainStore {
    async fn number_feed(&self, _: Deadline) -> Result<Numbered, StoreError> {
        let mut disk = self.disk();
        if self.has(Bug::TouchesAlways) {
            disk.touched += 1;
        }
        if self.has(Bug::NumbersTwice)
            && let Some(last) = disk.feed.last().cloned()
        {
            disk.feed.push(last);
        }
        Ok(Numbered { state: disk.feed_state(), complete: true })
    }

    async fn feed_after(&self, position: FeedPosition, limit: usize, _: Deadline) -> Result<FeedPage, StoreError> {
        let disk = self.disk();
        let changes = disk.feed_after(position, limit, self.bug);
        let next = changes.last().map_or(position, |last| last.position);
        Ok(FeedPage { state: disk.feed_state(), unread: disk.unread(next, self.bug), changes })
    }

    async fn trim_feed(&self, before: Moment, _: Deadline) -> Result<FeedState, StoreError> {
        let mut disk = self.disk();
        // All changes are of one moment here.
        if before == Moment::MAX {
            disk.trim_feed(self.bug);
        }
        Ok(disk.feed_state())
    }

    async fn renew_feed(&self, _: Deadline) -> Result<(), StoreError> {
        if !self.has(Bug::KeepsTheIncarnation) {
            self.disk().incarnation += 1;
        }
        Ok(())
    }
}

#[async_trait]
impl Secrets for PlainStore {
    async fn secrets(&self, candidate: [u8; 32], _: Deadline) -> Result<Vec<SecretKey>, StoreError> {
        let mut disk = self.disk();
        if disk.secrets.is_empty() {
            let bytes = candidate;
            if self.has(Bug::ManySecrets) {
                return Ok(vec![SecretKey { id: 1, bytes }]);
            }
            disk.secrets.push(SecretKey { id: 1, bytes });
        }
        Ok(disk.secrets.clone())
    }

    async fn rotate_secrets(&self, bytes: [u8; 32], _: Deadline) -> Result<(), StoreError> {
        let mut disk = self.disk();
        let id = disk.secrets.first().map_or(0, |newest| newest.id) + 1;
        disk.secrets.insert(0, SecretKey { id, bytes });
        if !self.has(Bug::KeepsSecrets) {
            disk.secrets.truncate(2);
        }
        Ok(())
    }
}

profile_port_contracts::tasks_in_a_table!(PlainStore, |store| store.disk().tasks);

#[async_trait]
impl Store for PlainStore {
    async fn ping(&self, _: Deadline) -> Result<(), StoreError> {
        Ok(())
    }
}

impl<const BUG: u8> Plain<BUG> {
    fn open(disk: Arc<Mutex<Disk>>, policy: Policy) -> Self {
        let store = PlainStore { policy, bug: BUG, disk: Arc::clone(&disk), before: Mutex::default() };
        Self { disk, store: Arc::new(store) }
    }
}

#[async_trait]
impl<const BUG: u8> Fixture for Plain<BUG> {
    async fn fresh(policy: Policy) -> Self {
        let mut disk = Disk::default();
        disk.tasks = TaskTable::with(task_bug(BUG));
        Self::open(Arc::new(Mutex::new(disk)), policy)
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store) as Arc<dyn Store>
    }

    async fn reopen(&mut self, policy: Policy) {
        let mut disk = locked(&self.disk).clone();
        if self.store.has(Bug::LosesTheLast)
            && let Some((row, _)) = disk.entities.pop_last()
        {
            disk.feed.retain(|(tenant, told)| (tenant, &told.key) != (&row.0, &row.1));
        }
        *self = Self::open(Arc::new(Mutex::new(disk)), policy);
    }

    async fn feed(&self, tenant: &TenantId) -> Vec<FeedRow> {
        locked(&self.disk).feed.iter().filter(|(of, _)| of == tenant).map(|(_, row)| row.clone()).collect()
    }

    fn shift_clock(&self, by: Duration) {
        locked(&self.disk).tasks.shift(by);
    }

    async fn dump(&self) -> BTreeMap<String, Vec<String>> {
        locked(&self.disk).dump()
    }

    async fn indexes(&self) -> Vec<Index> {
        catalog::indexes(self.store.has(Bug::SharedIndex))
    }

    async fn list_plan(&self, _: &TenantId, query: &ListQuery) -> String {
        catalog::plan(query, self.store.has(Bug::Scans))
    }
}
