//! How an entry lies in Redis: a head of fixed length, and the bytes.
//!
//! | Bytes | |
//! |---|---|
//! | 1 | this form: [`FORM`] |
//! | 4 | the schema of the bytes |
//! | 32 | whose: tenant and key, as [`Name`] |
//! | 8 | version; 0 where nothing was ever known |
//! | 1 | [`LIVING`], [`COMPRESSED`] or [`ABSENT`] |
//! | 8 + 8 | when it was written and when it expires: milliseconds by the server's clock |
//! | 4 | how many bytes it has when decompressed |
//!
//! Bytes are compressed with zstd and a dictionary (RFC 8878, 5) that was trained on generated profiles by
//! `scripts/dictionary.py`: a profile is too short to repeat itself, and JSON of 1.3 KB with thirty attributes would keep two
//! thirds of its length. Another dictionary is another [`FORM`].

use std::{cell::RefCell, io, sync::LazyLock};

use bytes::Bytes;
use profile_domain::Version;
use profile_ports::cache::State;
use zstd::{
    bulk::{Compressor, Decompressor},
    dict::{DecoderDictionary, EncoderDictionary},
    zstd_safe::CParameter,
};

use crate::names::Name;

/// Changes with this layout, and with the dictionary.
pub(crate) const FORM: u8 = 2;
/// Form, schema and name: what an entry must begin with to be the right one.
pub(crate) const SIGNATURE: usize = 37;
pub(crate) const HEAD: usize = 66;

const LIVING: u8 = 0;
const COMPRESSED: u8 = 1;
const ABSENT: u8 = 2;

/// A tenth smaller than at 1 for some thirty microseconds, once for each entry; beyond, there is hardly more to be had.
const LEVEL: i32 = 5;
const DICTIONARY: &[u8] = include_bytes!("dictionary.bin");

static TO_COMPRESS: LazyLock<EncoderDictionary<'static>> = LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static TO_DECOMPRESS: LazyLock<DecoderDictionary<'static>> = LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

thread_local! {
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> =
        RefCell::new(compressor().ok());
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> =
        RefCell::new(Decompressor::with_prepared_dictionary(&TO_DECOMPRESS).ok());
}

/// What the entries of this process are like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Form {
    pub(crate) schema: u32,
    pub(crate) entry_bytes: usize,
    pub(crate) compress_above: usize,
}

/// An entry as it was found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) state: State,
    pub(crate) life: Life,
}

/// When an entry was written and when it expires, in milliseconds by the server's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) written_at: u64,
    pub(crate) expires_at: u64,
}

impl Form {
    /// What entries of this schema begin with.
    pub(crate) fn prefix(self) -> [u8; 5] {
        let [a, b, c, d] = self.schema.to_be_bytes();
        [FORM, a, b, c, d]
    }

    pub(crate) fn signature(self, name: &Name) -> [u8; SIGNATURE] {
        let mut signature = [0; SIGNATURE];
        signature[..5].copy_from_slice(&self.prefix());
        signature[5..].copy_from_slice(&name.0);
        signature
    }

    /// Bytes that no right entry has.
    pub(crate) fn too_long(self) -> usize {
        HEAD + self.entry_bytes + 1
    }

    /// `None` if it has too many bytes.
    pub(crate) fn write(self, name: &Name, state: &State, life: Life) -> Option<Vec<u8>> {
        let bytes = match state {
            State::Living { bytes, .. } => bytes.as_ref(),
            State::Absent { .. } => &[],
        };
        if bytes.len() > self.entry_bytes {
            return None;
        }
        // What doesn't become smaller stays as it is.
        let compressed = if bytes.len() > self.compress_above { compress(bytes) } else { None };
        let kind = match (state, &compressed) {
            (State::Absent { .. }, _) => ABSENT,
            (State::Living { .. }, None) => LIVING,
            (State::Living { .. }, Some(_)) => COMPRESSED,
        };
        let kept = compressed.as_deref().unwrap_or(bytes);
        let mut entry = Vec::with_capacity(HEAD + kept.len());
        entry.extend_from_slice(&self.signature(name));
        entry.extend_from_slice(&version_bytes(state.version()));
        entry.push(kind);
        entry.extend_from_slice(&life.written_at.to_be_bytes());
        entry.extend_from_slice(&life.expires_at.to_be_bytes());
        entry.extend_from_slice(&u32::try_from(bytes.len()).ok()?.to_be_bytes());
        entry.extend_from_slice(kept);
        Some(entry)
    }

    /// `None` if it isn't what was asked for, or can't be read.
    pub(crate) fn read(self, name: &Name, entry: Vec<u8>) -> Option<Found> {
        if !entry.starts_with(&self.signature(name)) {
            return None;
        }
        let (head, rest) = Bytes::from(entry).split_at_checked(HEAD)?;
        let version = Version::new(i64::try_from(number(&head[37..45])?).ok()?);
        let life = Life { written_at: number(&head[46..54])?, expires_at: number(&head[54..62])? };
        let length = usize::try_from(u32::from_be_bytes(head[62..66].try_into().ok()?)).ok()?;
        let living = |bytes: Bytes| Some(State::Living { version: version?, bytes });
        let state = match head[45] {
            _ if life.expires_at < life.written_at => return None,
            LIVING if rest.len() == length => living(rest)?,
            COMPRESSED if length <= self.entry_bytes => living(decompress(&rest, length)?)?,
            ABSENT if rest.is_empty() => State::Absent { version },
            _ => return None,
        };
        Some(Found { state, life })
    }
}

