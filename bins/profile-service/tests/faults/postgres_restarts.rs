//! PostgreSQL restarted under load, as operators and upgrades do it.

use std::time::{Duration, Instant};

use profile_port_contracts::scaled;

use crate::{
    borrowed, report,
    rows::Rows,
    support::{PrivatePostgres, Server, stores::idle_in_transaction},
    writers::{Load, Writer},
};

/// Generous: the figure is 5 s.
const WELL_WITHIN: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn restarts_cost_503s_and_nothing_acknowledged() {
    let postgres = PrivatePostgres::start().await;
    let server = Server::start(&borrowed(&postgres.variables())).await;
    let mut load = Load::begin(Writer::several(16), &server);
    let mut until_well = Vec::new();
    for round in 0..scaled(20) {
        load.acknowledges(100).await;
        postgres.stop(if round % 2 == 0 { "fast" } else { "immediate" }).await;
        load.fails().await;
        postgres.start_again().await;
        let back = Instant::now();
        // Well again: for a second nothing failed, and the writers got on.
        loop {
            load.acknowledges(16).await;
            let since = load.last_failure().map_or(back, |last| last.max(back));
            if since.elapsed() > Duration::from_secs(1) {
                until_well.push(since - back);
                break;
            }
            assert!(back.elapsed() < WELL_WITHIN, "requests still fail");
        }
    }
    let (unavailable, unknown) = load.failures();
    eprintln!("{unavailable} writes were refused, of {unknown} the outcome was unknown");
    for mut writer in load.end().await {
        writer.find_all_acknowledged(&server).await;
    }
    Rows::Postgres(postgres.url.clone()).are_whole().await;
    assert_eq!(idle_in_transaction(&postgres.url, "postgres").await, "0");
    report("from PostgreSQL's return to the last 503", &mut until_well);
}
