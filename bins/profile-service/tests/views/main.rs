//! Views of live sources: a real process, and sources that do what a test wants, raw over TCP.
//!
//! Names that contain `redis` need a server; `make test-fast` leaves them out.

#[path = "../support/mod.rs"]
mod support;

mod cached;
mod cached_redis;
mod customer;
mod demo;
mod gone;
mod misbehaving;
mod reloads;
mod upstream;
