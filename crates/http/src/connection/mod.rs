//! Connections as they are handed to actix-http, which takes more from a peer than it should: here each has its limits.

mod framing;
mod steady;
mod turns;

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::settings::Pace;

pub(crate) use turns::answered;

/// A connection within its limits.
pub(crate) type Connection<S> = turns::InTurn<steady::Steady<S>>;

/// What is asked of the peer of each connection.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head_timeout: Duration,
    pub(crate) max_head_bytes: usize,
    pub(crate) pace: Pace,
}

/// Holds a connection to its limits.
pub(crate) fn limited<S: AsyncRead + AsyncWrite + Unpin>(stream: S, limits: Limits) -> Connection<S> {
    turns::InTurn::new(steady::Steady::new(stream, limits.pace), limits)
}
