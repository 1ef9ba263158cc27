//! Publishing: persistent, `mandatory`, and believed only when it is confirmed.
//!
//! RabbitMQ confirms a message that no queue takes, after it has sent it back. A confirmation may be for many messages, and lapin
//! then can't tell whose return it was; so a channel has one batch at a time, and what came back is found by what is in it.

use std::{
    collections::HashSet,
    convert::Infallible,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use lapin::{
    Channel,
    options::{BasicPublishOptions, ConfirmSelectOptions},
};
use profile_ports::{Deadline, QueueError, queue::Message};
use tokio::{
    sync::{OwnedSemaphorePermit, oneshot},
    time::{sleep, timeout},
};

use crate::{
    Shared,
    kept::Standing,
    link::{Link, LinkError},
    message, topology,
};

/// Batches that are on their way at once.
pub(crate) const LANES: usize = 8;

/// A channel that was used and may be used again, as long as its connection lives.
pub(crate) struct Lane {
    of: Arc<Link>,
    channel: Channel,
}

type Outcomes = Vec<Result<(), QueueError>>;

/// Publishes a batch, in time.
pub(crate) async fn publish(shared: &Arc<Shared>, messages: &[Message], deadline: Deadline) -> Outcomes {
    let none = |reason: &str| messages.iter().map(|_| Err(QueueError::Unavailable(reason.into()))).collect();
    let link = match usable(shared) {
        Ok(link) => link,
        Err(reason) => return none(reason),
    };
    let deadline = deadline.at_most(shared.settings.publish_timeout);
    let Ok(Ok(permit)) = timeout(deadline.remaining(), Arc::clone(&shared.turns).acquire_owned()).await else {
        return none("too much is on its way already");
    };
    for message in messages {
        shared.metrics.published.with_label_values(&[message.task_type.as_str()]).inc();
    }
    let (answer, answered) = oneshot::channel();
    // It goes on when its caller has gone: what was sent is confirmed, and the channel is left in order.
    shared.tasks.spawn(batch(Arc::clone(shared), link, permit, messages.to_vec(), answer));
    match timeout(deadline.remaining(), answered).await {
        Ok(Ok(outcomes)) => outcomes,
        Ok(Err(_)) | Err(_) => messages.iter().map(|_| Err(QueueError::Unconfirmed)).collect(),
    }
}

/// The connection, unless it is known that nothing can be published over it.
fn usable(shared: &Shared) -> Result<Arc<Link>, &'static str> {
    if shared.closing.is_cancelled() {
        return Err("it was closed");
    }
    let link = shared.publishing.link().ok_or("there is no connection to RabbitMQ")?;
    if shared.publishing.standing() == Standing::Blocked || link.is_blocked() {
        return Err("RabbitMQ takes no messages: it has no memory or disk space left");
    }
    if shared.is_stalled() {
        return Err("RabbitMQ doesn't answer");
    }
    Ok(link)
}

async fn batch(
    shared: Arc<Shared>,
    link: Arc<Link>,
    _permit: OwnedSemaphorePermit,
    messages: Vec<Message>,
    answer: oneshot::Sender<Outcomes>,
) {
    let sent = async {
        let lane = match shared.lanes.take(&link) {
            Some(lane) => lane,
            None => Lane::open(&link).await?,
        };
        Ok::<_, LinkError>((send(&shared, &lane, &messages).await, lane))
    };
    let outcomes = tokio::select! {
        sent = sent => match sent {
            Ok((outcomes, lane)) => {
                if outcomes.iter().all(|outcome| !matches!(outcome, Err(QueueError::Unconfirmed))) {
                    shared.lanes.put(lane);
                }
                outcomes
            }
            Err(error) => {
                let cause = profile_ports::causes(&error);
                messages.iter().map(|_| Err(QueueError::Unavailable(cause.clone().into()))).collect()
            }
        },
        never = overdue(&shared) => match never {},
        () = silence(&link, shared.settings.silence) => {
            tracing::warn!("RabbitMQ confirms nothing; giving the connection up");
            link.cut();
            messages.iter().map(|_| Err(QueueError::Unconfirmed)).collect()
        }
    };
    if outcomes.iter().zip(&messages).any(|(outcome, message)| {
        matches!(outcome, Err(QueueError::Unroutable)) && shared.settings.types.contains(&message.task_type)
    }) {
        redeclare(&shared, &link);
    }
    // Its caller may have gone.
    let _ = answer.send(outcomes);
}

