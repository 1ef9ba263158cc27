//! The contract of [`profile_ports::Objects`].
//!
//! An adapter implements [`ObjectsFixture`] and calls [`crate::objects_contract!`].

use std::{ops::Range, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use profile_domain::{Moment, TenantId};
use profile_ports::{
    BoxError, ObjectError, ObjectKey, Objects,
    objects::{Content, Object},
};

/// A store of its own, and a look behind its port.
#[async_trait]
pub trait ObjectsFixture: Sized + Send + Sync + 'static {
    /// Makes an empty store of its own, whose objects may have so many bytes.
    async fn fresh(limit: u64) -> Self;

    /// The store under test.
    fn objects(&self) -> Arc<dyn Objects>;

    /// Closes it and opens what it left, as the next process would.
    async fn reopen(&mut self);

    /// Everything that is kept, unfinished things included: how many.
    async fn kept(&self) -> usize;
}

/// Hands the names of all cases to a macro.
#[doc(hidden)]
#[macro_export]
macro_rules! object_cases {
    ($then:path [$($with:tt)*]) => {
        $then! {
            [$($with)*]
            object_keys_stay_in_their_place
            object_lists_are_by_area_and_age
            object_puts_are_whole
            object_ranges_are_parts
            object_sizes_are_bounded
            object_tenants_are_apart
            objects_are_removed
            objects_give_what_was_put
            objects_survive_reopening
        }
    };
}

/// One test of every case, over an [`ObjectsFixture`] type. The crate that calls it depends on `tokio`.
#[macro_export]
macro_rules! objects_contract {
    ($fixture:ty) => {
        $crate::object_cases! { $crate::queue_test_each [$fixture] }
    };
}

/// More than one part, wherever parts are joined.
const LARGE: usize = 12 << 20;
const AMPLE: u64 = 1 << 30;
const CEILING: Duration = Duration::from_mins(1);

fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).expect(text)
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).expect(name)
}

/// Bytes that differ from place to place.
fn bytes(count: usize, seed: usize) -> Bytes {
    (0..count).map(|index| u8::try_from((index * 31 + index / 251 + seed) % 256).expect("a byte")).collect()
}

/// In pieces of odd sizes, empty ones among them.
fn pieces(whole: &Bytes) -> Content<BoxError> {
    let mut cuts = vec![Ok(Bytes::new())];
    let mut at = 0;
    for size in [1, 8_191, 65_537, 1_000_003].into_iter().cycle() {
        if at >= whole.len() {
            break;
        }
        let end = whole.len().min(at + size);
        cuts.push(Ok(whole.slice(at..end)));
        at = end;
    }
    stream::iter(cuts).boxed()
}

async fn put(objects: &Arc<dyn Objects>, tenant: &TenantId, key: &ObjectKey, whole: &Bytes) {
    let size = objects.put(tenant, key, pieces(whole)).await.expect("it is put");
    assert_eq!(size, whole.len() as u64);
}

async fn read(object: Object) -> Bytes {
    let mut content = object.content;
    let mut whole = Vec::new();
    while let Some(piece) = content.next().await {
        whole.extend_from_slice(&piece.expect("it is read"));
    }
    assert_eq!(whole.len() as u64, object.range.end - object.range.start, "as many as were announced");
    whole.into()
}

async fn get(objects: &Arc<dyn Objects>, tenant: &TenantId, key: &ObjectKey) -> Option<Bytes> {
    match objects.get(tenant, key, None).await.expect("it answers") {
        Some(object) => Some(read(object).await),
        None => None,
    }
}

/// Small, empty and large; and put again, the new in the place of the old.
pub async fn objects_give_what_was_put<F: ObjectsFixture>() {
    let fixture = F::fresh(AMPLE).await;
    let (objects, tenant) = (fixture.objects(), tenant("default"));
    let name = key("exports/2026/a_b-c.1.ndjson");
    assert_eq!(get(&objects, &tenant, &name).await, None);
    for (round, size) in [5, 0, LARGE, 17].into_iter().enumerate() {
        let whole = bytes(size, round);
        put(&objects, &tenant, &name, &whole).await;
        assert_eq!(get(&objects, &tenant, &name).await, Some(whole), "{size} bytes");
    }
    assert_eq!(fixture.kept().await, 1, "nothing but the last");
}

/// What was acknowledged is there for the next process.
pub async fn objects_survive_reopening<F: ObjectsFixture>() {
    let mut fixture = F::fresh(AMPLE).await;
    let (tenant, name, whole) = (tenant("default"), key("exports/a"), bytes(100_000, 1));
    put(&fixture.objects(), &tenant, &name, &whole).await;
    fixture.reopen().await;
    assert_eq!(get(&fixture.objects(), &tenant, &name).await, Some(whole));
}

