//! The tide: how far the primary had flushed at which moment, and so how far a replica must have come.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use profile_domain::Place;

/// How far a replica may lie behind what was flushed.
pub(crate) const LAG: Duration = Duration::from_secs(1);
/// For how long it is remembered: the longest lag that can be told.
const KEPT: Duration = Duration::from_mins(1);

/// Looks at the primary, the oldest first.
#[derive(Default)]
pub(crate) struct Tide(Mutex<Looks>);

#[derive(Default)]
struct Looks {
    timeline: u32,
    looks: VecDeque<(Instant, u64)>,
}

impl Tide {
    /// The primary of a timeline had flushed so much when it was asked, at that moment or after it.
    pub(crate) fn note(&self, timeline: u32, asked: Instant, position: u64) {
        let mut tide = self.lock();
        if tide.timeline != timeline {
            tide.timeline = timeline;
            tide.looks.clear();
        }
        tide.looks.push_back((asked, position));
        while tide.looks.front().is_some_and(|(at, _)| asked.saturating_duration_since(*at) > KEPT) {
            tide.looks.pop_front();
        }
    }

    /// What whoever has come to has everything that was flushed [`LAG`] ago. `None` where the primary hasn't been looked at since,
    /// and nobody can say.
    pub(crate) fn floor(&self, now: Instant) -> Option<Place> {
        let tide = self.lock();
        let since = tide.looks.partition_point(|(at, _)| now.saturating_duration_since(*at) > LAG);
        tide.looks.get(since).map(|(_, position)| Place { timeline: tide.timeline, position: *position })
    }

    /// How long ago the primary was where a replica is now; zero where it is there still. `None` where nobody can say: the place is
    /// of another timeline, or it is the last one that the primary was seen at, too long ago.
    pub(crate) fn lag(&self, place: Place, now: Instant) -> Option<Duration> {
        let tide = self.lock();
        let (last, _) = tide.looks.back().filter(|_| tide.timeline == place.timeline)?;
        let ahead = tide.looks.partition_point(|(_, flushed)| *flushed <= place.position);
        match tide.looks.get(ahead) {
            None => (now.saturating_duration_since(*last) <= LAG).then_some(Duration::ZERO),
            Some((passed, _)) => {
                Some(now.saturating_duration_since(ahead.checked_sub(1).map_or(*passed, |last| tide.looks[last].0)))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Looks> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_must_have_come_to_where_the_primary_was_a_second_ago() {
        let tide = Tide::default();
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(tide.floor(at(0)), None, "nothing is known");
        assert_eq!(tide.lag(Place { timeline: 0, position: 0 }, at(0)), None, "nothing is known");
        for step in 0..=10 {
            tide.note(1, at(step * 200), 100 + step);
        }
        let floor = |millis| tide.floor(at(millis)).map(|place| place.position);
        // The first look that isn't older than a second: what was flushed before it was flushed by then.
        assert_eq!((floor(2_000), floor(2_100), floor(2_200)), (Some(105), Some(106), Some(106)));
        assert_eq!((floor(3_000), floor(3_001)), (Some(110), None), "the primary is silent");
        let lag = |timeline, position, millis| tide.lag(Place { timeline, position }, at(millis));
        assert_eq!((lag(1, 110, 2_100), lag(1, 104, 2_100)), (Some(Duration::ZERO), Some(Duration::from_millis(1_300))));
        assert_eq!((lag(2, 110, 2_100), lag(1, 110, 3_001)), (None, None), "nobody can say");
        tide.note(2, at(3_100), 7);
        assert_eq!(tide.floor(at(3_200)), Some(Place { timeline: 2, position: 7 }), "what was on another says nothing");
    }
}
