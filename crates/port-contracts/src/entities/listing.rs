//! Which entities a list gives.

use std::collections::BTreeSet;

use profile_domain::{
    EntityKey, Policy,
    search::{Filter, ListQuery, Order, SearchFields},
    text::{EmailAddress, fold},
};
use serde_json::json;

use crate::{
    Fixture,
    build::{Client, create, delete, everything, fact, field, merge, organization, patch, profile, start, start_with, where_all},
};

fn attribute(path: &str, text: &str) -> Filter {
    Filter::attribute(path, text)
}

/// Filters are equalities of which all hold: of texts, of numbers and truth values in canonical form, of members of objects,
/// of e-mail in any case. They see the values served now, of living entities of the type asked for.
pub async fn filters_all_hold<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let [a, b, c] = [profile(1), profile(2), profile(3)];
    client
        .commit(
            0,
            [
                create(
                    &a,
                    json!({"name": "A", "email": "a@example.com", "plan": "pro", "n": 100, "ok": true,
                    "address": {"city": "Zürich", "zip": 8001, "deep": {"x": 1}}, "tags": ["x"], "empty": ""}),
                ),
                create(
                    &b,
                    json!({"name": "B", "email": "B@Example.com", "plan": "pro", "n": "100", "ok": false,
                    "address": {"city": "Bern"}, "long": "x".repeat(257), "longest": "x".repeat(256)}),
                ),
                create(&c, json!({"name": "C", "email": "c@example.com", "plan": "Pro", "n": 1.5, "ok": "true"})),
                merge(
                    &organization("acc"),
                    [fact("plan", "crm", 0, "pro"), fact("name", "crm", 0, "A"), fact("email", "crm", 0, "a@example.com")],
                ),
            ],
        )
        .await;
    client.commit(1, [merge(&c, [fact("plan", "crm", -9, "pro"), fact("n", "crm", -9, 7)])]).await;
    let email = |text: &str| Filter::email(&EmailAddress::parse(text).expect("valid"));
    let found = |keys: &[&EntityKey]| -> Vec<EntityKey> { keys.iter().map(|key| (*key).clone()).collect() };
    let cases: Vec<(Vec<Filter>, Vec<EntityKey>)> = vec![
        (vec![], found(&[&a, &b, &c])),
        (vec![attribute("plan", "pro")], found(&[&a, &b])),
        (vec![attribute("plan", "Pro")], found(&[&c])),
        (vec![attribute("plan", "")], found(&[])),
        (vec![attribute("empty", "")], found(&[&a])),
        (vec![attribute("n", "100")], found(&[&a, &b])),
        (vec![attribute("n", "1.5")], found(&[&c])),
        (vec![attribute("n", "7")], found(&[])),
        (vec![attribute("n", "1e2")], found(&[])),
        (vec![attribute("ok", "true")], found(&[&a, &c])),
        (vec![attribute("address.city", "Zürich")], found(&[&a])),
        (vec![attribute("address.zip", "8001")], found(&[&a])),
        (vec![attribute("address.deep", "1")], found(&[])),
        (vec![attribute("tags", "x")], found(&[])),
        (vec![attribute("long", &"x".repeat(257))], found(&[])),
        (vec![attribute("longest", &"x".repeat(256))], found(&[&b])),
        (vec![email("b@example.COM")], found(&[&b])),
        (vec![email("nobody@example.com")], found(&[])),
        (vec![attribute("plan", "pro"), attribute("ok", "true")], found(&[&a])),
        (vec![attribute("plan", "pro"), attribute("plan", "pro")], found(&[&a, &b])),
        (vec![attribute("plan", "pro"), attribute("plan", "Pro")], found(&[])),
        (
            vec![attribute("address.city", "Zürich"), attribute("plan", "pro"), email("A@example.com"), attribute("n", "100")],
            found(&[&a]),
        ),
        (vec![attribute("plan", "pro"), attribute("n", "100"), attribute("ok", "false"), attribute("none", "x")], found(&[])),
    ];
    for (filters, expected) in cases {
        let query = where_all(&filters);
        assert_eq!(client.keys(&query).await, expected, "{filters:?}");
        assert_eq!(client.keys(&ListQuery { order: Order::CreatedDescending, ..query.clone() }).await, {
            let mut expected = expected.clone();
            expected.reverse();
            expected
        });
        let pages = client.walk(&ListQuery { limit: 1, ..query }).await;
        assert_eq!(pages.into_iter().map(|view| view.key).collect::<Vec<_>>(), expected, "{filters:?} in pages of one");
    }
    let organizations = ListQuery { filters: vec![attribute("email", "a@example.com")], ..everything(&organization("acc")) };
    assert_eq!(client.keys(&organizations).await, [organization("acc")]);

    // Values that were served once are not found any more.
    client.commit(2, [patch(&a, json!({"plan": "free", "address": {"city": null}})), delete(&b)]).await;
    for gone in [attribute("plan", "pro"), attribute("address.city", "Zürich"), email("b@example.com")] {
        assert_eq!(client.keys(&where_all(std::slice::from_ref(&gone))).await, [], "{gone:?}");
    }
    assert_eq!(client.keys(&where_all(&[attribute("plan", "free"), attribute("address.zip", "8001")])).await, [a]);
}

