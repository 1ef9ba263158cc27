//! Sources for a demonstration: what some systems might say of one person, and a call that makes them slow, broken or wrong.
//!
//! Each answers `GET /{source}/{id}`. `PUT /sources/{source}` sets its `delay_ms`, the `status` that it answers with, and a `lie`,
//! whose members replace those of its answer; what isn't named is as at the start. `GET /sources` shows what is set.

use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use actix_web::{
    App, HttpResponse, HttpServer,
    dev::Server,
    http::StatusCode,
    web::{self, Data, Json, Path},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Whom they know.
pub const DEMO_ID: &str = "550e8400-e29b-41d4-a716-446655440000";
/// The longest that a source can be made to take.
const LONGEST: Duration = Duration::from_mins(1);

/// How a source behaves.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Mood {
    delay_ms: u64,
    status: Option<u16>,
    lie: Option<Map<String, Value>>,
}

type Moods = Data<RwLock<BTreeMap<&'static str, Mood>>>;

/// Serves them until the server is stopped.
///
/// # Errors
/// Where the listener can't be used.
pub fn serve_demo_sources(listener: TcpListener) -> io::Result<Server> {
    let moods: BTreeMap<&'static str, Mood> = SOURCES.iter().map(|(name, _)| (*name, Mood::default())).collect();
    let moods = Data::from(Arc::new(RwLock::new(moods)));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(moods.clone())
            .route("/sources", web::get().to(moods_now))
            .route("/sources/{source}", web::put().to(set))
            .route("/{source}/{id}", web::get().to(ask))
    });
    Ok(server.workers(1).disable_signals().shutdown_timeout(1).listen(listener)?.run())
}

async fn moods_now(moods: Moods) -> HttpResponse {
    HttpResponse::Ok().json(&*moods.read().unwrap_or_else(PoisonError::into_inner))
}

async fn set(source: Path<String>, moods: Moods, Json(mood): Json<Mood>) -> HttpResponse {
    let mut moods = moods.write().unwrap_or_else(PoisonError::into_inner);
    match moods.get_mut(source.as_str()) {
        Some(known) => {
            *known = mood;
            HttpResponse::Ok().json(known)
        }
        None => HttpResponse::NotFound().finish(),
    }
}

async fn ask(asked: Path<(String, String)>, moods: Moods) -> HttpResponse {
    let (source, id) = asked.into_inner();
    let mood = moods.read().unwrap_or_else(PoisonError::into_inner).get(source.as_str()).cloned();
    let (Some(mood), Some((_, says))) = (mood, SOURCES.iter().find(|(name, _)| *name == source)) else {
        return HttpResponse::NotFound().finish();
    };
    actix_web::rt::time::sleep(Duration::from_millis(mood.delay_ms).min(LONGEST)).await;
    if let Some(status) = mood.status.and_then(|status| StatusCode::from_u16(status).ok()).filter(|status| !status.is_success()) {
        return HttpResponse::build(status).finish();
    }
    if id != DEMO_ID {
        return HttpResponse::NotFound().finish();
    }
    let mut says = says();
    for (member, value) in mood.lie.into_iter().flatten() {
        says[member] = value;
    }
    HttpResponse::Ok().json(says)
}

type Says = fn() -> Value;

const SOURCES: [(&str, Says); 7] = [
    ("crm", || json!({"id": DEMO_ID, "name": "John Foo"})),
    ("mail", || json!({"id": DEMO_ID, "name": "J. Foo", "address": "test@test.com"})),
    ("avatars", || json!({"id": DEMO_ID, "picture": {"url": "https://i.pravatar.cc/300"}})),
    ("legacy", || json!({"id": DEMO_ID, "name": "FOO, JOHN", "email": "foo@old.example.com", "unknown": "alien"})),
    ("customers", || {
        json!({
            "name": "John Foo", "email": "test@test.com", "preferences": {"language": "en", "currency": "EUR"},
        })
    }),
    ("catalog", || {
        json!({
            "products": [{"product_id": "p-1", "name": "Lamp", "price": 19.9}, {"product_id": "p-2", "name": "Desk", "price": 240}],
            "categories": [{"category_id": "c-1", "category_name": "Furniture"}],
        })
    }),
    ("ledger", || {
        json!({
            "transactions": [
                {"transaction_id": "t-1", "amount": 19.9, "date": "2026-01-15T09:30:00Z", "status": "paid"},
                {"transaction_id": "t-2", "amount": 240, "date": "2026-02-20T16:00:00Z", "status": "open"},
            ],
        })
    }),
];
