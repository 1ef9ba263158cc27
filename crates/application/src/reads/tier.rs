//! A tier: a cache, which of its parts can be believed, and which are not asked for a while.
//!
//! **Believed** is an entry if its part's mark names the namespace that the follower found sound ([`Sound::namespace`]), has
//! followed the feed as far as the follower saw a change of that part ([`Sound::need`]), and the follower saw that within
//! [`TRUST`] ([`Sound::as_of`]). So an old dump, an empty server, a shard that failed over to a replica that lags, and a store
//! that was taken back, all show in the mark that comes with the entry, and not in what anyone remembers.
//!
//! **Not asked** is a part that failed or was slow [`FAILURES`] times in a row, until the follower, who asks in the background, has
//! had quick answers. Nobody's request waits for that.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use profile_domain::{EntityKey, TenantId};
use profile_ports::{
    Cache, CacheError,
    cache::{Begin, Change, Fill, Hit, Mark, Namespace, Put, Step, Ticket},
};
use tokio::sync::Notify;

use super::{
    NamedCache, SPANS, TRUST,
    measures::{Measures, Operation},
};

/// How often in a row a part may fail or be slow.
const FAILURES: u32 = 3;
/// What is slow for a shared tier: nothing that is asked for in a request is worth more.
const SLOW: Duration = Duration::from_millis(25);
/// Of the operations in this process, one of so many is timed: looking at the clock costs as much as they do.
const SAMPLE: u64 = 64;

pub(super) struct Tier {
    pub(super) name: &'static str,
    pub(super) cache: Arc<dyn Cache>,
    pub(super) in_process: bool,
    pub(super) parts: Box<[Part]>,
    wake: Arc<Notify>,
    measures: Arc<Measures>,
    asked: AtomicU64,
    /// Parts that began anew since it was told.
    begun: AtomicU32,
}

#[derive(Default)]
pub(super) struct Part {
    sound: RwLock<Option<Sound>>,
    /// A mark was seen that isn't the one found sound: the follower shall look.
    doubtful: AtomicBool,
    /// The store was taken back: what is there may be of a commit that is lost, though the mark hasn't come to it.
    tainted: AtomicBool,
    failures: AtomicU32,
    open: AtomicBool,
    /// The last ticket that came by, and when: for commits, which can't wait for one.
    ticket: RwLock<Option<(Ticket, Instant)>>,
}

/// What the follower found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sound {
    pub(super) namespace: Namespace,
    /// Where the part must have followed to.
    pub(super) need: i64,
    /// Everything that was committed before this is at or before that position, or not of this part.
    pub(super) as_of: Instant,
}

/// What a look found.
pub(super) enum Look {
    /// An entry that is believed.
    Fresh(Hit, Option<Ticket>),
    /// An entry of a part that hasn't followed the feed lately, and for how long.
    Old(Hit, Duration),
    /// Nothing that could be used. With a ticket, the part takes what is loaded.
    Nothing(Option<Ticket>),
}

impl Tier {
    pub(super) fn new(named: NamedCache, wake: Arc<Notify>, measures: &Arc<Measures>) -> Self {
        let parts = (0..named.cache.parts()).map(|_| Part::default()).collect();
        let NamedCache { name, cache, in_process } = named;
        Self {
            name,
            cache,
            in_process,
            parts,
            wake,
            measures: Arc::clone(measures),
            asked: AtomicU64::new(0),
            begun: AtomicU32::new(0),
        }
    }

    fn part(&self, part: u16) -> &Part {
        &self.parts[usize::from(part)]
    }

