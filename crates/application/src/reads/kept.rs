//! Entries by time, for what isn't made of one entity: the tiers keep them beside the others, in the same bounds.
//!
//! What they are made of is for whoever keeps them to judge; so neither the feed nor its follower vouches for them. They need
//! tickets all the same, so that what is dropped with a part stays dropped.

use std::time::Duration;

use bytes::Bytes;
use profile_domain::{EntityKey, TenantId, Version};
use profile_ports::{
    CacheError,
    cache::{Fill, Standing, State, Ticket},
};

use super::Reads;

/// What a tier keeps.
pub(crate) struct Kept {
    pub(crate) tier: &'static str,
    pub(crate) bytes: Option<Bytes>,
    /// What is put there now names it.
    pub(crate) ticket: Option<Ticket>,
}

impl Reads {
    /// How many tiers there are.
    pub(crate) fn depth(&self) -> usize {
        self.tiers.len()
    }

    /// Whether others see what is put into a tier.
    pub(crate) fn is_shared(&self, tier: usize) -> bool {
        !self.tiers[tier].in_process
    }

    /// For how long what is past its time may be served.
    pub(crate) fn stale_if_error(&self) -> Duration {
        self.settings.stale_if_error
    }

    /// What one tier keeps, the nearest being 0.
    pub(crate) async fn kept(&self, tier: usize, tenant: &TenantId, key: &EntityKey) -> Kept {
        let tier = &self.tiers[tier];
        let (hit, ticket) = tier.look_by_time(tenant, key).await;
        let bytes = hit.and_then(|hit| match hit.state {
            State::Living { bytes, .. } => Some(bytes),
            State::Absent { .. } => None,
        });
        Kept { tier: tier.name, bytes, ticket }
    }

    /// Keeps something in one tier, unless something later is there. Whether it was tried and not refused.
    pub(crate) async fn keep(
        &self,
        tier: usize,
        tenant: &TenantId,
        key: &EntityKey,
        ticket: Option<Ticket>,
        entry: (Version, Bytes),
        expires_in: Duration,
    ) -> bool {
        let (version, bytes) = entry;
        let fill = Fill { state: State::Living { version, bytes }, expires_in, standing: Standing::Settled };
        self.tiers[tier].fill(tenant, key, ticket, fill).await.is_some()
    }

    /// Drops something from every tier.
    pub(crate) async fn drop_kept(&self, tenant: &TenantId, key: &EntityKey) -> Result<(), CacheError> {
        for tier in &self.tiers {
            tier.forget(tenant, key).await?;
        }
        Ok(())
    }
}
