//! Whether a source is asked: not after many failures, but for one call now and then that finds out.
//!
//! It is our own, because what is promised of it is *one* probe at a time, which gives its turn back when its caller goes away:
//! the crates that were looked at (recloser 1.4, failsafe 1.3) let everyone through while they are half open.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Of so many calls …
const WINDOW: u32 = 20;
/// … once there were so many, half must have succeeded.
const LEAST: u32 = 10;
/// How long a source isn't asked, at first and at most: it doubles with each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// The breaker of one source.
#[derive(Debug)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Debug)]
enum State {
    /// The outcomes of the last calls: a bit for each, set where it failed.
    Closed {
        failed: u32,
        calls: u32,
    },
    Open {
        until: Instant,
        pause: Duration,
    },
    /// A probe is on its way.
    HalfOpen {
        pause: Duration,
    },
}

/// A call that may be made. Dropped without an outcome, it says nothing of the source.
pub(crate) struct Pass<'b> {
    breaker: &'b Breaker,
    pub(crate) is_probe: bool,
    ended: bool,
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::Closed { failed: 0, calls: 0 }))
    }

    /// A pass; or for how long there is none.
    pub(crate) fn enter(&self, now: Instant) -> Result<Pass<'_>, Duration> {
        let mut state = self.0.lock();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until, pause } if until <= now => {
                *state = State::HalfOpen { pause };
                true
            }
            State::Open { until, .. } => return Err(until - now),
            State::HalfOpen { pause } => return Err(pause),
        };
        Ok(Pass { breaker: self, is_probe, ended: false })
    }

    pub(crate) fn name(&self) -> &'static str {
        match *self.0.lock() {
            State::Closed { .. } => "closed",
            State::Open { .. } => "open",
            State::HalfOpen { .. } => "half_open",
        }
    }
}

impl Pass<'_> {
    /// What came of the call.
    pub(crate) fn end(mut self, succeeded: bool, now: Instant) {
        self.ended = true;
        let mut state = self.breaker.0.lock();
        let opened = |pause| State::Open { until: now + pause, pause };
        *state = match *state {
            State::HalfOpen { .. } if self.is_probe && succeeded => State::Closed { failed: 0, calls: 0 },
            State::HalfOpen { pause } if self.is_probe => opened(LONGEST_PAUSE.min(pause * 2)),
            State::Closed { failed, calls } if !self.is_probe => {
                let failed = ((failed << 1) | u32::from(!succeeded)) & ((1 << WINDOW) - 1);
                let calls = WINDOW.min(calls + 1);
                if calls >= LEAST && failed.count_ones() * 2 >= calls {
                    opened(FIRST_PAUSE)
                } else {
                    State::Closed { failed, calls }
                }
            }
            // A call from before: what is known since is newer.
            _ => return,
        };
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.ended || !self.is_probe {
            return;
        }
        let mut state = self.breaker.0.lock();
        if let State::HalfOpen { pause } = *state {
            *state = State::Open { until: Instant::now(), pause };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(breaker: &Breaker, succeeds: bool, now: Instant) -> bool {
        breaker.enter(now).map(|pass| pass.end(succeeds, now)).is_ok()
    }

    #[test]
    fn half_of_the_calls_failing_opens_it() {
        let (breaker, now) = (Breaker::new(), Instant::now());
        assert!((0..9).all(|_| call(&breaker, false, now)));
        assert_eq!(breaker.name(), "closed", "too few to tell");
        assert!(call(&breaker, false, now));
        assert_eq!(breaker.name(), "open");
        assert!(!call(&breaker, true, now));

        let breaker = Breaker::new();
        for number in 0..1_000 {
            assert!(call(&breaker, number % 5 < 3, now), "two of five may fail");
        }
    }

    #[test]
    fn one_probe_at_a_time_finds_out() {
        let (breaker, mut now) = (Breaker::new(), Instant::now());
        let late = breaker.enter(now).expect("it is closed");
        for _ in 0..10 {
            call(&breaker, false, now);
        }
        late.end(true, now);
        assert_eq!(breaker.enter(now).err(), Some(FIRST_PAUSE), "an outcome of before changed it");
        for pause in [1, 2, 3, 3] {
            now += Duration::from_millis(pause * 1_000 - 1);
            assert!(breaker.enter(now).is_err());
            now += Duration::from_millis(1);
            let probe = breaker.enter(now).expect("a probe");
            assert!(probe.is_probe);
            assert!(breaker.enter(now).is_err(), "a second probe");
            probe.end(false, now);
        }
        now += LONGEST_PAUSE;
        drop(breaker.enter(now).expect("a probe whose caller goes away"));
        let now = now.max(Instant::now());
        breaker.enter(now).expect("its turn was given back").end(true, now);
        assert_eq!(breaker.name(), "closed");
        assert!((0..9).all(|_| call(&breaker, false, now)), "it begins anew");
    }
}
