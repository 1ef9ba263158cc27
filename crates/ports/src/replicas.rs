//! Replicas: reads that may lag, for stores that keep copies which follow behind.
//!
//! Whoever reads says how much the answer must show ([`AsOf`]), and is told who gave it ([`By`]). A store without replicas
//! answers by itself, and then everything is shown.

use async_trait::async_trait;
use profile_domain::{EntityKey, EntityView, Place, TenantId, search::ListQuery};

use crate::{Deadline, Entities, StoreError};

/// How much an answer must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AsOf {
    /// Everything that was acknowledged before the question.
    Now,
    /// Everything that was acknowledged a second before the question.
    Recently,
    /// That, and everything up to a place.
    Place(Place),
}

/// Who gave an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Who takes the writes: it shows everything.
    Primary,
    /// One that follows: it may show less.
    Replica,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen<T> {
    /// What was found.
    pub found: T,
    /// By whom.
    pub by: By,
}

impl<T> Seen<T> {
    /// As who takes the writes has it.
    pub fn by_primary(found: T) -> Self {
        Self { found, by: By::Primary }
    }
}

/// How the servers of a store stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Servers {
    /// Whether it is known who takes the writes.
    pub primary: bool,
    /// Replicas that are read from.
    pub replicas: usize,
    /// Replicas that aren't: they lag, don't answer, or are none.
    pub resting: usize,
}

/// Reads that may come from a replica. Each shows what its [`AsOf`] asks for [`an_answer_shows_its_place`], and one that must
/// show everything is never given by a replica. The case runs over stores as they are, most of which have no replica; those with a
/// real one, late, stopped or left behind, are tests of the binary (`bins/profile-service/tests/replicas`).
///
/// As given here for stores that have none.
#[async_trait]
pub trait Replicas: Entities {
    /// Whether any read may come from a replica.
    fn has_replicas(&self) -> bool {
        false
    }

    /// How the servers stand; `None` for a store that has none.
    fn servers(&self) -> Option<Servers> {
        None
    }

    /// As [`Entities::view`].
    ///
    /// # Errors
    /// As [`Entities::view`].
    async fn view_as_of(
        &self,
        tenant: &TenantId,
        key: &EntityKey,
        _: AsOf,
        deadline: Deadline,
    ) -> Result<Seen<Option<EntityView>>, StoreError> {
        Ok(Seen::by_primary(self.view(tenant, key, deadline).await?))
    }

    /// As [`Entities::list`].
    ///
    /// # Errors
    /// As [`Entities::view`].
    async fn list_as_of(
        &self,
        tenant: &TenantId,
        query: &ListQuery,
        _: AsOf,
        deadline: Deadline,
    ) -> Result<Vec<EntityView>, StoreError> {
        self.list(tenant, query, deadline).await
    }
}
