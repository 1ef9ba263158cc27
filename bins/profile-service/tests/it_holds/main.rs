//! What must hold end to end, over both stores: the service as a real process, seen by its clients.
//!
//! Names that contain `postgres` need a server; `make test-fast` leaves them out.

#[path = "../support/mod.rs"]
mod support;

mod bulk;
mod concurrency;
mod lists;
mod postgres_outage;
mod tenants;
mod values;

use support::stores;