/// One that breaks off, by an error or because nobody waits any more, leaves what was before and nothing else.
pub async fn object_puts_are_whole<F: ObjectsFixture>() {
    let fixture = F::fresh(AMPLE).await;
    let (objects, tenant) = (fixture.objects(), tenant("default"));
    let (name, other, whole) = (key("exports/a"), key("exports/b"), bytes(1_000, 1));
    put(&objects, &tenant, &name, &whole).await;
    for size in [100, LARGE] {
        let broken = || pieces(&bytes(size, 2)).chain(stream::once(async { Err("broken".into()) })).boxed();
        for name in [&name, &other] {
            let error = objects.put(&tenant, name, broken()).await.expect_err("it breaks");
            assert!(matches!(error, ObjectError::Content(_)), "{error:?}");
        }
        // As if the content went on for ever: whoever puts it walks away once all that there is was asked for.
        let (asked, waits) = tokio::sync::oneshot::channel();
        let endless = pieces(&bytes(size, 3)).chain(stream::once(async move {
            let _ = asked.send(());
            std::future::pending().await
        }));
        let putting = tokio::spawn({
            let (objects, tenant, name) = (Arc::clone(&objects), tenant.clone(), name.clone());
            async move { objects.put(&tenant, &name, endless.boxed()).await.map(|_| ()) }
        });
        waits.await.expect("everything is asked for");
        assert_eq!(get(&objects, &tenant, &name).await.as_ref(), Some(&whole), "nothing of it is seen");
        putting.abort();
        assert!(putting.await.is_err(), "it was aborted");
    }
    assert_eq!(get(&objects, &tenant, &name).await, Some(whole), "what was before stays");
    assert_eq!(get(&objects, &tenant, &other).await, None);
    let tidy = async {
        while fixture.kept().await > 1 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(CEILING, tidy).await.expect("nothing else is left");
}

/// One more than allowed is refused, however it comes.
pub async fn object_sizes_are_bounded<F: ObjectsFixture>() {
    const LIMIT: usize = 100_000;
    let fixture = F::fresh(LIMIT as u64).await;
    let (objects, tenant, name) = (fixture.objects(), tenant("default"), key("exports/a"));
    let most = bytes(LIMIT, 1);
    put(&objects, &tenant, &name, &most).await;
    for more in [LIMIT + 1, LARGE] {
        let error = objects.put(&tenant, &name, pieces(&bytes(more, 2))).await.expect_err("it is too large");
        assert!(matches!(error, ObjectError::TooLarge { limit } if limit == LIMIT as u64), "{error:?}");
    }
    assert_eq!(get(&objects, &tenant, &name).await, Some(most), "what was before stays");
}

/// The bytes asked for, cut at the end; not where there are none.
pub async fn object_ranges_are_parts<F: ObjectsFixture>() {
    let fixture = F::fresh(AMPLE).await;
    let (objects, tenant, name) = (fixture.objects(), tenant("default"), key("exports/a"));
    let whole = bytes(100_000, 1);
    put(&objects, &tenant, &name, &whole).await;
    let some = async |range: Range<u64>| objects.get(&tenant, &name, Some(range)).await;
    for (range, given) in [
        (0..1, 0..1),
        (0..100_000, 0..100_000),
        (99_999..100_000, 99_999..100_000),
        (50_000..u64::MAX, 50_000..100_000),
        (10..90_000, 10..90_000),
    ] {
        let object = some(range.clone()).await.expect("it answers").expect("it is there");
        assert_eq!((object.size, object.range.clone()), (100_000, given.clone()), "{range:?}");
        let (start, end) = (usize::try_from(given.start).expect("small"), usize::try_from(given.end).expect("small"));
        assert_eq!(read(object).await, whole.slice(start..end), "{range:?}");
    }
    for beyond in [100_000..100_001, u64::MAX - 1..u64::MAX] {
        let outcome = some(beyond.clone()).await.map(|object| object.map(|object| object.size));
        assert!(matches!(outcome, Err(ObjectError::OutOfRange { size: 100_000 })), "{beyond:?}: {outcome:?}");
    }
    let absent = objects.get(&tenant, &key("exports/b"), Some(0..1)).await.expect("it answers");
    assert!(absent.is_none());
}

/// Removed is absent, and removed again is no error.
pub async fn objects_are_removed<F: ObjectsFixture>() {
    let fixture = F::fresh(AMPLE).await;
    let (objects, tenant) = (fixture.objects(), tenant("default"));
    for name in ["exports/a/b", "exports/a/c"] {
        put(&objects, &tenant, &key(name), &bytes(10, 1)).await;
    }
    for _ in 0..2 {
        objects.delete(&tenant, &key("exports/a/b")).await.expect("it is removed");
        assert_eq!(get(&objects, &tenant, &key("exports/a/b")).await, None);
    }
    objects.delete(&tenant, &key("never/was")).await.expect("nothing to do");
    assert_eq!(get(&objects, &tenant, &key("exports/a/c")).await, Some(bytes(10, 1)), "others stay");
}

/// The same key is another object for another tenant.
pub async fn object_tenants_are_apart<F: ObjectsFixture>() {
    let fixture = F::fresh(AMPLE).await;
    let (objects, name) = (fixture.objects(), key("exports/a"));
    // One tenant's name begins the other's, and looks like a part of a path.
    let tenants = [tenant("a"), tenant("a-b"), tenant("exports")];
    for (number, tenant) in tenants.iter().enumerate() {
        assert_eq!(get(&objects, tenant, &name).await, None);
        put(&objects, tenant, &name, &bytes(10, number)).await;
    }
    objects.delete(&tenants[1], &name).await.expect("it is removed");
    assert_eq!(get(&objects, &tenants[0], &name).await, Some(bytes(10, 0)));
    assert_eq!(get(&objects, &tenants[1], &name).await, None);
    assert_eq!(get(&objects, &tenants[2], &name).await, Some(bytes(10, 2)));
}

/// Those of the area, whoever's, that were put before; not more than asked for.
pub async fn object_lists_are_by_area_and_age<F: ObjectsFixture>() {
    let fixture = F::fresh(AMPLE).await;
    let objects = fixture.objects();
    let (one, other) = (tenant("one"), tenant("other"));
    for (tenant, name) in [(&one, "exports/a"), (&other, "exports/deep/er/b"), (&one, "images/a"), (&one, "export/a")] {
        put(&objects, tenant, &key(name), &bytes(10, 1)).await;
    }
    let far = Moment::from_micros(Moment::MAX.as_micros());
    let mut listed = objects.list("exports", far, 10).await.expect("a list");
    listed.sort_by(|left, right| left.tenant.cmp(&right.tenant));
    let named: Vec<_> = listed.iter().map(|entry| (&entry.tenant, entry.key.as_str(), entry.size)).collect();
    assert_eq!(named, [(&one, "exports/a", 10), (&other, "exports/deep/er/b", 10)]);
    assert_eq!(objects.list("exports", far, 1).await.expect("a list").len(), 1);
    assert_eq!(objects.list("nothing", far, 10).await.expect("a list"), []);
    let oldest = listed.iter().map(|entry| entry.put_at).min().expect("two");
    assert_eq!(objects.list("exports", oldest, 10).await.expect("a list"), [], "none was put before the first");
    let object = objects.get(&listed[0].tenant, &listed[0].key, None).await.expect("it answers").expect("it is there");
    assert_eq!(object.put_at, listed[0].put_at, "both say the same");
}

/// No text that is a key leads elsewhere, and what could isn't one.
pub async fn object_keys_stay_in_their_place<F: ObjectsFixture>() {
    let long = format!("exports/{}", "a".repeat(101));
    for wrong in [
        "",
        "exports",
        "exports/",
        "/exports/a",
        "exports//a",
        "exports/..",
        "exports/../a",
        "exports/.a",
        "exports/a.",
        "exports/a/./b",
        "exports/A",
        "exports/a b",
        "exports/a%2fb",
        "exports/a\\b",
        "exports/a\0",
        "exports/ä",
        "exports/a#1",
        "exports/~",
        "a/b/c/d/e/f/g/h/i",
        &long,
    ] {
        assert!(ObjectKey::parse(wrong).is_err(), "{wrong:?}");
    }
    let fixture = F::fresh(AMPLE).await;
    let (objects, tenant) = (fixture.objects(), tenant("default"));
    let deep = format!("a/b/c/d/e/f/g/{}", "h".repeat(100));
    let names = ["0/0", "exports/a..b", "exports/a-", "con/nul", "exports/1.tmp", &deep];
    for (number, name) in names.iter().enumerate() {
        put(&objects, &tenant, &key(name), &bytes(10, number)).await;
    }
    for (number, name) in names.iter().enumerate() {
        assert_eq!(get(&objects, &tenant, &key(name)).await, Some(bytes(10, number)), "{name}");
    }
}
