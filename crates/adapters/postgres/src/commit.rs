//! The way in: how a changeset becomes rows.
//!
//! 1. **Look** at the entities without locks. What can't be applied is refused, and what changes nothing is answered, without
//!    a transaction. A single creation of a fresh entity needs no look and is written in one statement. A single change of an
//!    entity that lives on and keeps its address needs no lock before it is decided: it is written, in one round trip, if the
//!    entity still is at the version that was looked at.
//! 2. **Lock** in one round trip: begin, claim the idempotency key, lock the entities that exist, lock the e-mail reservations
//!    that the look made likely, draw numbers for the lives that it made likely.
//! 3. **Decide** under the locks: the domain makes the plan.
//! 4. **Write** the plan and commit, in one round trip.
//!
//! **Deadlocks.** Every commit takes what it needs in the order idempotency key < existing entities < existing reservations <
//! new reservations < new entities, and within each sorted by key. So two commits can't wait for each other, unless a row
//! appears between one's look for it and its insert. That shows in what the statements of step 2 disagree about, as a violation
//! of a unique key, or as a deadlock that the server notices; in all cases the whole changeset is run again, which intents
//! allow.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{try_join3, try_join5};
use profile_domain::{
    Changeset, EntityKey, EntityType, Expect, Intent, Policy, Receipt, Reference, Refusal, Rejection, TenantId,
    changeset::MAX_ITEMS,
    plan::{Draft, Plan},
    profile::reserved_email,
    task::MAX_TASKS,
    text::EmailKey,
};
use profile_ports::{BoxError, CommitError, Deadline, StoreError};
use tokio::time::timeout;
use tokio_postgres::{Error, Row, types::Type};
use tracing::Instrument as _;

use crate::{
    PostgresStore,
    entities::{ENTITIES, one_entity},
    error::{Trouble, described, leaves_connection_sound, says_failed, too_late, trouble, unavailable},
    idempotency::CLAIM_KEY,
    pool::{LIMITS, Lease, Pool},
    row::{Loaded, get, reference},
    statement::Statement,
    write,
};

/// How often a changeset is run again because somebody inserted what it had not found. Each time somebody else got through.
const MAX_MISSES: u32 = 20;
/// How often because the server undid it for the sake of another.
const MAX_SACRIFICES: u32 = 3;

pub(crate) static LOCK_ENTITIES: Statement =
    Statement::new("lock_entities", include_str!("sql/lock_entities.sql"), &[Type::TEXT, Type::TEXT_ARRAY, Type::TEXT_ARRAY]);

pub(crate) static LOCK_EMAILS: Statement =
    Statement::new("lock_emails", include_str!("sql/lock_emails.sql"), &[Type::TEXT, Type::TEXT_ARRAY]);

static DRAW_IDS: Statement =
    Statement::new("draw_ids", "SELECT nextval('entity_ids') AS id FROM generate_series(1, $1::bigint)", &[Type::INT8]);

impl PostgresStore {
    /// Runs the commit as a task on the runtime of the connections.
    pub(crate) async fn commit_as_task(
        &self,
        tenant: &TenantId,
        changeset: Changeset,
        deadline: Deadline,
    ) -> Result<Receipt, CommitError> {
        if changeset.writes.len() > MAX_ITEMS || changeset.tasks.len() > MAX_TASKS {
            return Err(CommitError::TooLarge);
        }
        // The look changes nothing, so it may end with its caller, and needs no other thread. What it waits for is bounded.
        let offset = self.clock_offset();
        let commit = Commit::new(&self.pool, &self.policy, tenant, &changeset, offset, deadline);
        let outlook = match commit.foresee(0).await? {
            Outlook::Unchanged(receipt) => return Ok(receipt),
            outlook => outlook,
        };
        let (pool, policy, tenant) = (self.pool.clone(), Arc::clone(&self.policy), tenant.clone());
        let work = async move {
            let commit = Commit::new(&pool, &policy, &tenant, &changeset, offset, deadline);
            commit.within_deadline(Box::pin(commit.attempts(outlook))).await
        };
        let task = self.commits.spawn_on(work.in_current_span(), self.pool.runtime());
        task.await.unwrap_or_else(|error| Err(StoreError::OutcomeUnknown(error.into()).into()))
    }
}

