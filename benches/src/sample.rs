//! The profile that is measured: name, e-mail, bio and ten scalar attributes, all of them functions of its number.

use uuid::{Builder, Uuid};

const FIRST: [&str; 8] = ["Ada", "Grace", "Alan", "Edsger", "Barbara", "Donald", "Frances", "Radia"];
const LAST: [&str; 8] = ["Lovelace", "Hopper", "Turing", "Dijkstra", "Liskov", "Knuth", "Allen", "Perlman"];
const PLANS: [&str; 4] = ["free", "basic", "pro", "enterprise"];
const CITIES: [(&str, &str); 8] = [
    ("London", "GB"),
    ("Lagos", "NG"),
    ("Kyoto", "JP"),
    ("Lisbon", "PT"),
    ("Copenhagen", "DK"),
    ("Pune", "IN"),
    ("Beirut", "LB"),
    ("Accra", "GH"),
];
const LANGUAGES: [&str; 5] = ["en", "fr", "de", "ja", "pt"];
/// Different values of `segment`: each profile belongs to one of them.
pub(crate) const SEGMENTS: u64 = 100;
/// 2024-01-01 in milliseconds since 1970: when profile 0 was made.
const BEGINNING: u64 = 1_704_067_200_000;
/// Numbers from here on are of profiles that are created while measuring.
pub(crate) const NEW: u64 = 1_000_000_000;

/// The body of a POST of 1.3 KiB with thirty attributes.
pub(crate) const LARGE: &str = concat!(
    r#"{"name":"Radia Hopper","email":"radia.hopper@example.org","bio":"Writes compilers by day and bakes bread by night; has "#,
    r#"lived on three continents, keeps two cats, and answers letters within the week.","attributes":{"account":"acc-0000731942","#,
    r#""balance":1042.75,"birthday":"1979-11-23","browser":"Firefox 141","building":"Tower 4, floor 12","channel":"newsletter","#,
    r#""city":"Copenhagen","color":"teal","contract":"C-2024-118273","country":"DK","coupon":"AUTUMN15","credit_limit":25000,"#,
    r#""device":"Pixel 9","joined":"2024-06-17","language":"da","last_login":"2026-10-30T07:41:09Z","last_order":"2026-10-12","#,
    r#""manager":"Edsger Allen","newsletter":true,"notes":"Asked twice about delivery to the summer house; wants invoices as one "#,
    r#"file at the end of each quarter, and a call before anything is sent by courier. Pays within ten days, by transfer. Never "#,
    r#"on Fridays, and the bell at the garden door is the one that works; parcels may also go to the neighbour on the left.","orders":37,"plan":"enterprise","postcode":"2100","returns":2,"score":871,"seats":24,"segment":"segment-42","#,
    r#""street":"Strandboulevarden 95","team":"Infrastructure and Tools","verified":false}}"#
);

/// The id under which a profile is put into a store that is filled.
pub(crate) fn reference(number: u64) -> Uuid {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&mix(number).to_be_bytes());
    Builder::from_unix_timestamp_millis(BEGINNING + number, &random).into_uuid()
}

/// When such a profile was made, in microseconds since 1970.
pub(crate) fn created_at(number: u64) -> i64 {
    i64::try_from((BEGINNING + number) * 1_000).unwrap_or(i64::MAX)
}

/// The body of a POST, and a line of an import.
pub(crate) fn document(number: u64) -> String {
    let random = mix(number);
    let pick = |shift: u32, length: u64| (random >> shift) % length;
    let (first, last) = (of(&FIRST, pick(0, 8)), of(&LAST, pick(3, 8)));
    let plan = of(&PLANS, pick(6, 4));
    let (city, country) = of(&CITIES, pick(8, 8));
    let language = of(&LANGUAGES, pick(11, 5));
    let (newsletter, seats, score) = (pick(14, 2) == 0, pick(15, 50) + 1, pick(21, 1_000));
    let (month, day) = (pick(31, 12) + 1, pick(35, 28) + 1);
    let segment = pick(40, SEGMENTS);
    format!(
        "{{\"name\":\"{first} {last} {number:010}\",\"email\":\"{first}.{last}.{number:010}@example.com\",\
         \"bio\":\"{first} {last} lives in {city}, speaks {language} and is on the {plan} plan since the beginning of time.\",\
         \"attributes\":{{\"account\":\"acc-{number:010}\",\"city\":\"{city}\",\"country\":\"{country}\",\
         \"joined\":\"2024-{month:02}-{day:02}\",\"language\":\"{language}\",\"newsletter\":{newsletter},\"plan\":\"{plan}\",\
         \"score\":{score},\"seats\":{seats},\"segment\":\"{}\"}}}}",
        segment_name(segment)
    )
}

/// The value of a segment.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("segment-{segment:02}")
}

/// Scatters numbers (the finaliser of splitmix64), so that neighbours differ in everything.
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

fn of<T: Copy>(values: &[T], index: u64) -> T {
    values[usize::try_from(index).unwrap_or_default() % values.len()]
}
