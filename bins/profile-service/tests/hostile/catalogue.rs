//! What is sent: each request is refused, or its connection closed.

/// A request that must not succeed, and how it may be answered.
pub(crate) struct Hostile {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

const POST: &str = "POST /api/v1/profiles HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
const IMPORT: &str = "POST /api/v1/profiles/import HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\n";
const GET: &str = "GET /livez HTTP/1.1\r\n";

fn hostile(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Hostile {
    Hostile { name: name.into(), bytes: bytes.into() }
}

/// All of them; a word stands wherever a person's data could.
pub(crate) fn all(word: &str) -> Vec<Hostile> {
    [framing(word), heads(word), lines(word), chunks(word), bodies(word)].into_iter().flatten().collect()
}

fn body(word: &str) -> String {
    format!("{{\"name\":\"{word}\",\"email\":\"{word}@example.com\"}}")
}

/// Lengths and codings that contradict each other or themselves.
fn framing(word: &str) -> Vec<Hostile> {
    let body = body(word);
    let right = body.len().to_string();
    let mut all = Vec::new();
    for header in [
        format!("Content-Length: 5\r\nContent-Length: {right}"),
        format!("Content-Length: {right}\r\nContent-Length: {right}"),
        format!("Content-Length: {right}, {right}"),
        format!("Content-Length: {right}\r\nTransfer-Encoding: chunked"),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {right}"),
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked".into(),
        "Transfer-Encoding: gzip, chunked".into(),
        "Transfer-Encoding: chunked, identity".into(),
        "Transfer-Encoding: identity".into(),
        "Transfer-Encoding: xchunked".into(),
        format!("Transfer-Encoding: {word}"),
    ] {
        all.push(hostile(header.clone(), format!("{POST}{header}\r\n\r\n{body}")));
    }
    for length in ["+64", "-1", "0x40", "6 4", "", "1e2", "18446744073709551616", "18446744073709551615", "99999999999", word] {
        all.push(hostile(format!("length {length}"), format!("{POST}Content-Length: {length}\r\n\r\n{body}")));
    }
    all.push(hostile("chunked in 1.0", POST.replace("1.1", "1.0") + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"));
    all
}

/// Heads that are malformed or too large.
fn heads(word: &str) -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, lines) in [
        ("no host", String::new()),
        ("two hosts", "Host: a\r\nHost: b\r\n".into()),
        ("two equal hosts", "Host: a\r\nHost: a\r\n".into()),
        ("folded", format!("Host: x\r\nX-A: b\r\n {word}\r\n")),
        ("folded by a tab", format!("Host: x\r\nX-A: b\r\n\t{word}\r\n")),
        ("folded at once", " Host: x\r\n".into()),
        ("a space before the colon", "Host : x\r\n".into()),
        ("no colon", format!("Host: x\r\n{word}\r\n")),
        ("no name", format!("Host: x\r\n: {word}\r\n")),
        ("10,000 headers", format!("Host: x\r\n{}", format!("X-{word}: a\r\n").repeat(10_000))),
        ("100 headers", format!("Host: x\r\n{}", format!("X-{word}: a\r\n").repeat(100))),
        ("140 KB in a header", format!("Host: x\r\nX-A: {}\r\n", word.repeat(140_000 / word.len()))),
    ] {
        all.push(hostile(name, format!("{GET}{lines}\r\n")));
    }
    for line in [
        format!("GET /{} HTTP/1.1", word.repeat(140_000 / word.len())),
        format!("GET /{} HTTP/1.1", word.repeat(60_000 / word.len())),
        format!("GET  /{word} HTTP/1.1"),
        format!("GET /{word} HTTP/1.2"),
        format!("GET /{word} HTTP/3.0"),
        format!("GET /{word}"),
        format!("{} / HTTP/1.1", word.repeat(140_000 / word.len())),
        format!("{word}\"(),/ / HTTP/1.1"),
        "PRI * HTTP/2.0".into(),
    ] {
        let name = line.chars().take(40).collect::<String>();
        all.push(hostile(name, format!("{line}\r\nHost: x\r\n\r\n")));
    }
    all.push(hostile("bytes that are no text", [b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", word.as_bytes()].concat()));
    all.push(hostile("TLS", [&b"\x16\x03\x01\x00\xfa\x01\x00\x00\xf6\x03\x03"[..], word.as_bytes(), &[0; 100]].concat()));
    all.push(hostile("nothing but empty lines", "\r\n".repeat(100_000)));
    all
}

/// NUL, and CR or LF by itself, in every part of a head.
fn lines(word: &str) -> Vec<Hostile> {
    let mut all = Vec::new();
    for (name, odd) in [("NUL", "\0"), ("CR", "\r"), ("LF", "\n")] {
        for (place, head) in [
            ("before", format!("{odd}{GET}Host: x\r\n\r\n")),
            ("in the method", format!("G{odd}ET /{word} HTTP/1.1\r\nHost: x\r\n\r\n")),
            ("in the path", format!("GET /{word}{odd}{word} HTTP/1.1\r\nHost: x\r\n\r\n")),
            ("after the version", format!("GET /livez HTTP/1.1{odd}Host: x\r\n\r\n")),
            ("in a name", format!("{GET}Host: x\r\nX{odd}{word}: a\r\n\r\n")),
            ("in a value", format!("{GET}Host: x\r\nX: {word}{odd}{word}: a\r\n\r\n")),
            ("after a value", format!("{GET}Host: x{odd}X: {word}\r\n\r\n")),
            ("at the end", format!("{GET}Host: x\r\n{odd}")),
            ("for all line ends", format!("{GET}Host: x\r\n\r\n").replace("\r\n", odd)),
        ] {
            // A CR before another line end and a lone one at the end are not yet wrong: then the head just never ends.
            all.push(hostile(format!("{name} {place}"), head + "\r\n\r\n"));
        }
    }
    all
}

/// Chunks that are malformed or never end.
fn chunks(word: &str) -> Vec<Hostile> {
    let body = body(word);
    let size = format!("{:x}", body.len());
    let mut all = Vec::new();
    for chunks in [
        format!("{size}\n{body}\r\n0\r\n\r\n"),
        format!("{size};a\n{body}\r\n0\r\n\r\n"),
        format!("{size};a\rb\r\n{body}\r\n0\r\n\r\n"),
        format!("{size};\0\r\n{body}\r\n0\r\n\r\n"),
        format!("{size}\r\n{body}0\r\n\r\n"),
        format!("\r\n{body}\r\n0\r\n\r\n"),
        format!("-{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("+{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("0x{size}\r\n{body}\r\n0\r\n\r\n"),
        format!("fffffffffffffffff\r\n{body}"),
        format!("ffffffffffffffff\r\n{body}"),
        format!("{word}\r\n{body}"),
        format!("{size};{}", word.repeat(400_000 / word.len())),
        "0".repeat(400_000),
        format!("{size}\r\n{body}\r\n0\r\n{word}: "),
        format!("7\r\n\"{word:.6}\r\n").repeat(40_000),
    ] {
        let name = format!("chunks {:?}", chunks.chars().take(20).collect::<String>());
        for head in [POST, IMPORT] {
            all.push(hostile(name.clone(), format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunks}")));
        }
    }
    all
}

/// Bodies that are too deep, too large, packed, or no JSON.
fn bodies(word: &str) -> Vec<Hostile> {
    let deep = "[".repeat(10_000) + &"]".repeat(10_000);
    let mut all = Vec::new();
    for (name, body) in [
        ("depth 10,000", deep.clone()),
        (
            "depth 10,000 in an attribute",
            format!("{{\"name\":\"{word}\",\"email\":\"{word}@example.com\",\"attributes\":{deep}}}"),
        ),
        ("depth 10,000 that doesn't end", "{\"a\":".repeat(10_000)),
        ("a string of 1 MB", format!("{{\"name\":\"{}\"}}", word.repeat(1_000_000 / word.len()))),
        ("a string of 250 KB", format!("{{\"name\":\"{}\",\"email\":\"a@b.example\"}}", word.repeat(250_000 / word.len()))),
        ("a member of 250 KB", format!("{{\"{}\":1}}", word.repeat(250_000 / word.len()))),
        ("a number of 250 KB", format!("{{\"name\":{}}}", "9".repeat(250_000))),
        ("100,000 members", format!("{{\"attributes\":{{{}}}}}", "\"a\":0,".repeat(40_000))),
        ("broken", format!("{{\"name\":\"{word}\",")),
        ("a NUL", format!("{{\"name\":\"{word}\0\"}}")),
        ("an escaped NUL", format!("{{\"name\":\"{word}\\u0000\",\"email\":\"{word}@example.com\"}}")),
        ("no address", format!("{{\"name\":\"{word}\",\"email\":\"{word} at home\"}}")),
    ] {
        // Ended by the client where the service need not.
        let head = format!("{POST}Connection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        all.push(hostile(name, head + &body));
    }
    // 64 bytes that unpack into more; that they are no gzip at all must not be found out.
    for (head, coding) in
        [POST, IMPORT].into_iter().flat_map(|head| ["gzip", "deflate", "br", "zstd"].map(|coding| (head, coding)))
    {
        let head = format!("{head}Connection: close\r\nContent-Encoding: {coding}\r\nContent-Length: 64\r\n\r\n");
        all.push(hostile(format!("packed by {coding}"), [head.as_bytes(), b"\x1f\x8b\x08\x00", &[b'z'; 60]].concat()));
    }
    all
}
