//! What was written to a profile, and so what may be read of it.
//!
//! Each profile has one writer, who knows every version and what it says. A read may show any version that had been begun to be
//! written when the answer came, but none that is older than what had been acknowledged so long before the read began as
//! anything may be missing. Both are by the client's clock alone, so a slow machine makes no read wrong.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// For how long a write may be missing in reads without its token.
pub(crate) const STALENESS: Duration = Duration::from_secs(2);

/// One profile.
pub(crate) struct History {
    pub(crate) id: String,
    writes: Mutex<Vec<Written>>,
}

#[derive(Clone, Debug)]
struct Written {
    version: i64,
    /// What was written; `None`: it was deleted.
    name: Option<String>,
    began: Instant,
    acknowledged: Option<(Instant, Option<String>)>,
}

/// The last write that was acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) version: i64,
    pub(crate) name: Option<String>,
    pub(crate) token: Option<String>,
}

/// What a read gave: version and name, or nothing.
pub(crate) type Seen = Option<(i64, String)>;

impl History {
    /// Of a profile that was just created.
    pub(crate) fn new(id: String, name: &str, token: Option<String>) -> Self {
        let now = Instant::now();
        let created = Written { version: 1, name: Some(name.to_owned()), began: now, acknowledged: Some((now, token)) };
        Self { id, writes: Mutex::new(vec![created]) }
    }

    fn writes(&self) -> MutexGuard<'_, Vec<Written>> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self) -> String {
        format!("/api/v1/profiles/{}", self.id)
    }

    /// The version that the next write will make, if it changes anything.
    pub(crate) fn begin(&self, name: Option<String>) -> i64 {
        let mut writes = self.writes();
        let version = writes.last().map_or(1, |last| last.version + 1);
        writes.push(Written { version, name, began: Instant::now(), acknowledged: None });
        version
    }

    pub(crate) fn acknowledge(&self, token: Option<String>) {
        let mut writes = self.writes();
        writes.last_mut().expect("it was begun").acknowledged = Some((Instant::now(), token));
    }

    pub(crate) fn last(&self) -> Known {
        let writes = self.writes();
        let last = writes.iter().rev().find(|written| written.acknowledged.is_some()).expect("it was created");
        let token = last.acknowledged.as_ref().and_then(|(_, token)| token.clone());
        Known { version: last.version, name: last.name.clone(), token }
    }

    /// The store was taken back to this version: what came after it was never written.
    pub(crate) fn lose_after(&self, version: i64) {
        self.writes().retain(|written| written.version <= version);
    }

    /// Panics if a read that began then, and may miss what was acknowledged so long before, mustn't give this.
    pub(crate) fn check(&self, began: Instant, may_miss: Duration, seen: &Seen, how: &str) {
        let writes = self.writes();
        let settled = |written: &&Written| written.acknowledged.as_ref().is_some_and(|(at, _)| *at + may_miss <= began);
        let least = writes.iter().filter(settled).map(|written| written.version).max().unwrap_or(0);
        self.is_allowed(&writes, least, began, seen, how);
    }

    /// As [`Self::check`], of a read with the token of that version.
    pub(crate) fn check_at_least(&self, began: Instant, version: i64, seen: &Seen, how: &str) {
        self.is_allowed(&self.writes(), version, began, seen, how);
    }

    fn is_allowed(&self, writes: &[Written], least: i64, began: Instant, seen: &Seen, how: &str) {
        let matches = |written: &&Written| match seen {
            Some((version, name)) => written.version == *version && written.name.as_ref() == Some(name),
            None => written.name.is_none(),
        };
        if writes.iter().filter(|written| written.version >= least).any(|written| matches(&written)) {
            return;
        }
        let now = Instant::now();
        let tail: Vec<String> = writes.iter().rev().take(12).map(|written| shown(written, now)).collect();
        panic!(
            "{}: {seen:?} was read by {how}, and not version {least} or later; it began {:?} ago. Written, the last first: {}",
            self.id,
            now - began,
            tail.join("; ")
        );
    }
}

fn shown(written: &Written, now: Instant) -> String {
    let name = written.name.as_deref().unwrap_or("deleted");
    let began = now.saturating_duration_since(written.began);
    let ended = written.acknowledged.as_ref().map(|(at, _)| now.saturating_duration_since(*at));
    format!("{} {name} begun {began:?} ago, acknowledged {ended:?} ago", written.version)
}

/// A checker that never fails proves nothing.
#[test]
fn the_checker_finds_what_is_old() {
    let history = History::new("id".into(), "first", None);
    history.begin(Some("second".into()));
    let seen = |version, name: &str| Some((version, name.to_owned()));
    let refuses = |seen: Seen, may_miss: Duration| {
        let check = std::panic::AssertUnwindSafe(|| history.check(Instant::now(), may_miss, &seen, "a read"));
        std::panic::catch_unwind(check).is_err()
    };
    assert!(!refuses(seen(1, "first"), Duration::ZERO) && !refuses(seen(2, "second"), Duration::ZERO), "under way");
    history.acknowledge(None);
    assert!(refuses(seen(1, "first"), Duration::ZERO), "older");
    assert!(!refuses(seen(1, "first"), STALENESS), "younger than what may be missing");
    assert!(refuses(seen(2, "first"), STALENESS) && refuses(seen(3, "third"), STALENESS), "never written");
    assert!(refuses(None, STALENESS), "never deleted");
    history.begin(None);
    assert!(!refuses(None, Duration::ZERO));
    history.lose_after(1);
    assert!(refuses(seen(2, "second"), STALENESS), "lost");
}
