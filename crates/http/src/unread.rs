//! Chunked bodies that nobody reads to their end.
//!
//! actix-http discards the rest of a dropped chunked body for as long as the client cares to send it, with no limit of time or
//! size. While its reader lives, the connection is closed after the answer instead, as it is with `Content-Length`. So the
//! reader is kept until the answer is sent.

use std::{
    cell::RefCell,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use actix_web::{
    HttpMessage,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest},
    error::PayloadError,
};
use bytes::Bytes;
use futures_util::Stream;

/// The reader of a request's body, shared with whoever reads it.
#[derive(Clone)]
pub(crate) struct Unread(Rc<RefCell<Payload>>);

impl Unread {
    /// Of a request with a chunked body.
    pub(crate) fn of(request: &mut ServiceRequest) -> Option<Self> {
        if !request.chunked().unwrap_or(true) {
            return None;
        }
        let unread = Self(Rc::new(RefCell::new(request.take_payload())));
        request.set_payload(Payload::Stream { payload: Box::pin(unread.clone()) });
        Some(unread)
    }

    /// Lives as long as the answer's body.
    pub(crate) fn hold(self, body: BoxBody) -> BoxBody {
        BoxBody::new(Held { body, _unread: self })
    }
}

impl Stream for Unread {
    type Item = Result<Bytes, PayloadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_next(context)
    }
}

struct Held {
    body: BoxBody,
    _unread: Unread,
}

impl MessageBody for Held {
    type Error = <BoxBody as MessageBody>::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Pin::new(&mut self.body).poll_next(context)
    }
}
