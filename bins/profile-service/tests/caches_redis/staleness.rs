//! Two instances while nothing fails: nothing is older than 2 s, and nothing older than a token.

use std::time::Duration;

use profile_port_contracts::scaled;

use crate::{instances::Pair, load::Load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_older_than_promised() {
    let pair = Pair::start().await;
    let mut load = Load::begin(&pair.servers).await;
    load.is_served_by_redis().await;
    load.lasts(Duration::from_secs(scaled(120).into())).await;
    load.end().await;
}
