//! Texts that are compared, and times.

use profile_domain::{
    Moment,
    text::{EmailAddress, fold},
};
use proptest::prelude::*;

/// All that have case: no letter beyond has any.
const CASED: std::ops::RangeInclusive<char> = char::MIN..='\u{1ffff}';

#[test]
fn folding_a_character_twice_is_folding_it_once() {
    let unstable: Vec<char> = CASED.filter(|c| fold(&fold(&c.to_string())) != fold(&c.to_string())).collect();
    assert_eq!(unstable, []);
}

#[test]
fn a_character_folds_as_its_upper_and_lower_case_do() {
    let differs = |c: &char| {
        let folded = fold(&c.to_string());
        fold(&c.to_uppercase().to_string()) != folded || fold(&c.to_lowercase().to_string()) != folded
    };
    let apart: Vec<char> = CASED.filter(differs).collect();
    assert_eq!(apart, []);
}

#[test]
fn names_that_people_take_for_one_are_one() {
    for equal in [["straße", "STRASSE", "STRAẞE"], ["ΣΊΣΥΦΟΣ", "σίσυφος", "ςίσυφοσ"], ["Ada", "ADA", "aDa"], ["ﬁx", "FIX", "fix"]]
    {
        assert!(equal.iter().all(|name| fold(name) == fold(equal[0])), "{equal:?}");
    }
    for (one, other) in [("Adám", "Adam"), ("e\u{301}", "\u{e9}"), ("ada", "ada ")] {
        assert_ne!(fold(one), fold(other), "accents, composition and blanks are left as they are");
    }
}

proptest! {
    #[test]
    fn the_fold_of_a_prefix_is_a_prefix_of_the_fold(start in any::<String>(), end in any::<String>()) {
        prop_assert_eq!(fold(&format!("{start}{end}")), fold(&start) + &fold(&end));
    }

    #[test]
    fn a_moment_is_read_back_as_it_was_printed(micros in Moment::MIN.as_micros()..=Moment::MAX.as_micros()) {
        let moment = Moment::from_micros(micros);
        prop_assert_eq!(moment.as_micros(), micros);
        let text = moment.to_string();
        prop_assert!(text.ends_with('Z'));
        prop_assert_eq!(text.parse(), Ok(moment));
        prop_assert_eq!(text.replace('Z', "+00:00").parse(), Ok(moment));
        prop_assert_eq!(Moment::from(jiff::Timestamp::from(moment)), moment);
    }

    #[test]
    fn an_address_and_its_key_are_stable(local in "[a-zA-Z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}", domain in "[a-zA-Z0-9]{1,20}(\\.[a-z]{2,5}){0,3}") {
        let text = format!("{local}@{domain}");
        let address = EmailAddress::parse(&text).expect("an address");
        prop_assert_eq!(address.as_str(), &text);
        let key = address.key();
        prop_assert_eq!(EmailAddress::parse(key.as_str()).expect("a key is an address").key(), key);
    }
}

#[test]
fn addresses_have_the_syntax_of_the_html_standard_within_the_lengths_of_smtp() {
    let local = |length: usize| format!("{}@example.com", "a".repeat(length));
    let label = |length: usize| format!("a@{}.com", "b".repeat(length));
    let whole = |length: usize| format!("a@{}c", "bbbbbbb.".repeat((length - 3) / 8) + &"b".repeat((length - 3) % 8));
    assert_eq!((whole(254).len(), whole(255).len()), (254, 255));
    for good in [
        "a@b",
        "ada@example.com",
        "Ada.Lovelace+tag@mail.example.co.uk",
        "..a..@x.y",
        "!#$%&'*+/=?^_`{|}~-@a-b.c",
        "a@1.2",
        "a@xn--bcher-kva.example",
        &local(64),
        &label(63),
        &whole(254),
    ] {
        assert!(EmailAddress::parse(good).is_some(), "{good}");
    }
    for bad in [
        "",
        "@",
        "a",
        "a@",
        "@b",
        "a@b@c",
        "a@@b",
        "a b@c",
        " a@b",
        "a@b ",
        "a@b.",
        "a@.b",
        "a@b..c",
        "a@-b",
        "a@b-",
        "a@b_c",
        "ä@b",
        "a@ä",
        "a@b\n",
        "a@b,c",
        "\"a b\"@c",
        "a@[127.0.0.1]",
        "a\0@b",
        "<a@b>",
        &local(65),
        &label(64),
        &whole(255),
    ] {
        assert!(EmailAddress::parse(bad).is_none(), "{bad}");
    }
    assert_eq!(EmailAddress::parse("Ada@EXAMPLE.com").expect("an address").key().as_str(), "ada@example.com");
}

#[test]
fn an_address_is_never_printed_by_debug() {
    let address = EmailAddress::parse("ada@example.com").expect("an address");
    assert!(!format!("{address:?} {:?}", address.key()).contains("ada"));
}

#[test]
fn moments_are_rfc_3339_in_utc_to_the_microsecond() {
    for (text, printed) in [
        ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00Z"),
        ("2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00Z"),
        ("2026-01-31t12:00:00.5z", "2026-01-31T12:00:00.5Z"),
        ("2026-01-31T12:00:00.123456Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T12:00:00.123456999Z", "2026-01-31T12:00:00.123456Z"),
        ("2026-01-31T12:00:00.100000-00:00", "2026-01-31T12:00:00.1Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-30T00:00:00Z", "9999-12-30T00:00:00Z"),
    ] {
        assert_eq!(text.parse::<Moment>().map(|moment| moment.to_string()), Ok(printed.to_owned()), "{text}");
    }
    for bad in [
        "",
        "now",
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-02-30T12:00:00Z",
        "0000-12-31T23:59:59Z",
        "9999-12-31T00:00:00Z",
        "1769860800",
    ] {
        assert!(bad.parse::<Moment>().is_err(), "{bad:?}");
    }
}
