//! The routes as clients meet them, over a store in memory.
#![expect(clippy::unwrap_used, reason = "in a test, panicking is how to fail")]

mod support;

mod logs;
mod operations;
mod problems;
mod profiles;
mod wire;
