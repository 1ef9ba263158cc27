//! In which order a list gives them, and in which pages.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use profile_domain::{
    EntityKey,
    search::{Filter, ListQuery, Order},
    text::fold,
};
use serde_json::json;

use crate::{
    Fixture,
    build::{Client, Vary, changeset, create, delete, everything, fact, merge, organization, patch, profile, start, where_all},
    random::Random,
    scaled,
};

/// What one changeset creates is in the order of its writes, whatever the keys: also where a write made several lives of one
/// entity, of which the last counts, and where others change or are rejected between.
pub async fn created_together_are_listed_in_order<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let person = |number: u32, name: &str| create(&profile(number), json!({"name": name, "email": format!("{name}@x.org")}));
    client.commit(0, [person(50, "old"), person(10, "older")]).await;
    let writes = [
        person(9, "a"),
        person(3, "b"),
        patch(&profile(50), json!({"n": 1})),
        person(7, "B").optional(),
        person(5, "c"),
        delete(&profile(9)),
        delete(&profile(10)),
        person(8, "d"),
        person(9, "e"),
        merge(&profile(1), [fact("n", "crm", 0, 1)]),
        person(10, "older"),
    ];
    client.commit(1, writes).await;
    assert_eq!(client.keys(&everything(&profile(0))).await, [50, 3, 5, 8, 9, 1, 10].map(profile));
}

/// By creation in either direction, and by folded name, then creation; an entity without a name is not among the latter. Every
/// size of page gives the same, and other types and tombstones are never among them. A view in a list is the view of itself.
pub async fn list_orders_and_pages<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let names = ["bob", "Ada", "ada", "Zoë", "zoe", "ADA", "Émile", "émile", "Bob B", "bob", "\u{10000}", "\u{ffff}x", "Ada"];
    let key = |index: usize| profile(u32::try_from(500 - index).expect("few"));
    for (index, name) in names.iter().enumerate() {
        client.commit(1, [create(&key(index), json!({"name": name, "email": format!("p{index}@example.com")}))]).await;
    }
    let nameless = profile(700);
    client
        .commit(1, [merge(&nameless, [fact("n", "crm", 0, 1)]), merge(&organization("acc"), [fact("name", "crm", 0, "Ada")])])
        .await;
    client.commit(2, [delete(&key(5)), patch(&key(3), json!({"name": "aaron"}))]).await;

    let mut by_creation: Vec<(String, EntityKey)> =
        names.iter().enumerate().map(|(index, name)| (fold(name), key(index))).collect();
    by_creation[3].0 = "aaron".into();
    by_creation.remove(5);
    let mut by_name = by_creation.clone();
    by_creation.push((String::new(), nameless));
    by_name.sort_by(|(a, _), (b, _)| a.as_bytes().cmp(b.as_bytes()));
    let mut backwards = by_creation.clone();
    backwards.reverse();

    for (order, expected) in [(Order::Created, by_creation), (Order::CreatedDescending, backwards), (Order::Name, by_name)] {
        let expected: Vec<EntityKey> = expected.into_iter().map(|(_, key)| key).collect();
        for limit in [1, 2, 3, 5, expected.len(), 200] {
            let pages = client.walk(&ListQuery { order, limit, ..everything(&profile(0)) }).await;
            let keys: Vec<_> = pages.iter().map(|view| view.key.clone()).collect();
            assert_eq!(keys, expected, "{order:?} in pages of {limit}");
            for view in pages {
                assert_eq!(client.view(&view.key).await, Some(view));
            }
        }
    }
    assert_eq!(client.keys(&everything(&organization("x"))).await, [organization("acc")]);
}

