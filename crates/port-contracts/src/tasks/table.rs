//! Tasks in a map, as plainly as can be: what stores that are nothing but memory keep them in, with bugs if that is wanted.

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use profile_domain::{
    Changeset, Fence, Moment, NewTask, Reference, Task, TaskId, TaskReceipt, TaskStatus, TenantId,
    task::{Attempt, ClaimedTask, Due as DueAt, Ending, LEASE_ENDED, OnConflict, Run, TaskQuery},
};
use profile_ports::{Claim, Claims, CommitError, Due, Renewal, TaskDepth, TaskGauges};

/// What may be wrong with tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum TaskBug {
    /// Nothing.
    #[default]
    None,
    /// A task that runs is given to others, too.
    ClaimsTwice,
    /// Tasks start before their time.
    Early,
    /// One tenant's tasks come first, all of them.
    OneTenantFirst,
    /// Endings count whatever attempt they are of.
    EndsUnfenced,
    /// Effects count whatever attempt they are of.
    EffectsUnfenced,
    /// Leases never end.
    NeverRescues,
    /// What was to be cancelled is done all the same.
    IgnoresCancelling,
    /// A cancelled task may start.
    StartsCancelled,
    /// Deletions leave tasks alone.
    OutlivesProfile,
    /// Tasks are written down though their changeset is refused.
    SurvivesRefusal,
    /// Unique keys hold nobody off.
    IgnoresUnique,
    /// Unique keys hold for ever.
    UniqueForEver,
    /// A unique key gives one profile's task to another.
    TakesOver,
    /// The client's clock says when something is due.
    ClientsClock,
    /// The queue is told again and again.
    QueuesTwice,
    /// Everything that has ended is forgotten at once.
    PrunesAll,
    /// A task that somebody asks for again has one attempt left.
    RetriesOnce,
    /// What belongs to others is shown.
    MixesTenants,
}

impl TaskBug {
    /// All that are bugs.
    pub const ALL: [Self; 18] = [
        Self::ClaimsTwice,
        Self::Early,
        Self::OneTenantFirst,
        Self::EndsUnfenced,
        Self::EffectsUnfenced,
        Self::NeverRescues,
        Self::IgnoresCancelling,
        Self::StartsCancelled,
        Self::OutlivesProfile,
        Self::SurvivesRefusal,
        Self::IgnoresUnique,
        Self::UniqueForEver,
        Self::TakesOver,
        Self::ClientsClock,
        Self::QueuesTwice,
        Self::PrunesAll,
        Self::RetriesOnce,
        Self::MixesTenants,
    ];
}

#[derive(Clone, Debug)]
struct Row {
    task: Task,
    lease_until: Option<Moment>,
    queued_at: Option<Moment>,
    ended_at: Option<Moment>,
    traceparent: Option<String>,
}

/// Tasks of all tenants.
#[derive(Clone, Debug, Default)]
pub struct TaskTable {
    rows: BTreeMap<(TenantId, TaskId), Row>,
    shift: i64,
    bug: TaskBug,
}

/// Where its clock begins: 2026-01-02.
const ANCHOR: i64 = 1_767_312_000_000_000;
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn micros(time: Duration) -> i64 {
    i64::try_from(time.as_micros()).unwrap_or(i64::MAX)
}

fn between(from: Moment, to: Moment) -> Duration {
    Duration::from_micros((to.as_micros() - from.as_micros()).try_into().unwrap_or(0))
}

impl TaskTable {
    /// Empty, with a bug.
    #[must_use]
    pub fn with(bug: TaskBug) -> Self {
        Self { bug, ..Self::default() }
    }

    /// Moves its clock.
    pub fn shift(&mut self, by: Duration) {
        self.shift += micros(by);
    }

    /// Its clock.
    #[must_use]
    pub fn now(&self) -> Moment {
        Moment::from_micros(ANCHOR + micros(START.elapsed()) + self.shift)
    }

    /// Every row as text.
    #[must_use]
    pub fn dump(&self) -> Vec<String> {
        self.rows.iter().map(|row| format!("{row:?}")).collect()
    }

