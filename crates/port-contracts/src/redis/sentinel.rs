//! A master, a replica, and sentinels.

use std::fs;

use super::{RedisServer, free_port, process};

/// One sentinel is enough to decide: it is the client that is under test.
pub struct RedisSentinel {
    /// First the master, then the replica; after a failover the other way round.
    pub servers: Vec<RedisServer>,
    /// Who watches them.
    pub sentinel: RedisServer,
}

impl RedisSentinel {
    /// The master's name.
    pub const MASTER: &str = "cache";

    /// Starts them, and waits until the sentinel knows the replica.
    pub async fn start() -> Self {
        let master = RedisServer::start().await;
        let port = master.port.to_string();
        let replica =
            RedisServer::start_with(&["--replicaof", &format!("127.0.0.1 {port}"), "--repl-diskless-sync-delay", "0"]).await;
        replica.until(&["INFO", "replication"], |info| info.contains("master_link_status:up")).await;
        let sentinel = sentinel(&port).await;
        sentinel.until(&["SENTINEL", "REPLICAS", Self::MASTER], |replicas| replicas.contains(&replica.port.to_string())).await;
        Self { servers: vec![master, replica], sentinel }
    }

    /// Waits until the sentinel names the server at this index as the master, and it is one.
    pub async fn until_master(&self, index: usize) {
        let port = self.servers[index].port.to_string();
        self.sentinel.until(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", Self::MASTER], |address| address.ends_with(&port)).await;
        self.servers[index].until(&["ROLE"], |role| role.starts_with("master")).await;
    }
}

async fn sentinel(master: &str) -> RedisServer {
    for _ in 0..20 {
        let port = free_port().await;
        let folder = process::fresh_folder("redis", port);
        let file = folder.join("sentinel.conf");
        let name = RedisSentinel::MASTER;
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor {name} 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds {name} 4000\nsentinel failover-timeout {name} 10000\n",
            folder = folder.display()
        );
        fs::write(&file, text).expect("a configuration is written");
        let arguments = vec![file.display().to_string(), "--sentinel".to_owned()];
        let mut sentinel = RedisServer { port, folder, arguments, password: None, process: None };
        if sentinel.launch().await {
            return sentinel;
        }
    }
    panic!("no sentinel starts")
}
