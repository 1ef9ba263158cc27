//! Instances over a primary and a real replica that follows it, closely, late, not at all, or takes its place.
//!
//! In the order to read them: `servers`, what all of them need; `tokens`, what reads show; `failover`, who is written to.

#[path = "../caches_redis/checker.rs"]
#[allow(dead_code, reason = "a part of it is used here")]
mod checker;
#[path = "../support/mod.rs"]
mod support;

mod servers;

mod failover;
mod tokens;
