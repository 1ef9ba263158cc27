//! Keys that all instances share.

use async_trait::async_trait;

use crate::{Deadline, StoreError};

/// A key for signing what clients carry: cursors, later tokens and links.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretKey {
    /// Names the key in what it signed, so that two can be valid during a rotation.
    pub id: u32,
    /// 32 random bytes.
    pub bytes: [u8; 32],
}

/// Never prints the key.
impl std::fmt::Debug for SecretKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "SecretKey {{ id: {}, … }}", self.id)
    }
}

/// Secrets kept in the store, for installations that configure none.
#[async_trait]
pub trait Secrets: Send + Sync {
    /// The keys that are valid, the newest first. That one signs; all verify.
    ///
    /// If there is none, `candidate` is kept and becomes the first: of instances that start at once, all get the same
    /// [`secrets_made_once`]. They survive a restart [`secrets_survive_reopening`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] or [`StoreError::Corrupt`].
    async fn secrets(&self, candidate: [u8; 32], deadline: Deadline) -> Result<Vec<SecretKey>, StoreError>;

    /// Adds a key that signs from now on. The one before it stays valid; older ones are dropped
    /// [`secrets_rotate_keeping_two`].
    ///
    /// # Errors
    /// [`StoreError::Unavailable`].
    async fn rotate_secrets(&self, key: [u8; 32], deadline: Deadline) -> Result<(), StoreError>;
}
