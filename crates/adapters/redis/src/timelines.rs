//! Timelines: one number for each database, which only rises. It lies beside the first part, without an end to its life, and
//! goes where a server without it, or an old dump, takes the place of the one that knew it.

use async_trait::async_trait;
use profile_ports::{CacheError, Timelines};
use redis::Value;

use crate::{
    RedisCache,
    client::{refused, senseless},
};

/// Texts of numbers are compared as numbers: Lua's hold a timeline exactly.
const RAISE: &str = "
    local known = tonumber(redis.call('GET', KEYS[1]) or '0') or 0
    local seen = tonumber(ARGV[1])
    if seen > known then
        redis.call('SET', KEYS[1], ARGV[1])
        return seen
    end
    return known";

#[async_trait]
impl Timelines for RedisCache {
    async fn seen(&self, servers: u64, timeline: u32) -> Result<u32, CacheError> {
        let key = format!("{}:timeline:{servers}", self.client.names.part(0));
        let raise = || {
            let mut command = redis::cmd("EVAL");
            command.arg(RAISE).arg(1).arg(&key).arg(timeline);
            [command]
        };
        let [known] = self.client.ask(0, self.client.deadline(), raise).await?;
        match known {
            Value::Int(known) => u32::try_from(known).map_err(|_| senseless("a timeline is no number")),
            Value::ServerError(error) => Err(refused(&error)),
            _ => Err(senseless("a timeline is no number")),
        }
    }
}
