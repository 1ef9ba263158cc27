//! Where one request ends and the next begins (RFC 9112, sections 2.2, 6 and 7.1).
//!
//! This is no parser: it tells heads from bodies, takes no decision on what a head says, and copies nothing. Where actix-http
//! refuses a request or closes the connection after it, the end is not of interest and isn't looked for.

use std::mem;

/// A lone LF is turned into this, which may stand nowhere in a head: actix-http would take such a line, and what is before us
/// might not see it as one.
const SPOILED: u8 = 0;

/// How far a connection has been read.
#[derive(Debug)]
pub(super) struct Framing {
    state: State,
    max_head_bytes: usize,
}

#[derive(Debug)]
enum State {
    Head(Head),
    /// So many bytes of a body are to come.
    Body(u64),
    Chunked(Chunked),
    /// The connection ends with this request.
    Last,
}

/// What was seen of a head.
#[derive(Debug, Default)]
struct Head {
    bytes: usize,
    /// The beginning of a line of which the end is to come.
    line: Vec<u8>,
    /// Once the request line has ended.
    method: Option<Method>,
    upgrade: bool,
    chunked: bool,
    length: Option<u64>,
    refused: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum Method {
    Connect,
    Other,
}

/// In a chunked body.
#[derive(Debug)]
enum Chunked {
    Size(u64),
    /// After the size, up to the end of its line.
    Extension(u64),
    Data(u64),
    /// So many bytes of the line's end after the data.
    DataEnd(u8),
    /// In the lines after the last chunk: whether this one is empty so far, and whether the byte before was a CR.
    Trailer {
        empty: bool,
        cr: bool,
    },
}

/// What is to be done about bytes that were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// All of them are of one request.
    Within,
    /// A request ends after so many.
    Ended(usize),
    /// A head is too large after so many.
    TooLarge(usize),
}

impl Framing {
    pub(super) fn new(max_head_bytes: usize) -> Self {
        Self { state: State::Head(Head::default()), max_head_bytes }
    }

    /// Whether a head has begun and its end is to come.
    pub(super) fn is_within_head(&self) -> bool {
        matches!(&self.state, State::Head(head) if head.bytes > 0)
    }

    /// Whether not even the first line of a head has ended.
    pub(super) fn is_within_request_line(&self) -> bool {
        matches!(&self.state, State::Head(head) if head.method.is_none())
    }

    /// Gives up on the connection: what comes is of no interest.
    pub(super) fn end(&mut self) {
        self.state = State::Last;
    }

    /// Goes through the next bytes, up to the end of a request.
    pub(super) fn read(&mut self, bytes: &mut [u8]) -> Read {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &mut bytes[at..];
            let state = mem::replace(&mut self.state, State::Last);
            let (read, next) = match state {
                State::Head(head) => {
                    let (read, head) = head.line(rest);
                    match head {
                        Ok(head) if head.bytes > self.max_head_bytes => {
                            self.state = State::Head(head);
                            return Read::TooLarge(at + read);
                        }
                        Ok(head) => (read, Some(State::Head(head))),
                        Err(end) => (read, end.body()),
                    }
                }
                State::Body(left) => {
                    let read = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    let left = left - read as u64;
                    (read, (left > 0).then_some(State::Body(left)))
                }
                State::Chunked(chunked) => chunked.piece(rest),
                State::Last => (rest.len(), Some(State::Last)),
            };
            at += read;
            let Some(next) = next else {
                self.state = State::Head(Head::default());
                return Read::Ended(at);
            };
            self.state = next;
        }
        Read::Within
    }
}

/// A whole head.
struct Ended(Head);

impl Head {
    /// Goes on to the end of a line, or of the bytes.
    fn line(mut self, bytes: &mut [u8]) -> (usize, Result<Self, Ended>) {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            self.bytes += bytes.len();
            self.line.extend_from_slice(bytes);
            return (bytes.len(), Ok(self));
        };
        self.bytes += end + 1;
        let before = if end == 0 { self.line.last() } else { bytes.get(end - 1) };
        if before != Some(&b'\r') {
            bytes[end] = SPOILED;
            self.refused = true;
            return (end + 1, Err(Ended(self)));
        }
        let kept = mem::take(&mut self.line);
        let ended = if kept.is_empty() {
            self.take(&bytes[..end])
        } else {
            let whole = [&kept, &bytes[..end]].concat();
            self.take(&whole)
        };
        (end + 1, if ended { Err(Ended(self)) } else { Ok(self) })
    }

    /// A line with its CR; whether it ends the head.
    fn take(&mut self, line: &[u8]) -> bool {
        let line = &line[..line.len() - 1];
        if self.method.is_none() {
            // Empty lines before a request are passed over, as actix-http does.
            let method = if line.starts_with(b"CONNECT ") { Method::Connect } else { Method::Other };
            self.method = (!line.is_empty()).then_some(method);
            return false;
        }
        if line.is_empty() {
            return true;
        }
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            self.refused = true;
            return false;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
            self.refused |= length.is_none() || self.length.is_some();
            self.length = length;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.chunked = value.eq_ignore_ascii_case(b"chunked");
            self.refused |= !self.chunked;
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade |= value.eq_ignore_ascii_case(b"websocket");
        }
        false
    }
}

impl Ended {
    /// What follows; `None` if the request has no body. The order is actix-http's.
    fn body(self) -> Option<State> {
        let Self(head) = self;
        match head.length {
            _ if head.refused => Some(State::Last),
            _ if head.chunked => Some(State::Chunked(Chunked::Size(0))),
            _ if head.upgrade => Some(State::Last),
            Some(length) if length > 0 => Some(State::Body(length)),
            _ if head.method == Some(Method::Connect) => Some(State::Last),
            _ => None,
        }
    }
}

