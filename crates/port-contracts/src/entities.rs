//! The contract of [`profile_ports::Entities`], by theme.

pub(crate) mod addresses;
pub(crate) mod atomic;
pub(crate) mod catalog;
pub(crate) mod deletion;
pub(crate) mod durable;
pub(crate) mod feed;
pub(crate) mod idempotency;
pub(crate) mod listing;
pub(crate) mod merging;
pub(crate) mod paging;
pub(crate) mod races;
pub(crate) mod values;