/// One call, over all its attempts.
pub(crate) struct Commit<'a> {
    pub(crate) pool: &'a Pool,
    policy: &'a Policy,
    pub(crate) tenant: &'a TenantId,
    pub(crate) changeset: &'a Changeset,
    /// What tests add to the server's clock.
    pub(crate) clock_offset: i64,
    pub(crate) deadline: Deadline,
    /// Whether the server may have been told to commit.
    pub(crate) sent: AtomicBool,
}

/// Why an attempt came to nothing.
pub(crate) enum Setback {
    /// Somebody inserted meanwhile what was not there when it was looked for: run it all again.
    Missed(BoxError),
    /// The server undid it for the sake of another: run it all again.
    Sacrificed(BoxError),
    /// It is over, and the connection can be used on.
    Ended(CommitError),
    /// It is over, and so is the connection.
    Broken(CommitError),
}

/// What the look without locks says is to be done.
enum Outlook {
    /// Nothing.
    Unchanged(Receipt),
    /// One task, and nothing else.
    Task(Receipt),
    /// Something that is nobody else's yet, unless its address is.
    Fresh(Plan, Foresight),
    /// A change of what was looked at, unless somebody changes it meanwhile.
    Change(Plan),
    /// A transaction.
    Contested(Foresight),
}

/// What will be needed. A wrong guess costs a round trip, nothing else.
#[derive(Default)]
struct Foresight {
    emails: BTreeSet<EmailKey>,
    lives: usize,
}

/// What the first round trip of a transaction brought.
struct Locked {
    loaded: Loaded,
    emails: BTreeSet<EmailKey>,
    holders: HashMap<EmailKey, Reference>,
    ids: Vec<i64>,
}

impl<'a> Commit<'a> {
    fn new(
        pool: &'a Pool,
        policy: &'a Policy,
        tenant: &'a TenantId,
        changeset: &'a Changeset,
        clock_offset: i64,
        deadline: Deadline,
    ) -> Self {
        Self { pool, policy, tenant, changeset, clock_offset, deadline, sent: AtomicBool::new(false) }
    }

    async fn within_deadline<T>(&self, work: impl Future<Output = Result<T, CommitError>>) -> Result<T, CommitError> {
        timeout(self.deadline.remaining(), work).await.unwrap_or_else(|_| {
            let late = if self.sent.load(Ordering::Relaxed) { StoreError::OutcomeUnknown } else { StoreError::Unavailable };
            Err(late(too_late()).into())
        })
    }

    async fn attempts(&self, mut outlook: Outlook) -> Result<Receipt, CommitError> {
        tracing::trace!(writes = self.changeset.writes.len(), "committing");
        let (mut misses, mut sacrifices) = (0, 0);
        loop {
            let error = match self.attempt(outlook, misses + sacrifices).await {
                Ok(receipt) => return Ok(receipt),
                Err(Setback::Ended(error) | Setback::Broken(error)) => return Err(error),
                Err(Setback::Missed(error)) => {
                    misses += 1;
                    error
                }
                Err(Setback::Sacrificed(error)) => {
                    sacrifices += 1;
                    error
                }
            };
            self.sent.store(false, Ordering::Relaxed);
            if misses > MAX_MISSES || sacrifices > MAX_SACRIFICES {
                return Err(StoreError::Unavailable(error).into());
            }
            tracing::debug!(misses, sacrifices, "running a changeset again");
            // Give way to whoever got through, longer each time.
            tokio::time::sleep(Duration::from_millis(u64::from(misses + sacrifices - 1))).await;
            outlook = self.foresee(misses + sacrifices).await?;
        }
    }

    /// The entities to look at. A fresh id needs no look, unless an earlier attempt ran into one that wasn't.
    fn keys(&self, earlier: u32) -> BTreeSet<&EntityKey> {
        let writes = self.changeset.writes.iter().filter(|write| earlier > 0 || write.expect != Expect::Fresh);
        writes.map(|write| &write.key).collect()
    }

