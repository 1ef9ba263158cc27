//! Reads that caches answer.

use std::{
    cell::Cell,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use super::throughput;
use crate::{
    check,
    fixture::{Fixture, Kind, UNCACHED, closed, path},
    http::{self, Blocking},
    load::{self, HIT, Load, scattered},
    processes::Server,
    redis::Redis,
    report::{Row, Target},
    sample,
    settings::{Bench, SMALL},
    statistics::Figure,
};

/// The longest until the caches are believed after a start, and hold what was read.
const WARM: Duration = Duration::from_secs(30);
const MEMORY: &[(&str, &str)] = &[("CACHE", "memory")];

pub(super) fn memory(bench: &Bench) -> Result<Vec<Row>> {
    let mut fixture = Fixture::filled(bench, Kind::Sqlite, "hit", SMALL, false)?;
    let (ours, bare) = (fixture.service(MEMORY)?, fixture.bare_on("memory", &SMALL.to_string())?);
    let values = hits(bench, &fixture, ours, bare)?;
    let against = "actix serving the same bytes from a moka cache";
    Ok(vec![Row::ratio("`GET` one profile, L1 hit", against, &values[0], &values[1], Target::AtLeast(0.70))])
}

pub(super) fn redis(bench: &Bench) -> Result<Vec<Row>> {
    let redis = Redis::start(bench)?;
    let mut fixture = Fixture::filled(bench, Kind::Sqlite, "hit", SMALL, false)?;
    let ours = fixture.service(&[("CACHE", "redis"), ("REDIS_ADDRESS", &redis.address())])?;
    let bare = fixture.bare_on("redis", &format!("{} {SMALL}", redis.url()))?;
    let values = hits(bench, &fixture, ours, bare)?;
    let against = "actix + one multiplexed redis connection per worker, `GET` of the same bytes";
    Ok(vec![Row::ratio("`GET` one profile, L2 hit (L1 off)", against, &values[0], &values[1], Target::AtLeast(0.75))])
}

fn hits(bench: &Bench, fixture: &Fixture, ours: Server, bare: Server) -> Result<Vec<Vec<f64>>> {
    let requests = fixture.gets();
    until_hits(ours, &requests)?;
    for request in [&requests[0], &requests[1], &requests[requests.len() - 1]] {
        check::same_bytes(request, None, ours, bare)?;
    }
    let (ours_next, bare_next) = (scattered(&requests), scattered(&requests));
    throughput(bench, vec![closed(bench, Load::of_hits(ours, &ours_next)), closed(bench, Load::of_hits(bare, &bare_next))])
}

pub(super) fn p99_memory(bench: &Bench) -> Result<Vec<Row>> {
    let mut fixture = Fixture::filled(bench, Kind::Sqlite, "p99", SMALL, false)?;
    let (ours, bare) = (fixture.service(MEMORY)?, fixture.bare_on("memory", &SMALL.to_string())?);
    let requests = fixture.gets();
    until_hits(ours, &requests)?;
    let next = scattered(&requests);
    let peak = || load::closed(&Load::of_hits(ours, &next), bench.span());
    let peaks = (0..bench.rounds.min(3)).map(|_| peak()).collect::<Result<Vec<_>>>()?;
    let rate = Figure::of(peaks).median / 2.0;
    let values = super::latency::p99s(bench, rate, [Load::of_hits(ours, &next), Load::of_hits(bare, &next)])?;
    let what = format!("p99 of L1 hits at half of peak ({rate:.0}/s)");
    Ok(vec![Row::added(what, "the bare program at the same rate", &values[0], &values[1], 1.0)])
}

/// Asks for all of them until a cache answers.
fn until_hits(server: Server, requests: &[Vec<u8>]) -> Result<()> {
    let end = Instant::now() + WARM;
    let mut connection = Blocking::connect(server.address)?;
    // Twice, since what is read later must not drive out what was read before.
    for request in requests.iter().chain(requests) {
        while !connection.exchange(request)?.1.starts_with(HIT.as_bytes()) {
            ensure!(Instant::now() < end, "no cache answers");
            thread::sleep(Duration::from_micros(100));
        }
    }
    Ok(())
}

pub(super) fn zipf_postgres(bench: &Bench) -> Result<Vec<Row>> {
    let profiles = bench.large / 10;
    let redis = Redis::start(bench)?;
    let mut cached = Fixture::filled(bench, Kind::Postgres, "zipf", profiles, false)?;
    let mut uncached = Fixture::filled(bench, Kind::Postgres, "zipf_uncached", profiles, false)?;
    // What the sizes of the caches are to the number of profiles stays, at whatever scale.
    let entries = (profiles / 5).to_string();
    let ours = cached.service(&[("CACHE", "on"), ("CACHE_ENTRIES", &entries), ("REDIS_ADDRESS", &redis.address())])?;
    let theirs = uncached.service(UNCACHED)?;
    let zipf = Zipf::new(profiles);
    let requests = cached.gets();
    for server in [ours, theirs] {
        // Those that are asked for most come last.
        let mut connection = Blocking::connect(server.address)?;
        for rank in (0..zipf.below.len()).rev() {
            let (status, _) = connection.exchange(&requests[zipf.number(rank)])?;
            ensure!(status == 200, "{status} to a GET");
        }
    }
    let (ours_next, their_next) = (mixed(&zipf, &requests), mixed(&zipf, &requests));
    let values =
        throughput(bench, vec![closed(bench, Load::of(ours, &ours_next)), closed(bench, Load::of(theirs, &their_next))])?;
    let what = format!("95 % `GET`, 5 % `PATCH` over {profiles} profiles, Zipf 1.0, L1 of {entries}, Redis, PostgreSQL");
    Ok(vec![Row::ratio(what, "the same with `CACHE=off`", &values[0], &values[1], Target::AtLeast(1.5))])
}

/// Reads, and every twentieth time a change.
fn mixed(zipf: &Zipf, gets: &[Vec<u8>]) -> impl Fn(&mut Vec<u8>) {
    let turn = Cell::new(0_u64);
    move |out| {
        turn.set(turn.get() + 1);
        let number = zipf.number(zipf.rank(sample::mix(turn.get())));
        if turn.get().is_multiple_of(20) {
            let body = format!("{{\"attributes\":{{\"visits\":{}}}}}", turn.get());
            out.extend(http::send("PATCH", &path(number as u64), &body));
        } else {
            out.extend_from_slice(&gets[number]);
        }
    }
}

/// Of so many things, how likely each is to be asked for: the k-th most popular as 1/k.
struct Zipf {
    /// The likelihood of this and all that are more popular.
    below: Vec<f64>,
}

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "fewer than 2^53")]
    fn new(count: u64) -> Self {
        let mut sum = 0.0;
        let mut below: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += 1.0 / rank as f64;
                sum
            })
            .collect();
        for below in &mut below {
            *below /= sum;
        }
        Self { below }
    }

    /// From a number of which each is as likely as any other.
    #[expect(clippy::cast_precision_loss, reason = "the last bits choose nothing")]
    fn rank(&self, random: u64) -> usize {
        let chosen = random as f64 / u64::MAX as f64;
        self.below.partition_point(|below| *below < chosen).min(self.below.len() - 1)
    }

    /// Which profile has a rank: popular ones lie scattered in the store.
    fn number(&self, rank: usize) -> usize {
        /// A prime that divides no number of profiles.
        const STRIDE: usize = 1_000_003;
        rank * STRIDE % self.below.len()
    }
}

