//! What is called over HTTP: live sources and webhooks, never at an address that wasn't allowed, and never where a redirect leads.
//!
//! A call of a source passes its breaker (is it asked at all?), its limit of calls at once, and then as many attempts as its
//! time, its retries and its budget of retries allow. Whatever the source sends is bounded before it is kept: in bytes as they
//! come out of decompression, and in depth as they are parsed.
//!
//! Modules, in the order to read them: [`guard`], `source`, `template`, `breaker`, `budget`, `call`, `metrics`; and [`webhooks`].

pub mod guard;
pub mod webhooks;

mod breaker;
mod budget;
mod call;
mod metrics;
mod source;
mod template;

pub use reqwest::header::{HeaderName, HeaderValue};

pub use source::{Clients, HttpSources, Method, SourceSettings};
pub use template::{TemplateError, UrlTemplate};