    async fn foresee(&self, earlier: u32) -> Result<Outlook, CommitError> {
        let keys = self.keys(earlier);
        let first_time = self.changeset.idempotency.is_none();
        let mut foresight = Foresight::default();
        // With a key, what was answered before comes first, whatever the entities look like now.
        if !first_time && !keys.is_empty() {
            return Ok(Outlook::Contested(foresight));
        }
        let known = self.look(&keys).await?.entities;
        let draft = match Draft::new(self.changeset, &known, self.policy) {
            Err(refusal) if first_time => return Err(refusal.into()),
            Err(_) => return Ok(Outlook::Contested(foresight)),
            Ok(draft) => draft,
        };
        if first_time && draft.is_unchanged() {
            let receipt = draft.settle(&HashMap::new())?.receipt;
            if self.changeset.fence.is_none() && self.changeset.tasks.len() == 1 && self.changeset.writes.is_empty() {
                return Ok(Outlook::Task(receipt));
            }
            if self.changeset.concerns_tasks() {
                return Ok(Outlook::Contested(foresight));
            }
            return Ok(Outlook::Unchanged(receipt));
        }
        let living = |key: &&EntityKey| known.get(*key).is_some_and(|entity| entity.living.is_some());
        let named: BTreeSet<&EntityKey> = self.changeset.writes.iter().map(|write| &write.key).collect();
        foresight.lives = named.iter().filter(|key| !living(key)).count();
        foresight.emails = draft.email_keys();
        if let ([write], true, true) = (self.changeset.writes.as_slice(), first_time, keys.is_empty())
            // That statement knows no floor, and dates the life by the changeset.
            && !matches!(write.intent, Intent::Restore(_))
            && !self.changeset.concerns_tasks()
        {
            return Ok(Outlook::Fresh(draft.settle(&HashMap::new())?, foresight));
        }
        // Once overtaken, it is changed under its lock.
        let alone = first_time && self.changeset.writes.len() == 1 && !self.changeset.concerns_tasks();
        if alone && earlier == 0 && foresight.lives == 0 && foresight.emails.is_empty() {
            let plan = draft.settle(&HashMap::new())?;
            if write::is_one_change(&plan) {
                return Ok(Outlook::Change(plan));
            }
        }
        Ok(Outlook::Contested(foresight))
    }

    async fn attempt(&self, outlook: Outlook, earlier: u32) -> Result<Receipt, Setback> {
        let foresight = match outlook {
            Outlook::Unchanged(receipt) => return Ok(receipt),
            Outlook::Task(receipt) => return self.enqueue_alone(receipt).await,
            Outlook::Contested(foresight) => foresight,
            Outlook::Fresh(plan, foresight) => match self.create_fresh(plan).await? {
                Some(receipt) => return Ok(receipt),
                None if self.changeset.writes.iter().any(|write| write.required) => {
                    return Err(refused(Refusal { index: 0, rejection: Rejection::EmailTaken }));
                }
                // The receipt must say so, and the domain writes it once it is told who holds the address.
                None => foresight,
            },
            Outlook::Change(plan) => {
                let receipt = self.change_one(plan).await?;
                return receipt.ok_or_else(|| Setback::Missed("somebody else changes the entity".into()));
            }
        };
        let keys = self.keys(earlier);
        let lease = self.pool.lease().await.map_err(|error| Setback::Broken(error.into()))?;
        match self.transact(&lease, &keys, foresight).await {
            Ok(receipt) => {
                lease.keep();
                Ok(receipt)
            }
            Err(setback) => {
                // It is known that nothing was or will be committed, unless the connection broke.
                if !matches!(setback, Setback::Broken(_)) {
                    self.sent.store(false, Ordering::Relaxed);
                    lease.roll_back().await;
                }
                Err(setback)
            }
        }
    }

    async fn look(&self, keys: &BTreeSet<&EntityKey>) -> Result<Loaded, StoreError> {
        let mut some = keys.iter();
        let rows = match (some.next(), some.next()) {
            (None, _) => return Ok(Loaded::default()),
            (Some(key), None) => one_entity(self.pool, self.tenant, key, self.deadline).await,
            _ => {
                let (types, references) = columns(keys);
                self.pool.run(&ENTITIES, &[&self.tenant.as_str(), &types, &references], self.deadline).await
            }
        };
        rows.and_then(|rows| Loaded::from_rows(&rows))
    }

