//! The secrets that sign what clients carry.

use std::sync::{Arc, RwLock};

use hmac::{Hmac, KeyInit, Mac};
use profile_ports::{Deadline, SecretKey, Store, StoreError};
use sha2::{Digest, Sha256};

/// Bytes of a signature: HMAC-SHA-256 (RFC 2104), cut to 128 bits as its § 5 allows.
pub(crate) const SIGNATURE_BYTES: usize = 16;

/// The keys that are valid now. The first signs, all verify.
#[derive(Default)]
pub struct Keyring {
    keys: RwLock<Arc<[SecretKey]>>,
    configured: bool,
}

impl Keyring {
    /// From configured secrets, the newest first; each becomes a key by SHA-256.
    #[must_use]
    pub fn configured<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = secrets
            .into_iter()
            .map(|secret| {
                let bytes: [u8; 32] = Sha256::digest(secret.as_bytes()).into();
                // The id shows up in what is signed, so it is taken from a hash of the key, not from the key.
                let id: [u8; 32] = Sha256::digest(bytes).into();
                SecretKey { id: u32::from_be_bytes([id[0], id[1], id[2], id[3]]), bytes }
            })
            .collect();
        Self { keys: RwLock::new(keys), configured: true }
    }

    /// Takes over the store's secrets, unless they are configured.
    pub(crate) async fn load(
        &self,
        store: &dyn Store,
        new_secret: fn() -> [u8; 32],
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        if self.configured || !self.current().is_empty() {
            return Ok(());
        }
        self.reload(store, new_secret, deadline).await
    }

    /// Asks the store anew: after a rotation, another instance signs with a key that is unknown here.
    pub(crate) async fn reload(
        &self,
        store: &dyn Store,
        new_secret: fn() -> [u8; 32],
        deadline: Deadline,
    ) -> Result<(), StoreError> {
        if self.configured {
            return Ok(());
        }
        let keys = store.secrets(new_secret(), deadline).await?.into();
        *self.keys.write().unwrap_or_else(std::sync::PoisonError::into_inner) = keys;
        Ok(())
    }

    pub(crate) fn knows(&self, id: u32) -> bool {
        self.current().iter().any(|key| key.id == id)
    }

    /// The id of the key that signs; `None` while none is known.
    pub(crate) fn signing(&self) -> Option<u32> {
        self.current().first().map(|key| key.id)
    }

    /// The signing key's id and the signature; `None` while no key is known.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<(u32, [u8; SIGNATURE_BYTES])> {
        let keys = self.current();
        let key = keys.first()?;
        let full = mac(key, message).finalize().into_bytes();
        let mut signature = [0; SIGNATURE_BYTES];
        signature.copy_from_slice(&full[..SIGNATURE_BYTES]);
        Some((key.id, signature))
    }

    /// Whether a key that is valid made the signature; compared in constant time.
    pub(crate) fn verify(&self, id: u32, message: &[u8], signature: &[u8]) -> bool {
        signature.len() == SIGNATURE_BYTES
            && self.current().iter().any(|key| key.id == id && mac(key, message).verify_truncated_left(signature).is_ok())
    }

    fn current(&self) -> Arc<[SecretKey]> {
        Arc::clone(&self.keys.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

fn mac(key: &SecretKey, message: &[u8]) -> Hmac<Sha256> {
    // RFC 2104 pads a shorter key with zeros to the hash's block.
    let mut block = [0; 64];
    block[..32].copy_from_slice(&key.bytes);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    mac.update(message);
    mac
}
