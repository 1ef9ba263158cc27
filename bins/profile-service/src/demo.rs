//! `demo`: a few hundred believable people, the same every time.

use anyhow::Context;
use profile_application::{App, OnceKey};
use profile_domain::{TenantId, profile};
use profile_http::DEMO_ID;
use profile_ports::Deadline;
use serde_json::{Value, json};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    time::Duration,
};
use tokio::task::JoinSet;

use crate::config::{Config, Live};

const FIRST: [&str; 32] = [
    "Ada",
    "Grace",
    "Alan",
    "Edsger",
    "Barbara",
    "Donald",
    "Frances",
    "Ken",
    "Radia",
    "Dennis",
    "Margaret",
    "Tony",
    "Hedy",
    "Linus",
    "Katherine",
    "Niklaus",
    "Chidi",
    "Yuki",
    "Amara",
    "Mateo",
    "Søren",
    "Zoë",
    "İpek",
    "Łukasz",
    "Priya",
    "Omar",
    "Mei",
    "Tomás",
    "Noor",
    "Kwame",
    "Ingrid",
    "Rafael",
];
const LAST: [&str; 29] = [
    "Lovelace",
    "Hopper",
    "Turing",
    "Dijkstra",
    "Liskov",
    "Knuth",
    "Allen",
    "Thompson",
    "Perlman",
    "Ritchie",
    "Hamilton",
    "Hoare",
    "Lamarr",
    "Torvalds",
    "Johnson",
    "Wirth",
    "Okafor",
    "Tanaka",
    "Nwosu",
    "García",
    "Sørensen",
    "Müller",
    "Yılmaz",
    "Kowalski",
    "Sharma",
    "Haddad",
    "Chen",
    "Novák",
    "Mensah",
];
const PLANS: [&str; 4] = ["free", "free", "pro", "enterprise"];
const CITIES: [(&str, &str); 12] = [
    ("London", "GB"),
    ("Lagos", "NG"),
    ("Kyoto", "JP"),
    ("Lisbon", "PT"),
    ("Copenhagen", "DK"),
    ("Zürich", "CH"),
    ("İzmir", "TR"),
    ("Kraków", "PL"),
    ("Pune", "IN"),
    ("Beirut", "LB"),
    ("Accra", "GH"),
    ("Montréal", "CA"),
];
const LANGUAGES: [&str; 6] = ["en", "fr", "de", "ja", "pt", "tr"];

/// Creates profiles; those that are there from an earlier run stay as they are.
pub(crate) async fn fill(app: &App, profiles: u32) -> anyhow::Result<()> {
    // So many at a time fill a group of commits without queueing for long.
    const AT_ONCE: usize = 64;
    let mut running = JoinSet::new();
    for number in 0..profiles {
        if running.len() >= AT_ONCE {
            running.join_next().await.transpose()?.transpose()?;
        }
        let app = app.clone();
        running.spawn(async move {
            let document = profile::parse_document(&person(number), profile::ReadOnlyMembers::Refused)
                .map_err(|error| anyhow::anyhow!("generated profile {number}: {error:?}"))?;
            let once = OnceKey(format!("demo-{number}"));
            let deadline = Deadline::within(Duration::from_secs(30));
            app.create_profile(&TenantId::default_tenant(), document, Some(once), deadline).await?;
            anyhow::Ok(())
        });
    }
    while let Some(result) = running.join_next().await {
        result?.context("a generated profile was refused")?;
    }
    Ok(())
}

/// Where the sources of the demonstration listen, if nobody else does.
const SOURCES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8082);

/// Serves live sources on loopback, and says how they are asked. They end with the process.
pub(crate) fn serve_sources(config: &Config) -> anyhow::Result<(SocketAddr, Live)> {
    // Beside a service on a free port, others may be at it.
    let wanted = if config.server.address.port() == 0 { SocketAddr::new(SOURCES.ip(), 0) } else { SOURCES };
    let listener = TcpListener::bind(wanted).or_else(|_| TcpListener::bind(SocketAddr::new(SOURCES.ip(), 0)))?;
    let address = listener.local_addr()?;
    tokio::spawn(profile_http::serve_demo_sources(listener)?);
    let text = include_str!("demo_sources.toml").replace("ADDRESS", &address.to_string());
    let live = Live::parse("the demonstration", &text, &|_| None, &config.policy.rules)?;
    Ok((address, live))
}

/// What to try first.
pub(crate) fn calls(address: SocketAddr, sources: Option<SocketAddr>) -> String {
    let live = sources.map_or_else(String::new, |sources| {
        format!(
            "curl -s 'http://{address}/profile/{DEMO_ID}'\n\
             curl -s 'http://{address}/aggregated-data?customer_id={DEMO_ID}'\n\
             curl -s -X PUT http://{sources}/sources/mail -H 'content-type: application/json' -d '{{\"delay_ms\": 300}}'\n"
        )
    });
    format!(
        "Profiles are served on http://{address}; its documentation is at http://{address}/docs. Try:\n\n\
         curl -s 'http://{address}/api/v1/profiles?limit=3'\n\
         curl -s 'http://{address}/api/v1/profiles?attr.plan=pro&attr.city=Kyoto'\n\
         curl -s 'http://{address}/api/v1/profiles?name=ada'\n{live}\n\
         Ctrl-C ends it."
    )
}

/// One person, the same for the same number. The strides share no factor with the lists, so that combinations differ.
fn person(number: u32) -> Value {
    let at = |stride: u32, length: usize| ((number / stride.max(1)).wrapping_mul(7).wrapping_add(number) as usize) % length;
    let first = FIRST[number as usize % FIRST.len()];
    let last = LAST[at(32, LAST.len())];
    let (city, country) = CITIES[at(5, CITIES.len())];
    let plan = PLANS[at(3, PLANS.len())];
    let mut attributes = json!({
        "plan": plan,
        "city": city,
        "country": country,
        "language": LANGUAGES[at(2, LANGUAGES.len())],
        "newsletter": number.is_multiple_of(3),
        "seats": if plan == "enterprise" { 10 + number % 90 } else { 1 },
        "address": { "city": city, "country": country },
    });
    if number.is_multiple_of(4) {
        attributes["tags"] = json!(["beta", "early-adopter"]);
    }
    json!({
        "name": format!("{first} {last}"),
        "email": format!("{}.{}.{number}@example.com", ascii(first), ascii(last)),
        "bio": format!("Lives in {city} and is on the {plan} plan."),
        "attributes": attributes,
    })
}

/// A name as it may stand in an address.
fn ascii(name: &str) -> String {
    let plain = |letter: char| match letter {
        'á' | 'ã' => 'a',
        'í' | 'ı' => 'i',
        'ë' => 'e',
        'ł' => 'l',
        'ø' | 'ó' => 'o',
        'ş' => 's',
        'ü' => 'u',
        other => other,
    };
    name.to_lowercase().chars().map(plain).filter(char::is_ascii_alphanumeric).collect()
}