    /// What a changeset does to tasks. `lives` says whether a profile does, once the changeset is written, and `ended` names those
    /// that it deletes.
    ///
    /// # Errors
    /// [`CommitError::Fenced`], [`CommitError::NoProfile`] and [`CommitError::UniqueElsewhere`]; then something may have been done, so a clone is to be thrown away.
    pub fn commit(
        &mut self,
        tenant: &TenantId,
        changeset: &Changeset,
        lives: impl Fn(&Reference) -> bool,
        ended: &[Reference],
    ) -> Result<Vec<TaskReceipt>, CommitError> {
        let now = if self.bug == TaskBug::ClientsClock { changeset.now } else { self.now() };
        if let Some(fence) = changeset.fence {
            self.pass(tenant, fence, now)?;
        }
        for row in self.rows.iter_mut().filter(|((of, _), _)| of == tenant).map(|(_, row)| row) {
            let belongs = row.task.profile.as_ref().is_some_and(|profile| ended.contains(profile));
            if belongs && self.bug != TaskBug::OutlivesProfile && row.task.payload.is_some() {
                cancel(row, now);
                (row.task.payload, row.task.unique_key) = (None, None);
            }
        }
        let tasks = changeset.tasks.iter();
        tasks
            .map(|task| match &task.profile {
                Some(profile) if !lives(profile) => Err(CommitError::NoProfile),
                _ => self.enqueue(tenant, task, now),
            })
            .collect()
    }

    fn pass(&mut self, tenant: &TenantId, fence: Fence, now: Moment) -> Result<(), CommitError> {
        let unfenced = self.bug == TaskBug::EffectsUnfenced;
        let row = self.rows.get_mut(&(tenant.clone(), fence.task)).ok_or(CommitError::Fenced)?;
        if !unfenced && (row.task.status != TaskStatus::Running || row.task.attempt != fence.attempt) {
            return Err(CommitError::Fenced);
        }
        end(row, TaskStatus::Succeeded, None, now);
        Ok(())
    }

    fn enqueue(&mut self, tenant: &TenantId, new: &NewTask, now: Moment) -> Result<TaskReceipt, CommitError> {
        let run_at = match new.due {
            DueAt::After(micros) => now.plus_micros(micros),
            DueAt::At(at) => at,
        };
        let forever = self.bug == TaskBug::UniqueForEver;
        let holds = |row: &&mut Row| {
            row.task.task_type == new.task_type
                && row.task.unique_key.is_some()
                && row.task.unique_key.as_ref() == new.unique.as_ref().map(|unique| &unique.key)
                && ((row.task.attempt == 0 && row.task.status.is_waiting()) || forever)
        };
        let own = self.rows.iter_mut().filter(|((of, _), _)| of == tenant).map(|(_, row)| row);
        let ignored = self.bug == TaskBug::IgnoresUnique;
        if let Some(holder) = own.filter(|_| !ignored).find(holds) {
            if holder.task.profile != new.profile && self.bug != TaskBug::TakesOver {
                return Err(CommitError::UniqueElsewhere);
            }
            if new.unique.as_ref().is_some_and(|unique| unique.on_conflict == OnConflict::Replace) {
                (holder.task.payload, holder.task.run_at) = (Some(new.payload.clone()), run_at);
                holder.task.status = TaskStatus::Scheduled;
            }
            return Ok(receipt(&holder.task));
        }
        let task = Task {
            id: new.id,
            task_type: new.task_type.clone(),
            status: TaskStatus::Scheduled,
            payload: Some(new.payload.clone()),
            run_at,
            created_at: now,
            attempt: 0,
            max_attempts: new.max_attempts,
            last_attempt: new.max_attempts,
            unique_key: new.unique.as_ref().map(|unique| unique.key.clone()),
            profile: new.profile.clone(),
            cancelling: false,
            attempts: Vec::new(),
        };
        let receipt = receipt(&task);
        let row = Row { task, lease_until: None, queued_at: None, ended_at: None, traceparent: new.traceparent.clone() };
        self.rows.insert((tenant.clone(), new.id), row);
        Ok(receipt)
    }

    fn due(&self, of: impl Fn(&Task) -> bool, patience: Duration) -> (Vec<(TenantId, TaskId)>, Option<Duration>) {
        let now = self.now();
        let mut ranks: BTreeMap<TenantId, usize> = BTreeMap::new();
        let mut next: Option<Duration> = None;
        let mut waiting: Vec<_> = self.rows.iter().filter(|(_, row)| of(&row.task) && self.may_start(&row.task)).collect();
        waiting.sort_by_key(|((_, id), row)| (row.task.run_at, *id));
        let mut due = Vec::new();
        for ((tenant, id), row) in waiting {
            if row.task.run_at > now && self.bug != TaskBug::Early {
                let wait = between(now, row.task.run_at);
                next = Some(next.map_or(wait, |next| next.min(wait)));
                continue;
            }
            let told = row.queued_at.filter(|_| row.task.status == TaskStatus::Queued && self.bug != TaskBug::QueuesTwice);
            if told.is_some_and(|told| between(told, now) < patience) {
                continue;
            }
            let rank = ranks.entry(tenant.clone()).or_default();
            due.push((*rank, row.task.run_at, tenant.clone(), *id));
            *rank += usize::from(self.bug != TaskBug::OneTenantFirst);
        }
        due.sort();
        (due.into_iter().map(|(_, _, tenant, id)| (tenant, id)).collect(), next)
    }

