//! Profiles over HTTP: routes, bodies, the problem table, middleware, OpenAPI.
//!
//! The only crate that knows status codes and headers. A handler decodes, calls one use case of `application`, and encodes;
//! what is allowed is decided further in. It deliberately reads no configuration, no clock and no environment: all of that
//! comes in [`Settings`].
//!
//! Read in this order: `server`, `connection`, `routes`, one of `profiles`, `problem`.

mod connection;
mod server;
mod settings;

mod routes;

mod admin;

mod profiles;
mod views;

mod exports;
mod tasks;

mod body;
mod caller;
mod conditional;
mod ndjson;
mod once;
mod problem;
mod query;

mod metrics;
mod observe;
mod request_id;
mod unread;

mod demo_sources;
mod docs;
mod openapi;
mod operations;
mod schema;

pub use admin::{Admin, SetLogLevel};
pub use demo_sources::{DEMO_ID, serve_demo_sources};
pub use metrics::HttpMetrics;
pub use openapi::openapi;
pub use operations::Operations;
pub use server::{Service, app, serve};
pub use settings::{AuthMode, BuildInfo, Offer, Pace, Settings};
