//! Timelines: what an adapter must remember of them.

use futures_util::future::join_all;
use profile_ports::Timelines;

/// Whatever is said in whatever order, the newest is what is told; others' servers are nobody's concern.
///
/// # Panics
/// Where that isn't so.
pub async fn timelines_only_rise(timelines: &dyn Timelines, others: &dyn Timelines) {
    let seen = async |by: &dyn Timelines, servers, timeline| by.seen(servers, timeline).await.expect("it answers");
    assert_eq!(seen(timelines, 7, 0).await, 0, "nothing was seen");
    assert_eq!(seen(timelines, 7, 2).await, 2);
    assert_eq!(seen(others, 7, 1).await, 2, "another instance is told");
    assert_eq!(seen(timelines, u64::MAX, 1).await, 1, "these are other servers");
    let all: Vec<u32> = (3..40).collect();
    let told = join_all(all.iter().map(|timeline| seen(if timeline % 2 == 0 { timelines } else { others }, 7, *timeline))).await;
    assert!(told.iter().zip(&all).all(|(told, said)| told >= said), "{told:?}");
    assert_eq!(seen(others, 7, 0).await, 39);
    // More digits are more, whatever texts say.
    assert_eq!(
        (seen(timelines, 7, 100).await, seen(others, 7, u32::MAX).await, seen(timelines, 7, 9).await),
        (100, u32::MAX, u32::MAX)
    );
}