/// Says, once a batch is late and until it has ended, that nobody else shall wait for what doesn't come.
async fn overdue(shared: &Shared) -> Infallible {
    sleep(shared.settings.publish_timeout).await;
    let _overdue = Overdue::begin(shared);
    std::future::pending().await
}

struct Overdue<'a>(&'a Shared);

impl<'a> Overdue<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.overdue.fetch_add(1, Ordering::AcqRel);
        shared.show();
        Self(shared)
    }
}

impl Drop for Overdue<'_> {
    fn drop(&mut self) {
        self.0.overdue.fetch_sub(1, Ordering::AcqRel);
        self.0.show();
    }
}

/// Passes once the server could have answered and hasn't.
async fn silence(link: &Link, patience: Duration) {
    loop {
        sleep(patience).await;
        if !link.is_blocked() {
            return;
        }
    }
}

impl Lane {
    async fn open(link: &Arc<Link>) -> Result<Self, LinkError> {
        let channel = link.channel().await?;
        link.within(channel.confirm_select(ConfirmSelectOptions::default())).await?;
        Ok(Self { of: Arc::clone(link), channel })
    }
}

/// Channels that nobody uses at the moment.
#[derive(Default)]
pub(crate) struct Lanes(parking_lot::Mutex<Vec<Lane>>);

impl Lanes {
    fn take(&self, link: &Arc<Link>) -> Option<Lane> {
        let mut lanes = self.0.lock();
        lanes.retain(|lane| Arc::ptr_eq(&lane.of, link) && lane.channel.status().connected());
        lanes.pop()
    }

    fn put(&self, lane: Lane) {
        self.0.lock().push(lane);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
}

async fn send(shared: &Shared, lane: &Lane, messages: &[Message]) -> Outcomes {
    let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
    let exchange = shared.settings.exchange.as_str();
    let bodies: Vec<Vec<u8>> = messages.iter().map(message::body).collect();
    // All are handed over before the first is waited for.
    let handed = join_all(messages.iter().zip(&bodies).map(|(message, body)| {
        let key = message.task_type.as_str().into();
        lane.channel.basic_publish(exchange.into(), key, options, body, message::properties())
    }))
    .await;
    let confirmations = join_all(handed.into_iter().map(async |handed| handed?.await)).await;
    let mut returned: HashSet<(String, Vec<u8>)> = HashSet::new();
    let confirmations: Vec<_> = confirmations
        .into_iter()
        .map(|confirmation| {
            confirmation.map(|confirmation| {
                let is_ack = confirmation.is_ack();
                if let Some(back) = confirmation.take_message() {
                    returned.insert((back.delivery.routing_key.to_string(), back.delivery.data));
                }
                is_ack
            })
        })
        .collect();
    let outcome = |(message, body, confirmation): (&Message, Vec<u8>, lapin::Result<bool>)| {
        let name = message.task_type.as_str();
        if returned.contains(&(name.to_owned(), body)) {
            shared.metrics.returned.with_label_values(&[name]).inc();
            return Err(QueueError::Unroutable);
        }
        match confirmation {
            Ok(true) => {
                shared.metrics.confirmed.with_label_values(&[name]).inc();
                Ok(())
            }
            Ok(false) => Err(QueueError::Full),
            Err(_) => Err(QueueError::Unconfirmed),
        }
    };
    messages
        .iter()
        .zip(bodies)
        .zip(confirmations)
        .map(|((message, body), confirmation)| outcome((message, body, confirmation)))
        .collect()
}

/// Somebody has deleted a queue. Its messages are lost, and polling brings their rows; what comes from now on has a place again.
fn redeclare(shared: &Arc<Shared>, link: &Arc<Link>) {
    let (shared, link) = (Arc::clone(shared), Arc::clone(link));
    if shared.redeclaring.swap(true, Ordering::AcqRel) {
        return;
    }
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        match topology::declare(&link, &shared.settings).await {
            Ok(()) => {
                tracing::warn!("a queue was gone, and was declared again");
                // Whoever consumed what is gone may not have been told.
                shared.renewed.send_modify(|times| *times += 1);
            }
            Err(error) => tracing::warn!(cause = profile_ports::causes(&error), "a queue is gone and can't be declared again"),
        }
        shared.redeclaring.store(false, Ordering::Release);
    });
}