    fn may_start(&self, task: &Task) -> bool {
        task.status.is_waiting()
            || (self.bug == TaskBug::ClaimsTwice && task.status == TaskStatus::Running)
            || (self.bug == TaskBug::StartsCancelled && task.status == TaskStatus::Cancelled)
    }

    /// As the port.
    pub fn claim(&mut self, claim: &Claim<'_>) -> Claims {
        let now = self.now();
        let (mut ids, next) = self.due(|task| task.task_type == *claim.task_type, claim.patience);
        if !claim.only.is_empty() {
            let named = |place: &(TenantId, TaskId)| {
                let row = self.rows.get(place);
                row.is_some_and(|row| {
                    row.task.task_type == *claim.task_type && self.may_start(&row.task) && row.task.run_at <= now
                })
            };
            ids = claim.only.iter().filter(|place| named(place)).cloned().collect();
        }
        ids.truncate(claim.limit);
        let lease_until = Some(now.plus_micros(micros(claim.lease)));
        let mut start = |(tenant, id): (TenantId, TaskId)| {
            let row = self.rows.get_mut(&(tenant.clone(), id))?;
            row.task.attempt += 1;
            row.task.status = TaskStatus::Running;
            (row.lease_until, row.queued_at, row.ended_at) = (lease_until, None, None);
            let number = row.task.attempt;
            let worker = claim.worker.to_owned();
            row.task.attempts.push(Attempt { number, started_at: now, ended_at: None, worker, error: None });
            Some(ClaimedTask {
                run: Run { tenant, task: id, attempt: number },
                task_type: row.task.task_type.clone(),
                payload: row.task.payload.clone(),
                run_at: row.task.run_at,
                started_at: now,
                last_attempt: row.task.last_attempt,
                profile: row.task.profile.clone(),
                traceparent: row.traceparent.clone(),
            })
        };
        let tasks = ids.into_iter().filter_map(&mut start).collect();
        Claims { tasks, next: next.filter(|_| claim.only.is_empty()) }
    }

    /// As the port.
    pub fn mark_queued(&mut self, limit: usize, patience: Duration) -> Due {
        let now = self.now();
        let (mut ids, next) = self.due(|_| true, patience);
        ids.truncate(limit);
        let mut tell = |(tenant, id): (TenantId, TaskId)| {
            let row = self.rows.get_mut(&(tenant.clone(), id))?;
            (row.task.status, row.queued_at) = (TaskStatus::Queued, Some(now));
            Some((tenant, id, row.task.task_type.clone()))
        };
        Due { tasks: ids.into_iter().filter_map(&mut tell).collect(), next }
    }

    fn current(&mut self, run: &Run) -> Option<&mut Row> {
        let any = self.bug == TaskBug::EndsUnfenced;
        let row = self.rows.get_mut(&(run.tenant.clone(), run.task))?;
        (any || (row.task.status == TaskStatus::Running && row.task.attempt == run.attempt)).then_some(row)
    }

    /// As the port.
    pub fn renew(&mut self, runs: &[Run], lease: Duration) -> Vec<Renewal> {
        let until = self.now().plus_micros(micros(lease));
        let mut renew = |run: &Run| match self.current(run) {
            None => Renewal::Lost,
            Some(row) => {
                row.lease_until = Some(until);
                if row.task.cancelling { Renewal::Cancelling } else { Renewal::Held }
            }
        };
        runs.iter().map(&mut renew).collect()
    }

    /// As the port.
    pub fn end(&mut self, endings: &[(Run, Ending)]) -> Vec<Option<TaskStatus>> {
        let (now, ignores) = (self.now(), self.bug == TaskBug::IgnoresCancelling);
        let mut ended = |(run, ending): &(Run, Ending)| {
            let row = self.current(run)?;
            let cancelled = row.task.cancelling && !ignores && *ending != Ending::Succeeded;
            let status = if cancelled { TaskStatus::Cancelled } else { ending.status() };
            end(row, status, ending.error(), now);
            match ending {
                Ending::Retry { wait, .. } => row.task.run_at = now.plus_micros(*wait),
                Ending::HandedBack => {
                    row.task.run_at = now;
                    row.task.last_attempt += 1;
                }
                _ => {}
            }
            Some(status)
        };
        endings.iter().map(&mut ended).collect()
    }

