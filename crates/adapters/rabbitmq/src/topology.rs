//! What must be in RabbitMQ: the exchange, a queue for each type, and where messages go that nobody can use.
//!
//! Everything is durable and declared by whoever comes, publisher or consumer; where it is there already, nothing happens. Names
//! of queues end with a version, because a queue can't be declared anew with other arguments: who changes these raises it.

use lapin::{
    Channel, ErrorKind, ExchangeKind,
    options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions},
    types::{AMQPValue, FieldTable},
};
use profile_domain::TaskType;

use crate::{
    link::{Link, LinkError},
    settings::RabbitSettings,
};

const VERSION: &str = "v1";
/// Times that a message comes until it is taken for one that does harm. Its row is polled all the same.
const DELIVERIES: i64 = 20;
/// Dead letters, at most; they are for people.
const DEAD_LETTERS: i64 = 10_000;
/// A week, in milliseconds.
const DEAD_LETTER_LIFE: i64 = 7 * 24 * 3_600 * 1_000;

/// How RabbitMQ keeps a queue.
#[derive(PartialEq)]
enum Kind {
    /// On several servers, where there are several.
    Quorum,
    /// On one.
    Classic,
}

/// The queue of a type.
pub(crate) fn queue_name(settings: &RabbitSettings, task_type: &TaskType) -> String {
    format!("{}.{task_type}.{VERSION}", settings.exchange)
}

fn dead_exchange(settings: &RabbitSettings) -> String {
    format!("{}.dead", settings.exchange)
}

/// Declares everything.
pub(crate) async fn declare(link: &Link, settings: &RabbitSettings) -> Result<(), LinkError> {
    declare_shared(link, settings).await?;
    for task_type in &settings.types {
        declare_type(link, settings, task_type).await?;
    }
    Ok(())
}

/// Declares what one type needs beside what all need.
pub(crate) async fn declare_type(link: &Link, settings: &RabbitSettings, task_type: &TaskType) -> Result<(), LinkError> {
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(settings.room.into()));
    // What doesn't fit is refused, and its publisher told, instead of pushing out what waits.
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(dead_exchange(settings).into()));
    let name = queue_name(settings, task_type);
    let channel = declare_queue(link, &name, arguments, Kind::Quorum).await?;
    bind(link, &channel, &name, &settings.exchange, task_type.as_str()).await
}

async fn declare_shared(link: &Link, settings: &RabbitSettings) -> Result<(), LinkError> {
    let dead = dead_exchange(settings);
    let channel = link.channel().await?;
    for (name, kind) in [(&settings.exchange, ExchangeKind::Topic), (&dead, ExchangeKind::Fanout)] {
        let options = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        link.within(channel.exchange_declare(name.as_str().into(), kind, options, FieldTable::default())).await?;
    }
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(DEAD_LETTERS));
    arguments.insert("x-message-ttl".into(), AMQPValue::LongLongInt(DEAD_LETTER_LIFE));
    let name = format!("{dead}.{VERSION}");
    let channel = declare_queue(link, &name, arguments, Kind::Classic).await?;
    bind(link, &channel, &name, &dead, "").await
}

/// Where the broker has no quorum queues, or has this one as another kind already, it is a classic one. Gives the channel on which that worked: a refusal ends the one that it came on.
async fn declare_queue(link: &Link, name: &str, arguments: FieldTable, kind: Kind) -> Result<Channel, LinkError> {
    let options = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    if kind == Kind::Quorum {
        let mut arguments = arguments.clone();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(DELIVERIES));
        let channel = link.channel().await?;
        match link.within(channel.queue_declare(name.into(), options, arguments)).await {
            Err(LinkError::Lapin(error)) if error.is_amqp_soft_error() => {
                tracing::debug!(queue = name, error = %error, "no quorum queue; trying a classic one");
            }
            outcome => return outcome.map(|_| channel),
        }
    }
    let channel = link.channel().await?;
    link.within(channel.queue_declare(name.into(), options, arguments)).await?;
    Ok(channel)
}

async fn bind(link: &Link, channel: &Channel, queue: &str, exchange: &str, key: &str) -> Result<(), LinkError> {
    let options = QueueBindOptions::default();
    link.within(channel.queue_bind(queue.into(), exchange.into(), key.into(), options, FieldTable::default())).await
}

/// Whether the server answered, and refused: trying again changes nothing until somebody does something.
pub(crate) fn is_refusal(error: &LinkError) -> bool {
    matches!(error, LinkError::Lapin(error) if matches!(error.kind(), ErrorKind::ProtocolError(_)))
}
