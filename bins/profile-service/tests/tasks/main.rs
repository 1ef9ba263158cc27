//! Tasks end to end, over both stores: the service as real processes, which are killed, stopped and told to end.
//!
//! Names that contain `postgres` need a server; `make test-fast` leaves them out.

#[path = "../support/mod.rs"]
mod support;

mod client;
mod crowds;
mod kills;
mod life;
mod stops;

use support::stores;
