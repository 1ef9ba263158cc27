//! Exports beside writers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde_json::Value;

use super::{export, import, people};
use crate::stores::{Backend, on_both_stores};

on_both_stores!(an_export_beside_writers_is_of_one_moment);

async fn an_export_beside_writers_is_of_one_moment(backend: Backend) {
    let server = Arc::new(backend.start().await);
    let pair = |count: u32| {
        let line = |end| format!("{{\"name\":\"{end}\",\"email\":\"{end}@example.com\",\"attributes\":{{\"count\":{count}}}}}\n");
        [line("first"), line("last")]
    };
    // One stands at the beginning of every export, the other at its end; one changeset always changes both.
    let [first, last] = pair(0);
    import(&server, "", format!("{first}{}{last}", people(0..5_000))).await;
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (server, stop) = (Arc::clone(&server), Arc::clone(&stop));
        async move {
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                count += 1;
                import(&server, "", pair(count).concat()).await;
            }
            count
        }
    });
    let mut seen = Vec::new();
    for _ in 0..10 {
        let lines = export(&server).await;
        assert_eq!(lines.lines().count(), 5_002);
        let counts: Vec<Value> = [lines.lines().next(), lines.lines().last()]
            .into_iter()
            .map(|line| serde_json::from_str::<Value>(line.expect("a line")).expect("JSON")["facts"]["count"][0]["value"].clone())
            .collect();
        assert_eq!(counts[0], counts[1]);
        seen.extend(counts[0].as_u64());
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.expect("it ends");
    assert!(seen.is_sorted() && written > 1, "{seen:?} of {written}");
}
