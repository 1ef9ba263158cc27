//! The adapter over a real server.

mod contract;
mod outages;
mod support;
