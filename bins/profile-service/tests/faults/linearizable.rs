//! A checker of linearizability, after Wing and Gong: it looks for an order of all calls on one e-mail address, in which each
//! takes effect at one instant between its sending and its answer, and which a plain map explains.
//!
//! An address is held by at most one profile at a time, whose id is never used again. A call without an answer may have taken
//! effect at any time after its sending, or never.

use std::collections::HashSet;

/// What a client asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create(u64),
    /// By address.
    Find,
    /// By id.
    Read(String),
    /// Replaces all.
    Put {
        id: String,
        expected: Option<i64>,
        value: u64,
    },
    /// Sets one part, keeping the other.
    Patch {
        id: String,
        expected: Option<i64>,
        value: u64,
    },
    Delete {
        id: String,
        expected: Option<i64>,
    },
}

/// What it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Created(String),
    /// The address is held.
    Taken,
    Found(Profile),
    Nothing,
    /// The version it made.
    Changed(i64),
    Deleted,
    /// The version is another than expected.
    Mismatch,
    /// None came.
    Lost,
}

/// A profile as far as clients of these tests see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Profile {
    pub(crate) id: String,
    pub(crate) version: i64,
    /// Of the creation or the last PUT.
    pub(crate) put: u64,
    /// Of the last PATCH since.
    pub(crate) patch: Option<u64>,
}

/// A call with its answer, and when each was, on one clock. Of a lost answer the time doesn't count.
#[derive(Clone, Debug)]
pub(crate) struct Event {
    pub(crate) call: Call,
    pub(crate) answer: Answer,
    pub(crate) sent: u64,
    pub(crate) answered: u64,
}

type State = Option<Profile>;

/// What the address holds after a call, if the call can be answered so.
fn apply(state: &State, event: &Event) -> Option<State> {
    let lost = event.answer == Answer::Lost;
    let meets = |expected: &Option<i64>, known: &Profile| expected.is_none_or(|expected| expected == known.version);
    let changed = |id: &str, expected: &Option<i64>, change: &dyn Fn(&mut Profile)| {
        let Some(known) = state.as_ref().filter(|known| known.id == id) else {
            return (event.answer == Answer::Nothing).then(|| state.clone());
        };
        if !meets(expected, known) {
            return (event.answer == Answer::Mismatch).then(|| state.clone());
        }
        let mut next = known.clone();
        next.version += 1;
        change(&mut next);
        (lost || event.answer == Answer::Changed(next.version)).then_some(Some(next))
    };
    match (&event.call, &event.answer) {
        (Call::Create(value), Answer::Created(id)) if state.is_none() => {
            Some(Some(Profile { id: id.clone(), version: 1, put: *value, patch: None }))
        }
        (Call::Create(_), Answer::Taken) => state.is_some().then(|| state.clone()),
        (Call::Create(_), _) => None,
        (Call::Find, Answer::Found(found)) => (state.as_ref() == Some(found)).then(|| state.clone()),
        (Call::Find, _) => state.is_none().then(|| state.clone()),
        (Call::Read(_), Answer::Found(found)) => (state.as_ref() == Some(found)).then(|| state.clone()),
        (Call::Read(id), _) => state.as_ref().is_none_or(|known| known.id != *id).then(|| state.clone()),
        (Call::Put { id, expected, value }, _) => changed(id, expected, &|next| {
            next.put = *value;
            next.patch = None;
        }),
        (Call::Patch { id, expected, value }, _) => changed(id, expected, &|next| next.patch = Some(*value)),
        (Call::Delete { id, expected }, answer) => match state.as_ref().filter(|known| known.id == *id) {
            None => (*answer == Answer::Nothing).then(|| state.clone()),
            Some(known) if !meets(expected, known) => (*answer == Answer::Mismatch).then(|| state.clone()),
            Some(_) => (lost || *answer == Answer::Deleted).then_some(None),
        },
    }
}

