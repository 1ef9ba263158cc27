//! One request at a time.
//!
//! actix-http reads ahead while it answers: it decodes as many requests as 128 KiB hold, some kilobytes of memory for each, and
//! once that is full it turns in a busy loop until the answer has been read. It times the first head of a connection and no
//! other. Here it is given the next request when the one before has been answered, and each head within its time and size.

use std::{
    cell::{Cell, RefCell},
    io, mem,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, Waker, ready},
};

use actix_web::{
    body::{BodySize, BoxBody, MessageBody},
    dev::ServiceResponse,
};
use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use super::{
    Limits,
    framing::{Framing, Read},
};

/// A connection of which one request after the other is read.
pub(crate) struct InTurn<S> {
    stream: S,
    limits: Limits,
    framing: Framing,
    /// Requests that were read to their end.
    read: u64,
    turns: Turns,
    /// Read from the peer and not given on yet.
    ahead: BytesMut,
    /// What ends a head that was too large, instead of what was read.
    overflow: Option<BytesMut>,
    /// Until when the head that has begun must have ended.
    head_timer: Option<Pin<Box<Sleep>>>,
}

/// How many requests of a connection have been answered.
#[derive(Clone, Default)]
pub(crate) struct Turns(Rc<Answered>);

#[derive(Default)]
struct Answered {
    count: Cell<u64>,
    /// Who waits for the next answer.
    waiting: RefCell<Option<Waker>>,
}

/// Counts an answer once it has been handed over in full, or can't be.
pub(crate) fn answered(answer: ServiceResponse<BoxBody>) -> ServiceResponse<BoxBody> {
    match answer.request().conn_data::<Turns>().cloned() {
        Some(turns) => answer.map_body(|_, body| BoxBody::new(Answer { body, turns })),
        None => answer,
    }
}

struct Answer {
    body: BoxBody,
    turns: Turns,
}

impl MessageBody for Answer {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let Answered { count, waiting } = &*self.turns.0;
        count.set(count.get() + 1);
        if let Some(waker) = waiting.take() {
            waker.wake();
        }
    }
}

impl<S> InTurn<S> {
    pub(super) fn new(stream: S, limits: Limits) -> Self {
        Self {
            stream,
            limits,
            framing: Framing::new(limits.max_head_bytes),
            read: 0,
            turns: Turns::default(),
            ahead: BytesMut::new(),
            overflow: None,
            head_timer: None,
        }
    }

    /// For the requests of this connection, which carry it to [`answered`].
    pub(crate) fn turns(&self) -> Turns {
        self.turns.clone()
    }

    /// How many of the bytes that were read are of the request whose turn it is.
    fn mine(&mut self, bytes: &mut [u8]) -> usize {
        let read = self.framing.read(bytes);
        if !self.framing.is_within_head() {
            self.head_timer = None;
        }
        match read {
            Read::Within => bytes.len(),
            Read::Ended(end) => {
                self.read += 1;
                end
            }
            Read::TooLarge(end) => {
                self.overflow = Some(too_many_headers(self.framing.is_within_request_line()));
                self.framing.end();
                end
            }
        }
    }

    /// The peer is waited for.
    fn wait(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.framing.is_within_head() {
            return Poll::Pending;
        }
        let patience = self.limits.head_timeout;
        let timer = self.head_timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + patience)));
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request came too slowly")))
    }
}

/// The rest of a head that was too large: actix-http answers 431 to more than 96 headers.
fn too_many_headers(within_request_line: bool) -> BytesMut {
    let line = if within_request_line { &b" HTTP/1.1\r\n"[..] } else { &[] };
    BytesMut::from(&*[line, &b"a:\r\n".repeat(97)].concat())
}

impl<S: AsyncRead + Unpin> InTurn<S> {
    /// Notices the end of the connection while a request is being answered; what else comes waits.
    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.ahead.is_empty() {
            let mut byte = [0];
            let mut ahead = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut self.stream).poll_read(context, &mut ahead))?;
            if ahead.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.ahead.extend_from_slice(ahead.filled());
        }
        *self.turns.0.waiting.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for InTurn<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.read > this.turns.0.count.get() {
            return this.poll_ahead(context);
        }
        if this.ahead.is_empty() {
            let before = buffer.filled().len();
            match Pin::new(&mut this.stream).poll_read(context, buffer) {
                Poll::Pending => return this.wait(context),
                Poll::Ready(read) => read?,
            }
            let fresh = &mut buffer.filled_mut()[before..];
            let mine = this.mine(fresh);
            this.ahead.extend_from_slice(&fresh[mine..]);
            buffer.set_filled(before + mine);
        } else {
            let mut ahead = mem::take(&mut this.ahead);
            let bytes = ahead.len().min(buffer.remaining());
            let mine = this.mine(&mut ahead[..bytes]);
            buffer.put_slice(&ahead[..mine]);
            ahead.advance(mine);
            this.ahead = ahead;
        }
        if let Some(rest) = this.overflow.take() {
            this.ahead = rest;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for InTurn<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
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
