//! A cluster of three masters, each with a replica.

use super::{RedisServer, free_port};

const MASTERS: usize = 3;
const SLOTS: usize = 16_384;

/// Three masters and their replicas.
pub struct RedisCluster {
    /// First the three masters, then their replicas in the same order.
    pub nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts them, and waits until all agree that the cluster works and every replica has what its master has.
    pub async fn start() -> Self {
        let mut nodes = Vec::new();
        for _ in 0..MASTERS * 2 {
            let bus = free_port().await.to_string();
            let arguments = [
                "--cluster-enabled",
                "yes",
                "--cluster-port",
                &bus,
                "--cluster-node-timeout",
                "1500",
                "--cluster-require-full-coverage",
                "no",
                "--repl-diskless-sync-delay",
                "0",
            ];
            nodes.push((RedisServer::start_with(&arguments).await, bus));
        }
        let first = (nodes[0].0.port.to_string(), nodes[0].1.clone());
        for (number, (node, _)) in nodes.iter().enumerate() {
            node.tell(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]).await;
            if number > 0 {
                node.tell(&["CLUSTER", "MEET", "127.0.0.1", &first.0, &first.1]).await;
            }
        }
        let cluster = Self { nodes: nodes.into_iter().map(|(node, _)| node).collect() };
        let all = format!("cluster_known_nodes:{}", MASTERS * 2);
        for node in &cluster.nodes {
            node.until(&["CLUSTER", "INFO"], |info| info.contains(&all)).await;
        }
        for (number, node) in cluster.nodes[..MASTERS].iter().enumerate() {
            let (first, last) = (number * SLOTS / MASTERS, (number + 1) * SLOTS / MASTERS - 1);
            node.tell(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await;
        }
        for (number, replica) in cluster.nodes[MASTERS..].iter().enumerate() {
            let master = cluster.id(number).await;
            replica.until(&["CLUSTER", "REPLICATE", &master], |answer| answer == "OK").await;
        }
        for node in &cluster.nodes {
            node.until(&["CLUSTER", "INFO"], |info| info.contains("cluster_state:ok") && info.contains("slots_ok:16384")).await;
        }
        for replica in &cluster.nodes[MASTERS..] {
            replica.until(&["INFO", "replication"], |info| info.contains("master_link_status:up")).await;
        }
        // Its masters must know the replicas, or none takes over.
        for node in &cluster.nodes {
            node.until(&["CLUSTER", "NODES"], |nodes| nodes.lines().filter(|line| line.contains("slave")).count() == MASTERS)
                .await;
        }
        cluster
    }

    /// The id of a node.
    pub async fn id(&self, node: usize) -> String {
        self.nodes[node].tell(&["CLUSTER", "MYID"]).await
    }

    /// The index of the master that has a key, as the node at this index believes.
    pub async fn owner(&self, key: &str, asked: usize) -> usize {
        let slot: usize = self.nodes[asked].tell(&["CLUSTER", "KEYSLOT", key]).await.parse().expect("a slot");
        let nodes = self.nodes[asked].tell(&["CLUSTER", "NODES"]).await;
        let has = |range: &str| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            first.parse::<usize>().is_ok_and(|first| first <= slot) && last.parse::<usize>().is_ok_and(|last| slot <= last)
        };
        let owner = nodes.lines().find(|line| line.split(' ').skip(8).any(has)).expect("someone has every slot");
        self.nodes.iter().position(|node| owner.contains(&format!(":{}@", node.port))).expect("it is one of these")
    }

    /// Begins to move the slot of a key: from now on both nodes have a part of its keys.
    pub async fn begin_move(&self, key: &str, from: usize, to: usize) {
        let slot = self.nodes[from].tell(&["CLUSTER", "KEYSLOT", key]).await;
        let (source, target) = (self.id(from).await, self.id(to).await);
        self.nodes[to].tell(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &source]).await;
        self.nodes[from].tell(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &target]).await;
    }

    /// Moves one key.
    pub async fn move_key(&self, key: &str, from: usize, to: usize) {
        let port = self.nodes[to].port.to_string();
        self.nodes[from].tell(&["MIGRATE", "127.0.0.1", &port, key, "0", "5000"]).await;
    }

    /// Moves what is left, and says so to all.
    pub async fn end_move(&self, key: &str, from: usize, to: usize) {
        let slot = self.nodes[from].tell(&["CLUSTER", "KEYSLOT", key]).await;
        let target = self.id(to).await;
        loop {
            let keys = self.nodes[from].tell(&["CLUSTER", "GETKEYSINSLOT", &slot, "100"]).await;
            if keys.is_empty() {
                break;
            }
            for key in keys.lines() {
                self.move_key(key, from, to).await;
            }
        }
        for node in [to, from] {
            self.nodes[node].tell(&["CLUSTER", "SETSLOT", &slot, "NODE", &target]).await;
        }
    }
}