/// As long as there are more, a page is full; one that isn't full is the last, and after it there is nothing. Also where most
/// entities don't match.
pub async fn short_page_is_the_last<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let even = |n: u32| if n.is_multiple_of(2) { "even" } else { "odd" };
    client
        .commit(
            0,
            (0..60).map(|n| {
                create(
                    &profile(n),
                    json!({"name": format!("p{}", n % 7), "email": format!("p{n}@example.com"), "kind": even(n), "rare": n % 30}),
                )
            }),
        )
        .await;
    let even = Filter::attribute("kind", "even");
    let rare = Filter::attribute("rare", "4");
    let by_name = |prefix: Option<&str>| ListQuery {
        order: Order::Name,
        name_prefix: prefix.map(str::to_owned),
        ..everything(&profile(0))
    };
    let cases: [(ListQuery, usize); 8] = [
        (everything(&profile(0)), 60),
        (ListQuery { order: Order::CreatedDescending, ..everything(&profile(0)) }, 60),
        (where_all(std::slice::from_ref(&even)), 30),
        (where_all(std::slice::from_ref(&rare)), 2),
        (where_all(&[even, rare]), 2),
        (by_name(None), 60),
        (by_name(Some("p3")), 9),
        (by_name(Some("q")), 0),
    ];
    for (query, count) in cases {
        for limit in [1, count.saturating_sub(1), count, count + 1].into_iter().filter(|limit| (1..=60).contains(limit)) {
            let first = client.list(&ListQuery { limit, ..query.clone() }).await;
            assert_eq!(first.len(), limit.min(count), "{query:?} limit {limit}");
            let Some(last) = first.last() else { continue };
            let rest = ListQuery { after: Some(crate::build::after(last, query.order)), ..query.clone() };
            assert_eq!(client.list(&rest).await.len(), count - first.len(), "{query:?} after {limit}");
        }
    }
}

/// While others insert, rename, delete and revive around it, an entity that nobody touches appears exactly once in a walk,
/// whatever the order, the filter and the size of the pages.
pub async fn walk_meets_the_untouched_once<F: Fixture>() {
    const UNTOUCHED: u32 = 60;
    let (_fixture, client) = start::<F>().await;
    let mut entities = Vec::new();
    for n in 0..UNTOUCHED {
        let document = json!({"name": format!("name {}", n % 9), "email": format!("u{n}@example.com"), "plan": "pro"});
        entities.push(create(&profile(n * 2), document));
        entities.push(create(
            &profile(n * 2 + 1),
            json!({"name": format!("name {}", n % 9), "email": format!("t{n}@example.com"), "plan": "pro"}),
        ));
    }
    client.commit(0, entities).await;

    let over = Over::default();
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (client, over) = (client.clone(), Arc::clone(&over.0));
            tokio::spawn(async move {
                let mut random = Random::new(writer);
                let mut now = 1;
                while !over.load(Ordering::Relaxed) {
                    disturb(&client, &mut random, UNTOUCHED, now).await;
                    now += 1;
                }
            })
        })
        .collect();
    let by_plan = ListQuery { filters: vec![Filter::attribute("plan", "pro")], ..everything(&profile(0)) };
    let by_name = ListQuery { order: Order::Name, ..everything(&profile(0)) };
    for round in 0..scaled(100) {
        let limit = 1 + round as usize * 7 % 40;
        for query in [
            ListQuery { limit, ..everything(&profile(0)) },
            ListQuery { limit, order: Order::CreatedDescending, ..everything(&profile(0)) },
            ListQuery { limit, ..by_name.clone() },
            ListQuery { limit, name_prefix: Some("name".into()), ..by_name.clone() },
            ListQuery { limit, ..by_plan.clone() },
            ListQuery { limit, order: Order::CreatedDescending, ..by_plan.clone() },
        ] {
            let mut seen: BTreeMap<EntityKey, u32> = BTreeMap::new();
            for view in client.walk(&query).await {
                *seen.entry(view.key).or_default() += 1;
            }
            for n in 0..UNTOUCHED {
                assert_eq!(seen.get(&profile(n * 2)), Some(&1), "round {round}, profile {n}, {query:?}");
            }
        }
    }
    drop(over);
    for writer in writers {
        writer.await.expect("a writer");
    }
}

/// Tells the writers to stop once it is dropped, also by a walk that fails.
#[derive(Default)]
struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Changes one of the entities that may be touched, or an unknown one. Few enough stay that a walk ends.
async fn disturb(client: &Client, random: &mut Random, untouched: u32, now: i64) {
    let number = if random.percent(60) { random.below(untouched) * 2 + 1 } else { 1_000 + random.below(50) };
    let key = profile(number);
    let write = if random.percent(30) {
        delete(&key)
    } else {
        let name = fact("name", "crm", now, format!("name {}", random.below(12)));
        merge(&key, [name, fact("plan", "crm", now, *random.pick(&["pro", "free"]))])
    };
    // A deletion of what isn't there is refused; that disturbs as well as any.
    let _ = client.try_commit(changeset(now, [write])).await;
}
