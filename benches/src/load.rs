//! The load. Both sides of a comparison get the same, from the same machine.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::try_join_all;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
};

use crate::{http::Framing, machine, processes::Server, sample};

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
    /// What a right body begins with.
    pub(crate) begins: &'static str,
}

impl<'a> Load<'a> {
    /// Requests that are answered by a profile.
    pub(crate) fn of(server: Server, next: &'a Next<'a>) -> Self {
        Self { server, next, status: 200, least_body: 300, begins: "{" }
    }

    /// GETs that are answered from a cache.
    pub(crate) fn of_hits(server: Server, next: &'a Next<'a>) -> Self {
        Self { begins: HIT, ..Self::of(server, next) }
    }

    /// Requests that make a profile.
    pub(crate) fn of_creations(server: Server, next: &'a Next<'a>) -> Self {
        Self { status: 201, ..Self::of(server, next) }
    }
}

/// What the service's answer from a cache begins with.
pub(crate) const HIT: &str = r#"{"source":"cache","#;

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
        let framing = exchange(&mut stream, &request, &mut answer).await?;
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

async fn exchange(stream: &mut TcpStream, request: &[u8], answer: &mut Vec<u8>) -> Result<Framing> {
    stream.write_all(request).await?;
    answer.clear();
    loop {
        if stream.read_buf(answer).await? == 0 {
            bail!("the connection was closed before the answer ended");
        }
        if let Some(framing) = Framing::of(answer)?
            && answer.len() >= framing.length()
        {
            return Ok(framing);
        }
    }
}

impl Load<'_> {
    /// Errors can't look fast.
    fn check(&self, framing: Framing, answer: &[u8]) -> Result<()> {
        let is_right = framing.status == self.status
            && framing.body >= self.least_body
            && answer[framing.head..].starts_with(self.begins.as_bytes());
        if !is_right {
            let said = String::from_utf8_lossy(&answer[framing.head..framing.length().min(framing.head + 400)]);
            bail!("{} ({} bytes) instead of {}: {said}", framing.status, framing.body, self.status);
        }
        Ok(())
    }
}

/// Open loop: `rate` requests a second are due at even distances, on [`CONNECTIONS`] connections by turns, however slowly they
/// are answered. Gives the latencies in the order of size, each counted from when the request was due.
///
/// A thread tells what is due, because the timers of a runtime are too coarse; it looks as often as [`gather`] lets pass.
pub(crate) fn open(load: &Load<'_>, rate: f64, span: Span) -> Result<Vec<Duration>> {
    let distance = Duration::from_secs_f64(1.0 / rate);
    let start = Instant::now() + Duration::from_millis(100);
    let begin = start + span.warm_up;
    let end = begin + span.measured;
    let (connections, queues): (Vec<_>, Vec<_>) = (0..CONNECTIONS).map(|_| mpsc::unbounded_channel()).unzip();
    let pacer = thread::spawn(move || pace(&connections, start, end, distance));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().on_thread_park(gather).build()?;
    let answered = runtime.block_on(try_join_all(queues.into_iter().map(|queue| keep_to(load, queue))))?;
    pacer.join().map_err(|_| anyhow!("what tells the time panicked"))?;
    let measured = answered.into_iter().flatten().filter(|(due, _)| *due >= begin);
    let mut latencies: Vec<Duration> = measured.map(|(_, latency)| latency).collect();
    latencies.sort_unstable();
    if latencies.is_empty() {
        bail!("no request was due within {:?}", span.measured);
    }
    Ok(latencies)
}

/// Tells the connections by turns that a request is due.
fn pace(connections: &[mpsc::UnboundedSender<Instant>], start: Instant, end: Instant, distance: Duration) {
    let mut turns = connections.iter().cycle();
    let mut due = start;
    while due < end {
        while due <= Instant::now() {
            let told = turns.next().is_some_and(|connection| connection.send(due).is_ok());
            if !told || due >= end {
                return;
            }
            due += distance;
        }
        gather();
    }
}

async fn keep_to(load: &Load<'_>, mut queue: mpsc::UnboundedReceiver<Instant>) -> Result<Vec<(Instant, Duration)>> {
    let mut stream = TcpStream::connect(load.server.address).await.context("can't connect")?;
    stream.set_nodelay(true)?;
    let (mut request, mut answer) = (Vec::with_capacity(2048), Vec::with_capacity(64 * 1024));
    let mut answered = Vec::new();
    while let Some(due) = queue.recv().await {
        request.clear();
        (load.next)(&mut request);
        let framing = exchange(&mut stream, &request, &mut answer).await?;
        load.check(framing, &answer)?;
        answered.push((due, due.elapsed()));
    }
    Ok(answered)
}
