//! Connections that come back: one for publishing and one for consuming.
//!
//! Two, because RabbitMQ stops reading from a connection that publishes while it is out of memory; acknowledgements of what was
//! consumed must still get through then.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::{
    Shared,
    link::{Link, LinkError},
    topology,
};

/// Between attempts, at first and at most; each waits for half of it and a random part of the rest.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A log line for so many failures, once the pauses are at their longest.
const FAILURES_PER_LINE: u32 = 30;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Publishing,
    Consuming,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Self::Publishing => "publishing",
            Self::Consuming => "consuming",
        }
    }
}

/// A place for a connection.
pub(crate) struct Slot {
    link: watch::Sender<Option<Arc<Link>>>,
    standing: Mutex<Standing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Nobody has tried yet.
    Unknown,
    Connected,
    Blocked,
    Away,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self { link: watch::channel(None).0, standing: Mutex::new(Standing::Unknown) }
    }

    pub(crate) fn link(&self) -> Option<Arc<Link>> {
        self.link.borrow().clone()
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Option<Arc<Link>>> {
        self.link.subscribe()
    }

    pub(crate) fn standing(&self) -> Standing {
        *self.standing.lock()
    }
}

/// Connects, prepares, and does so again whenever that ends.
pub(crate) async fn keep(shared: Arc<Shared>, role: Role) {
    let slot = shared.slot(role);
    let (mut pause, mut failures) = (PAUSE, 0_u32);
    let stand = |standing| {
        *slot.standing.lock() = standing;
        shared.show();
    };
    loop {
        let attempt = tokio::select! {
            () = shared.ending.cancelled() => return,
            attempt = prepare(&shared, role) => attempt,
        };
        match attempt {
            Ok(link) => {
                tracing::info!(role = role.name(), failures, "RabbitMQ is connected");
                shared.metrics.connections.inc();
                (pause, failures) = (PAUSE, 0);
                let link = Arc::new(link);
                slot.link.send_replace(Some(Arc::clone(&link)));
                stand(Standing::Connected);
                let mut was_blocked = false;
                let watching = link.watch(|blocked| {
                    if blocked.is_some() != was_blocked {
                        was_blocked = blocked.is_some();
                        stand(if was_blocked { Standing::Blocked } else { Standing::Connected });
                        let reason = blocked.unwrap_or("none");
                        tracing::warn!(role = role.name(), blocked = was_blocked, reason, "RabbitMQ takes messages, or doesn't");
                    }
                });
                let closed = tokio::select! {
                    () = shared.ending.cancelled() => true,
                    () = watching => false,
                };
                slot.link.send_replace(None);
                stand(Standing::Away);
                if closed {
                    link.close().await;
                    return;
                }
                // Whoever still holds it shall not wait for what is gone.
                link.cut();
                tracing::warn!(role = role.name(), "the connection to RabbitMQ is lost");
            }
            Err(error) => {
                failures += 1;
                stand(Standing::Away);
                if pause < LONGEST_PAUSE || failures.is_multiple_of(FAILURES_PER_LINE) {
                    let cause = profile_ports::causes(&error);
                    let refused = topology::is_refusal(&error);
                    tracing::warn!(role = role.name(), cause, refused, failures, "RabbitMQ can't be used; trying again");
                }
            }
        }
        tokio::select! {
            () = shared.ending.cancelled() => return,
            () = tokio::time::sleep(jittered(pause)) => pause = LONGEST_PAUSE.min(pause * 2),
        }
    }
}

async fn prepare(shared: &Shared, role: Role) -> Result<Link, LinkError> {
    let link = Link::connect(&shared.settings, role.name()).await?;
    topology::declare(&link, &shared.settings).await?;
    Ok(link)
}

/// Between half and the whole, so that instances that lost it at once don't come back at once.
pub(crate) fn jittered(pause: Duration) -> Duration {
    let mut random = [0];
    getrandom::fill(&mut random).expect("the system gives random numbers");
    pause.mul_f64(0.5 + f64::from(random[0]) / 510.0)
}
