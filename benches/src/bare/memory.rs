//! actix + moka: ready JSON from the memory of the process.

use actix_web::web::{self, Bytes, Data, Path, ServiceConfig};
use anyhow::Result;
use moka::sync::Cache;

use super::{Answer, failed, json, rows::Document};

pub(super) type Ready = Cache<String, Bytes>;

/// The answers for profiles `0..count`.
pub(super) fn filled(count: u64) -> Result<Ready> {
    // Twice as many: eviction begins before a cache of moka's is full.
    let cache = Cache::new(count * 2);
    for number in 0..count {
        let (document, rows) = Document::numbered(number)?;
        cache.insert(rows.reference.to_string(), Bytes::from(document.ready(&rows, "cache")));
    }
    Ok(cache)
}

pub(super) fn configure(config: &mut ServiceConfig, ready: &Ready) {
    config.app_data(Data::new(ready.clone())).route("/api/v1/profiles/{id}", web::get().to(read));
}

async fn read(ready: Data<Ready>, id: Path<String>) -> Answer {
    ready.get(&*id).map(json).ok_or_else(|| failed("not there"))
}