    pub(super) async fn look(&self, tenant: &TenantId, key: &EntityKey, now: Instant) -> Look {
        let number = self.cache.part_of(tenant, key);
        let part = self.part(number);
        if part.open.load(Ordering::Relaxed) {
            return Look::Nothing(None);
        }
        let timed = !self.in_process || self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE);
        let began = timed.then(Instant::now);
        let got = match self.cache.get(tenant, key).await {
            Ok(got) => got,
            Err(error) => {
                self.failed(part, Operation::Get, &error, began.map_or(Duration::ZERO, |began| began.elapsed()));
                return Look::Nothing(None);
            }
        };
        if let Some(began) = began {
            let outcome = if got.hit.is_some() { "hit" } else { "miss" };
            self.answered(part, Operation::Get, outcome, began.elapsed());
        }
        let sound = *part.sound.read();
        let Some(mark) = got.mark else {
            self.doubt(part);
            return Look::Nothing(None);
        };
        let Some(sound) = sound else { return Look::Nothing(None) };
        if mark.namespace != sound.namespace || mark.position < sound.need {
            self.doubt(part);
            return Look::Nothing(None);
        }
        if !self.in_process {
            part.remember(&mark, now);
        }
        let age = now.saturating_duration_since(sound.as_of);
        match got.hit {
            Some(hit) if age < TRUST => Look::Fresh(hit, mark.ticket),
            Some(hit) => Look::Old(hit, age),
            None if age < TRUST => Look::Nothing(mark.ticket),
            None => Look::Nothing(None),
        }
    }

    /// What is kept for a time, whatever the feed says; and a ticket, if what is loaded is taken.
    pub(super) async fn look_by_time(&self, tenant: &TenantId, key: &EntityKey) -> (Option<Hit>, Option<Ticket>) {
        let part = self.part(self.cache.part_of(tenant, key));
        if part.open.load(Ordering::Relaxed) {
            return (None, None);
        }
        let timed = !self.in_process || self.asked.fetch_add(1, Ordering::Relaxed).is_multiple_of(SAMPLE);
        let began = timed.then(Instant::now);
        match self.cache.get(tenant, key).await {
            Ok(got) => {
                if let Some(began) = began {
                    let outcome = if got.hit.is_some() { "hit" } else { "miss" };
                    self.answered(part, Operation::Get, outcome, began.elapsed());
                }
                (got.hit, got.mark.and_then(|mark| mark.ticket))
            }
            Err(error) => {
                self.failed(part, Operation::Get, &error, began.map_or(Duration::ZERO, |began| began.elapsed()));
                (None, None)
            }
        }
    }

    /// Says what became of a fill, if there was a ticket and an answer.
    pub(super) async fn fill(&self, tenant: &TenantId, key: &EntityKey, ticket: Option<Ticket>, fill: Fill) -> Option<Put> {
        let ticket = ticket?;
        let part = self.part(self.cache.part_of(tenant, key));
        let began = Instant::now();
        match self.cache.put(tenant, key, ticket, fill).await {
            Ok(put) => {
                let outcome = match put {
                    Put::Stored => "stored",
                    Put::Older => "older",
                    Put::Late => "late",
                    Put::TooLarge => "too_large",
                };
                self.answered(part, Operation::Put, outcome, began.elapsed());
                Some(put)
            }
            Err(error) => {
                self.failed(part, Operation::Put, &error, began.elapsed());
                None
            }
        }
    }

    /// A ticket for a commit: at once, or none.
    pub(super) async fn ticket(&self, tenant: &TenantId, key: &EntityKey, now: Instant) -> Option<Ticket> {
        let number = self.cache.part_of(tenant, key);
        let part = self.part(number);
        let sound = (*part.sound.read())?;
        if self.in_process {
            let mark = self.cache.mark(number).await.ok()??;
            return mark.ticket.filter(|ticket| ticket.namespace == sound.namespace);
        }
        let (ticket, at) = (*part.ticket.read())?;
        let young = now.saturating_duration_since(at) < SPANS.load / 4;
        (young && ticket.namespace == sound.namespace).then_some(ticket)
    }

    /// What a commit made of one entity; without a ticket, only that it changed.
    pub(super) async fn write_through(&self, ticket: Option<Ticket>, change: &Change, fill: Fill) {
        if self.part(self.cache.part_of(&change.tenant, &change.key)).open.load(Ordering::Relaxed) {
            return;
        }
        let put = self.fill(&change.tenant, &change.key, ticket, fill).await;
        // Whatever is there that is older has to go.
        if !matches!(put, Some(Put::Stored | Put::Older)) {
            self.invalidate(std::slice::from_ref(change)).await;
        }
    }

    pub(super) async fn invalidate(&self, changes: &[Change]) {
        let Some(change) = changes.first() else { return };
        let number = self.cache.part_of(&change.tenant, &change.key);
        // Counted if it fails, and then for the feed to bring.
        let _ = self.measured(number, Operation::Invalidate, self.cache.invalidate(changes)).await;
    }

    /// Begins every part anew.
    pub(super) async fn clear(&self) -> Result<(), CacheError> {
        for number in 0..self.cache.parts() {
            if let Some(Mark { namespace, incarnation, position, .. }) = self.mark(number).await? {
                let anew = Begin { instead_of: Some(namespace), incarnation, position, quiet: SPANS.lag };
                self.begin(number, &anew).await?;
                self.doubt(self.part(number));
            }
        }
        Ok(())
    }

    pub(super) async fn forget(&self, tenant: &TenantId, key: &EntityKey) -> Result<(), CacheError> {
        self.measured(self.cache.part_of(tenant, key), Operation::Remove, self.cache.remove(tenant, key)).await
    }

    pub(super) async fn mark(&self, number: u16) -> Result<Option<Mark>, CacheError> {
        let began = Instant::now();
        let mark = self.measured(number, Operation::Mark, self.cache.mark(number)).await?;
        // Who looks at a part before it is believed is the one who finds out that it can be asked again.
        if began.elapsed() < SLOW {
            let part = self.part(number);
            part.open.store(false, Ordering::Relaxed);
            part.failures.store(0, Ordering::Relaxed);
        }
        Ok(mark)
    }

    pub(super) async fn begin(&self, number: u16, begin: &Begin) -> Result<Option<Mark>, CacheError> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.measured(number, Operation::Begin, self.cache.begin(number, begin)).await
    }

    pub(super) async fn follow(&self, number: u16, step: &Step<'_>) -> Result<Option<Mark>, CacheError> {
        self.measured(number, Operation::Follow, self.cache.follow(number, step)).await
    }

    async fn measured<T>(
        &self,
        number: u16,
        operation: Operation,
        work: impl Future<Output = Result<T, CacheError>>,
    ) -> Result<T, CacheError> {
        let began = Instant::now();
        let answer = work.await;
        let part = self.part(number);
        match &answer {
            Ok(_) => self.answered(part, operation, "done", began.elapsed()),
            Err(error) => self.failed(part, operation, error, began.elapsed()),
        }
        answer
    }

    fn answered(&self, part: &Part, operation: Operation, outcome: &str, took: Duration) {
        self.measures.observe(self.name, operation, outcome, took);
        if self.in_process {
            return;
        }
        if took < SLOW {
            part.failures.store(0, Ordering::Relaxed);
        } else {
            self.suffered(part);
        }
    }

    fn failed(&self, part: &Part, operation: Operation, error: &CacheError, took: Duration) {
        self.measures.failed(self.name, operation, error, took);
        self.suffered(part);
    }

    fn suffered(&self, part: &Part) {
        if part.failures.fetch_add(1, Ordering::Relaxed) + 1 >= FAILURES && !part.open.swap(true, Ordering::Relaxed) {
            self.doubt(part);
        }
    }

    fn doubt(&self, part: &Part) {
        if !part.doubtful.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Whether every part is believed.
    pub(super) fn is_believed(&self, now: Instant) -> bool {
        self.parts.iter().all(|part| part.is_believed(now))
    }

    /// Parts that are not asked, and parts that are believed.
    pub(super) fn tally(&self, now: Instant) -> (usize, usize) {
        let open = self.parts.iter().filter(|part| part.open.load(Ordering::Relaxed)).count();
        (open, self.parts.iter().filter(|part| part.is_believed(now)).count())
    }

    /// How many parts began anew since this was asked last.
    pub(super) fn begun(&self) -> u32 {
        self.begun.swap(0, Ordering::Relaxed)
    }

    pub(super) fn show(&self, open: usize, believed: usize) {
        let gauge = |number| i64::try_from(number).unwrap_or(i64::MAX);
        self.measures.open.with_label_values(&[self.name]).set(gauge(open));
        self.measures.believed.with_label_values(&[self.name]).set(gauge(believed));
    }
}

