//! The worker: claims, runs, keeps leases, rescues, forgets.

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use profile_domain::{
    Changeset, EntityWrite, Fence, TaskType,
    task::{Again, ClaimedTask, Ending, Run},
};
use profile_ports::{Claim, CommitError, Deadline, ObjectError, Renewal, causes, queue::QueueState};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::AbortHandle,
    time::timeout,
};

use super::{
    ending::Ended,
    kind::{Effect, Failure, Job, Kind},
    kinds,
    running::Why,
};
use crate::App;

/// How often what is due is looked for, where nobody says that there is something.
pub(super) const POLL: Duration = Duration::from_secs(1);
/// So that what comes due one after the other is claimed together.
pub(super) const GATHER: Duration = Duration::from_millis(10);
/// Tasks claimed at once, at most.
pub(super) const BATCH: usize = 100;
/// How long one step of the store may take.
pub(super) const STEP: Duration = Duration::from_secs(10);
/// How soon leases are renewed again where that failed.
const RENEW_AGAIN: Duration = Duration::from_secs(1);
/// How often what has ended long ago is forgotten, and how much at a time.
const PRUNE_EVERY: Duration = Duration::from_mins(1);
const PRUNE_BATCH: usize = 1_000;
/// How often what the store holds is counted.
const COUNT_EVERY: Duration = Duration::from_secs(15);
/// For how long what a queue was told of is left to those whom the queue tells.
const PATIENCE: Duration = Duration::from_secs(2);

impl App {
    /// Works on tasks until [`Self::stop_tasks`]; then until those that run have ended or were handed back.
    pub async fn work(&self) {
        let (send, ends) = mpsc::unbounded_channel();
        let background = async {
            tokio::join!(self.keep_leases(), self.sweep(), self.forget_ended(), self.count());
        };
        let work = async move {
            join_all(kinds::ALL.iter().map(|kind| self.work_on(kind, send.clone()))).await;
            drop(send);
        };
        let ended = async {
            // Until the last kind's work has ended: a claim that is under way when the process is to stop begins runs after that.
            let work = async {
                tokio::select! {
                    () = work => {}
                    () = self.hand_back_after_stop() => {}
                }
            };
            tokio::join!(work, self.write_ends(ends));
        };
        tokio::select! {
            () = ended => {}
            () = background => {}
        }
    }

    /// Takes no more tasks, and ends waits for their ends.
    pub fn stop_tasks(&self) {
        self.work.stopping.send_replace(true);
    }

    /// Claims tasks of one kind as long as there is room, and runs them.
    async fn work_on(&self, kind: &'static Kind, ends: mpsc::UnboundedSender<Ended>) {
        let Ok(task_type) = TaskType::parse(kind.name) else { return };
        let most = self.work.settings.concurrency.max(1);
        let room = Arc::new(Semaphore::new(most));
        tokio::join!(
            self.look_for(kind, &task_type, Arc::clone(&room), ends.clone()),
            self.consume(kind, &task_type, Arc::clone(&room), ends),
        );
        // All room is free again once every run has ended and that is written.
        let _ = room.acquire_many(u32::try_from(most).unwrap_or(u32::MAX)).await;
    }

    /// Claims what is due. Where a queue tells of it, this is for what it forgets and for while it is away.
    async fn look_for(
        &self,
        kind: &'static Kind,
        task_type: &TaskType,
        room: Arc<Semaphore>,
        ends: mpsc::UnboundedSender<Ended>,
    ) {
        let mut rate = Rate::new(kind.rate);
        loop {
            // Told of what is committed from here on.
            let committed = self.work.committed.notified();
            let mut permits = tokio::select! {
                first = Arc::clone(&room).acquire_owned() => first.into_iter().collect::<Vec<OwnedSemaphorePermit>>(),
                () = self.work.stopped() => break,
            };
            while permits.len() < BATCH
                && let Ok(permit) = Arc::clone(&room).try_acquire_owned()
            {
                permits.push(permit);
            }
            permits.truncate(rate.allows(Instant::now(), permits.len()));
            if self.work.is_stopping() {
                break;
            }
            let wanted = permits.len();
            let (claimed, wait) = match wanted {
                0 => (0, GATHER * 10),
                _ => self.start(kind, task_type, permits, &ends).await,
            };
            if claimed == wanted && claimed > 0 {
                continue;
            }
            let queued = self.work.queue.as_ref().is_some_and(|queue| queue.state() == QueueState::Connected);
            tokio::select! {
                () = committed, if !queued => {}
                () = tokio::time::sleep(if queued { POLL } else { wait }) => {}
                () = self.work.stopped() => break,
            }
        }
    }