trait SplitChecked: Sized {
    fn split_at_checked(self, at: usize) -> Option<(Self, Self)>;
}

impl SplitChecked for Bytes {
    fn split_at_checked(mut self, at: usize) -> Option<(Self, Self)> {
        if self.len() < at {
            return None;
        }
        let rest = self.split_off(at);
        Some((self, rest))
    }
}

/// When the entry with this head was written, if it is one, of whatever schema.
pub(crate) fn written_at(head: &[u8]) -> Option<u64> {
    if head.len() < HEAD || head[0] != FORM { None } else { number(&head[46..54]) }
}

/// In the order of the numbers, and none is below every version.
pub(crate) fn version_bytes(version: Option<Version>) -> [u8; 8] {
    version.map_or(0, Version::get).to_be_bytes()
}

fn number(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Without what the head or this form says already.
fn compressor() -> io::Result<Compressor<'static>> {
    let mut compressor = Compressor::with_prepared_dictionary(&TO_COMPRESS)?;
    compressor.set_parameter(CParameter::ContentSizeFlag(false))?;
    compressor.set_parameter(CParameter::DictIdFlag(false))?;
    Ok(compressor)
}

fn compress(bytes: &[u8]) -> Option<Vec<u8>> {
    let compressed = COMPRESSOR.with_borrow_mut(|compressor| compressor.as_mut()?.compress(bytes).ok())?;
    (compressed.len() < bytes.len()).then_some(compressed)
}

/// As many bytes as were named, and never room for more: a bomb is nothing that fits.
fn decompress(bytes: &[u8], length: usize) -> Option<Bytes> {
    let decompressed = DECOMPRESSOR.with_borrow_mut(|decompressor| decompressor.as_mut()?.decompress(bytes, length).ok())?;
    (decompressed.len() == length).then(|| Bytes::from(decompressed))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use profile_domain::{EntityKey, EntityType, Reference, TenantId, Version};
    use profile_ports::cache::State;

    use super::{Form, Found, HEAD, Life, written_at};
    use crate::names::Name;

    const FORM: Form = Form { schema: 3, entry_bytes: 10_000, compress_above: 100 };
    const LIFE: Life = Life { written_at: 1_000, expires_at: 61_000 };

    fn name() -> Name {
        let key = EntityKey { entity_type: EntityType::profile(), reference: Reference::parse("a").expect("a reference") };
        Name::of(&TenantId::default_tenant(), &key)
    }

    fn living(bytes: Vec<u8>) -> State {
        State::Living { version: Version::new(i64::MAX).expect("1 or more"), bytes: Bytes::from(bytes) }
    }

    fn repetitive() -> State {
        living(b"again and again ".repeat(100))
    }

    #[test]
    fn entries_come_back() {
        let absent = [None, Some(Version::FIRST)].map(|version| State::Absent { version });
        let incompressible = living((0..500_u32).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_be_bytes()).collect());
        let states = [repetitive(), incompressible, living(Vec::new()), living(b"short".to_vec())];
        for state in states.into_iter().chain(absent) {
            let entry = FORM.write(&name(), &state, LIFE).expect("few bytes");
            assert_eq!(written_at(&entry), Some(1_000));
            assert_eq!(FORM.read(&name(), entry), Some(Found { state, life: LIFE }));
        }
        assert_eq!(FORM.write(&name(), &living(vec![0; 10_001]), LIFE), None, "too many bytes");
    }

    /// Cut off, prolonged, or with another head: nothing of it is given.
    #[test]
    fn what_was_tampered_with_is_nothing() {
        let entry = FORM.write(&name(), &repetitive(), LIFE).expect("few bytes");
        for end in 0..entry.len() {
            assert_eq!(FORM.read(&name(), entry[..end].to_vec()), None, "{end} bytes");
        }
        for byte in 0..HEAD {
            let mut other = entry.clone();
            other[byte] ^= 0x80;
            let read = FORM.read(&name(), other);
            // Another version, time of writing or end is as good as this one.
            assert!(read.is_none() || (37..45).contains(&byte) || (46..62).contains(&byte), "byte {byte}");
        }
    }

    /// It says that it is small, or has room for as much as it likes: it gets none.
    #[test]
    fn bombs_get_no_room() {
        let generous = Form { entry_bytes: 100 << 20, ..FORM };
        let bomb = generous.write(&name(), &living(vec![b'x'; 100 << 20]), LIFE).expect("few bytes");
        assert!(bomb.len() < 20_000, "{} bytes", bomb.len());
        assert_eq!(FORM.read(&name(), bomb.clone()), None, "it names too many");
        let mut modest = bomb;
        modest[62..66].copy_from_slice(&1_000_u32.to_be_bytes());
        assert_eq!(FORM.read(&name(), modest), None, "it has more than it names");
    }
}
