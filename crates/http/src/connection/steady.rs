//! Connections whose peer doesn't read what it asked for.
//!
//! actix-http waits for such a peer without end. Here a write that the peer holds up fails in the end, which closes the
//! connection and drops whatever was being answered. Reading is bounded where bodies are read, because only there it is known
//! that the peer is waited for.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use crate::settings::Pace;

/// A connection that keeps to a pace, or fails.
pub(crate) struct Steady<S> {
    stream: S,
    pace: Pace,
    /// Since when the peer has been waited for, and until when it will be.
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
    /// Waited for the peer, in this window of time.
    waited: Duration,
    /// What it took in that window.
    bytes: u64,
}

impl<S> Steady<S> {
    pub(super) fn new(stream: S, pace: Pace) -> Self {
        Self { stream, pace, blocked: None, waited: Duration::ZERO, bytes: 0 }
    }

    fn wrote(&mut self, bytes: usize) -> io::Result<usize> {
        self.bytes = self.bytes.saturating_add(bytes as u64);
        if let Some((since, _)) = self.blocked.take() {
            self.waited += since.elapsed();
        }
        if self.waited >= self.pace.window {
            if self.pace.is_too_slow(self.bytes) {
                return Err(too_slow());
            }
            (self.waited, self.bytes) = (Duration::ZERO, 0);
        }
        Ok(bytes)
    }

    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let (_, timer) = self.blocked.get_or_insert_with(|| {
            let now = Instant::now();
            let patience = self.pace.stall.min(self.pace.window.saturating_sub(self.waited));
            (now, Box::pin(sleep_until(now + patience)))
        });
        timer.as_mut().poll(context).map(|()| too_slow())
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the peer reads too slowly")
}

impl<S: AsyncWrite + Unpin> Steady<S> {
    fn poll_with(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut S>, &mut Context<'_>) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match write(Pin::new(&mut self.stream), context) {
            Poll::Ready(Ok(bytes)) => Poll::Ready(self.wrote(bytes)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => self.wait(context).map(Err),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Steady<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Steady<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_with(context, |stream, context| stream.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_with(context, |stream, context| stream.poll_write_vectored(context, slices))
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
