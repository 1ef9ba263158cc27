//! The routes as clients meet them, over a store in memory.
#![expect(clippy::unwrap_used, reason = "in a test, panicking is how to fail")]

mod support;
mod tasks;

mod lines;
mod logs;
mod operations;
mod pace;
mod problems;
mod profiles;
mod turns;
mod views;
mod wire;