pub(super) fn size_redis(bench: &Bench) -> Result<Vec<Row>> {
    let redis = Redis::start(bench)?;
    let mut fixture = Fixture::empty(bench, Kind::Sqlite, "size")?;
    let server = fixture.service(&[("CACHE", "redis"), ("REDIS_ADDRESS", &redis.address())])?;
    let created = http::once(server.address, &http::send("POST", "/api/v1/profiles", sample::LARGE), 201)?;
    ensure!((1_300..1_400).contains(&created.len()), "the profile has {} bytes", created.len());
    let profile: serde_json::Value = serde_json::from_slice(&created)?;
    let id = profile["id"].as_str().context("an answer without an id")?;
    until_hits(server, &[http::get(&format!("/api/v1/profiles/{id}"))])?;
    // Beside the entry there are the parts' states, which are no strings.
    let mut connection = redis.connect()?;
    let keys: Vec<String> = ::redis::cmd("KEYS").arg("*").query(&mut connection)?;
    let mut kept = Vec::new();
    for key in keys {
        let kind: String = ::redis::cmd("TYPE").arg(&key).query(&mut connection)?;
        if kind == "string" {
            let length: usize = ::redis::cmd("STRLEN").arg(&key).query(&mut connection)?;
            kept.push(key.len() + length);
        }
    }
    ensure!(kept.len() == 1, "{} entries for one profile", kept.len());
    #[expect(clippy::cast_precision_loss, reason = "a few hundred bytes")]
    let (kept, json) = (kept[0] as f64, created.len() as f64);
    let what = "a 1.3-KiB profile with thirty attributes, as kept in Redis, with its key";
    Ok(vec![Row::size(what, "its JSON", kept, json, Target::AtMost(0.6))])
}

#[cfg(test)]
mod tests {
    use super::Zipf;
    use crate::sample;

    #[test]
    fn the_first_is_asked_for_twice_as_often_as_the_second() {
        let zipf = Zipf::new(100);
        let mut counts = [0_i32; 100];
        for turn in 0..100_000 {
            counts[zipf.rank(sample::mix(turn))] += 1;
        }
        // 1 / (1 + 1/2 + … + 1/100) of all.
        assert!((19_000..19_600).contains(&counts[0]), "{}", counts[0]);
        assert!((9_400..9_900).contains(&counts[1]), "{}", counts[1]);
        let mut numbers: Vec<usize> = (0..100).map(|rank| zipf.number(rank)).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..100).collect::<Vec<_>>());
    }
}
