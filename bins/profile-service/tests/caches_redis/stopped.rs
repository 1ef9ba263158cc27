//! An instance is stopped or killed, in the middle of whatever it does for all: the others go on, and leave nothing out.

use std::sync::Arc;

use profile_port_contracts::scaled;

use crate::{
    checker::STALENESS,
    instances::{Pair, redis_address, start_on, until_redis_serves},
    load::Load,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_go_on() {
    let pair = Pair::start().await;
    let [first, second] = &pair.servers;
    let address = redis_address(&pair.redis);
    let mut load = Load::begin(&pair.servers).await;
    load.is_served_by_redis().await;
    for round in 0..scaled(60) {
        let mut third = start_on(pair.database.variables(), &[("REDIS_ADDRESS", &address)]).await;
        until_redis_serves(first, &third).await;
        if round % 2 == 0 {
            third.signal("KILL");
            third.ended().await;
        } else {
            third.signal("STOP");
        }
        // What it numbered or applied halfway is numbered and applied by others, or reads without a token miss it.
        load.lasts(STALENESS).await;
        until_redis_serves(first, second).await;
        load.goes_on(100, 10).await;
        if round % 2 == 1 {
            // It wakes in the past, and must not bring that back.
            third.signal("CONT");
            let third = Arc::new(third);
            load.speak_to(&[Arc::clone(first), Arc::clone(second), Arc::clone(&third)]);
            load.goes_on(200, 10).await;
            load.speak_to(&pair.servers);
            load.goes_on(100, 10).await;
        }
    }
    load.end().await;
}