impl Part {
    fn remember(&self, mark: &Mark, now: Instant) {
        let Some(ticket) = mark.ticket else { return };
        let old = self
            .ticket
            .read()
            .is_none_or(|(known, at)| known.namespace != ticket.namespace || now.saturating_duration_since(at) > SPANS.load / 16);
        if old {
            *self.ticket.write() = Some((ticket, now));
        }
    }

    fn is_believed(&self, now: Instant) -> bool {
        let sound = self.sound.read().is_some_and(|sound| now.saturating_duration_since(sound.as_of) < TRUST);
        sound && !self.open.load(Ordering::Relaxed)
    }

    /// What the follower knows of it; `None` where it has to look first.
    pub(super) fn sound(&self) -> Option<Sound> {
        if self.doubtful.load(Ordering::Relaxed) || self.open.load(Ordering::Relaxed) {
            return None;
        }
        *self.sound.read()
    }

    pub(super) fn found(&self, sound: Sound) {
        *self.sound.write() = Some(sound);
    }

    /// Before the follower looks: whatever is seen from now on is doubted anew.
    pub(super) fn looked_at(&self) {
        self.doubtful.store(false, Ordering::Relaxed);
    }

    /// It has to begin anew, wherever its mark is.
    pub(super) fn taint(&self, tainted: bool) {
        self.tainted.store(tainted, Ordering::Relaxed);
    }

    pub(super) fn is_tainted(&self) -> bool {
        self.tainted.load(Ordering::Relaxed)
    }

    pub(super) fn doubted(&self) {
        self.doubtful.store(true, Ordering::Relaxed);
    }
}
