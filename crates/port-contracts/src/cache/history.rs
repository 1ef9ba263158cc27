//! Random histories of a store, its replicas, its feed and those who load and commit beside a cache.
//!
//! The model knows what was committed when, what readers were given, and what was followed. It knows nothing of floors,
//! namespaces and tickets: it only hands tickets on, sometimes much too late.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use profile_domain::{EntityKey, Version};
use profile_ports::cache::{Change, Fill, Put, Standing, State, Ticket};

use super::{
    CacheFixture, CacheLimits,
    tier::{SPANS, Tier, absent, begun, key, living},
};
use crate::random::{Random, seed};

const KEYS: u32 = 3;
const STEPS: u32 = 80;

/// So little that everything is evicted at times; and floors overflow in every other history.
const LIMITS: CacheLimits = CacheLimits { entries: 2, bytes: 1_500, absences: 1, floors: 100, spans: SPANS };
const FEW_FLOORS: usize = 2;
/// Histories in which everything must have come up. Adapters over a network run fewer.
const ENOUGH: u32 = 100;

/// Ten thousand random histories of loads (from replicas that lag, and arriving late), fills, writes through, deletions,
/// creations, invalidations, steps along the feed, beginnings, removals, expiry and eviction: no reader is given something
/// older than was given before, nor anything older than what was followed or invalidated, nor what never was. The seed is
/// printed, and `TEST_SEED` repeats from there; a failure names the one that failed.
pub async fn cache_never_goes_back<F: CacheFixture>() {
    let seed = seed();
    eprintln!("to repeat this: TEST_SEED={seed}");
    let mut tally = Tally::default();
    for schedule in 0..F::schedules() {
        let seed = seed.wrapping_add(schedule.into());
        let floors = if seed.is_multiple_of(2) { LIMITS.floors } else { FEW_FLOORS };
        let mut history = History::<F>::new(begun(CacheLimits { floors, ..LIMITS }).await, seed);
        for _ in 0..STEPS {
            history.step().await;
        }
        tally = tally.plus(&history.tally);
    }
    eprintln!("{tally:?}");
    if F::KEEPS && F::schedules() >= ENOUGH {
        let Tally { living, absent, stored, older, late, shut } = tally;
        for (what, times) in
            [("living", living), ("absent", absent), ("stored", stored), ("older", older), ("late", late), ("shut", shut)]
        {
            assert!(times > 0, "{what} never came up: {tally:?}");
        }
    }
}

/// What came up, so that the histories can be seen to try something.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    living: u64,
    absent: u64,
    stored: u64,
    older: u64,
    late: u64,
    shut: u64,
}

impl Tally {
    fn plus(self, other: &Self) -> Self {
        Self {
            living: self.living + other.living,
            absent: self.absent + other.absent,
            stored: self.stored + other.stored,
            older: self.older + other.older,
            late: self.late + other.late,
            shut: self.shut + other.shut,
        }
    }
}

/// One entity: when each of its versions was committed, and whether it lives since.
#[derive(Default)]
struct Life {
    versions: Vec<(Instant, bool)>,
    /// The greatest version that a reader was given.
    given: Option<Version>,
    /// The greatest version that the cache was told of.
    told: Option<Version>,
}

impl Life {
    /// What a reader of a replica finds that has replayed what was committed by then, and when that was committed.
    fn as_of(&self, key: &EntityKey, moment: Instant) -> (State, Option<Instant>) {
        let replayed = self.versions.iter().take_while(|(at, _)| *at <= moment).count();
        let number = u32::try_from(replayed).expect("few versions");
        match self.versions[..replayed].last() {
            Some((at, true)) => (living(key, number), Some(*at)),
            Some((at, false)) => (absent(Some(number)), Some(*at)),
            None => (absent(None), None),
        }
    }

