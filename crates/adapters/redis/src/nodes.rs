//! Which server has which part.
//!
//! Redis' own client for clusters isn't used: it keeps to a node that no longer answers, and where keys move it sends the
//! commands of a pipeline to different nodes at different times, so that an entry might be read before the position that
//! vouches for it.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::{Mutex, RwLock};
use redis::Value;
use tokio::{sync::Notify, time::Instant};

use crate::settings::{Address, Mode, RedisSettings};

/// Between two looks at a cluster.
const PAUSE: Duration = Duration::from_millis(100);
const UNKNOWN: usize = usize::MAX;

pub(crate) struct Nodes {
    clustered: bool,
    /// A node is its index in this list, which never shrinks.
    addresses: RwLock<Vec<Address>>,
    /// Of each part, its node.
    owners: Box<[AtomicUsize]>,
    looking: Mutex<Looking>,
    looked: Notify,
}

#[derive(Default)]
struct Looking {
    underway: bool,
    not_before: Option<Instant>,
    times: u64,
}

impl Nodes {
    pub(crate) fn new(settings: &RedisSettings, parts: u16) -> Self {
        let clustered = settings.mode == Mode::Cluster;
        Self {
            clustered,
            addresses: RwLock::new(settings.addresses.clone()),
            // Elsewhere there is one server, whoever that is at a time.
            owners: (0..parts).map(|_| AtomicUsize::new(if clustered { UNKNOWN } else { 0 })).collect(),
            looking: Mutex::default(),
            looked: Notify::new(),
        }
    }

    pub(crate) fn clustered(&self) -> bool {
        self.clustered
    }

    pub(crate) fn owner(&self, part: u16) -> Option<usize> {
        let node = self.owners[usize::from(part)].load(Ordering::Relaxed);
        (node != UNKNOWN).then_some(node)
    }

    pub(crate) fn moved(&self, part: u16, node: usize) {
        self.owners[usize::from(part)].store(node, Ordering::Relaxed);
    }

    pub(crate) fn address(&self, node: usize) -> Address {
        self.addresses.read()[node].clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.addresses.read().len()
    }

    /// The node at an address as a server gives it: without a host, it is that server's own.
    pub(crate) fn at(&self, address: &str, told_by: usize) -> Option<usize> {
        let (host, port) = address.rsplit_once(':')?;
        let port = port.parse().ok()?;
        Some(self.node(host, port, told_by))
    }

    fn node(&self, host: &str, port: u16, told_by: usize) -> usize {
        let host = if host.is_empty() || host == "?" { self.address(told_by).host } else { host.to_owned() };
        let wanted = Address { host, port };
        let mut addresses = self.addresses.write();
        addresses.iter().position(|address| *address == wanted).unwrap_or_else(|| {
            addresses.push(wanted);
            addresses.len() - 1
        })
    }

    /// Whether someone should look at the cluster: nobody does, and the last look was a while ago.
    pub(crate) fn may_look(&self) -> bool {
        let mut looking = self.looking.lock();
        let may = self.clustered && !looking.underway && looking.not_before.is_none_or(|moment| Instant::now() >= moment);
        looking.underway |= may;
        may
    }

    pub(crate) fn end_look(&self) {
        let mut looking = self.looking.lock();
        *looking = Looking { underway: false, not_before: Some(Instant::now() + PAUSE), times: looking.times + 1 };
        drop(looking);
        self.looked.notify_waiters();
    }

    /// Waits for the end of the first look. Later ones are not waited for.
    pub(crate) async fn first_look(&self) {
        let looked = self.looked.notified();
        if self.looking.lock().times == 0 {
            looked.await;
        }
    }

    /// Takes the answer to `CLUSTER SLOTS`: the masters, of whom the parts' are remembered. `None` if it is no such answer.
    pub(crate) fn learn(&self, slots: &Value, told_by: usize, slot: impl Fn(u16) -> u16) -> Option<Vec<usize>> {
        let Value::Array(ranges) = slots else { return None };
        let mut masters = Vec::new();
        for range in ranges {
            let Value::Array(range) = range else { return None };
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else { return None };
            let [host, Value::Int(port), ..] = &master[..] else { return None };
            let host = match host {
                Value::BulkString(host) => std::str::from_utf8(host).ok()?,
                _ => "",
            };
            let node = self.node(host, u16::try_from(*port).ok()?, told_by);
            for part in 0..u16::try_from(self.owners.len()).ok()? {
                if (*first..=*last).contains(&slot(part).into()) {
                    self.moved(part, node);
                }
            }
            if !masters.contains(&node) {
                masters.push(node);
            }
        }
        (!masters.is_empty()).then_some(masters)
    }
}