    /// Claims as many as there are permits; how many that were, and how long until the next may be due.
    async fn start(
        &self,
        kind: &'static Kind,
        task_type: &TaskType,
        permits: Vec<OwnedSemaphorePermit>,
        ends: &mpsc::UnboundedSender<Ended>,
    ) -> (usize, Duration) {
        let settings = &self.work.settings;
        let claim = Claim {
            task_type,
            only: &[],
            limit: permits.len(),
            worker: &settings.worker,
            lease: settings.lease,
            patience: PATIENCE,
        };
        let claims = match self.store.claim(claim, Deadline::within(STEP)).await {
            Ok(claims) => claims,
            Err(error) => {
                self.work.trouble(&error);
                return (0, POLL);
            }
        };
        self.work.no_trouble();
        let wait = claims.next.map_or(POLL, |next| next.clamp(GATHER, POLL));
        let claimed = claims.tasks.len();
        self.run_claimed(kind, claims.tasks, permits, ends);
        (claimed, wait)
    }

    /// Lets each run, in its room.
    pub(super) fn run_claimed(
        &self,
        kind: &'static Kind,
        tasks: Vec<ClaimedTask>,
        permits: Vec<OwnedSemaphorePermit>,
        ends: &mpsc::UnboundedSender<Ended>,
    ) {
        for (task, room) in tasks.into_iter().zip(permits) {
            self.work.measures.started(kind.name, &task);
            let told = self.work.running.begin(&task.run);
            let (app, ends) = (self.clone(), ends.clone());
            tokio::spawn(async move { app.run_one(kind, task, room, told, ends).await });
        }
    }

    /// One run, from its start to its end.
    async fn run_one(
        &self,
        kind: &'static Kind,
        task: ClaimedTask,
        room: OwnedSemaphorePermit,
        mut told: tokio::sync::watch::Receiver<Option<Why>>,
        ends: mpsc::UnboundedSender<Ended>,
    ) {
        let began = Instant::now();
        let run = task.run.clone();
        let outcome = tokio::select! {
            outcome = self.outcome(kind, &task) => outcome,
            why = async { told.wait_for(Option::is_some).await.ok().and_then(|why| *why) } => match why {
                Some(Why::Cancelled) => Some(Ending::Cancelled),
                // What was lost is written nevertheless, and refused: so the log tells of it. Where the word was wrong, and the
                // run is still the current one, it begins again at once.
                Some(Why::Stopping | Why::Lost) | None => Some(Ending::HandedBack),
            },
        };
        match outcome {
            Some(ending) => {
                // Nobody listens any more only where the process ends.
                let _ = ends.send(Ended { run, kind: kind.name, ending, took: began.elapsed(), room });
            }
            // Its effect was committed, and the end with it, or was refused.
            None => self.work.running.end(&run),
        }
    }

    /// How a run ends; `None` where that is written already.
    async fn outcome(&self, kind: &'static Kind, task: &ClaimedTask) -> Option<Ending> {
        let began = Instant::now();
        let failure = match self.carry_out(kind, task).await {
            Ok(Effect::None) => return Some(Ending::Succeeded),
            Ok(Effect::Write(writes)) => match self.commit_effect(&task.run, writes).await {
                Ok(()) => {
                    self.work.measures.finished(kind.name, profile_domain::TaskStatus::Succeeded, began.elapsed());
                    return None;
                }
                Err(CommitError::Fenced) => {
                    self.too_late(&task.run);
                    return None;
                }
                Err(CommitError::Refused(refusal)) => Failure::for_good(refusal.rejection.to_string()),
                Err(error) => Failure::for_now(error.to_string()),
            },
            Err(failure) => failure,
        };
        let again = if failure.again == Again::Never { "never" } else { "maybe" };
        tracing::info!(
            task.id = %task.run.task,
            task.type = kind.name,
            task.attempt = task.run.attempt,
            error = failure.error,
            again,
            "a task failed"
        );
        let random = u64::from_le_bytes(first_eight((self.environment.new_secret)()));
        let wait = self.work.backoff().wait(task.run.attempt, random);
        Some(Ending::of_failure(&failure.error, failure.again, task.run.attempt, task.last_attempt, wait))
    }