    /// One statement, which commits by itself. `None` if the address is taken; then nothing was written.
    async fn create_fresh(&self, plan: Plan) -> Result<Option<Receipt>, Setback> {
        let lease = self.pool.lease().await.map_err(|error| Setback::Broken(error.into()))?;
        let statements = [&[&write::CREATE_FRESH], lease.placing()].concat();
        lease.prepare(&statements).await.map_err(|error| self.setback(error))?;
        lease.reigns().map_err(|error| Setback::Broken(error.into()))?;
        self.sent.store(true, Ordering::Relaxed);
        let create = write::create_fresh(&lease, self.tenant, self.changeset.now, &plan);
        let created = lease.placed(pin!(create), self.deadline).await;
        match created {
            Ok((written, place)) => {
                lease.keep();
                self.sent.store(false, Ordering::Relaxed);
                Ok(written.then_some(Receipt { place, ..plan.receipt }))
            }
            Err(error) => {
                if leaves_connection_sound(&error) {
                    lease.keep();
                }
                Err(self.setback(error))
            }
        }
    }

    /// A whole transaction in one round trip. `None` if the entity isn't what was looked at; then nothing was written.
    async fn change_one(&self, plan: Plan) -> Result<Option<Receipt>, Setback> {
        let lease = self.pool.lease().await.map_err(|error| Setback::Broken(error.into()))?;
        let statements = [&[&LIMITS, &write::CHANGE_ONE], lease.placing()].concat();
        lease.prepare(&statements).await.map_err(|error| self.setback(error))?;
        lease.reigns().map_err(|error| Setback::Broken(error.into()))?;
        self.sent.store(true, Ordering::Relaxed);
        let change = write::change_one(&lease, self.tenant, self.changeset.now, &plan);
        let changing = try_join3(lease.begin(self.deadline), change, lease.batch("commit", "COMMIT"));
        let changed = lease.placed(pin!(changing), self.deadline).await;
        match changed {
            Ok((((), written, ()), place)) => {
                lease.keep();
                self.sent.store(false, Ordering::Relaxed);
                Ok(written.then_some(Receipt { place, ..plan.receipt }))
            }
            Err(error) => {
                let setback = self.setback(error);
                // It is known that nothing was committed, though the deadline may pass meanwhile.
                if !matches!(setback, Setback::Broken(_)) {
                    self.sent.store(false, Ordering::Relaxed);
                    lease.roll_back().await;
                }
                Err(setback)
            }
        }
    }

    async fn transact(&self, lease: &Lease<'_>, keys: &BTreeSet<&EntityKey>, foresight: Foresight) -> Result<Receipt, Setback> {
        let Some(mut locked) = self.lock(lease, keys, foresight).await? else {
            return self.replay(lease).await;
        };
        let ended = |error: StoreError| Setback::Ended(error.into());
        let draft = Draft::new(self.changeset, &locked.loaded.entities, self.policy).map_err(refused)?;
        let emails = draft.email_keys();
        if !emails.is_subset(&locked.emails) {
            // All of them again, so that the pass is a sorted one at least among those not held yet.
            let rows = self.lock_emails(lease, &emails).await?;
            locked.holders = holders(&rows).map_err(ended)?;
        }
        if self.holder_appeared(&locked) {
            return Err(Setback::Missed("an entity was created after it was looked for".into()));
        }
        let mut plan = draft.settle(&locked.holders).map_err(refused)?;
        let lives = plan.changes.iter().filter(|change| change.birth.is_some()).count();
        if lives > locked.ids.len() {
            let rows = self.draw_ids(lease, lives - locked.ids.len()).await?;
            locked.ids.extend(ids(&rows).map_err(ended)?);
        }
        self.pass_fence(lease).await?;
        lease.reigns().map_err(|error| Setback::Broken(error.into()))?;
        let mut written = write::write(lease, self, &plan, &locked.loaded.ids, &locked.ids).await;
        if !self.changeset.tasks.is_empty() && written.is_ok() {
            plan.receipt.tasks = self.enqueue_all(lease).await?;
            lease.reigns().map_err(|error| Setback::Broken(error.into()))?;
            written = write::finish(lease, self, &plan.receipt).await;
        }
        let place = written.map_err(|error| self.setback(error))?;
        Ok(Receipt { place, ..plan.receipt })
    }

    /// Whether an address is held by an entity of this changeset that was not there when the entities were locked. The
    /// reservations were locked by a later statement, which saw more.
    fn holder_appeared(&self, locked: &Locked) -> bool {
        let named: HashSet<&EntityKey> = self.changeset.writes.iter().map(|write| &write.key).collect();
        locked.holders.iter().any(|(email, holder)| {
            let key = EntityKey { entity_type: EntityType::profile(), reference: holder.clone() };
            let known = locked.loaded.entities.get(&key).and_then(|entity| entity.living.as_ref());
            named.contains(&key) && reserved_email(&key, known).as_ref() != Some(email)
        })
    }

