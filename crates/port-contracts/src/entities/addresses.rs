//! E-mail addresses: reserved by source `api`, for one profile of a tenant at a time.

use std::collections::BTreeSet;

use profile_domain::{Changeset, Expect, ItemOutcome, Policy, Rejection, Rule, Rules, search::Filter, text::EmailAddress};
use profile_ports::CommitError;
use serde_json::{Value, json};

use crate::{
    Fixture,
    build::{
        Client, Vary, changeset, create, delete, everything, fact, merge, organization, patch, profile, put, race, source, start,
        start_with, version, where_all,
    },
    random::Random,
    scaled,
};

fn person(email: &str) -> Value {
    json!({"name": "Someone", "email": email})
}

fn serving(email: &str) -> profile_domain::search::ListQuery {
    where_all(&[Filter::email(&EmailAddress::parse(email).expect("a valid address"))])
}

/// Of two that take one address in different case at once, one gets it; both as new profiles and as existing ones that
/// change. Within a changeset the first gets it.
pub async fn one_email_one_profile<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let old = [profile(1_000_000), profile(1_000_001)];
    client.commit(0, [create(&old[0], person("a@example.com")), create(&old[1], person("b@example.com"))]).await;
    for round in 0..scaled(1_000) {
        let spellings = [format!("round-{round}@example.com"), format!("Round-{round}@EXAMPLE.com")];
        let takers: [_; 2] = std::array::from_fn(|racer| {
            let spelling = person(&spellings[racer]);
            let fresh = profile(round * 2 + u32::try_from(racer).expect("0 or 1"));
            match round % 3 {
                0 => (fresh.clone(), create(&fresh, spelling)),
                1 => (fresh.clone(), create(&fresh, spelling).expecting(Expect::Fresh)),
                _ => (old[racer].clone(), put(&old[racer], spelling)),
            }
        });
        let racers = takers.iter().map(|(_, write)| changeset(1, [write.clone()])).collect();
        let mut winners = Vec::new();
        for (answer, (key, _)) in race(&client, racers).await.into_iter().zip(&takers) {
            match answer {
                Ok(_) => winners.push(key.clone()),
                Err(CommitError::Refused(refusal)) => assert_eq!(refusal.rejection, Rejection::EmailTaken, "round {round}"),
                Err(error) => panic!("round {round}: {error:?}"),
            }
        }
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(client.keys(&serving(&spellings[0])).await, winners, "round {round}");
    }
    let twins =
        [create(&profile(2_000_001), person("Twin@example.com")), create(&profile(2_000_000), person("twin@example.com"))];
    let outcomes = client.commit(2, twins.map(Vary::optional)).await;
    assert_eq!(outcomes, [ItemOutcome::Created(version(1)), ItemOutcome::Rejected(Rejection::EmailTaken)]);
}

/// A changeset may hand addresses round: two swap, three rotate, a deleted one's is inherited. Each is then held by its new
/// owner alone.
pub async fn emails_swap_in_one_changeset<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let [a, b, c] = [profile(1), profile(2), profile(3)];
    let addresses = ["a@example.com", "b@example.com", "c@example.com"];
    client
        .commit(0, [create(&a, person(addresses[0])), create(&b, person(addresses[1])), create(&c, person(addresses[2]))])
        .await;
    let holders = async || {
        let mut holders = Vec::new();
        for address in addresses {
            holders.push(client.keys(&serving(address)).await);
        }
        holders.concat()
    };

    client.commit(1, [patch(&a, json!({"email": addresses[1]})), patch(&b, json!({"email": addresses[0]}))]).await;
    assert_eq!(holders().await, [b.clone(), a.clone(), c.clone()]);
    client
        .commit(
            2,
            [
                patch(&c, json!({"email": "A@example.com"})).optional(),
                patch(&b, json!({"email": "B@example.com"})).optional(),
                patch(&a, json!({"email": "C@example.com"})).optional(),
            ],
        )
        .await;
    assert_eq!(holders().await, [c.clone(), b.clone(), a.clone()]);
    let d = profile(4);
    client.commit(3, [create(&d, person("a@example.com")), delete(&c)]).await;
    assert_eq!(holders().await, [d.clone(), b.clone(), a.clone()]);

    // An address that passes through a profile within one changeset is nobody's afterwards.
    client.commit(4, [patch(&b, json!({"email": "x@example.com"})), patch(&b, json!({"email": "y@example.com"}))]).await;
    let free = [create(&profile(5), person("x@example.com")), create(&profile(6), person("b@example.com"))];
    client.commit(5, free).await;
    for (address, owner) in [("a@example.com", d), ("c@example.com", a), ("y@example.com", b)] {
        let refusal = client.refused(6, [create(&profile(9), person(address))]).await;
        assert_eq!(refusal.rejection, Rejection::EmailTaken, "{address} is still {owner:?}'s");
    }
}