    /// Runs in a task of its own, so that a panic ends nothing else, and not for longer than the kind allows.
    async fn carry_out(&self, kind: &'static Kind, task: &ClaimedTask) -> Result<Effect, Failure> {
        let payload = task.payload.clone().ok_or_else(|| Failure::for_good("its profile was deleted"))?;
        let job = Job {
            app: self.clone(),
            tenant: task.run.tenant.clone(),
            run: task.run.clone(),
            payload,
            profile: task.profile.clone(),
        };
        let running = tokio::spawn((kind.run)(job));
        let _stopped_with_this = AbortOnDrop(running.abort_handle());
        match timeout(kind.timeout, running).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(Failure::for_now("it panicked")),
            Err(_) => Err(Failure::for_now(format!("it took longer than {} s", kind.timeout.as_secs()))),
        }
    }

    /// The effect and the success together, or neither.
    async fn commit_effect(&self, run: &Run, writes: Vec<EntityWrite>) -> Result<(), CommitError> {
        let fence = Some(Fence { task: run.task, attempt: run.attempt });
        let changeset = Changeset { fence, ..Changeset::of((self.environment.now)(), writes) };
        let receipt = self.store.commit(&run.tenant, changeset, Deadline::within(STEP)).await?;
        self.changed(&run.tenant, &receipt).await;
        Ok(())
    }

    /// Says that what runs still does, three times in a lease, and sooner again where it couldn't be said.
    async fn keep_leases(&self) {
        let lease = self.work.settings.lease;
        let mut wait = lease / 3;
        loop {
            tokio::time::sleep(wait).await;
            wait = lease / 3;
            let runs = self.work.running.all();
            if runs.is_empty() {
                continue;
            }
            match self.store.renew(&runs, lease, Deadline::within(lease / 3)).await {
                Err(error) => {
                    tracing::warn!(cause = causes(&error), runs = runs.len(), "leases can't be renewed now");
                    wait = wait.min(RENEW_AGAIN);
                }
                Ok(renewals) => {
                    for (run, renewal) in runs.iter().zip(renewals) {
                        match renewal {
                            Renewal::Held => {}
                            Renewal::Cancelling => self.work.running.tell(run, Why::Cancelled),
                            Renewal::Lost => self.work.running.tell(run, Why::Lost),
                        }
                    }
                }
            }
        }
    }

    /// Ends runs that nobody speaks for any more, whoever's they were.
    async fn sweep(&self) {
        let every = (self.work.settings.lease / 4).min(Duration::from_secs(5));
        loop {
            tokio::time::sleep(every).await;
            match self.store.rescue(PRUNE_BATCH, Deadline::within(STEP)).await {
                Ok(0) => {}
                Ok(rescued) => {
                    self.work.measures.rescued(rescued);
                    tracing::warn!(runs = rescued, "runs whose lease had ended were given to others");
                    self.work.committed.notify_waiters();
                }
                Err(error) => self.work.trouble(&error),
            }
        }
    }

    /// Forgets what has ended long ago, a little at a time.
    async fn forget_ended(&self) {
        loop {
            tokio::time::sleep(PRUNE_EVERY).await;
            self.remove_exports().await;
            loop {
                match self.store.prune(self.work.settings.retention, PRUNE_BATCH, Deadline::within(STEP)).await {
                    Ok(PRUNE_BATCH) => tokio::time::sleep(GATHER).await,
                    Ok(_) => break,
                    Err(error) => {
                        tracing::warn!(cause = causes(&error), "tasks that ended can't be forgotten now");
                        break;
                    }
                }
            }
        }
    }

    /// Removes exports together with the tasks that wrote them.
    async fn remove_exports(&self) {
        let Some(objects) = &self.work.objects else { return };
        let kept = i64::try_from(self.work.settings.retention.as_micros()).unwrap_or(i64::MAX);
        let before = (self.environment.now)().plus_micros(kept.saturating_neg());
        let removed = async {
            for old in objects.list("exports", before, PRUNE_BATCH).await? {
                objects.delete(&old.tenant, &old.key).await?;
            }
            Ok::<_, ObjectError>(())
        };
        if let Err(error) = removed.await {
            tracing::warn!(cause = causes(&error), "old exports can't be removed now");
        }
    }

    async fn count(&self) {
        loop {
            if let Ok(gauges) = self.store.task_gauges(Deadline::within(STEP)).await {
                self.work.measures.show(&gauges);
            }
            tokio::time::sleep(COUNT_EVERY).await;
        }
    }

    /// Gives those that run their time when the process stops, and then tells whatever runs to end, over and over.
    async fn hand_back_after_stop(&self) {
        self.work.stopped().await;
        tokio::time::sleep(self.work.settings.drain).await;
        loop {
            for run in self.work.running.all() {
                self.work.running.tell(&run, Why::Stopping);
            }
            tokio::time::sleep(GATHER).await;
        }
    }
}

fn first_eight(bytes: [u8; 32]) -> [u8; 8] {
    let mut first = [0; 8];
    first.copy_from_slice(&bytes[..8]);
    first
}

/// What runs ends with whoever waits for it.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// So many starts in a second: a bucket that holds a second's worth.
struct Rate {
    per_second: Option<NonZeroU32>,
    tokens: f64,
    at: Instant,
}

impl Rate {
    fn new(per_second: Option<NonZeroU32>) -> Self {
        Self { per_second, tokens: per_second.map_or(0.0, |rate| f64::from(rate.get())), at: Instant::now() }
    }

    /// How many of those wanted may start now. They count, whether there are so many or not.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a small count")]
    fn allows(&mut self, now: Instant, wanted: usize) -> usize {
        let Some(rate) = self.per_second.map(|rate| f64::from(rate.get())) else { return wanted };
        self.tokens = (self.tokens + now.saturating_duration_since(self.at).as_secs_f64() * rate).min(rate);
        self.at = now;
        let allowed = wanted.min(self.tokens as usize);
        self.tokens -= allowed as f64;
        allowed
    }
}