    /// The first round trip. `None` if the idempotency key is there already.
    async fn lock(
        &self,
        lease: &Lease<'_>,
        keys: &BTreeSet<&EntityKey>,
        foresight: Foresight,
    ) -> Result<Option<Locked>, Setback> {
        let mut statements = vec![&LIMITS];
        if self.changeset.idempotency.is_some() {
            statements.push(&CLAIM_KEY);
        }
        if !keys.is_empty() {
            statements.push(&LOCK_ENTITIES);
        }
        if !foresight.emails.is_empty() {
            statements.push(&LOCK_EMAILS);
        }
        if foresight.lives > 0 {
            statements.push(&DRAW_IDS);
        }
        lease.prepare(&statements).await.map_err(|error| self.setback(error))?;

        let begin = async { lease.begin(self.deadline).await.map_err(|error| self.setback(error)) };
        let claim = self.claim_key(lease);
        let entities = async {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let (types, references) = columns(keys);
            let rows = lease.query(&LOCK_ENTITIES, &[&self.tenant.as_str(), &types, &references]).await;
            rows.map_err(|error| self.setback(error))
        };
        let emails = self.lock_emails(lease, &foresight.emails);
        let drawn = self.draw_ids(lease, foresight.lives);
        let ((), claimed, entities, emails, drawn) = try_join5(begin, claim, entities, emails, drawn).await?;
        if !claimed {
            return Ok(None);
        }
        let locked = || {
            let loaded = Loaded::from_rows(&entities)?;
            Ok(Locked { loaded, emails: foresight.emails, holders: holders(&emails)?, ids: ids(&drawn)? })
        };
        locked().map(Some).map_err(|error: StoreError| Setback::Ended(error.into()))
    }

    async fn lock_emails(&self, lease: &Lease<'_>, emails: &BTreeSet<EmailKey>) -> Result<Vec<Row>, Setback> {
        if emails.is_empty() {
            return Ok(Vec::new());
        }
        let emails: Vec<&str> = emails.iter().map(EmailKey::as_str).collect();
        lease.query(&LOCK_EMAILS, &[&self.tenant.as_str(), &emails]).await.map_err(|error| self.setback(error))
    }

    async fn draw_ids(&self, lease: &Lease<'_>, count: usize) -> Result<Vec<Row>, Setback> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        lease.query(&DRAW_IDS, &[&count]).await.map_err(|error| self.setback(error))
    }

    /// What an error means for the attempt.
    pub(crate) fn setback(&self, error: Error) -> Setback {
        if self.sent.load(Ordering::Relaxed) && !says_failed(&error) {
            return Setback::Broken(StoreError::OutcomeUnknown(described(error)).into());
        }
        match trouble_or_broken(error) {
            Ok(trouble) => setback(trouble),
            Err(error) => Setback::Broken(unavailable(error).into()),
        }
    }
}

/// What the server said, or the error back if the connection is of no more use.
pub(crate) fn trouble_or_broken(error: Error) -> Result<Trouble, Error> {
    if leaves_connection_sound(&error) { Ok(trouble(error)) } else { Err(error) }
}

pub(crate) fn setback(trouble: Trouble) -> Setback {
    match trouble {
        Trouble::Duplicate(error) => Setback::Missed(described(error)),
        Trouble::Sacrificed(error) => Setback::Sacrificed(described(error)),
        trouble => Setback::Ended(StoreError::from(trouble).into()),
    }
}

fn refused(refusal: Refusal) -> Setback {
    Setback::Ended(refusal.into())
}

fn columns<'k>(keys: &BTreeSet<&'k EntityKey>) -> (Vec<&'k str>, Vec<&'k str>) {
    keys.iter().map(|key| (key.entity_type.as_str(), key.reference.as_str())).unzip()
}

fn holders(rows: &[Row]) -> Result<HashMap<EmailKey, Reference>, StoreError> {
    rows.iter().map(|row| Ok((EmailKey::from_stored(get(row, "email_key")?), reference(row)?))).collect()
}

fn ids(rows: &[Row]) -> Result<Vec<i64>, StoreError> {
    rows.iter().map(|row| get(row, "id")).collect()
}
