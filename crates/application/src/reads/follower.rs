//! Who keeps the tiers true: reads the feed, applies it to each, and says how far each can be believed.
//!
//! Every instance does this for the tier in its process, and any instance for those that are shared: a tier compares positions
//! itself, so that it doesn't matter how many do it at once, or whether one was stopped in between. Nobody leads.
//!
//! **What a part needs.** Only changes of its own keys, so a part without any isn't touched: it is enough that its mark has reached
//! the last position at which one of its keys changed ([`Sound::need`]).
//!
//! **A part in doubt** is looked at before it is believed: from its own mark the feed is read, at least to where the look
//! began. It begins
//! anew where there is no mark, the mark is of another life of the store, is older than what the feed keeps, or is ahead of the feed: then the
//! store was taken back, and what is cached comes from a future that is lost.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use profile_domain::{FeedChange, FeedPosition, Incarnation};
use profile_ports::{
    Deadline, Detail, StoreError,
    cache::{Begin, Change, Mark, Step},
    causes,
};

use super::{
    Reads, SPANS,
    tier::{Sound, Tier},
};

/// How often the feed is looked at while there are changes.
const BUSY: Duration = Duration::from_millis(50);
/// And how much later while there are none that anyone knows of.
const IDLE: Duration = Duration::from_millis(150);
/// How long the store may take to tell.
const PATIENCE: Duration = Duration::from_secs(1);
/// Changes at once.
const PAGE: usize = 1_000;
/// Pages in a row, before anything else is looked at.
const PAGES: usize = 50;

/// Where no change is after: a look from here tells how the feed stands, and nothing else.
const NOWHERE: FeedPosition = FeedPosition(i64::MAX);

/// How far the feed was followed.
#[derive(Default)]
pub(super) struct Follower {
    at: Option<(Incarnation, FeedPosition)>,
    /// Whether there was something new at the last look.
    moved: bool,
    /// What was said of each tier last: parts not asked, and whether it is believed.
    said: Vec<(usize, bool)>,
    away: bool,
}

