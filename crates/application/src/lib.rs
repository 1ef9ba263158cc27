//! The use cases: one file each, as methods of a concrete [`App`] over the ports.
//!
//! This crate orchestrates; what is allowed is decided in `domain`, what is kept is decided by the store. It owns the one
//! serialised form of a profile ([`profile_body`]) and what clients carry for us ([`cursor`]). It deliberately knows no HTTP
//! status, no SQL, and reads neither clock nor randomness but through [`Environment`].

#![warn(missing_docs)]

mod create_profile;
mod cursor;
mod delete_profile;
mod export;
mod import;
mod keyring;
mod list_profiles;
mod patch_profile;
mod profile_body;
mod read_profile;
mod replace_profile;
mod reresolve;
mod write_error;

use std::sync::Arc;

use profile_domain::{Moment, Policy};
use profile_ports::Store;
use uuid::Uuid;

pub use create_profile::{Created, OnceKey};
pub use export::{Restore, RestoreCheck, RestoreError};
pub use import::{ImportError, ImportOptions, LineOutcome, LineProblem, LineResult, Tally};
pub use keyring::Keyring;
pub use list_profiles::{ListError, ListRequest, MAX_LIMIT, Page, Sort};
pub use profile_body::{ProfileBody, SCHEMA};
pub use profile_ports::{Deadline, StoreError};
pub use read_profile::ReadError;
pub use reresolve::Reresolved;
pub use write_error::WriteError;

/// Time and randomness, injected.
#[derive(Clone, Copy)]
pub struct Environment {
    /// The current time.
    pub now: fn() -> Moment,
    /// A new UUID of version 7.
    pub new_id: fn() -> Uuid,
    /// 32 random bytes from the operating system.
    pub new_secret: fn() -> [u8; 32],
}

/// The service without its edges: what can be done with profiles. Cheap to clone.
#[derive(Clone)]
pub struct App {
    store: Arc<dyn Store>,
    environment: Environment,
    keyring: Arc<Keyring>,
    policy: Arc<Policy>,
}

impl App {
    /// Over a store. With a configured keyring the store's own secrets are not used. The policy is the one that the store was
    /// given; here it only explains and refuses searches that can't find anything.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, environment: Environment, keyring: Option<Keyring>, policy: Policy) -> Self {
        Self { store, environment, keyring: Arc::new(keyring.unwrap_or_default()), policy: Arc::new(policy) }
    }

    /// Whether the store answers, and the secrets are known: what readiness is made of.
    ///
    /// # Errors
    /// [`StoreError`] with the reason.
    pub async fn check(&self, deadline: Deadline) -> Result<(), StoreError> {
        self.store.ping(deadline).await?;
        self.keyring.load(&*self.store, self.environment.new_secret, deadline).await
    }
}