/// Profiles that change their addresses crosswise, alone and in pairs in either order, while others are created and deleted,
/// end with no error but `EMAIL_TAKEN`; and no two then have the same.
pub async fn crossing_email_changes_end<F: Fixture>() {
    const CLIENTS: u32 = 20;
    let (_fixture, client) = start::<F>().await;
    client.commit(0, (0..CLIENTS).map(|n| create(&profile(n), person(&format!("own-{n}@example.com"))))).await;
    let changes = scaled(400);
    let mut tasks = tokio::task::JoinSet::new();
    let barrier = std::sync::Arc::new(tokio::sync::Barrier::new(CLIENTS as usize));
    for task in 0..CLIENTS {
        let (client, barrier) = (client.clone(), std::sync::Arc::clone(&barrier));
        tasks.spawn(async move {
            let mut random = Random::new(task.into());
            barrier.wait().await;
            let mut committed = 0;
            for now in 1..=i64::from(changes) {
                match client.try_commit(crossing(&mut random, task, CLIENTS, now)).await {
                    Ok(_) => committed += 1,
                    Err(CommitError::Refused(refusal)) => assert_eq!(refusal.rejection, Rejection::EmailTaken),
                    Err(error) => panic!("client {task}, change {now}: {error:?}"),
                }
            }
            committed
        });
    }
    let committed: u32 = tasks.join_all().await.into_iter().sum();
    assert!(committed > 0, "some changes went through");
    let profiles = client.list(&everything(&profile(0))).await;
    let addresses: BTreeSet<String> = profiles
        .iter()
        .map(|view| view.properties.get("email").expect("an e-mail").as_str().expect("text").to_lowercase())
        .collect();
    assert_eq!(addresses.len(), profiles.len(), "no two profiles have the same address");
}

fn crossing(random: &mut Random, task: u32, clients: u32, now: i64) -> Changeset {
    let mut address = || match random.below(3) {
        0 => format!("own-{}@example.com", random.below(clients)),
        1 => format!("Shared-{}@example.com", random.below(6)),
        _ => format!("shared-{}@example.com", random.below(6)),
    };
    let (mine, theirs) = (address(), address());
    let other = profile(random.below(clients));
    let me = profile(task);
    let passing = profile(1_000 + task);
    match random.below(4) {
        0 => changeset(now, [patch(&me, json!({"email": mine}))]),
        1 => changeset(now, [patch(&me, json!({"email": mine})), patch(&other, json!({"email": theirs}))]),
        2 => changeset(now, [patch(&other, json!({"email": mine})), patch(&me, json!({"email": theirs}))]),
        _ if random.percent(50) => changeset(now, [put(&passing, person(&mine)).expecting(Expect::Any)]),
        _ => changeset(now, [delete(&passing).expecting(Expect::Any), patch(&me, json!({"email": theirs}))]),
    }
}

/// A write whose address is taken is rejected alone; what it would have done besides doesn't happen.
pub async fn rejected_address_harms_no_other<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let [a, b, c] = [profile(1), profile(2), profile(3)];
    client.commit(0, [create(&a, person("a@example.com")), create(&b, person("b@example.com"))]).await;
    let outcomes = client
        .commit(
            1,
            [
                patch(&a, json!({"plan": "pro"})),
                patch(&b, json!({"email": "A@example.com", "plan": "lost"})).optional(),
                patch(&b, json!({"tier": 1})),
                create(&c, person("c@example.com")).optional(),
            ],
        )
        .await;
    assert_eq!(
        outcomes,
        [
            ItemOutcome::Updated(version(2)),
            ItemOutcome::Rejected(Rejection::EmailTaken),
            ItemOutcome::Updated(version(2)),
            ItemOutcome::Created(version(1)),
        ]
    );
    assert_eq!(client.served(&b).await, json!({"name": "Someone", "email": "b@example.com", "tier": 1}));
    assert_eq!(client.keys(&serving("a@example.com")).await, [a]);
}

