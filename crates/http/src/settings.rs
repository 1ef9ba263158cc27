//! What the binary decides about this edge.

use std::time::Duration;

use profile_application::Deadline;
use uuid::Uuid;

/// Everything configurable about HTTP. [`Settings::new`] gives the defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// All waits of one request for what lies below, together. `REQUEST_TIMEOUT`; 1.5 s.
    pub request_timeout: Duration,
    /// The largest body that is read, in bytes; 256 KiB.
    pub max_body_bytes: usize,
    /// How long a whole body may take to arrive; 15 s.
    pub body_timeout: Duration,
    /// How long a body may pause; 5 s.
    pub body_pause: Duration,
    /// How slow an import or an export may be.
    pub pace: Pace,
    /// How long one changeset of an import may take; 30 s.
    pub batch_timeout: Duration,
    /// How long the head of a request may take to arrive; 5 s.
    pub head_timeout: Duration,
    /// The largest head, in bytes, give or take what is read at once; 16 KiB.
    pub max_head_bytes: usize,
    /// What all connections together may hold of answers that their peers don't read, in bytes; 8 MiB.
    pub max_unread_bytes: usize,
    /// How long a connection that is being closed may take to read what it was sent; 2 s. More than 0.5 s.
    pub linger: Duration,
    /// How long a connection may idle between requests; 15 s.
    pub keep_alive: Duration,
    /// How long a stop waits for requests that are being answered; 20 s.
    pub shutdown_timeout: Duration,
    /// Connections that one worker serves at once; 10,000.
    pub max_connections: usize,
    /// What can be asked.
    pub offer: Offer,
    /// Who may ask.
    pub auth: AuthMode,
    /// The kind of store, as `/health` names it: `sqlite` or `postgres`.
    pub store: &'static str,
    /// What is running.
    pub build: BuildInfo,
    /// Makes request ids.
    pub new_id: fn() -> Uuid,
}

/// How slow bytes of any number may come or go before the connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// How long not one byte may move; 15 s.
    pub stall: Duration,
    /// The time over which the rate is taken; 30 s.
    pub window: Duration,
    /// The lowest rate; 1,024.
    pub bytes_per_second: u32,
}

impl Pace {
    /// Whether so many bytes in one window are too few.
    pub(crate) fn is_too_slow(&self, bytes: u64) -> bool {
        bytes < u64::from(self.bytes_per_second) * self.window.as_secs()
    }
}

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// Every route.
    Everything,
    /// How the service is, and nothing of its data.
    Operations,
}

/// Who may ask, and how the tenant is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthMode {
    /// Anyone; the tenant is what `X-Tenant-ID` says.
    None,
}

/// What is running.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildInfo {
    /// The released version.
    pub version: &'static str,
    /// The commit it was built from.
    pub commit: &'static str,
}

impl Settings {
    /// The defaults.
    #[must_use]
    pub fn new(build: BuildInfo, store: &'static str, new_id: fn() -> Uuid) -> Self {
        Self {
            request_timeout: Duration::from_millis(1_500),
            max_body_bytes: 256 * 1024,
            body_timeout: Duration::from_secs(15),
            body_pause: Duration::from_secs(5),
            pace: Pace { stall: Duration::from_secs(15), window: Duration::from_secs(30), bytes_per_second: 1024 },
            batch_timeout: Duration::from_secs(30),
            head_timeout: Duration::from_secs(5),
            max_head_bytes: 16 * 1024,
            max_unread_bytes: 8 * 1024 * 1024,
            linger: Duration::from_secs(2),
            keep_alive: Duration::from_secs(15),
            shutdown_timeout: Duration::from_secs(20),
            max_connections: 10_000,
            offer: Offer::Everything,
            auth: AuthMode::None,
            store,
            build,
            new_id,
        }
    }

    /// With the times that a client is waited for divided, so that tests need not wait as long. But for `linger`: the clock of
    /// actix-http lags by up to half a second, and it never notices a time that has passed at once.
    #[must_use]
    pub fn hurried(self, by: u32) -> Self {
        Self {
            body_timeout: self.body_timeout / by,
            body_pause: self.body_pause / by,
            pace: Pace { stall: self.pace.stall / by, window: self.pace.window / by, ..self.pace },
            head_timeout: self.head_timeout / by,
            keep_alive: self.keep_alive / by,
            ..self
        }
    }

    /// The deadline of a request that has now been read.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline::within(self.request_timeout)
    }
}
