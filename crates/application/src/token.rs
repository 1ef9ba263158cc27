//! Consistency tokens: what a write tells its client, so that a later read shows at least that write, on whatever instance.
//!
//! The text is base64url of `2 | key id | incarnation | entity | version | timeline | position | signature`: which life of the store
//! the write was made in, the first half of a SHA-256 that names tenant and entity, the version that the write left, and how far
//! the store had come then, for its replicas; zeros where it has none. Signed, because it makes instances go to the store.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use profile_domain::{EntityKey, Incarnation, Place, ProfileId, TenantId, Version};
use profile_ports::Deadline;
use sha2::{Digest, Sha256};

use crate::{App, Freshness, ReadError, keyring::SIGNATURE_BYTES};

const FORMAT: u8 = 2;
const NAME_BYTES: usize = 16;
const BODY_BYTES: usize = 1 + 4 + 16 + NAME_BYTES + 8 + 4 + 8;

/// What a write gave its client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyToken(pub String);

struct Opened {
    key: u32,
    incarnation: Incarnation,
    name: [u8; NAME_BYTES],
    version: i64,
    place: Option<Place>,
    body: [u8; BODY_BYTES],
    signature: [u8; SIGNATURE_BYTES],
}

impl App {
    /// Says that an entity had this version when the store had come to a place. `None` while no key is known to sign with.
    pub(crate) fn token(
        &self,
        tenant: &TenantId,
        key: &EntityKey,
        version: Version,
        place: Option<Place>,
    ) -> Option<ConsistencyToken> {
        // Where the feed hasn't been looked at yet, it is the token of no life, and every read with it goes to the store.
        let incarnation = self.reads.incarnation().unwrap_or(Incarnation(0));
        let unsigned = |id: u32| {
            let mut body = Vec::with_capacity(BODY_BYTES + SIGNATURE_BYTES);
            body.push(FORMAT);
            body.extend_from_slice(&id.to_be_bytes());
            body.extend_from_slice(&incarnation.0.to_be_bytes());
            body.extend_from_slice(&name(tenant, key));
            body.extend_from_slice(&version.get().to_be_bytes());
            let (timeline, position) = place.map_or((0, 0), |place| (place.timeline, place.position));
            body.extend_from_slice(&timeline.to_be_bytes());
            body.extend_from_slice(&position.to_be_bytes());
            body
        };
        let mut sealed = unsigned(self.keyring.signing()?);
        let (_, signature) = self.keyring.sign(&message(&sealed))?;
        sealed.extend_from_slice(&signature);
        Some(ConsistencyToken(URL_SAFE_NO_PAD.encode(sealed)))
    }

    /// What a read of a profile, or of many, must show for a client that has this token.
    ///
    /// # Errors
    /// [`ReadError::InvalidToken`] where it wasn't made here; the store's, if the secrets aren't known yet.
    pub async fn freshness(
        &self,
        tenant: &TenantId,
        id: Option<ProfileId>,
        token: Option<&str>,
        deadline: Deadline,
    ) -> Result<Freshness, ReadError> {
        let Some(token) = token else { return Ok(Freshness::Recent) };
        let opened = decode(token).ok_or(ReadError::InvalidToken)?;
        self.keyring.load(&*self.store, self.environment.new_secret, deadline).await?;
        if !self.keyring.knows(opened.key) {
            self.keyring.reload(&*self.store, self.environment.new_secret, deadline).await?;
        }
        if !self.keyring.verify(opened.key, &message(&opened.body), &opened.signature) {
            return Err(ReadError::InvalidToken);
        }
        // Versions of another life of the store say nothing about this one, nor do those of another entity.
        let same_life = self.reads.incarnation() == Some(opened.incarnation);
        let same_entity = id.is_some_and(|id| opened.name == name(tenant, &EntityKey::profile(id)));
        Ok(match (Version::new(opened.version), opened.place) {
            (Some(version), place) if same_life && same_entity => Freshness::AtLeast(version, place),
            (_, Some(place)) if same_life => Freshness::After(place),
            _ => Freshness::Current,
        })
    }
}

fn decode(token: &str) -> Option<Opened> {
    const CHARS: usize = ((BODY_BYTES + SIGNATURE_BYTES) * 8).div_ceil(6);
    if token.len() != CHARS {
        return None;
    }
    let sealed = URL_SAFE_NO_PAD.decode(token).ok()?;
    let (body, signature) = sealed.split_first_chunk::<BODY_BYTES>()?;
    let (format, rest) = body.split_first()?;
    let (key, rest) = rest.split_first_chunk()?;
    let (incarnation, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_first_chunk()?;
    let (version, rest) = rest.split_first_chunk()?;
    let (timeline, rest) = rest.split_first_chunk()?;
    let (timeline, position) = (u32::from_be_bytes(*timeline), u64::from_be_bytes(rest.try_into().ok()?));
    (*format == FORMAT).then_some(Opened {
        key: u32::from_be_bytes(*key),
        incarnation: Incarnation(u128::from_be_bytes(*incarnation)),
        name: *name,
        version: i64::from_be_bytes(*version),
        place: (timeline > 0).then_some(Place { timeline, position }),
        body: *body,
        signature: signature.try_into().ok()?,
    })
}

/// Nothing else is signed like this.
fn message(body: &[u8]) -> Vec<u8> {
    [b"token".as_slice(), body].concat()
}

fn name(tenant: &TenantId, key: &EntityKey) -> [u8; NAME_BYTES] {
    let mut hash = Sha256::new();
    for part in [tenant.as_str(), key.entity_type.as_str(), key.reference.as_str()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let whole: [u8; 32] = hash.finalize().into();
    let mut half = [0; NAME_BYTES];
    half.copy_from_slice(&whole[..NAME_BYTES]);
    half
}
