//! Where calls may go: a client that connects to allowed addresses only.
//!
//! **The address that is checked is the one that is connected to.** A name is resolved once, here; what remains of its addresses
//! is all that the connector gets to see, so that no second answer of a name server comes in between. A host that is written as
//! an address is never resolved, so it is checked before the call, in whatever way it was written: parsing a URL brings
//! `0x7f.1` and `2130706433` into their one form. Redirects are not followed and proxies are not used, because either would
//! choose another address.
//!
//! **Private** is what isn't reachable from everywhere: this machine, its networks, and what only looks public, because an IPv4
//! address is written into it (mapped, compatible, NAT64, 6to4). What names no single host elsewhere, or hands out the
//! credentials of the machine (link-local), is refused even where private addresses are allowed.
//!
//! Deliberately lacking: which call may go where. Whoever makes the client says so by its [`Reach`].

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Client, Method, RequestBuilder,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect,
};
use thiserror::Error;
use url::{Host, Url};

/// How long a connection may take to come about, at most; callers have deadlines of their own.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection is kept that nobody uses: less than servers and balancers commonly do.
const IDLE: Duration = Duration::from_secs(30);

/// Which addresses may be connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Those that everyone can reach.
    Public,
    /// Also those of this machine and of private networks.
    Private,
}

/// Why a call isn't made.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Refused {
    /// Neither `http` nor `https`, or without a host.
    #[error("only http and https URLs with a host are called")]
    Scheme,
    /// A name and a password in the URL would end up in logs.
    #[error("a URL must not hold a name or a password")]
    Credentials,
    /// The address is not one that may be connected to.
    #[error("the address {0} may not be connected to")]
    Address(IpAddr),
    /// Neither may any address of this name.
    #[error("no address of this host may be connected to")]
    Name,
}

impl Refused {
    /// What refused a call, if that is why it failed: a name is resolved while the call is made.
    #[must_use]
    pub fn in_error(error: &reqwest::Error) -> Option<Self> {
        let mut next = std::error::Error::source(error);
        while let Some(cause) = next {
            if let Some(refused) = cause.downcast_ref::<Self>() {
                return Some(refused.clone());
            }
            next = cause.source();
        }
        None
    }
}

impl Reach {
    /// Whether an address may be connected to.
    #[must_use]
    pub fn allows(self, address: IpAddr) -> bool {
        match kind(address) {
            Kind::Public => true,
            Kind::Private => self == Self::Private,
            Kind::Never => false,
        }
    }

    /// Checks what can be known of a URL before its host is resolved.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn check(self, url: &Url) -> Result<(), Refused> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refused::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refused::Credentials);
        }
        let address = match url.host() {
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(address)) => IpAddr::V4(address),
            Some(Host::Ipv6(address)) => IpAddr::V6(address),
            None => return Err(Refused::Scheme),
        };
        if self.allows(address) { Ok(()) } else { Err(Refused::Address(address)) }
    }
}

/// A client for one reach, with connections of its own; cheap to clone.
#[derive(Clone, Debug)]
pub struct Guarded {
    client: Client,
    reach: Reach,
}

impl Guarded {
    /// Connections live on the runtime that this is used on.
    ///
    /// # Errors
    /// TLS can't be set up.
    pub fn new(reach: Reach) -> reqwest::Result<Self> {
        Self::resolving(reach, Arc::new(System))
    }

    /// With names resolved by another than the system, whose answers are checked all the same.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn resolving(reach: Reach, names: Arc<dyn Resolve>) -> reqwest::Result<Self> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .no_proxy()
            .dns_resolver(Checked { names, reach })
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .referer(false)
            .user_agent(concat!("profile-service/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, reach })
    }

    /// Begins a call. Its answer may be of any status, redirects included.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn request(&self, method: Method, url: Url) -> Result<RequestBuilder, Refused> {
        self.reach.check(&url)?;
        Ok(self.client.request(method, url))
    }
}

/// Gives only those addresses of a name that may be connected to.
struct Checked {
    names: Arc<dyn Resolve>,
    reach: Reach,
}

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (resolving, reach) = (self.names.resolve(name), self.reach);
        Box::pin(async move {
            let allowed: Vec<SocketAddr> = resolving.await?.filter(|address| reach.allows(address.ip())).collect();
            if allowed.is_empty() {
                return Err(Refused::Name.into());
            }
            Ok(Box::new(allowed.into_iter()) as Addrs)
        })
    }
}

/// Names as this machine knows them.
struct System;

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Public,
    Private,
    Never,
}