/// Whether there is such an order; if not, the event at which the longest attempt came to nothing.
pub(crate) fn check(history: &[Event]) -> Result<(), String> {
    let mut events = history.to_vec();
    for event in &mut events {
        if event.answer == Answer::Lost {
            event.answered = u64::MAX;
        }
    }
    // The likeliest order first.
    events.sort_by_key(|event| (event.answered, event.sent));
    let mut search = Search { done: vec![false; events.len()], seen: HashSet::new(), furthest: (0, String::new()), events };
    if search.goes_on(&None, 0) { Ok(()) } else { Err(search.furthest.1) }
}

struct Search {
    /// In the order of answers; those that were lost come last.
    events: Vec<Event>,
    done: Vec<bool>,
    /// What was tried from and came to nothing.
    seen: HashSet<(Vec<bool>, State)>,
    furthest: (usize, String),
}

impl Search {
    fn goes_on(&mut self, state: &State, depth: usize) -> bool {
        let first = (0..self.events.len()).find(|&index| !self.done[index]);
        // The next to take effect was sent before the first answer of those that haven't yet.
        let Some(horizon) = first.map(|first| self.events[first].answered).filter(|answered| *answered < u64::MAX) else {
            return true;
        };
        if !self.seen.insert((self.done.clone(), state.clone())) {
            return false;
        }
        if let Some(first) = first.filter(|_| depth >= self.furthest.0) {
            self.furthest = (depth, format!("after {depth} events, with {state:?}, nothing explains {:?}", self.events[first]));
        }
        for index in first.unwrap_or_default()..self.events.len() {
            if self.done[index] || self.events[index].sent > horizon {
                continue;
            }
            let Some(next) = apply(state, &self.events[index]) else { continue };
            self.done[index] = true;
            if self.goes_on(&next, depth + 1) {
                return true;
            }
            self.done[index] = false;
        }
        false
    }
}

mod planted {
    use super::{Answer, Call, Event, Profile, check};

    fn profile(version: i64, put: u64, patch: Option<u64>) -> Answer {
        Answer::Found(Profile { id: "a".into(), version, put, patch })
    }

    fn put(expected: impl Into<Option<i64>>, value: u64) -> Call {
        Call::Put { id: "a".into(), expected: expected.into(), value }
    }

    fn patch(value: u64) -> Call {
        Call::Patch { id: "a".into(), expected: None, value }
    }

    fn delete() -> Call {
        Call::Delete { id: "a".into(), expected: None }
    }

    fn read() -> Call {
        Call::Read("a".into())
    }

    /// A profile is created as 1; then what is given, with the times of sending and answer.
    fn explained(rest: impl IntoIterator<Item = (u64, u64, Call, Answer)>) -> bool {
        let created = (0, 1, Call::Create(1), Answer::Created("a".into()));
        let events = std::iter::once(created).chain(rest);
        let events: Vec<Event> = events.map(|(sent, answered, call, answer)| Event { call, answer, sent, answered }).collect();
        check(&events).is_ok()
    }

    #[test]
    fn what_follows_is_explained() {
        assert!(explained([]));
        assert!(explained([
            (2, 3, put(1, 2), Answer::Changed(2)),
            (4, 5, patch(3), Answer::Changed(3)),
            (6, 7, read(), profile(3, 2, Some(3))),
            (8, 9, put(1, 4), Answer::Mismatch),
            (10, 11, delete(), Answer::Deleted),
            (12, 13, Call::Find, Answer::Nothing),
            (14, 15, patch(5), Answer::Nothing),
            (16, 17, Call::Create(6), Answer::Created("b".into())),
            (18, 19, Call::Create(7), Answer::Taken),
        ]));
    }

