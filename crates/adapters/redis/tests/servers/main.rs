//! The adapter over real servers: one, a master under a sentinel, and a cluster.

mod cleanup;
mod cluster;
mod contract;
mod outages;
mod sentinel;
mod single;
mod support;