    fn is(&self, key: &EntityKey, state: &State) -> bool {
        match state.version() {
            None => *state == absent(None),
            Some(version) => {
                let number = u32::try_from(version.get()).expect("few versions");
                match self.versions.get(number as usize - 1) {
                    Some((_, true)) => *state == living(key, number),
                    Some((_, false)) => *state == absent(Some(number)),
                    None => false,
                }
            }
        }
    }
}

/// Someone between a ticket and the fill that names it.
struct Pending {
    key: EntityKey,
    ticket: Ticket,
    /// A load has none before it read.
    read: Option<(State, Standing)>,
}

struct History<F> {
    tier: Tier<F>,
    random: Random,
    seed: u64,
    lives: BTreeMap<EntityKey, Life>,
    feed: Vec<Change>,
    pending: Vec<Pending>,
    tally: Tally,
}

impl<F: CacheFixture> History<F> {
    fn new(tier: Tier<F>, seed: u64) -> Self {
        let lives = (0..KEYS).map(|number| (key(number), Life::default())).collect();
        Self { tier, random: Random::new(seed), seed, lives, feed: Vec::new(), pending: Vec::new(), tally: Tally::default() }
    }

    async fn step(&mut self) {
        match self.random.below(100) {
            0..33 => self.read().await,
            33..48 => self.load(),
            48..66 => self.fill().await,
            66..78 => self.write().await,
            78..84 => self.follow().await,
            84..86 => self.invalidate().await,
            86..87 => self.begin().await,
            87..91 => {
                let key = self.any_key();
                self.tier.cache.remove(&self.tier.tenant, &key).await.expect("a removal");
            }
            _ => {
                let Self { random, .. } = self;
                let times = [SPANS.lag / 4, SPANS.lag / 2, SPANS.lag, SPANS.load / 2, SPANS.load, SPANS.floor()];
                let time = *random.pick(&times);
                self.tier.fixture.pass(time).await;
            }
        }
    }

    fn any_key(&mut self) -> EntityKey {
        key(self.random.below(KEYS))
    }

    /// A reader: what is given must not be the past. After a miss a load begins.
    async fn read(&mut self) {
        let key = self.any_key();
        let got = self.tier.got(&key).await;
        let life = self.lives.get_mut(&key).expect("a life");
        let ticket = got.mark.and_then(|mark| mark.ticket);
        let Some(hit) = got.hit else {
            self.tally.shut += u64::from(ticket.is_none());
            self.pending.extend(ticket.map(|ticket| Pending { key, ticket, read: None }));
            return;
        };
        let (version, seed) = (hit.state.version(), self.seed);
        assert!(life.is(&key, &hit.state), "TEST_SEED={seed}: {:?} of {key:?} never was", hit.state);
        assert!(version >= life.given, "TEST_SEED={seed}: {version:?} of {key:?} after {:?}", life.given);
        assert!(version >= life.told, "TEST_SEED={seed}: {version:?} of {key:?}, though told of {:?}", life.told);
        life.given = version;
        *(if matches!(hit.state, State::Living { .. }) { &mut self.tally.living } else { &mut self.tally.absent }) += 1;
    }

    /// A load reads, from the primary or from a replica that may be as far behind as is allowed.
    fn load(&mut self) {
        let waiting: Vec<usize> = (0..self.pending.len()).filter(|index| self.pending[*index].read.is_none()).collect();
        if waiting.is_empty() {
            return;
        }
        let index = *self.random.pick(&waiting);
        let lag = *self.random.pick(&[Duration::ZERO, SPANS.lag / 4, SPANS.lag]);
        let now = self.tier.fixture.now();
        let pending = &mut self.pending[index];
        let (state, committed) =
            self.lives[&pending.key].as_of(&pending.key, now.checked_sub(lag).expect("clocks began long ago"));
        let settled = committed.is_none_or(|at| now.saturating_duration_since(at) > SPANS.floor());
        pending.read = Some((state, if settled { Standing::Settled } else { Standing::Fresh }));
    }