    #[test]
    fn what_overlaps_may_be_seen_before_and_after() {
        for seen in [profile(1, 1, None), profile(2, 2, None)] {
            assert!(explained([(2, 9, put(None, 2), Answer::Changed(2)), (3, 4, read(), seen)]));
        }
        // Not first after it and then before.
        let read_twice =
            |first, second| explained([(2, 9, put(None, 2), Answer::Changed(2)), (3, 4, read(), first), (5, 6, read(), second)]);
        assert!(read_twice(profile(1, 1, None), profile(2, 2, None)));
        assert!(!read_twice(profile(2, 2, None), profile(1, 1, None)));
    }

    #[test]
    fn a_lost_answer_may_mean_never_now_or_later() {
        let lost = (2, 3, put(None, 2), Answer::Lost);
        assert!(explained([lost.clone(), (4, 5, read(), profile(1, 1, None))]));
        assert!(explained([lost.clone(), (4, 5, read(), profile(2, 2, None))]));
        assert!(explained([lost.clone(), (4, 5, read(), profile(1, 1, None)), (6, 7, read(), profile(2, 2, None))]));
        // But not twice, not before it was sent, and not against its condition.
        assert!(!explained([lost.clone(), (4, 5, read(), profile(3, 2, None))]));
        assert!(!explained([(4, 5, put(None, 2), Answer::Lost), (2, 3, read(), profile(2, 2, None))]));
        let conditional = (2, 3, put(7, 2), Answer::Lost);
        assert!(!explained([conditional, (4, 5, read(), profile(2, 2, None))]));
    }

    #[test]
    fn a_stale_read_is_not() {
        assert!(!explained([(2, 3, put(None, 2), Answer::Changed(2)), (4, 5, read(), profile(1, 1, None))]));
        assert!(!explained([(2, 3, read(), Answer::Nothing)]));
        assert!(!explained([(2, 3, Call::Find, Answer::Nothing)]));
    }

    #[test]
    fn a_lost_update_is_not() {
        // Both were told that theirs was version 2.
        assert!(!explained([(2, 9, put(1, 2), Answer::Changed(2)), (3, 8, put(1, 3), Answer::Changed(2))]));
        // A PATCH wrote back what it had read before a PUT.
        let overlapping = [(2, 9, put(None, 2), Answer::Changed(2)), (3, 8, patch(3), Answer::Changed(3))];
        assert!(explained(overlapping.clone().into_iter().chain([(10, 11, read(), profile(3, 2, Some(3)))])));
        assert!(!explained(overlapping.into_iter().chain([(10, 11, read(), profile(3, 1, Some(3)))])));
        // An acknowledged one vanished.
        assert!(!explained([(2, 3, put(None, 2), Answer::Changed(2)), (4, 5, put(None, 3), Answer::Changed(2))]));
    }

    #[test]
    fn a_resurrected_value_is_not() {
        let gone = (2, 3, delete(), Answer::Deleted);
        assert!(!explained([gone.clone(), (4, 5, read(), profile(1, 1, None))]));
        assert!(!explained([gone.clone(), (4, 5, Call::Find, profile(1, 1, None))]));
        assert!(!explained([gone.clone(), (4, 5, Call::Create(2), Answer::Taken)]));
        let patched = [(2, 3, patch(2), Answer::Changed(2)), (4, 5, put(None, 3), Answer::Changed(3))];
        assert!(!explained(patched.into_iter().chain([(6, 7, read(), profile(3, 3, Some(2)))])));
    }

    #[test]
    fn a_version_that_went_back_is_not() {
        let twice = [(2, 3, put(None, 2), Answer::Changed(2)), (4, 5, put(None, 3), Answer::Changed(3))];
        assert!(!explained(twice.clone().into_iter().chain([(6, 7, read(), profile(2, 3, None))])));
        assert!(!explained(twice.into_iter().chain([(6, 7, patch(4), Answer::Changed(3))])));
    }

    #[test]
    fn an_address_given_to_two_is_not() {
        assert!(!explained([(2, 3, Call::Create(2), Answer::Created("b".into()))]));
    }
}
