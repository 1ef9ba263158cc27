//! Who has an e-mail address.

use profile_domain::{
    EntityKey, Reference,
    text::{EmailAddress, EmailKey},
};
use profile_ports::EmailOwners;
use serde_json::json;

use crate::{
    Fixture,
    build::{create, deadline, delete, fact, merge, organization, patch, profile, start},
};

fn email(text: &str) -> EmailKey {
    EmailAddress::parse(text).expect("a valid address").key()
}

fn owners(holder: Option<u32>, serving: &[u32]) -> EmailOwners {
    let of = |number: u32| -> Reference { profile(number).reference };
    EmailOwners { holder: holder.map(of), serving: serving.iter().copied().map(of).collect() }
}

/// The holder is who reserved the address, also where another source's is served; those who serve it are given in the order of
/// creation, two at most, whoever reported it. Other tenants and types, and the past, have none.
pub async fn email_owners_are_found<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let by_crm = |key: &EntityKey, address: &str| merge(key, [fact("email", "crm", 50, address)]);
    client
        .commit(
            0,
            [
                create(&profile(9), json!({"name": "A", "email": "Held@example.com"})),
                create(&profile(8), json!({"name": "B", "email": "elsewhere@example.com"})),
                create(&profile(7), json!({"name": "C", "email": "gone@example.com"})),
                create(&profile(6), json!({"name": "D", "email": "moved@example.com"})),
                by_crm(&profile(5), "shared@example.com"),
                by_crm(&profile(4), "SHARED@example.com"),
                by_crm(&profile(3), "shared@Example.com"),
                by_crm(&profile(2), "lone@example.com"),
                by_crm(&profile(1), "held@example.com"),
                by_crm(&organization("acc"), "organization@example.com"),
            ],
        )
        .await;
    client.as_tenant("b").commit(0, [create(&profile(1), json!({"name": "X", "email": "foreign@example.com"}))]).await;
    client
        .commit(
            1,
            [by_crm(&profile(8), "served@example.com"), delete(&profile(7)), patch(&profile(6), json!({"email": "new@x.org"}))],
        )
        .await;

    let expected = [
        ("held@example.com", owners(Some(9), &[9, 1])),
        ("elsewhere@example.com", owners(Some(8), &[])),
        ("served@example.com", owners(None, &[8])),
        ("gone@example.com", owners(None, &[])),
        ("moved@example.com", owners(None, &[])),
        ("new@x.org", owners(Some(6), &[6])),
        ("shared@example.com", owners(None, &[5, 4])),
        ("lone@example.com", owners(None, &[2])),
        ("organization@example.com", owners(None, &[])),
        ("foreign@example.com", owners(None, &[])),
        ("nobody@example.com", owners(None, &[])),
    ];
    let mut asked: Vec<EmailKey> = expected.iter().map(|(text, _)| email(text)).collect();
    asked.extend((0..2_000).map(|number| email(&format!("n{number}@example.com"))));
    // One that is asked for twice is answered once.
    asked.extend(asked[..3].to_vec());
    let mut found = client.store.email_owners(&client.tenant, &asked, deadline()).await.expect("owners");
    for (text, expected) in expected {
        assert_eq!(found.remove(&email(text)).unwrap_or_default(), expected, "{text}");
    }
    assert!(found.values().all(|owners| *owners == EmailOwners::default()), "{found:?}");
    assert!(client.store.email_owners(&client.tenant, &[], deadline()).await.expect("nothing").is_empty());
}