    /// Someone who has read, or committed, fills; in time or too late, and not always.
    async fn fill(&mut self) {
        let ready: Vec<usize> = (0..self.pending.len()).filter(|index| self.pending[*index].read.is_some()).collect();
        if ready.is_empty() {
            return;
        }
        let Pending { key, ticket, read } = self.pending.swap_remove(*self.random.pick(&ready));
        let Some((state, standing)) = read.filter(|_| self.random.percent(90)) else { return };
        let expires_in = *self.random.pick(&[SPANS.lag, SPANS.floor(), SPANS.floor() * 10]);
        match self.tier.put(&key, ticket, Fill { state, expires_in, standing }).await {
            Put::Stored => self.tally.stored += 1,
            Put::Older => self.tally.older += 1,
            Put::Late => self.tally.late += 1,
            Put::TooLarge => panic!("nothing here is large"),
        }
    }

    /// A change is committed, and perhaps written through.
    async fn write(&mut self) {
        let key = self.any_key();
        let ticket = self.tier.mark(&key).await.and_then(|mark| mark.ticket);
        let life = self.lives.get_mut(&key).expect("a life");
        let lives = !life.versions.last().is_some_and(|(_, lives)| *lives) || self.random.percent(70);
        let now = self.tier.fixture.now();
        life.versions.push((now, lives));
        let (state, _) = life.as_of(&key, now);
        let version = state.version().expect("a version was committed");
        self.feed.push(Change { tenant: self.tier.tenant.clone(), key: key.clone(), version });
        if let Some(ticket) = ticket.filter(|_| self.random.percent(60)) {
            self.pending.push(Pending { key, ticket, read: Some((state, Standing::Fresh)) });
        }
    }

    fn head(&self) -> i64 {
        i64::try_from(self.feed.len()).expect("few changes")
    }

    /// Some part follows the feed by a stretch, which may begin where it was already.
    async fn follow(&mut self) {
        let Some(part) = self.any_part() else { return };
        let at = self.tier.part_mark(part).await.expect("a mark").position;
        let behind = self.random.below(3).min(u32::try_from(at).expect("few changes"));
        let ahead = self.random.below(u32::try_from(self.head() - at).expect("it is not ahead") + 1);
        let (from, to) = (at - i64::from(behind), at + i64::from(ahead));
        let range = usize::try_from(from).expect("0 or more")..usize::try_from(to).expect("0 or more");
        let changes = self.feed[range].to_vec();
        let mark = self.tier.follow(part, from, to, &changes).await.expect("a mark");
        assert_eq!(mark.position, to, "it could follow");
        for change in changes {
            if self.tier.cache.part_of(&change.tenant, &change.key) == part {
                self.tell(&change);
            }
        }
    }

    fn tell(&mut self, change: &Change) {
        let life = self.lives.get_mut(&change.key).expect("a life");
        life.told = life.told.max(Some(change.version));
    }

    /// Someone brings a few changes ahead of the feed, or long after it.
    async fn invalidate(&mut self) {
        if self.feed.is_empty() {
            return;
        }
        let changes: Vec<Change> = (0..=self.random.below(2)).map(|_| self.random.pick(&self.feed).clone()).collect();
        self.tier.cache.invalidate(&changes).await.expect("an invalidation");
        for change in &changes {
            self.tell(change);
        }
    }

    /// Some part begins anew where the feed is.
    async fn begin(&mut self) {
        let Some(part) = self.any_part() else { return };
        self.tier.begin(part, self.head(), SPANS.lag).await;
        for change in self.feed.clone() {
            if self.tier.cache.part_of(&change.tenant, &change.key) == part {
                self.tell(&change);
            }
        }
    }

    fn any_part(&mut self) -> Option<u16> {
        let parts = self.tier.cache.parts();
        (parts > 0).then(|| u16::try_from(self.random.below(parts.into())).expect("a part"))
    }
}
