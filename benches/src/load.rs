//! The load. Both sides of a comparison get the same, from the same machine.

use std::{
    cell::Cell,
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    http::{Blocking, Framing},
    machine,
    processes::Server,
    sample,
};

/// Connections, each with one request at a time.
pub(crate) const CONNECTIONS: usize = 64;

/// Appends the next request.
pub(crate) type Next<'a> = dyn Fn(&mut Vec<u8>) + 'a;

/// What is sent, and what must come back.
pub(crate) struct Load<'a> {
    pub(crate) server: Server,
    pub(crate) next: &'a Next<'a>,
    pub(crate) status: u16,
    /// The shortest body that can be right.
    pub(crate) least_body: usize,
}

/// How long.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// Requests from a list, in a scattered order that is the same every time.
pub(crate) fn scattered(requests: &[Vec<u8>]) -> impl Fn(&mut Vec<u8>) {
    let turn = Cell::new(0_u64);
    move |out| {
        turn.set(turn.get() + 1);
        let index = sample::mix(turn.get()) % requests.len() as u64;
        out.extend_from_slice(&requests[usize::try_from(index).unwrap_or_default()]);
    }
}

/// Closed loop: every connection sends its next request once the last was answered. Gives answers per second.
pub(crate) fn closed(load: &Load<'_>, span: Span) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(gather).build()?;
    runtime.block_on(async {
        let begin = Instant::now() + span.warm_up;
        let end = begin + span.measured;
        let counted = Cell::new(0_u32);
        let all = Cell::new(0_u32);
        let before = machine::processor_time(load.server.process);
        try_join_all((0..CONNECTIONS).map(|_| keep_asking(load, begin, end, &counted, &all))).await?;
        let used = machine::processor_time(load.server.process).since(before, all.get());
        if counted.get() == 0 {
            bail!("no answer within {:?}", span.measured);
        }
        let rate = f64::from(counted.get()) / span.measured.as_secs_f64();
        eprintln!("    {rate:>9.0}/s; processor time for each: {used}");
        Ok(rate)
    })
}

/// Lets answers gather before the next are looked for. A sender that woke up for each would take the processor from the server
/// as often, as no client on another machine could.
fn gather() {
    thread::sleep(Duration::from_micros(100));
}

async fn keep_asking(load: &Load<'_>, begin: Instant, end: Instant, counted: &Cell<u32>, all: &Cell<u32>) -> Result<()> {
    let mut stream = TcpStream::connect(load.server.address).await.context("can't connect")?;
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(2048);
    let mut answer = Vec::with_capacity(64 * 1024);
    loop {
        request.clear();
        (load.next)(&mut request);
        stream.write_all(&request).await?;
        answer.clear();
        let framing = loop {
            if stream.read_buf(&mut answer).await? == 0 {
                bail!("the connection was closed before the answer ended");
            }
            if let Some(framing) = Framing::of(&answer)?
                && answer.len() >= framing.length()
            {
                break framing;
            }
        };
        load.check(framing, &answer)?;
        all.set(all.get() + 1);
        let now = Instant::now();
        if now >= end {
            return Ok(());
        }
        if now >= begin {
            counted.set(counted.get() + 1);
        }
    }
}

impl Load<'_> {
    /// Errors can't look fast.
    fn check(&self, framing: Framing, answer: &[u8]) -> Result<()> {
        if framing.status != self.status || framing.body < self.least_body {
            let said = String::from_utf8_lossy(&answer[framing.head..framing.length().min(framing.head + 400)]);
            bail!("{} ({} bytes) instead of {}: {said}", framing.status, framing.body, self.status);
        }
        Ok(())
    }
}

/// Open loop: `rate` requests a second are due at even distances, on [`CONNECTIONS`] connections by turns, however slowly they
/// are answered. Gives the latencies in the order of size, each counted from when the request was due.
///
/// Each connection has a thread that sleeps and blocks: the timers of a runtime are too coarse.
pub(crate) fn open(load: &Load<'_>, rate: f64, span: Span) -> Result<Vec<Duration>> {
    let distance = Duration::from_secs_f64(1.0 / rate);
    let start = Instant::now() + Duration::from_millis(100);
    let begin = start + span.warm_up;
    let end = begin + span.measured;
    let mut latencies = Vec::new();
    let senders: Vec<_> = plan(load, distance, start, end)
        .into_iter()
        .map(|plan| {
            let (address, status) = (load.server.address, load.status);
            thread::spawn(move || keep_to(address, status, plan))
        })
        .collect();
    for sender in senders {
        let answered = sender.join().map_err(|_| anyhow!("a sender panicked"))??;
        latencies.extend(answered.into_iter().filter(|(due, _)| *due >= begin).map(|(_, latency)| latency));
    }
    latencies.sort_unstable();
    if latencies.is_empty() {
        bail!("no request was due within {:?}", span.measured);
    }
    Ok(latencies)
}

/// What each connection has to send when.
fn plan(load: &Load<'_>, distance: Duration, start: Instant, end: Instant) -> Vec<Vec<(Instant, Vec<u8>)>> {
    let mut plans = vec![Vec::new(); CONNECTIONS];
    let (mut due, mut turn) = (start, 0);
    while due < end {
        let mut request = Vec::new();
        (load.next)(&mut request);
        plans[turn % CONNECTIONS].push((due, request));
        due += distance;
        turn += 1;
    }
    plans
}

fn keep_to(address: SocketAddr, expected: u16, plan: Vec<(Instant, Vec<u8>)>) -> Result<Vec<(Instant, Duration)>> {
    let mut connection = Blocking::connect(address)?;
    let mut answered = Vec::with_capacity(plan.len());
    for (due, request) in plan {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let (status, body) = connection.exchange(&request)?;
        if status != expected || body.is_empty() {
            bail!("{status} instead of {expected}");
        }
        answered.push((due, due.elapsed()));
    }
    Ok(answered)
}
