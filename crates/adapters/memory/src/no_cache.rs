//! A cache that keeps nothing: `CACHE=off`.

use async_trait::async_trait;
use profile_domain::{EntityKey, TenantId};
use profile_ports::{
    Cache, CacheError,
    cache::{Answer, Begin, Change, Fill, Got, Mark, Put, Step, Ticket, at_once},
};

/// Every read is a miss, and nobody gets a ticket.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCache;

#[async_trait]
impl Cache for NoCache {
    fn parts(&self) -> u16 {
        0
    }

    fn part_of(&self, _: &TenantId, _: &EntityKey) -> u16 {
        0
    }

    fn get<'a>(&'a self, _: &'a TenantId, _: &'a EntityKey) -> Answer<'a, Got> {
        at_once(Got { hit: None, mark: None })
    }

    async fn put(&self, _: &TenantId, _: &EntityKey, _: Ticket, _: Fill) -> Result<Put, CacheError> {
        Ok(Put::Late)
    }

    async fn remove(&self, _: &TenantId, _: &EntityKey) -> Result<(), CacheError> {
        Ok(())
    }

    async fn invalidate(&self, _: &[Change]) -> Result<(), CacheError> {
        Ok(())
    }

    async fn mark(&self, _: u16) -> Result<Option<Mark>, CacheError> {
        Ok(None)
    }

    async fn follow(&self, _: u16, _: &Step<'_>) -> Result<Option<Mark>, CacheError> {
        Ok(None)
    }

    async fn begin(&self, _: u16, _: &Begin) -> Result<Option<Mark>, CacheError> {
        Ok(None)
    }
}
