//! Asking Redis: the right server, in time, and through redirections.

use std::sync::Arc;

use profile_domain::Version;
use profile_ports::{
    CacheError,
    cache::{Namespace, Spans},
};
use redis::{Cmd, Pipeline, RedisError, ServerError, ServerErrorKind, Value};
use thiserror::Error;
use tokio::time::{Instant, timeout_at};

use crate::{
    connections::Lanes,
    dial::Dialler,
    entry::{Form, version_bytes},
    metrics::Metrics,
    names::{Name, Names},
    nodes::Nodes,
    part::{Head, Memory},
    scripts::{self, Call, Script},
    settings::{RedisSettings, SettingsError},
};

/// How often an operation is sent on to another server.
const REDIRECTIONS: usize = 3;
/// How long one server is waited for that is asked where the parts are.
const LOOK_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(500);

/// An answer that makes no sense.
#[derive(Debug, Error)]
#[error("{0}")]
pub(crate) struct Senseless(pub(crate) &'static str);

pub(crate) struct Client {
    pub(crate) names: Names,
    pub(crate) form: Form,
    pub(crate) nodes: Nodes,
    pub(crate) dialler: Dialler,
    pub(crate) metrics: Metrics,
    memories: Box<[Memory]>,
    lanes: Lanes,
    timeout: std::time::Duration,
    spans: Spans,
    floors: u64,
}

/// What a script answers.
pub(crate) struct Answer {
    pub(crate) outcome: i64,
    pub(crate) head: Option<Head>,
    /// Microseconds by the server's clock.
    pub(crate) now: u64,
}

/// The namespace in the names of a script's keys isn't the part's.
pub(crate) const AGAIN: i64 = 5;

impl Client {
    pub(crate) fn new(settings: &RedisSettings, registry: &prometheus::Registry) -> Result<Self, SettingsError> {
        let names = Names::new(settings);
        let parts = names.parts();
        Ok(Self {
            form: Form { schema: settings.schema, entry_bytes: settings.entry_bytes, compress_above: settings.compress_above },
            nodes: Nodes::new(settings, parts),
            dialler: Dialler::new(settings)?,
            metrics: Metrics::new(registry)?,
            memories: (0..parts).map(|_| Memory::default()).collect(),
            lanes: Lanes::default(),
            timeout: settings.timeout,
            spans: settings.spans,
            floors: u64::try_from(settings.floors / usize::from(parts)).unwrap_or(u64::MAX),
            names,
        })
    }

    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    pub(crate) fn memory(&self, part: u16) -> &Memory {
        &self.memories[usize::from(part)]
    }

    /// Where a part's state lies.
    pub(crate) fn call(&self, part: u16) -> Call {
        let mut common = crate::random::<20>().to_vec();
        for number in [micros(self.spans.load), micros(self.spans.lag), self.floors] {
            common.extend_from_slice(&number.to_be_bytes());
        }
        Call::default().key(self.names.part(part)).with(common)
    }

    /// Names the entries that changed, all of one part, and the floors to leave.
    pub(crate) fn call_with_changes(&self, part: u16, namespace: Namespace, changes: &[(Name, Version)]) -> Call {
        let mut call = self.call(part);
        let mut packed = Vec::with_capacity(changes.len() * 40);
        for (name, version) in changes {
            call = call.key(self.names.entry(namespace, name));
            packed.extend_from_slice(&name.0);
            packed.extend_from_slice(&version_bytes(Some(*version)));
        }
        call.with(namespace.0.to_be_bytes()).with(self.form.prefix()).with(packed)
    }

    /// A script's look at a part, by which its server takes note of itself and its time becomes known.
    pub(crate) async fn look(self: &Arc<Self>, part: u16, deadline: Instant) -> Result<Answer, CacheError> {
        self.script(part, deadline, &scripts::LOOK, &self.call(part)).await
    }

    pub(crate) async fn script(
        self: &Arc<Self>,
        part: u16,
        deadline: Instant,
        script: &Script,
        call: &Call,
    ) -> Result<Answer, CacheError> {
        let [mut value] = self.ask(part, deadline, || [call.known(script)]).await?;
        if kind(&value) == Some(ServerErrorKind::NoScript) {
            [value] = self.ask(part, deadline, || [call.unknown(script)]).await?;
        }
        let answer = match &value {
            Value::ServerError(error) => return Err(refused(error)),
            Value::Array(values) => match &values[..] {
                [Value::Int(outcome), head, Value::Int(now), Value::Int(overflowed)] => {
                    self.metrics.overflows.inc_by(overflowed.cast_unsigned());
                    Answer { outcome: *outcome, head: Head::read(head), now: now.cast_unsigned() }
                }
                _ => return Err(senseless("a script's answer has an unknown form")),
            },
            _ => return Err(senseless("a script's answer has an unknown form")),
        };
        self.memory(part).note(answer.head.as_ref(), answer.now);
        Ok(answer)
    }

    /// Sends commands, in one pipeline, to whoever has a part. The first must name a key of the part: by it one is sent on,
    /// with all of them.
    pub(crate) async fn ask<const N: usize>(
        self: &Arc<Self>,
        part: u16,
        deadline: Instant,
        commands: impl Fn() -> [Cmd; N] + Send + Sync,
    ) -> Result<[Value; N], CacheError> {
        let mut node = self.owner(part, deadline).await?;
        let mut asking = false;
        for _ in 0..=REDIRECTIONS {
            let mut pipeline = Pipeline::with_capacity(N * 2);
            for command in commands() {
                if asking {
                    pipeline.cmd("ASKING");
                }
                pipeline.add_command(command);
            }
            let sent = self.send(node, deadline, &pipeline).await.inspect_err(|_| self.look_around())?;
            let sent: Vec<Value> = if asking { sent.into_iter().skip(1).step_by(2).collect() } else { sent };
            let values: [Value; N] = sent.try_into().map_err(|_| senseless("there are fewer answers than commands"))?;
            let Some(Value::ServerError(error)) = values.first() else { return Ok(values) };
            match (error.kind(), error.details().and_then(|details| details.split_whitespace().nth(1))) {
                (Some(ServerErrorKind::Moved), Some(address)) => {
                    node = self.nodes.at(address, node).ok_or_else(|| refused(error))?;
                    self.nodes.moved(part, node);
                    asking = false;
                    self.look_around();
                }
                (Some(ServerErrorKind::Ask), Some(address)) => {
                    node = self.nodes.at(address, node).ok_or_else(|| refused(error))?;
                    asking = true;
                }
                (Some(ServerErrorKind::ClusterDown | ServerErrorKind::MasterDown), _) => {
                    self.look_around();
                    return Ok(values);
                }
                _ => return Ok(values),
            }
        }
        Err(senseless("the servers send from one to another"))
    }

    async fn owner(self: &Arc<Self>, part: u16, deadline: Instant) -> Result<usize, CacheError> {
        if let Some(node) = self.nodes.owner(part) {
            return Ok(node);
        }
        self.look_around();
        timeout_at(deadline, self.nodes.first_look()).await.map_err(|_| CacheError::TimedOut)?;
        self.nodes.owner(part).ok_or_else(|| CacheError::Unavailable(Senseless("no node is known to have this part").into()))
    }

    /// Has the cluster looked at, in the background.
    fn look_around(self: &Arc<Self>) {
        struct Look(Arc<Client>);
        impl Drop for Look {
            fn drop(&mut self) {
                self.0.nodes.end_look();
            }
        }
        if self.nodes.may_look() {
            let look = Look(Arc::clone(self));
            tokio::spawn(async move { look.0.masters().await });
        }
    }

    /// The masters, of whom the parts' are remembered; empty if no node tells.
    pub(crate) async fn masters(&self) -> Vec<usize> {
        if !self.nodes.clustered() {
            return vec![0];
        }
        let count = self.nodes.count();
        let first = usize::from(crate::random_byte()) % count;
        for node in (0..count).map(|number| (first + number) % count) {
            let mut question = Pipeline::new();
            question.cmd("CLUSTER").arg("SLOTS");
            let Ok(answers) = self.send(node, Instant::now() + LOOK_TIMEOUT, &question).await else { continue };
            let masters = answers.first().and_then(|slots| self.nodes.learn(slots, node, |part| self.names.slot(part)));
            if let Some(masters) = masters {
                return masters;
            }
        }
        Vec::new()
    }

    /// A connection that doesn't answer in time is not believed further.
    pub(crate) async fn send(&self, node: usize, deadline: Instant, pipeline: &Pipeline) -> Result<Vec<Value>, CacheError> {
        let slot = self.lanes.here().slot(node);
        let dial = || {
            let (dialler, address) = (self.dialler.clone(), self.nodes.clustered().then(|| self.nodes.address(node)));
            async move {
                match address {
                    Some(address) => dialler.node(address).await,
                    None => dialler.server().await,
                }
            }
        };
        let mut live = timeout_at(deadline, slot.connection(dial)).await.map_err(|_| CacheError::TimedOut)??;
        match timeout_at(deadline, live.connection.send_packed_commands(pipeline, 0, pipeline.len())).await {
            Err(_) => {
                slot.broken(live.generation, None);
                Err(CacheError::TimedOut)
            }
            Ok(Err(error)) => {
                slot.broken(live.generation, Some(error.clone()));
                Err(CacheError::Unavailable(error.into()))
            }
            Ok(Ok(values)) => {
                // It was the master once.
                if let Some(Value::ServerError(error)) = values.first()
                    && error.kind() == Some(ServerErrorKind::ReadOnly)
                {
                    slot.broken(live.generation, Some(error.clone().into()));
                }
                Ok(values)
            }
        }
    }
}

pub(crate) fn micros(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn kind(value: &Value) -> Option<ServerErrorKind> {
    match value {
        Value::ServerError(error) => error.kind(),
        _ => None,
    }
}

/// Something of another type lies under the key.
pub(crate) fn is_of_another_type(value: &Value) -> bool {
    matches!(value, Value::ServerError(error) if error.code() == "WRONGTYPE")
}

pub(crate) fn refused(error: &ServerError) -> CacheError {
    CacheError::Refused(RedisError::from(error.clone()).into())
}

pub(crate) fn senseless(what: &'static str) -> CacheError {
    CacheError::Refused(Senseless(what).into())
}
