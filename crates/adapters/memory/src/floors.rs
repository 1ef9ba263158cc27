//! The versions that changes leave behind, whatever becomes of the entries.

use std::time::Duration;

use hashbrown::DefaultHashBuilder;
use hashlink::LinkedHashMap;
use profile_domain::Version;

/// By hash alone: of two keys that share one, both have the higher floor, which costs one of them a fill.
pub(crate) struct Floors {
    /// What ends first comes first, because every floor lasts equally long.
    map: LinkedHashMap<u64, Floor, DefaultHashBuilder>,
    bound: usize,
}

struct Floor {
    version: Version,
    until: Duration,
}

/// There is no room for one more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Floors {
    pub(crate) fn bounded(bound: usize) -> Self {
        Self { map: LinkedHashMap::with_hasher(DefaultHashBuilder::default()), bound }
    }

    pub(crate) fn of(&self, now: Duration, hash: u64) -> Option<Version> {
        self.map.get(&hash).filter(|floor| now < floor.until).map(|floor| floor.version)
    }

    /// Never lowers one. Forgets those whose time is over.
    pub(crate) fn raise(&mut self, now: Duration, until: Duration, hash: u64, version: Version) -> Result<(), Full> {
        while self.map.front().is_some_and(|(_, floor)| floor.until <= now) {
            self.map.pop_front();
        }
        if let Some(floor) = self.map.to_back(&hash) {
            *floor = Floor { version: version.max(floor.version), until: until.max(floor.until) };
        } else if self.map.len() < self.bound {
            self.map.insert(hash, Floor { version, until });
        } else {
            return Err(Full);
        }
        Ok(())
    }

    pub(crate) fn clear(&mut self) {
        self.map.clear();
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }
}
