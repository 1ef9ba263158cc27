//! `kill -9` under load, of the service and of PostgreSQL: what was acknowledged is there, and nothing is half.

use std::time::Instant;

use profile_port_contracts::scaled;

use crate::{
    borrowed, report,
    rows::Rows,
    support::{
        PrivatePostgres, Server,
        stores::{Backend, on_both_stores},
    },
    writers::{Load, Writer},
};

on_both_stores!(a_service_that_is_killed_keeps_what_it_acknowledged);

async fn a_service_that_is_killed_keeps_what_it_acknowledged(backend: Backend) {
    let rows = Rows::of(&backend);
    let mut server = backend.start().await;
    let mut writers = Writer::several(8);
    let mut until_ready = Vec::new();
    for round in 0..scaled(50) as usize {
        let mut load = Load::begin(writers, &server);
        load.acknowledges(40 + round * 37 % 120).await;
        server.signal("KILL");
        server.ended().await;
        writers = load.gone().await;
        rows.are_left_alone().await;
        let began = Instant::now();
        server.restart().await;
        until_ready.push(began.elapsed());
        for writer in &mut writers {
            writer.find_all_acknowledged(&server).await;
        }
        rows.are_whole().await;
    }
    report("from start to ready", &mut until_ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_that_is_killed_keeps_what_was_acknowledged() {
    let postgres = PrivatePostgres::start().await;
    let rows = Rows::Postgres(postgres.url.clone());
    let server = Server::start(&borrowed(&postgres.variables())).await;
    let mut writers = Writer::several(8);
    let mut until_ready = Vec::new();
    for round in 0..scaled(50) as usize {
        let mut load = Load::begin(writers, &server);
        load.acknowledges(40 + round * 37 % 120).await;
        postgres.kill().await;
        load.fails().await;
        postgres.start_again().await;
        let began = Instant::now();
        server.wait_for("/readyz", reqwest::StatusCode::OK).await;
        until_ready.push(began.elapsed());
        load.acknowledges(40).await;
        writers = load.end().await;
        for writer in &mut writers {
            writer.find_all_acknowledged(&server).await;
        }
        rows.are_whole().await;
    }
    report("from PostgreSQL's return to ready", &mut until_ready);
}
