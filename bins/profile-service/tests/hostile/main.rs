//! Clients that mean harm, raw over TCP: requests that are none, heads and bodies that never end, connections by the hundred
//! that are slow or never read. Each ends with a 4xx or a closed connection; others are served as before, and nothing of what
//! was sent is in a log or a metric.
//!
//! Names that contain `postgres` need a server; `make test-fast` leaves them out.

#[path = "../support/mod.rs"]
mod support;

mod ahead;
mod catalogue;
mod crowd;
mod malformed;
mod patient;
mod raw;
mod silence;