    /// As the port.
    pub fn cancel(&mut self, tenant: &TenantId, id: TaskId) -> Option<Task> {
        let now = self.now();
        let row = self.rows.get_mut(&(tenant.clone(), id))?;
        cancel(row, now);
        Some(row.task.clone())
    }

    /// As the port.
    pub fn retry(&mut self, tenant: &TenantId, id: TaskId) -> Option<(Task, bool)> {
        let (now, once) = (self.now(), self.bug == TaskBug::RetriesOnce);
        let row = self.rows.get_mut(&(tenant.clone(), id))?;
        let dead = row.task.status == TaskStatus::Dead && row.task.payload.is_some();
        if dead {
            (row.task.status, row.task.run_at, row.queued_at) = (TaskStatus::Scheduled, now, None);
            row.task.last_attempt = row.task.attempt + if once { 1 } else { row.task.max_attempts };
        }
        Some((row.task.clone(), dead))
    }

    /// As the port.
    pub fn rescue(&mut self, limit: usize) -> usize {
        let now = self.now();
        let over = |row: &&mut Row| row.lease_until.is_some_and(|until| until < now);
        let never = self.bug == TaskBug::NeverRescues;
        let rows = self.rows.values_mut().filter(over).filter(|_| !never).take(limit);
        rows.map(|row| {
            let status = if row.task.cancelling {
                TaskStatus::Cancelled
            } else if row.task.attempt >= row.task.last_attempt {
                TaskStatus::Dead
            } else {
                TaskStatus::Retrying
            };
            end(row, status, Some(LEASE_ENDED), now);
            row.task.run_at = now;
        })
        .count()
    }

    /// As the port.
    pub fn prune(&mut self, ended: Duration, limit: usize) -> usize {
        let (now, all) = (self.now(), self.bug == TaskBug::PrunesAll);
        let old = |row: &Row| row.task.status.is_final() && row.ended_at.is_some_and(|at| all || between(at, now) > ended);
        let places: Vec<_> = self.rows.iter().filter(|(_, row)| old(row)).map(|(place, _)| place.clone()).take(limit).collect();
        for place in &places {
            drop(self.rows.remove(place));
        }
        places.len()
    }

    /// As the port.
    #[must_use]
    pub fn task(&self, tenant: &TenantId, id: TaskId) -> Option<Task> {
        if self.bug == TaskBug::MixesTenants {
            return self.rows.iter().find(|((_, of), _)| *of == id).map(|(_, row)| row.task.clone());
        }
        self.rows.get(&(tenant.clone(), id)).map(|row| row.task.clone())
    }

    /// As the port.
    #[must_use]
    pub fn tasks(&self, tenant: &TenantId, query: &TaskQuery) -> Vec<Task> {
        let wanted = |task: &&Task| {
            query.after.is_none_or(|after| task.id < after)
                && query.status.is_none_or(|status| task.status == status)
                && query.task_type.as_ref().is_none_or(|task_type| task.task_type == *task_type)
                && query.profile.as_ref().is_none_or(|profile| task.profile.as_ref() == Some(profile))
                && query.created_from.is_none_or(|from| task.created_at >= from)
                && query.created_before.is_none_or(|before| task.created_at < before)
        };
        let own = self.rows.iter().rev().filter(|((of, _), _)| of == tenant).map(|(_, row)| &row.task);
        own.filter(wanted).take(query.limit).cloned().collect()
    }

    /// As the port.
    #[must_use]
    pub fn gauges(&self) -> TaskGauges {
        let now = self.now();
        let mut gauges = TaskGauges::default();
        for task in self.rows.values().map(|row| &row.task).filter(|task| !task.status.is_final()) {
            let same = |depth: &&mut TaskDepth| depth.task_type == task.task_type && depth.status == task.status;
            match gauges.depths.iter_mut().find(same) {
                Some(depth) => depth.count += 1,
                None => gauges.depths.push(TaskDepth { task_type: task.task_type.clone(), status: task.status, count: 1 }),
            }
            if task.status.is_waiting() && task.run_at <= now {
                gauges.oldest_waiting = gauges.oldest_waiting.max(Some(between(task.run_at, now)));
            }
        }
        gauges
    }
}