fn kind(address: IpAddr) -> Kind {
    match address {
        IpAddr::V4(address) => kind_v4(address),
        IpAddr::V6(address) => kind_v6(address),
    }
}

/// By the registry of special addresses (RFC 6890 and what came after it).
fn kind_v4(address: Ipv4Addr) -> Kind {
    match address.octets() {
        // This network, link-local, multicast, reserved and broadcast; where a provider gives its machines their credentials.
        [0 | 224..=255, ..] | [169, 254, ..] | [100, 100, 100, 200] => Kind::Never,
        // Private networks, providers' translation, loopback, protocol assignments, benchmarks, documentation, 6to4 relays.
        [10 | 127, ..]
        | [100, 64..=127, ..]
        | [172, 16..=31, ..]
        | [192, 168, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => Kind::Private,
        _ => Kind::Public,
    }
}

/// `fd00:ec2::254`, unique-local though what it gives isn't for others.
const CREDENTIALS: [u16; 8] = [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254];

fn kind_v6(address: Ipv6Addr) -> Kind {
    let ipv4 = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        kind_v4(Ipv4Addr::new(a, b, c, d))
    };
    let [first, second, ..] = address.segments();
    // Link-local, its former sister site-local, multicast; where a provider gives its machines their credentials.
    if address.is_unspecified() || first >= 0xfe80 || address.segments() == CREDENTIALS {
        return Kind::Never;
    }
    if address.is_loopback() {
        return Kind::Private;
    }
    match address.segments() {
        // An IPv4 address, mapped, compatible, by NAT64 or by 6to4: what that is.
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            ipv4(high, low)
        }
        // Protocol assignments with Teredo among them, documentation: none of it names a public host.
        [0x2001, ..] if second < 0x200 || second == 0xdb8 => Kind::Private,
        [0x3fff, ..] if second < 0x1000 => Kind::Private,
        [0x2000..=0x3fff, ..] => Kind::Public,
        // Unique-local, and all that has not been given out.
        _ => Kind::Private,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(text: &str) -> Kind {
        kind(text.parse().expect(text))
    }

    #[test]
    fn addresses_are_told_apart() {
        let public = [
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.20.0.1",
            "223.255.255.255",
        ];
        let public_v6 =
            ["2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2002:808:808::1", "2001:200::1"];
        let private = [
            "10.0.0.1",
            "127.0.0.1",
            "127.255.255.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.201",
            "198.18.0.1",
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "192.88.99.1",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "fd00:ec2::253",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:7f00:1::1",
            "2002:c0a8:101::",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "4000::1",
        ];
        let never = [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "224.0.0.1",
            "239.1.2.3",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "fe80::1",
            "fec0::1",
            "febf::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "64:ff9b::a9fe:a9fe",
            "2002:a9fe:a9fe::",
            "::ffff:0.0.0.0",
            "100.100.100.200",
            "::ffff:100.100.100.200",
            "fd00:ec2::254",
        ];
        let all =
            [(public.as_slice(), Kind::Public), (&public_v6, Kind::Public), (&private, Kind::Private), (&never, Kind::Never)];
        for (addresses, kind) in all {
            for address in addresses {
                assert_eq!(kind_of(address), kind, "{address}");
            }
        }
    }

    #[test]
    fn urls_are_checked_however_their_host_is_written() {
        let check = |reach: Reach, url: &str| reach.check(&Url::parse(url).expect(url));
        for loopback in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.1",
            "127.0.0.1.",
            "１２７.0.0.1",
            "[::1]",
            "[::ffff:7f00:1]",
        ] {
            let url = format!("http://{loopback}:8080/x");
            assert!(matches!(check(Reach::Public, &url), Err(Refused::Address(_))), "{url}");
            assert_eq!(check(Reach::Private, &url), Ok(()), "{url}");
        }
        for never in ["169.254.169.254", "2852039166", "[fe80::1]", "0", "[::]"] {
            let url = format!("https://{never}/latest/meta-data");
            assert!(matches!(check(Reach::Private, &url), Err(Refused::Address(_))), "{url}");
        }
        for refused in ["file:///etc/passwd", "ftp://example.com/", "gopher://example.com/", "data:text/plain,x"] {
            assert_eq!(check(Reach::Private, refused), Err(Refused::Scheme), "{refused}");
        }
        assert_eq!(check(Reach::Private, "http://user:secret@example.com/"), Err(Refused::Credentials));
        assert_eq!(check(Reach::Public, "https://example.com/"), Ok(()));
    }
}