impl Chunked {
    /// Goes on by one byte, or by as much data as there is. What actix-http refuses need not be noticed.
    fn piece(self, bytes: &[u8]) -> (usize, Option<State>) {
        let byte = bytes[0];
        let next = match self {
            Self::Size(size) => match char::from(byte).to_digit(16) {
                Some(digit) => Self::Size(size.saturating_mul(16).saturating_add(digit.into())),
                None => Self::Extension(size),
            },
            Self::Extension(0) if byte == b'\n' => Self::Trailer { empty: true, cr: false },
            Self::Extension(size) if byte == b'\n' => Self::Data(size),
            Self::Extension(size) => Self::Extension(size),
            Self::Data(left) => {
                let read = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let left = left - read as u64;
                return (read, Some(State::Chunked(if left > 0 { Self::Data(left) } else { Self::DataEnd(2) })));
            }
            Self::DataEnd(2) => Self::DataEnd(1),
            Self::DataEnd(_) => Self::Size(0),
            Self::Trailer { empty: true, cr: true } if byte == b'\n' => return (1, None),
            Self::Trailer { cr: true, .. } if byte == b'\n' => Self::Trailer { empty: true, cr: false },
            Self::Trailer { empty, cr } => Self::Trailer { empty: empty && !cr && byte == b'\r', cr: byte == b'\r' },
        };
        (1, Some(State::Chunked(next)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests that are ended, each as long as it is in all.
    const REQUESTS: [&str; 12] = [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\ncontent-LENGTH:3\r\n\r\n\n\n\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \t003 \r\n\r\n{}\n",
        "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nTransfer-Encoding:  CHUNKED\r\n\r\n3\r\n\r\n0\r\n00A ;a=\"b\"\r\n0\r\n\r\n12345\r\n0;a\r\nX: y\r\n\r\n",
        "POST / HTTP/1.1\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n.\r\n0\r\n\r\n",
        "CONNECT x HTTP/1.1\r\nContent-Length: 1\r\n\r\n.",
        "GET / HTTP/1.1\r\nUpgrade: h2c\r\nX-Content-Length: 7\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.0\r\n\r\n",
    ];

    /// Where requests end, read in pieces of a size.
    fn ends(text: &str, size: usize) -> Vec<usize> {
        let mut framing = Framing::new(1 << 10);
        let mut ends = Vec::new();
        for (index, piece) in text.as_bytes().chunks(size).enumerate() {
            let mut at = 0;
            while at < piece.len() {
                at += match framing.read(&mut piece[at..].to_vec()) {
                    Read::Within => piece.len() - at,
                    Read::Ended(end) => {
                        ends.push(index * size + at + end);
                        end
                    }
                    Read::TooLarge(_) => panic!("{text}"),
                };
            }
        }
        ends
    }

    #[test]
    fn requests_end_where_they_end_however_they_are_cut() {
        let text = REQUESTS.concat();
        let expected: Vec<usize> = (1..=REQUESTS.len()).map(|count| REQUESTS[..count].concat().len()).collect();
        for size in 1..=text.len() {
            assert_eq!(ends(&text, size), expected, "in pieces of {size}");
        }
    }

    #[test]
    fn what_ends_its_connection_has_no_end() {
        for request in [
            "GET / HTTP/1.1\r\nUpgrade: WebSocket\r\n\r\n",
            "POST / HTTP/1.1\r\nUpgrade: websocket\r\nContent-Length: 1\r\n\r\n.",
            "CONNECT x HTTP/1.1\r\n\r\n",
            "CONNECT x HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n.",
            "POST / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
            "GET / HTTP/1.1\r\nno colon\r\n\r\n",
        ] {
            assert_eq!(ends(&format!("{request}{}", REQUESTS[0]), 7), Vec::<usize>::new(), "{request}");
        }
    }

    #[test]
    fn a_lone_lf_is_spoiled_in_heads_and_nowhere_else() {
        for request in
            ["\nGET / HTTP/1.1\r\n", "GET / HTTP/1.1\n", "GET / HTTP/1.1\r\nHost: x\n", "GET / HTTP/1.1\r\nHost: x\r\n\n"]
        {
            for size in 1..request.len() {
                let mut framing = Framing::new(1 << 10);
                let mut bytes = request.as_bytes().to_vec();
                for piece in bytes.chunks_mut(size) {
                    framing.read(piece);
                }
                let spoiled: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == SPOILED).collect();
                assert_eq!(spoiled.len(), 1, "{request:?} in pieces of {size}");
            }
        }
        let mut bytes = REQUESTS[2].as_bytes().to_vec();
        Framing::new(1 << 10).read(&mut bytes);
        assert_eq!(bytes, REQUESTS[2].as_bytes());
    }

    #[test]
    fn a_head_is_limited_and_a_body_is_not() {
        let whole = format!("POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n{}", ".".repeat(5000));
        assert_eq!(ends(&whole, 100), [whole.len()]);
        for head in ["\r\n".repeat(600), "G".repeat(1100), format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(200))] {
            let mut framing = Framing::new(1 << 10);
            let mut outcomes = head.as_bytes().chunks(100).map(|piece| framing.read(&mut piece.to_vec()));
            assert!(outcomes.any(|read| matches!(read, Read::TooLarge(_))), "{head}");
        }
    }
}
