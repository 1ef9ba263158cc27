//! Live sources that answer in a fixed time; actix + reqwest with four joined calls and a merge; actix + moka.

use std::time::Duration;

use actix_web::{
    rt::time::sleep,
    web::{self, Bytes, Data, Path, ServiceConfig},
};
use anyhow::Result;
use futures_util::future::try_join_all;
use moka::sync::Cache;
use reqwest::Client;
use serde_json::{Map, Value, json};

use super::{Answer, failed, json as ready_json};
use crate::sample;

/// The one that is believed most comes first.
pub(crate) const SOURCES: [&str; 4] = ["a", "b", "c", "d"];

pub(super) fn sources(config: &mut ServiceConfig) {
    config.route("/{source}/{micros}/{id}", web::get().to(say));
}

async fn say(asked: Path<(String, u64, String)>) -> Answer {
    let (source, micros, id) = asked.into_inner();
    if micros > 0 {
        sleep(Duration::from_micros(micros)).await;
    }
    let says = json!({"id": id, "name": source, source.as_str(): 1});
    Ok(ready_json(says.to_string()))
}

/// Where the sources are, for which they are asked.
#[derive(Clone)]
pub(super) struct Joined {
    client: Client,
    address: String,
}

impl Joined {
    pub(super) fn new(address: &str) -> Result<Self> {
        Ok(Self { client: Client::builder().tcp_nodelay(true).build()?, address: address.to_owned() })
    }
}

pub(super) fn joined(config: &mut ServiceConfig, joined: &Joined) {
    config.app_data(Data::new(joined.clone())).route("/profile/{id}", web::get().to(join));
}

async fn join(joined: Data<Joined>, id: Path<String>) -> Answer {
    let calls = SOURCES.iter().map(|source| {
        let call = joined.client.get(format!("http://{}/{source}/0/{id}", joined.address)).send();
        async move { call.await?.json::<Map<String, Value>>().await }
    });
    let mut merged = Map::new();
    for fields in try_join_all(calls).await.map_err(failed)? {
        for (field, value) in fields {
            merged.entry(field).or_insert(value);
        }
    }
    Ok(ready_json(serde_json::to_vec(&merged).map_err(failed)?))
}

/// The answers for profiles `0..count`.
pub(super) fn kept(count: u64) -> Cache<String, Bytes> {
    let cache = Cache::new(count * 2);
    for number in 0..count {
        let id = sample::reference(number).to_string();
        let merged = json!({"id": id, "name": "a", "a": 1, "b": 1, "c": 1, "d": 1});
        cache.insert(id, Bytes::from(merged.to_string()));
    }
    cache
}

pub(super) fn cached(config: &mut ServiceConfig, kept: &Cache<String, Bytes>) {
    config.app_data(Data::new(kept.clone())).route("/profile/{id}", web::get().to(read));
}

async fn read(kept: Data<Cache<String, Bytes>>, id: Path<String>) -> Answer {
    kept.get(&*id).map(ready_json).ok_or_else(|| failed("not there"))
}
