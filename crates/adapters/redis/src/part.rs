//! What is known of a part: what Redis says, and what this process remembers of it.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use profile_domain::Incarnation;
use profile_ports::cache::{Mark, Namespace, Ticket};
use redis::Value;

/// A look at the clock is believed so long: clocks differ in their speed, and are set.
const CLOCK: Duration = Duration::from_secs(10);

/// A part's state, as `part.lua` packs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) namespace: Namespace,
    incarnation: Incarnation,
    position: i64,
    /// Microseconds by the server's clock.
    opens: u64,
    era: u32,
    /// The beginning of the `run_id` of the server that a script wrote it on last.
    server: [u8; 16],
}

impl Head {
    /// `None` if there is none, or it is something else.
    pub(crate) fn read(value: &Value) -> Option<Self> {
        let Value::BulkString(bytes) = value else { return None };
        let (namespace, rest) = bytes.split_first_chunk::<16>()?;
        let (incarnation, rest) = rest.split_first_chunk::<16>()?;
        let (position, rest) = rest.split_first_chunk::<8>()?;
        let (opens, rest) = rest.split_first_chunk::<8>()?;
        let (era, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            namespace: Namespace(u128::from_be_bytes(*namespace)),
            incarnation: Incarnation(u128::from_be_bytes(*incarnation)),
            position: position_from(*position),
            opens: u64::from_be_bytes(*opens),
            era: u32::from_be_bytes(*era),
            server: rest.try_into().ok()?,
        })
    }

    /// With a ticket, if the part takes something at this time by the server's clock.
    pub(crate) fn mark(&self, now: Option<u64>) -> Mark {
        let Self { namespace, incarnation, position, opens, era, .. } = *self;
        let ticket = now.filter(|now| *now >= opens).map(|now| Ticket { namespace, at: at(era, now) });
        Mark { namespace, incarnation, position, ticket }
    }
}

/// In the order of the numbers.
pub(crate) fn position_bytes(position: i64) -> [u8; 8] {
    (position.cast_unsigned() ^ (1 << 63)).to_be_bytes()
}

fn position_from(bytes: [u8; 8]) -> i64 {
    (u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed()
}

/// A ticket's time counts from the beginning of an era: each server's clock has its own, so that none is compared with another.
fn at(era: u32, micros: u64) -> Duration {
    Duration::from_secs(u64::from(era) << 32) + Duration::from_micros(micros)
}

/// The era and the time of a ticket.
pub(crate) fn era_and_time(ticket: &Ticket) -> (u32, u64) {
    let seconds = ticket.at.as_secs();
    let era = u32::try_from(seconds >> 32).unwrap_or(u32::MAX);
    (era, (seconds & u64::from(u32::MAX)) * 1_000_000 + u64::from(ticket.at.subsec_micros()))
}

/// What this process remembers of a part. It saves looks and is never relied on: a script compares the namespace and the era.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Remembered>);

#[derive(Clone, Copy, Debug, Default)]
struct Remembered {
    namespace: Option<Namespace>,
    clock: Option<Clock>,
}

/// The server's clock as it was seen through ours. Answers take time to come, so this one is behind, never ahead: tickets are
/// rather too old.
#[derive(Clone, Copy, Debug)]
struct Clock {
    server: [u8; 16],
    era: u32,
    micros: u64,
    seen: Instant,
}

impl Clock {
    fn now(&self) -> u64 {
        self.micros + u64::try_from(self.seen.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl Memory {
    pub(crate) fn namespace(&self) -> Option<Namespace> {
        self.0.lock().namespace
    }

    pub(crate) fn expect(&self, namespace: Option<Namespace>) {
        self.0.lock().namespace = namespace;
    }

    /// The time by the clock of the server that wrote this, unless it isn't known.
    pub(crate) fn now(&self, head: &Head) -> Option<u64> {
        let clock = self.0.lock().clock?;
        let known = clock.server == head.server && clock.era == head.era && clock.seen.elapsed() < CLOCK;
        known.then(|| clock.now())
    }

    /// The time in an era, whoever's clock that is.
    pub(crate) fn time(&self, era: u32) -> Option<u64> {
        let clock = self.0.lock().clock?;
        (clock.era == era).then(|| clock.now())
    }

    /// Takes note of a script's answer.
    pub(crate) fn note(&self, head: Option<&Head>, micros: u64) {
        let mut remembered = self.0.lock();
        remembered.namespace = head.map(|head| head.namespace);
        let Some(Head { server, era, .. }) = head.copied() else { return };
        let fresh = Clock { server, era, micros, seen: Instant::now() };
        match &remembered.clock {
            // An answer that came faster told more.
            Some(clock)
                if clock.server == server && clock.era == era && clock.seen.elapsed() < CLOCK / 2 && clock.now() >= micros => {}
            _ => remembered.clock = Some(fresh),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use profile_ports::cache::{Namespace, Ticket};

    use super::{at, era_and_time, position_bytes, position_from};

    #[test]
    fn tickets_tell_era_and_time() {
        for (era, time) in [(0, 0), (7, 1_795_300_000_123_456), (u32::MAX, 4_000_000_000_999_999)] {
            let ticket = Ticket { namespace: Namespace(1), at: at(era, time) };
            assert_eq!(era_and_time(&ticket), (era, time));
        }
        assert_eq!(at(1, 2) + Duration::from_micros(3), at(1, 5));
    }

    #[test]
    fn positions_keep_their_order() {
        let positions = [i64::MIN, -1, 0, 1, i64::MAX];
        assert!(positions.map(position_bytes).is_sorted());
        assert_eq!(positions.map(position_bytes).map(position_from), positions);
    }
}
