//! What `stats` tells: memcached's names, true values.

use std::collections::HashMap;

use larder::server::{Host, ServerCache, Service};

use crate::lab::{check, service, talk};

pub(crate) fn stats(service: &Service, ask: &str) -> HashMap<String, String> {
    let heard = talk(service, [ask.as_bytes()]);
    let text = String::from_utf8(heard.reply).unwrap();
    assert!(text.ends_with("END\r\n"), "{text}");
    let lines = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    let stats: HashMap<_, _> = lines.clone().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    assert_eq!(stats.len(), lines.count(), "no name comes twice");
    stats
}

#[test]
fn what_is_done_is_counted_and_can_be_set_back() {
    let service = service();
    check(
        &service,
        "set a 0 0 1\r\n1\r\nget a b\r\ngat 0 a\r\nmn\r\nmg a\r\n",
        "STORED\r\nVALUE a 0 1\r\n1\r\nEND\r\nVALUE a 0 1\r\n1\r\nEND\r\nMN\r\nHD\r\n",
    );
    check(
        &service,
        "incr a 1\r\ndecr b 1\r\ndelete b\r\ntouch b 0\r\nset a 0 0 9999999\r\n",
        "2\r\nNOT_FOUND\r\nNOT_FOUND\r\nNOT_FOUND\r\nSERVER_ERROR object too large for cache\r\n",
    );
    let counted = stats(&service, "stats\r\n");
    for (name, value) in [
        ("cmd_set", "2"),
        ("get_hits", "2"),
        ("get_misses", "1"),
        ("cmd_touch", "2"),
        ("touch_hits", "1"),
        ("touch_misses", "1"),
        ("incr_hits", "1"),
        ("decr_misses", "1"),
        ("delete_misses", "1"),
        ("store_too_large", "1"),
        ("cmd_meta", "1"),
        ("curr_items", "0"),
        ("pointer_size", "64"),
    ] {
        assert_eq!(counted[name], value, "{name}");
    }
    assert!(counted["version"].starts_with("1.6.45-larder-"));
    assert_eq!(counted["limit_maxbytes"], (16 << 20).to_string());
    assert_eq!(counted["pid"], std::process::id().to_string());
    check(&service, "set a 0 0 1\r\n1\r\nstats reset\r\nget a\r\n", "STORED\r\nRESET\r\nVALUE a 0 1\r\n1\r\nEND\r\n");
    let counted = stats(&service, "stats\r\n");
    for (name, value) in
        [("cmd_set", "0"), ("get_hits", "1"), ("get_misses", "0"), ("cmd_meta", "0"), ("curr_items", "1")]
    {
        assert_eq!(counted[name], value, "{name}");
    }
}

#[test]
fn groups() {
    let service = service();
    assert_eq!(stats(&service, "stats settings\r\n")["item_size_max"], (1 << 20).to_string());
    assert_eq!(stats(&service, "stats items\r\n").len(), 0);
    check(&service, "set a 0 0 1\r\n1\r\n", "STORED\r\n");
    assert_eq!(stats(&service, "stats items\r\n")["items:1:number"], "1");
    assert_eq!(stats(&service, "stats slabs\r\n")["active_slabs"], "1");
    assert_eq!(stats(&service, "stats conns\r\n").len(), 0);
    check(&service, "stats nothing\r\n", "ERROR\r\n");
}

/// A server that has something to tell.
struct Telling;

impl Host for Telling {
    fn counters(&self, show: &mut dyn FnMut(&'static str, u64)) {
        show("curr_connections", 3);
        show("total_connections", 5);
    }

    fn settings(&self, show: &mut dyn FnMut(&str, &str)) {
        show("tcpport", "11211");
    }

    fn connections(&self, show: &mut dyn FnMut(u64, &str, &str)) {
        show(7, "addr", "tcp:127.0.0.1:1");
        show(7, "state", "conn_read");
    }

    fn shut_down(&self, gracefully: bool) -> bool {
        gracefully
    }
}

#[test]
fn the_server_around_is_asked() {
    let service = Service::new(ServerCache::builder().max_bytes(16 << 20).stripes(2).build().unwrap(), Telling);
    let before = stats(&service, "stats\r\n");
    assert_eq!((before["curr_connections"].as_str(), before["total_connections"].as_str()), ("3", "5"));
    check(&service, "stats reset\r\n", "RESET\r\n");
    let after = stats(&service, "stats\r\n");
    assert_eq!((after["curr_connections"].as_str(), after["total_connections"].as_str()), ("3", "0"));
    assert_eq!(stats(&service, "stats settings\r\n")["tcpport"], "11211");
    assert_eq!(stats(&service, "stats conns\r\n")["7:state"], "conn_read");
    assert!(!talk(&service, [b"shutdown\r\n".as_slice()]).closed);
    assert!(talk(&service, [b"shutdown graceful\r\n".as_slice()]).closed);
}
