//! What only the meta commands do: marks, one caller who is told to make a new value, and cas uniques of the client's own.

use super::{cache, cas, seconds, value};
use larder::server::{Exptime, Fetch, Removal, Removed, ServerCache, Stored, Write};

/// Whether the caller won, whether another one did before, and whether the item is old.
fn marks(cache: &ServerCache, fetch: &Fetch) -> Option<(bool, bool, bool)> {
    cache.fetch(b"k", fetch, |hit| (hit.won, hit.token_sent, hit.is_stale))
}

#[test]
fn one_caller_is_told_to_fill() {
    let (cache, _) = cache();
    let vivify = Fetch { vivify: Some(Exptime::In(30)), ..Fetch::default() };
    let look = |fetch: &Fetch| cache.fetch(b"k", fetch, |hit| (hit.won, hit.token_sent, hit.seconds_left()));
    assert_eq!(look(&vivify), Some((true, false, Some(30))));
    assert_eq!(look(&vivify), Some((false, true, Some(30))));
    cache.set(b"k", b"v", 0, Exptime::In(30));
    let recache = Fetch { recache: Some(60), ..Fetch::default() };
    assert_eq!(look(&Fetch { recache: Some(30), ..Fetch::default() }), Some((false, false, Some(30))));
    assert_eq!(look(&recache), Some((true, false, Some(30))));
    assert_eq!(look(&recache), Some((false, true, Some(30))));
}

#[test]
fn what_is_marked_as_old_is_served_and_made_anew_once() {
    let (cache, _) = cache();
    let look = |expected| assert_eq!(marks(&cache, &Fetch::default()), Some(expected));
    let before = cas(cache.set(b"k", b"ab", 5, Exptime::In(90)));
    let stale = Removal { mark_stale: true, touch: Some(Exptime::In(30)), ..Removal::default() };
    assert_eq!(cache.remove(b"k", &stale), Removed::Removed);
    assert_eq!(cache.peek(b"k").unwrap().seconds_left, Some(30));
    assert_ne!(cache.get(b"k").unwrap().cas, before);
    assert_eq!((value(&cache, b"k").unwrap(), cache.get(b"k").unwrap().flags), (b"ab".to_vec(), 5));
    look((true, false, true));
    look((false, true, true));
    cache.remove(b"k", &Removal { touch: None, ..stale });
    look((true, false, true));
    assert_eq!(cache.peek(b"k").unwrap().seconds_left, Some(30), "the time stays");

    let late = Write { key: b"k", value: b"q", compare: Some(before), as_stale: true, ..Write::default() };
    assert!(cache.write(&late).is_stored());
    look((false, true, true));
    assert_eq!((value(&cache, b"k").unwrap(), cache.peek(b"k").unwrap().seconds_left), (b"q".to_vec(), Some(30)));
    assert_eq!(cache.write(&Write { compare: Some(u64::MAX), ..late }), Stored::Exists);
    assert_eq!(cache.write(&Write { compare: Some(0), ..late }), Stored::Exists);
    cache.set(b"k", b"new", 0, Exptime::Never);
    look((false, false, false));
}

#[test]
fn a_value_can_be_taken_away_alone() {
    let (cache, _) = cache();
    cache.write(&Write {
        key: b"k",
        value: b"abc",
        flags: 5,
        cas: Some(7),
        exptime: Exptime::In(9),
        ..Write::default()
    });
    let empty = Removal { empty: true, ..Removal::default() };
    assert_eq!(cache.remove(b"k", &Removal { compare: Some(8), ..empty }), Removed::Exists);
    assert_eq!(cache.remove(b"k", &Removal { compare: Some(7), ..empty }), Removed::Removed);
    let item = cache.get(b"k").unwrap();
    assert_eq!((item.value.len(), item.flags, item.cas), (0, 0, 7));
    assert_eq!(marks(&cache, &Fetch::default()), Some((false, false, false)));
    cache.remove(b"k", &Removal { mark_stale: true, ..empty });
    assert_ne!(cache.get(b"k").unwrap().cas, 7);
    assert_eq!(marks(&cache, &Fetch::default()), Some((true, false, true)));
    assert_eq!(cache.remove(b"none", &empty), Removed::NotFound);
}

#[test]
fn a_client_may_choose_cas_uniques() {
    let (cache, _) = cache();
    let write = |compare, cas| cache.write(&Write { key: b"k", value: b"v", compare, cas, ..Write::default() });
    assert_eq!(write(None, Some(u64::MAX)), Stored::Stored { cas: u64::MAX });
    assert_eq!(write(Some(u64::MAX), Some(3)), Stored::Stored { cas: 3 });
    assert_eq!(cache.get(b"k").unwrap().cas, 3);
    cache.flush_all(seconds(0));
    write(None, Some(1));
    assert!(cache.get(b"k").is_some(), "a low one does not make it old");
    cache.flush_all(seconds(0));
    assert!(cache.get(b"k").is_none());
}

#[test]
fn a_look_can_go_unseen() {
    let (cache, clock) = cache();
    cache.set(b"k", b"v", 0, Exptime::Never);
    let look = |unseen| {
        let fetch = Fetch { unseen, ..Fetch::default() };
        cache.fetch(b"k", &fetch, |hit| (hit.was_fetched(), hit.idle_seconds()))
    };
    clock.advance(seconds(5));
    assert_eq!(look(true), Some((false, 5)));
    assert_eq!(look(false), Some((false, 5)));
    clock.advance(seconds(2));
    assert_eq!(look(true), Some((true, 2)));
    assert_eq!(cache.peek(b"k").map(|meta| (meta.fetched, meta.idle_seconds)), Some((true, 2)));
}

#[test]
fn a_look_can_touch() {
    let (cache, clock) = cache();
    cache.set(b"k", b"v", 0, Exptime::In(5));
    let touch = |exptime| Fetch { touch: Some(exptime), ..Fetch::default() };
    assert_eq!(cache.fetch(b"k", &touch(Exptime::In(60)), |hit| hit.seconds_left()), Some(Some(60)));
    clock.advance(seconds(59));
    assert_eq!(cache.fetch(b"k", &touch(Exptime::Never), |hit| hit.seconds_left()), Some(None));
    assert_eq!(cache.fetch(b"k", &touch(Exptime::AT_ONCE), |hit| hit.value.to_vec()), Some(b"v".to_vec()));
    assert!(cache.get(b"k").is_none());
}