#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Store(Arc<str>),
    #[error(transparent)]
    Cache(#[from] profile_ports::CacheError),
    #[error("{0}")]
    Again(&'static str),
}

impl Reads {
    /// Follows the feed until it is dropped.
    pub(crate) async fn follow_feed(&self) {
        if self.tiers.is_empty() {
            return;
        }
        let mut follower = Follower::default();
        loop {
            let busy = self.follow_once(&mut follower).await;
            if !busy {
                let _ = tokio::time::timeout(IDLE, self.wake.notified()).await;
            }
            tokio::time::sleep(BUSY).await;
        }
    }

    /// One look. Says whether there was something new.
    pub(super) async fn follow_once(&self, follower: &mut Follower) -> bool {
        let advanced = self.advance(follower).await;
        let away = advanced.is_err();
        self.away.store(away, Ordering::Relaxed);
        if away != follower.away {
            follower.away = away;
            if let Err(error) = &advanced {
                tracing::warn!(cause = causes(error), "the feed can't be read: caches will not be believed for long");
            } else {
                tracing::info!("the feed is read again");
            }
        }
        self.tell(follower);
        advanced.unwrap_or(false)
    }

    async fn advance(&self, follower: &mut Follower) -> Result<bool, StoreError> {
        // While there is something new at every look, places are given before the feed is read, and not after.
        let mut numbered = follower.at.is_none() || follower.moved;
        let state = if numbered { Some(self.store.number_feed(patience()).await?.state) } else { None };
        let begin = state.map(|state| (state.life(), state.head));
        let Some((incarnation, mut position)) = follower.at.or(begin) else { return Ok(false) };
        if self.incarnation() != Some(incarnation) {
            *self.incarnation.write() = Some(incarnation);
        }
        follower.moved = false;
        for _ in 0..PAGES {
            let asked = self.now();
            let page = self.store.feed_after(position, PAGE, Detail::Which, patience()).await?;
            if page.state.life() != incarnation || !page.state.covers(position) {
                tracing::warn!("the feed began anew, or went on without this instance: caches are looked at anew");
                follower.at = Some((page.state.life(), page.state.head));
                *self.incarnation.write() = None;
                let lost = page.state.life() == incarnation && page.state.head < position;
                for part in self.tiers.iter().flat_map(|tier| &tier.parts) {
                    if lost {
                        part.taint(true);
                    }
                    part.doubted();
                }
                return Ok(true);
            }
            let as_of = asked.checked_sub(page.unread.unwrap_or_default());
            let from = position;
            position = page.changes.last().map_or(position, |change| change.position);
            follower.moved |= position > from;
            let changes: Vec<Change> = page.changes.iter().map(told).collect();
            let stretch = Stretch { incarnation, from, to: position, changes: &changes, as_of };
            join_all(self.tiers.iter().map(|tier| self.apply(tier, &stretch))).await;
            follower.at = Some((incarnation, position));
            self.measures.feed_position.set(position.0);
            self.measures.feed_lag.set(as_of.map_or(f64::NAN, |as_of| self.now().saturating_duration_since(as_of).as_secs_f64()));
            if page.unread.is_none() {
                break;
            }
            if position == page.state.head {
                // What follows has no place yet. It gets one once a look: under load something always follows.
                if std::mem::replace(&mut numbered, true) || self.store.number_feed(patience()).await?.state.head == position {
                    break;
                }
            }
        }
        Ok(follower.moved)
    }

    /// Brings a stretch of the feed to one tier. What fails is in doubt, and looked at next time.
    async fn apply(&self, tier: &Tier, stretch: &Stretch<'_>) {
        let straight = (0..tier.cache.parts()).map(|number| async move {
            let sound = tier.parts[usize::from(number)].sound()?;
            self.step(tier, number, sound, stretch).await.unwrap_or(false).then_some(number)
        });
        let done = join_all(straight).await;
        let doubted: Vec<u16> = (0..).zip(done).filter(|(_, done)| done.is_none()).map(|(number, _)| number).collect();
        if doubted.is_empty() {
            return;
        }
        for number in &doubted {
            tier.parts[usize::from(*number)].looked_at();
        }
        for (number, found) in self.settle(tier, doubted, stretch).await {
            let part = &tier.parts[usize::from(number)];
            match found {
                Ok(sound) => part.found(sound),
                Err(error) => {
                    part.doubted();
                    tracing::debug!(tier = tier.name, part = number, cause = causes(&error), "a part of a cache stays in doubt");
                }
            }
        }
    }

    /// The straight way: the part is as it was left.
    async fn step(&self, tier: &Tier, number: u16, known: Sound, stretch: &Stretch<'_>) -> Result<bool, Trouble> {
        let part = &tier.parts[usize::from(number)];
        let Some(as_of) = stretch.as_of else { return Ok(false) };
        let touched = stretch.changes.iter().any(|change| tier.cache.part_of(&change.tenant, &change.key) == number);
        if !touched {
            part.found(Sound { as_of: as_of.max(known.as_of), ..known });
            return Ok(true);
        }
        // Between what it needed and where this begins, nothing was its own.
        let from = known.need.min(stretch.from.0);
        let step = Step { incarnation: stretch.incarnation, from, to: stretch.to.0, changes: stretch.changes };
        let mark = tier.follow(number, &step).await?;
        let sound = |mark: &Mark| mark.namespace == known.namespace && mark.position >= stretch.to.0;
        if mark.as_ref().is_some_and(sound) {
            part.found(Sound { need: stretch.to.0.max(known.need), as_of: as_of.max(known.as_of), ..known });
            return Ok(true);
        }
        Ok(false)
    }

    /// The way from wherever these parts are, at least to where a stretch ends: others go on writing, so that there may always be
    /// something after that. Those at one position share what is read.
    async fn settle(&self, tier: &Tier, numbers: Vec<u16>, stretch: &Stretch<'_>) -> Vec<(u16, Result<Sound, Trouble>)> {
        let incarnation = stretch.incarnation;
        let mut settled = Vec::with_capacity(numbers.len());
        let mut begun = HashSet::new();
        let mut unsettled = numbers;
        for _ in 0..PAGES {
            let marks = join_all(unsettled.iter().map(|number| tier.mark(*number))).await;
            // Each by where it is: one without a mark, or whose mark is of another feed, is nowhere.
            let mut places: BTreeMap<FeedPosition, Vec<(u16, Option<Mark>)>> = BTreeMap::new();
            for (number, mark) in unsettled.drain(..).zip(marks) {
                match mark {
                    Ok(mark) => {
                        let here = mark.as_ref().filter(|mark| mark.incarnation == incarnation).map(|mark| mark.position);
                        places.entry(here.map_or(NOWHERE, FeedPosition)).or_default().push((number, mark));
                    }
                    Err(error) => settled.push((number, Err(error.into()))),
                }
            }
            for (position, parts) in places {
                let asked = self.now();
                let page = match self.store.feed_after(position, PAGE, Detail::Which, patience()).await {
                    Ok(page) if page.state.life() == incarnation => page,
                    Ok(_) => {
                        settled.extend(parts.into_iter().map(|(number, _)| (number, Err(Trouble::Again("the feed began anew")))));
                        continue;
                    }
                    Err(error) => {
                        let cause: Arc<str> = causes(&error).into();
                        settled.extend(parts.into_iter().map(|(number, _)| (number, Err(Trouble::Store(Arc::clone(&cause))))));
                        continue;
                    }
                };
                let changes: Vec<Change> = page.changes.iter().map(told).collect();
                let as_of = asked.checked_sub(page.unread.unwrap_or_default());
                for (number, mark) in parts {
                    let part = &tier.parts[usize::from(number)];
                    let covered = page.state.covers(position) && !part.is_tainted();
                    let done = match (mark, page.changes.last()) {
                        (Some(mark), None) if covered => {
                            let sound = as_of.map(|as_of| Sound { namespace: mark.namespace, need: mark.position, as_of });
                            settled.push((number, sound.ok_or(Trouble::Again("too much is unread"))));
                            continue;
                        }
                        (Some(mark), Some(last)) if covered => {
                            let step = Step { incarnation, from: mark.position, to: last.position.0, changes: &changes };
                            let followed = tier.follow(number, &step).await;
                            if let (Ok(Some(reached)), Some(as_of)) = (&followed, as_of)
                                && reached.namespace == mark.namespace
                                && reached.position >= step.to
                                && step.to >= stretch.to.0
                            {
                                settled.push((number, Ok(Sound { namespace: mark.namespace, need: step.to, as_of })));
                                continue;
                            }
                            followed
                        }
                        (mark, _) if begun.insert(number) => {
                            let instead_of = mark.map(|mark| mark.namespace);
                            let position = page.state.head.0;
                            let anew = Begin { instead_of, incarnation, position, quiet: self.quiet() };
                            tier.begin(number, &anew).await.inspect(|_| part.taint(false))
                        }
                        _ => {
                            settled.push((number, Err(Trouble::Again("others begin it too"))));
                            continue;
                        }
                    };
                    match done {
                        Ok(_) => unsettled.push(number),
                        Err(error) => settled.push((number, Err(error.into()))),
                    }
                }
            }
            if unsettled.is_empty() {
                return settled;
            }
        }
        settled.extend(unsettled.into_iter().map(|number| (number, Err(Trouble::Again("it is too far behind")))));
        settled
    }

    /// For how long a part that begins takes nothing: loads see all that was committed, if they
    /// come from who takes the writes.
    fn quiet(&self) -> Duration {
        if self.tiers.len() == 1 && !self.store.has_replicas() { Duration::ZERO } else { SPANS.lag }
    }

    /// Gauges, and a line for each change.
    fn tell(&self, follower: &mut Follower) {
        let now = self.now();
        follower.said.resize(self.tiers.len(), (0, false));
        for (tier, said) in self.tiers.iter().zip(&mut follower.said) {
            let (open, believed) = tier.tally(now);
            match tier.begun() {
                0 => {}
                parts => tracing::info!(tier = tier.name, parts, "the cache began anew, or parts of it"),
            }
            tier.show(open, believed);
            let (parts, all) = (tier.parts.len(), believed == tier.parts.len());
            if (open == 0) != (said.0 == 0) {
                if open == 0 {
                    tracing::info!(tier = tier.name, "the cache answers again");
                } else {
                    tracing::warn!(
                        tier = tier.name,
                        open,
                        parts,
                        "the cache fails or is slow: parts of it are not asked for now"
                    );
                }
            }
            if all != said.1 {
                if all {
                    tracing::info!(tier = tier.name, "the cache is used");
                } else {
                    tracing::warn!(
                        tier = tier.name,
                        believed,
                        parts,
                        "the cache is not used, or not all of it: it hasn't followed the feed"
                    );
                }
            }
            *said = (open, all);
        }
    }
}

struct Stretch<'a> {
    incarnation: Incarnation,
    from: FeedPosition,
    to: FeedPosition,
    changes: &'a [Change],
    /// `None`: before anything that this process could name.
    as_of: Option<Instant>,
}

fn told(change: &FeedChange) -> Change {
    Change { tenant: change.tenant.clone(), key: change.key.clone(), version: change.version }
}

fn patience() -> Deadline {
    Deadline::within(PATIENCE)
}
