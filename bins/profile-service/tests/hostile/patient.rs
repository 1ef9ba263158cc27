//! Slow, but not too slow: who takes enough is served to the end, however long it takes.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use crate::raw::{HURRY, connect, hurried, is_unharmed};

/// Many times the window over which the pace is taken, which is hurried.
const DURATION: Duration = Duration::from_secs(30 * 2 / HURRY as u64);
const REQUEST: &str = "GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_takes_enough_is_not_cut_off() {
    let server = hurried(&[]).await;
    let (mut reader, mut writer) = connect(server.address()).await.into_split();
    // More than is read of the answers, but not so much that the system keeps half a request until there is room for it.
    let asking = tokio::spawn(async move {
        while writer.write_all(REQUEST.as_bytes()).await.is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    });
    let (began, mut read) = (Instant::now(), 0);
    // At first what the system holds, which needs no service.
    while began.elapsed() < DURATION {
        let mut buffer = vec![0; 64 << 10];
        let bytes = reader.read(&mut buffer).await.expect("it is still served");
        assert!(bytes > 0, "closed after {read} bytes and {:.1?}", began.elapsed());
        read += bytes;
        sleep(Duration::from_millis(10)).await;
    }
    asking.abort();
    is_unharmed(&server).await;
}