/// If the write that would have freed an address is rejected, so is the one that counted on it, and the next in the chain;
/// a required one among them refuses the whole changeset.
pub async fn dependents_of_a_rejected_release_are_rejected<F: Fixture>() {
    let (fixture, client) = start::<F>().await;
    let [a, b, c, d] = [profile(1), profile(2), profile(3), profile(4)];
    for (key, address) in [(&a, "a@example.com"), (&b, "b@example.com"), (&c, "c@example.com")] {
        client.commit(0, [create(key, person(address))]).await;
    }
    // d wants c's, c wants b's, b wants a's, and a keeps its own.
    let chain = || {
        [
            patch(&a, json!({"n": 1})),
            create(&d, person("C@example.com")).optional(),
            patch(&c, json!({"email": "B@example.com"})).optional(),
            patch(&b, json!({"email": "A@example.com"})).optional(),
        ]
    };
    let before = fixture.dump().await;
    let mut strict = chain();
    strict[1].required = true;
    let refusal = client.refused(1, strict).await;
    assert_eq!((refusal.index, refusal.rejection), (1, Rejection::EmailTaken));
    assert_eq!(fixture.dump().await, before);

    let outcomes = client.commit(1, chain()).await;
    let taken = ItemOutcome::Rejected(Rejection::EmailTaken);
    assert_eq!(outcomes, [ItemOutcome::Updated(version(2)), taken.clone(), taken.clone(), taken]);
    assert_eq!(client.entity(&d).await, None);
    for (key, address) in [(a, "a@example.com"), (b, "b@example.com"), (c, "c@example.com")] {
        assert_eq!(client.keys(&serving(address)).await, [key]);
    }
}

/// A reservation follows what source `api` says, whether that is served or not: other sources neither take one nor take it
/// away, and other types of entity have none.
pub async fn address_follows_the_api_alone<F: Fixture>() {
    let order = Rule::Priority(vec![source("crm")]);
    let rules = Rules { revision: 1, default: order, ..Rules::default() };
    let (_fixture, client) = start_with::<F>(Policy { rules, ..Policy::default() }).await;
    let a = profile(1);
    client.commit(0, [create(&a, person("a@example.com"))]).await;
    client.commit(1, [merge(&a, [fact("email", "crm", 1, "crm@example.com")])]).await;
    assert_eq!(client.served(&a).await["email"], "crm@example.com");
    let take = async |number: u32, address: &str| client.commit(2, [create(&profile(number), person(address)).optional()]).await;
    let taken = [ItemOutcome::Rejected(Rejection::EmailTaken)];
    let created = [ItemOutcome::Created(version(1))];
    assert_eq!(take(2, "A@example.com").await, taken, "outvoted, and still reserved");
    assert_eq!(take(3, "crm@example.com").await, created, "served, and not reserved");

    // Writing what is served already writes no fact, so the reservation stays where it was.
    client.commit(3, [put(&a, person("crm@example.com"))]).await;
    assert_eq!(take(4, "a@example.com").await, taken);
    // Another address by `api` moves it, though the rule serves the other source's.
    client.commit(4, [patch(&a, json!({"email": "new@example.com"}))]).await;
    assert_eq!(take(5, "new@example.com").await, taken);
    assert_eq!(take(6, "a@example.com").await, created);
    // An import as `api` reserves like REST, and its null gives up.
    client.commit(5, [merge(&profile(7), [fact("email", "api", 5, "import@example.com")])]).await;
    assert_eq!(take(8, "import@example.com").await, taken);
    client.commit(6, [merge(&profile(7), [fact("email", "api", 6, Value::Null)])]).await;
    assert_eq!(take(8, "import@example.com").await, created);
    // An organization's e-mail is an attribute like any other.
    client.commit(7, [merge(&organization("acc"), [fact("email", "api", 7, "acc@example.com")])]).await;
    assert_eq!(take(9, "acc@example.com").await, created);
}

/// What a stream reports is merged and served, though another profile holds the address; a search then gives both, and what
/// is served can be PUT back.
pub async fn streams_serve_taken_addresses<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let [a, b] = [profile(1), profile(2)];
    client.commit(0, [create(&a, person("a@example.com"))]).await;
    let facts = [fact("email", "crm", 0, "A@example.com"), fact("name", "crm", 0, "Someone")];
    assert_eq!(client.commit(1, [merge(&b, facts)]).await, [ItemOutcome::Created(version(1))]);
    assert_eq!(client.served(&b).await, person("A@example.com"));
    let both = async |client: &Client| client.keys(&serving("a@EXAMPLE.com")).await;
    assert_eq!(both(&client).await, [a.clone(), b.clone()]);

    let put_back = client.commit(2, [put(&b, client.served(&b).await.clone())]).await;
    assert_eq!(put_back, [ItemOutcome::Unchanged(Some(version(1)))]);
    let renamed = client.commit(3, [put(&b, json!({"name": "Other", "email": "A@example.com"}))]).await;
    assert_eq!(renamed, [ItemOutcome::Updated(version(2))]);
    // Another spelling is another value, hence a fact of source `api`, which needs the reservation.
    assert_eq!(client.refused(4, [patch(&b, json!({"email": "a@example.com"}))]).await.rejection, Rejection::EmailTaken);
    client.commit(5, [delete(&a)]).await;
    assert_eq!(client.commit(6, [patch(&b, json!({"email": "a@example.com"}))]).await, [ItemOutcome::Updated(version(3))]);
    assert_eq!(both(&client).await, [b]);
}
