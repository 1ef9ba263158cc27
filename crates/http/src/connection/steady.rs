//! Connections whose peer doesn't read what it asked for.
//!
//! actix-http waits for such a peer without end. Here a write that the peer holds up fails in the end, which closes the
//! connection and drops whatever was being answered; what the system holds of it is dropped as well, instead of being kept for
//! a peer that may never read it. Reading is bounded where bodies are read, because only there it is known
//! that the peer is waited for.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use actix_web::rt::net::TcpStream;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::backlog::{Backlog, Place};
use crate::settings::Pace;

/// A connection that keeps to a pace, or fails.
pub(crate) struct Steady {
    stream: TcpStream,
    pace: Pace,
    backlog: Backlog,
    /// The size of what is being written, of which the memory is free once all of it is.
    held: usize,
    blocked: Option<Blocked>,
    /// Waited for the peer, in this window of time.
    waited: Duration,
    /// What it took in that window.
    bytes: u64,
}

/// The peer is waited for.
struct Blocked {
    since: Instant,
    /// Until when this is part of [`Steady::waited`].
    counted: Instant,
    until: Pin<Box<Sleep>>,
    place: Place,
}

impl Steady {
    pub(super) fn new(stream: TcpStream, pace: Pace, backlog: Backlog) -> Self {
        Self { stream, pace, backlog, held: 0, blocked: None, waited: Duration::ZERO, bytes: 0 }
    }

    fn wrote(&mut self, bytes: usize) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some(blocked) = self.blocked.take() {
            self.waited += blocked.counted.elapsed();
        }
        if self.keeps_pace() { Ok(bytes) } else { Err(self.give_up("the peer reads too slowly")) }
    }

    /// At the end of a window whether enough was taken in it, and the beginning of the next.
    fn keeps_pace(&mut self) -> bool {
        if self.waited < self.pace.window {
            return true;
        }
        let slow = self.pace.is_too_slow(self.bytes);
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        !slow
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let mut blocked = self.blocked.take().unwrap_or_else(|| self.block(context));
        if !blocked.place.is_kept(context.waker()) {
            return Poll::Ready(self.give_up("too many peers read too slowly, this one for longest"));
        }
        while blocked.until.as_mut().poll(context).is_ready() {
            let now = Instant::now();
            self.waited += now - blocked.counted;
            blocked.counted = now;
            let stalled = now - blocked.since;
            if stalled >= self.pace.stall || !self.keeps_pace() {
                return Poll::Ready(self.give_up("the peer reads too slowly"));
            }
            blocked.until.as_mut().reset(now + self.patience(stalled));
        }
        self.blocked = Some(blocked);
        Poll::Pending
    }

    fn block(&mut self, context: &Context<'_>) -> Blocked {
        if self.waited.is_zero() {
            // What went before there was anything to wait for says nothing of the peer: the system took it.
            self.bytes = 0;
        }
        let now = Instant::now();
        let until = Box::pin(sleep_until(now + self.patience(Duration::ZERO)));
        Blocked { since: now, counted: now, until, place: self.backlog.enter(self.held, context.waker()) }
    }

    /// How much longer the peer is waited for at most, until it is looked at again.
    fn patience(&self, stalled: Duration) -> Duration {
        self.pace.stall.saturating_sub(stalled).min(self.pace.window.saturating_sub(self.waited))
    }

    /// The connection will be reset, and not closed once the peer has read all.
    fn give_up(&self, why: &'static str) -> io::Error {
        // Where this isn't possible, the connection is closed as any other.
        let _ = self.stream.set_zero_linger();
        io::Error::new(io::ErrorKind::TimedOut, why)
    }

    fn poll_with(
        &mut self,
        context: &mut Context<'_>,
        bytes: usize,
        write: impl FnOnce(Pin<&mut TcpStream>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        self.held = self.held.max(bytes);
        match write(Pin::new(&mut self.stream), context) {
            Poll::Ready(Ok(written)) => {
                if written == bytes {
                    self.held = 0;
                }
                Poll::Ready(self.wrote(written))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait(context).map(Err),
        }
    }
}

impl AsyncRead for Steady {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Steady {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(context, bytes.len(), |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let bytes = slices.iter().map(|slice| slice.len()).sum();
        self.poll_with(context, bytes, |stream, context| stream.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