/// Where configuration names the attributes that can be found, others can't; e-mail addresses always can.
pub async fn searchable_fields_are_limited<F: Fixture>() {
    let search_fields = SearchFields::Only(BTreeSet::from([field("plan"), field("address")]));
    let (_fixture, client) = start_with::<F>(Policy { search_fields, ..Policy::default() }).await;
    let a = profile(1);
    let document = json!({"name": "A", "email": "a@example.com", "plan": "pro", "n": 1, "address": {"city": "Bern"}});
    client.commit(0, [create(&a, document)]).await;
    let email = Filter::email(&EmailAddress::parse("A@example.com").expect("valid"));
    for filter in [attribute("plan", "pro"), attribute("address.city", "Bern"), email] {
        assert_eq!(client.keys(&where_all(std::slice::from_ref(&filter))).await, std::slice::from_ref(&a), "{filter:?}");
    }
    assert_eq!(client.keys(&where_all(&[attribute("n", "1")])).await, []);
}

/// The attributes that can be found are limited for a while, and what changes meanwhile leaves rows of the store behind or makes
/// none: later changes don't stumble over them, and what was written under the new configuration is found, by its value now.
pub async fn search_fields_may_change<F: Fixture>() {
    let (mut fixture, client) = start::<F>().await;
    let [a, b, c] = [profile(1), profile(2), profile(3)];
    let person = |n: u32| json!({"name": "A", "email": format!("p{n}@example.com"), "plan": "pro", "n": 1});
    client.commit(0, [create(&a, person(1)), create(&b, person(2)), create(&c, person(3))]).await;
    drop(client);

    let limited = Policy { search_fields: SearchFields::Only(BTreeSet::from([field("n")])), ..Policy::default() };
    fixture.reopen(limited).await;
    let client = Client::of(&fixture);
    client.commit(1, [patch(&a, json!({"plan": "free", "n": 2})), patch(&b, json!({"plan": null})), delete(&c)]).await;
    client.commit(2, [create(&profile(4), person(4)), create(&c, person(3))]).await;
    assert_eq!(client.keys(&where_all(&[attribute("n", "2")])).await, std::slice::from_ref(&a));
    assert_eq!(client.keys(&where_all(&[attribute("n", "1")])).await, [b.clone(), profile(4), c.clone()]);
    drop(client);

    fixture.reopen(Policy::default()).await;
    let client = Client::of(&fixture);
    let with_plan = async |plan: &str| client.keys(&where_all(&[attribute("plan", plan)])).await;
    assert_eq!(with_plan("pro").await, [], "rows left behind don't count");
    // Back to what left a row behind, one by a single write and one among several.
    client.commit(3, [patch(&a, json!({"plan": "pro"}))]).await;
    client.commit(4, [patch(&b, json!({"plan": "pro"})), patch(&c, json!({"plan": "free"}))]).await;
    assert_eq!((with_plan("pro").await, with_plan("free").await), (vec![a.clone(), b.clone()], vec![c.clone()]));
    client.commit(5, [patch(&a, json!({"plan": "free"})), delete(&b), patch(&c, json!({"plan": "pro"}))]).await;
    assert_eq!((with_plan("pro").await, with_plan("free").await), (vec![c.clone()], vec![a.clone()]));
    let pages = client.walk(&ListQuery { limit: 1, ..where_all(&[attribute("plan", "pro")]) }).await;
    assert_eq!(pages.into_iter().map(|view| view.key).collect::<Vec<_>>(), [c], "rows left behind don't end a walk");
}

/// A prefix is compared byte by byte with the folded name: no wildcard means anything, no accent is dropped, and nothing
/// beyond the prefix's range is given.
pub async fn prefix_is_of_the_folded_name<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let names = [
        "Ada",
        "ada lovelace",
        "ADAM",
        "Ádám",
        "A\u{301}dám",
        "adb",
        "100%",
        "100 percent",
        "a_b",
        "aXb",
        "a\\b",
        "[a]",
        "Straße",
        "STRASSE 7",
        "strast",
        "ΣΊΣΥΦΟΣ",
        "σίσυφος",
        "🦀 crab",
        "🦀",
        "\u{10FFFF}\u{10FFFF}",
        "\u{10FFFF}x",
        "עברית",
        "z",
        "zz",
        "ÿ",
        "'; --",
    ];
    let number = |index: usize| profile(u32::try_from(index).expect("few"));
    client
        .commit(
            0,
            names
                .iter()
                .enumerate()
                .map(|(index, name)| create(&number(index), json!({"name": name, "email": format!("p{index}@example.com")}))),
        )
        .await;
    let with_prefix = |prefix: &str| ListQuery { name_prefix: Some(fold(prefix)), order: Order::Name, ..everything(&profile(0)) };
    let mut prefixes: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    prefixes.extend(
        ["a", "A", "ad", "%", "_", "100%", "s", "ss", "STRAß", "\u{10FFFF}", "\u{D7FF}", "\u{7f}", "\u{80}", "e", "zzz", "", "'"]
            .map(str::to_owned),
    );
    for prefix in prefixes {
        let mut expected: Vec<(String, usize)> = names
            .iter()
            .enumerate()
            .map(|(index, name)| (fold(name), index))
            .filter(|(name, _)| name.as_bytes().starts_with(fold(&prefix).as_bytes()))
            .collect();
        expected.sort();
        let expected: Vec<EntityKey> = expected.into_iter().map(|(_, index)| number(index)).collect();
        assert_eq!(client.keys(&with_prefix(&prefix)).await, expected, "{prefix:?}");
        let pages = client.walk(&ListQuery { limit: 2, ..with_prefix(&prefix) }).await;
        assert_eq!(pages.into_iter().map(|view| view.key).collect::<Vec<_>>(), expected, "{prefix:?} in pages of two");
    }
}
