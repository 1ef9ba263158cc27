//! What keys are called.
//!
//! A part's keys carry its number in their hash tag, so that a cluster keeps them in one slot, where a script reaches all of
//! them. An entry's key carries the namespace, so that a new one makes all of the old unreachable; these go by their time to
//! live.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD as BASE64};
use profile_domain::{EntityKey, TenantId};
use profile_ports::cache::Namespace;
use sha2::{Digest as _, Sha256};

use crate::settings::{Mode, RedisSettings};

/// Buckets of a cluster: several for each of its masters, and few enough to follow the feed one by one.
const CLUSTER_PARTS: usize = 64;
/// Of one server: an overflow begins no more than a quarter anew, and each costs a script per step along the feed.
const SINGLE_PARTS: usize = 4;
/// Floors of a part, at least: what lands in one part by chance must find room there.
const FLOORS: usize = 1024;

/// Tells an entity from every other of every tenant, for as long as nobody finds two texts of one SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name(pub(crate) [u8; 32]);

impl Name {
    pub(crate) fn of(tenant: &TenantId, key: &EntityKey) -> Self {
        let mut hash = Sha256::new();
        for text in [tenant.as_str(), key.entity_type.as_str()] {
            hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes());
            hash.update(text);
        }
        hash.update(key.reference.as_str());
        Self(hash.finalize().into())
    }

    /// What it goes by in keys and floors. The entry repeats the whole name.
    fn id(&self) -> &[u8] {
        &self.0[..16]
    }
}

pub(crate) struct Names {
    prefix: String,
    /// Of each part's keys.
    tags: Box<[String]>,
}

impl Names {
    pub(crate) fn new(settings: &RedisSettings) -> Self {
        let parts = if settings.mode == Mode::Cluster { CLUSTER_PARTS } else { SINGLE_PARTS };
        let parts = parts.min(settings.floors / FLOORS).max(1);
        // The number of parts is in their names: who counts otherwise shares nothing.
        let tags = (0..parts).map(|part| format!("{}:{{{part}/{parts}}}", settings.prefix)).collect();
        Self { prefix: settings.prefix.clone(), tags }
    }

    pub(crate) fn parts(&self) -> u16 {
        u16::try_from(self.tags.len()).unwrap_or(u16::MAX)
    }

    pub(crate) fn part_of(&self, name: &Name) -> u16 {
        let [.., high, low] = name.0;
        // A remainder of 64 and fewer.
        u16::from_be_bytes([high, low]) % self.parts()
    }

    /// Where the state of a part lies.
    pub(crate) fn part(&self, part: u16) -> &str {
        &self.tags[usize::from(part)]
    }

    pub(crate) fn entry(&self, namespace: Namespace, name: &Name) -> String {
        let tag = self.part(self.part_of(name));
        let mut key = String::with_capacity(tag.len() + 46);
        key.push_str(tag);
        for id in [&namespace.0.to_be_bytes()[..], name.id()] {
            key.push(':');
            BASE64.encode_string(id, &mut key);
        }
        key
    }

    /// Matches every key of ours, whatever the number of parts.
    pub(crate) fn pattern(&self) -> String {
        let mut pattern = String::new();
        for letter in self.prefix.chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern + ":{*"
    }

    /// Whether a key of ours is an entry's.
    pub(crate) fn is_entry(&self, key: &[u8]) -> bool {
        key.strip_prefix(self.prefix.as_bytes())
            .and_then(|rest| rest.iter().position(|byte| *byte == b'}').map(|end| &rest[end + 1..]))
            .is_some_and(|rest| rest.len() == 46 && rest[0] == b':' && rest[23] == b':')
    }

    /// The slot of a cluster that a part's keys are in.
    pub(crate) fn slot(&self, part: u16) -> u16 {
        let tag = self.part(part).bytes().skip_while(|byte| *byte != b'{').skip(1).take_while(|byte| *byte != b'}');
        crc16(tag) % 16_384
    }
}

/// CRC-16/XMODEM, as the specification of Redis Cluster has it.
fn crc16(bytes: impl Iterator<Item = u8>) -> u16 {
    bytes.fold(0, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use profile_domain::{EntityKey, EntityType, Reference, TenantId};
    use profile_ports::cache::{Namespace, Spans};

    use super::{Name, Names, crc16};
    use crate::settings::{Mode, RedisSettings};

    fn name(tenant: &str, reference: &str) -> Name {
        let key = EntityKey { entity_type: EntityType::profile(), reference: Reference::parse(reference).expect("a reference") };
        Name::of(&TenantId::parse(tenant).expect("a tenant"), &key)
    }

    fn names(mode: Mode, floors: usize) -> Names {
        let spans = Spans { load: Duration::from_secs(5), lag: Duration::from_secs(3) };
        Names::new(&RedisSettings { floors, ..RedisSettings::new(mode, Vec::new(), 1, spans) })
    }

    #[test]
    fn names_tell_entities_apart() {
        assert_eq!(name("a", "b"), name("a", "b"));
        assert_ne!(name("a", "b"), name("b", "b"));
        assert_ne!(name("a", "b"), name("a", "c"));
    }

    #[test]
    fn the_checksum_is_that_of_the_specification() {
        assert_eq!(crc16(b"123456789".iter().copied()), 0x31c3);
    }

    #[test]
    fn few_floors_are_not_divided() {
        let parts = [(Mode::Single, 65_536), (Mode::Cluster, 65_536), (Mode::Single, 2_048), (Mode::Cluster, 5)]
            .map(|(mode, floors)| names(mode, floors).parts());
        assert_eq!(parts, [4, 64, 2, 1]);
    }

    #[test]
    fn entries_are_told_from_parts() {
        let names = names(Mode::Cluster, 65_536);
        let entry = names.entry(Namespace(7), &name("a", "b"));
        assert!(names.is_entry(entry.as_bytes()), "{entry}");
        assert!(!names.is_entry(names.part(3).as_bytes()));
    }
}