fn receipt(task: &Task) -> TaskReceipt {
    TaskReceipt { id: task.id, status: task.status, run_at: task.run_at, created_at: task.created_at }
}

fn end(row: &mut Row, status: TaskStatus, error: Option<&str>, now: Moment) {
    (row.task.status, row.lease_until, row.ended_at) = (status, None, Some(now));
    if let Some(attempt) = row.task.attempts.last_mut() {
        (attempt.ended_at, attempt.error) = (Some(now), error.map(str::to_owned));
    }
}

fn cancel(row: &mut Row, now: Moment) {
    match row.task.status {
        TaskStatus::Running => row.task.cancelling = true,
        status if status.is_waiting() => {
            (row.task.status, row.task.cancelling, row.ended_at) = (TaskStatus::Cancelled, true, Some(now));
        }
        _ => {}
    }
}

/// Makes a store of its type that keeps its tasks in a [`TaskTable`] which an expression locks.
#[macro_export]
macro_rules! tasks_in_a_table {
    ($store:ty, |$self:ident| $table:expr) => {
        #[async_trait::async_trait]
        impl profile_ports::Tasks for $store {
            async fn task_clock(&self, _: profile_ports::Deadline) -> Result<profile_domain::Moment, profile_ports::StoreError> {
                let $self = self;
                Ok($table.now())
            }

            async fn claim(
                &self,
                claim: profile_ports::Claim<'_>,
                _: profile_ports::Deadline,
            ) -> Result<profile_ports::Claims, profile_ports::StoreError> {
                let $self = self;
                Ok($table.claim(&claim))
            }

            async fn renew(
                &self,
                runs: &[profile_domain::task::Run],
                lease: std::time::Duration,
                _: profile_ports::Deadline,
            ) -> Result<Vec<profile_ports::Renewal>, profile_ports::StoreError> {
                let $self = self;
                Ok($table.renew(runs, lease))
            }

            async fn end(
                &self,
                endings: &[(profile_domain::task::Run, profile_domain::task::Ending)],
                _: profile_ports::Deadline,
            ) -> Result<Vec<Option<profile_domain::TaskStatus>>, profile_ports::StoreError> {
                let $self = self;
                Ok($table.end(endings))
            }

            async fn cancel(
                &self,
                tenant: &profile_domain::TenantId,
                id: profile_domain::TaskId,
                _: profile_ports::Deadline,
            ) -> Result<Option<profile_domain::Task>, profile_ports::StoreError> {
                let $self = self;
                Ok($table.cancel(tenant, id))
            }

            async fn retry(
                &self,
                tenant: &profile_domain::TenantId,
                id: profile_domain::TaskId,
                _: profile_ports::Deadline,
            ) -> Result<Option<(profile_domain::Task, bool)>, profile_ports::StoreError> {
                let $self = self;
                Ok($table.retry(tenant, id))
            }

            async fn mark_queued(
                &self,
                limit: usize,
                patience: std::time::Duration,
                _: profile_ports::Deadline,
            ) -> Result<profile_ports::Due, profile_ports::StoreError> {
                let $self = self;
                Ok($table.mark_queued(limit, patience))
            }

            async fn rescue(&self, limit: usize, _: profile_ports::Deadline) -> Result<usize, profile_ports::StoreError> {
                let $self = self;
                Ok($table.rescue(limit))
            }

            async fn prune(
                &self,
                ended: std::time::Duration,
                limit: usize,
                _: profile_ports::Deadline,
            ) -> Result<usize, profile_ports::StoreError> {
                let $self = self;
                Ok($table.prune(ended, limit))
            }

            async fn task(
                &self,
                tenant: &profile_domain::TenantId,
                id: profile_domain::TaskId,
                _: profile_ports::Deadline,
            ) -> Result<Option<profile_domain::Task>, profile_ports::StoreError> {
                let $self = self;
                Ok($table.task(tenant, id))
            }

            async fn tasks(
                &self,
                tenant: &profile_domain::TenantId,
                query: &profile_domain::task::TaskQuery,
                _: profile_ports::Deadline,
            ) -> Result<Vec<profile_domain::Task>, profile_ports::StoreError> {
                let $self = self;
                Ok($table.tasks(tenant, query))
            }

            async fn task_gauges(
                &self,
                _: profile_ports::Deadline,
            ) -> Result<profile_ports::TaskGauges, profile_ports::StoreError> {
                let $self = self;
                Ok($table.gauges())
            }
        }
    };
}
