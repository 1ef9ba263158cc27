//! Reads that may lag.

use profile_domain::Place;
use profile_ports::{AsOf, By};
use serde_json::json;

use crate::{
    Fixture,
    build::{Client, create, deadline, everything, patch, profile, start},
};

/// A read of what was acknowledged shows it, and a read as of a commit's place shows that commit, whoever answers. A place that
/// nobody can have come to is no reason not to answer.
pub async fn an_answer_shows_its_place<F: Fixture>() {
    let (_fixture, client) = start::<F>().await;
    let key = profile(1);
    client.commit(0, [create(&key, json!({"name": "Ada", "email": "ada@example.com", "n": 0}))]).await;
    for n in 1..20 {
        let receipt = client.receipt(crate::build::changeset(n, [patch(&key, json!({"n": n}))])).await;
        let place = receipt.place.map_or(AsOf::Now, AsOf::Place);
        let far = AsOf::Place(Place { timeline: u32::MAX, position: u64::MAX });
        for as_of in [AsOf::Now, place, far] {
            assert_eq!(shown(&client, as_of).await, json!(n), "{as_of:?}");
        }
    }
    let now = client.store.view_as_of(&client.tenant, &key, AsOf::Now, deadline()).await.expect("a view");
    assert_eq!(now.by, By::Primary);
}

/// What both kinds of reads show.
async fn shown(client: &Client, as_of: AsOf) -> serde_json::Value {
    let key = profile(1);
    let view = client.store.view_as_of(&client.tenant, &key, as_of, deadline()).await.expect("a view").found.expect("it lives");
    let list = client.store.list_as_of(&client.tenant, &everything(&key), as_of, deadline()).await.expect("a list");
    assert_eq!(list, std::slice::from_ref(&view), "{as_of:?}");
    view.properties.get("n").expect("a value")
}
