//! Connections as they are handed to actix-http, which takes more from a peer than it should: here each has its limits.

mod backlog;
mod framing;
mod steady;
mod turns;

use std::time::Duration;

use actix_web::rt::net::TcpStream;

use crate::settings::Pace;

pub(crate) use backlog::Backlog;
pub(crate) use turns::answered;

/// A connection within its limits.
pub(crate) type Connection = turns::InTurn<steady::Steady>;

/// What is asked of the peer of each connection.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) head_timeout: Duration,
    pub(crate) max_head_bytes: usize,
    pub(crate) pace: Pace,
}

/// Holds a connection to its limits.
pub(crate) fn limited(stream: TcpStream, limits: Limits, backlog: &Backlog) -> Connection {
    turns::InTurn::new(steady::Steady::new(stream, limits.pace, backlog.clone()), limits)
}
