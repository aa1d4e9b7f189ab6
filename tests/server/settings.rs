//! What a server may be told not to do, and what it says of its settings and connections.

use std::time::Duration;

use larder::server::{Exptime, Protocol, Server, ServerCache};

use crate::lab::{Client, serve, tcp, until};

#[test]
fn flushing_can_be_forbidden() {
    let handle = serve(|builder| builder.allow_flush(false));
    let mut client = Client::connect(&handle);
    client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    client.ask("flush_all\r\nflush_all 10\r\n", "CLIENT_ERROR flush_all not allowed\r\n".repeat(2));
    client.ask("flush_all noreply\r\nget a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(client.stat_of("settings", "flush_enabled"), "no");
}

#[test]
fn listing_keys_can_be_forbidden() {
    let handle = serve(|builder| builder.allow_dump(false));
    let mut client = Client::connect(&handle);
    client.ask("lru_crawler metadump all\r\nmn\r\n", "ERROR metadump not allowed\r\nMN\r\n");
    assert_eq!(client.stat_of("settings", "dump_enabled"), "no");
}

#[test]
fn one_protocol_can_be_asked_for() {
    let noop = [&[0x80, 0x0a][..], &[0; 22]].concat();
    let answer = [&[0x81, 0x0a][..], &[0; 22]].concat();
    let handle = serve(|builder| builder.protocol(Protocol::Binary));
    Client::connect(&handle).ask(&noop, &answer);
    let mut client = Client::connect(&handle);
    client.send("get some key that is as long as a header\r\n");
    assert!(!client.expect_end().starts_with(b"END"));

    let handle = serve(|builder| builder.protocol(Protocol::Text));
    let mut client = Client::connect(&handle);
    client.ask("mn\r\n", "MN\r\n");
    // The opcode is the end of a line.
    client.ask([&noop[..], b"\r\n"].concat(), "CLIENT_ERROR bad command line format\r\nERROR\r\n");

    let handle = serve(|builder| builder);
    Client::connect(&handle).ask(&noop, &answer);
    Client::connect(&handle).ask("mn\r\n", "MN\r\n");
}

#[test]
fn what_is_full_refuses_where_nothing_may_be_evicted() {
    let cache = ServerCache::builder().max_bytes(8 << 20).evictions(false).build().unwrap();
    let handle = Server::builder().listen("127.0.0.1:0").build(cache.clone()).unwrap().spawn().unwrap();
    let mut client = Client::connect(&handle);
    let value = "v".repeat(1000);
    let mut stored = 0;
    loop {
        client.send(format!("set key{stored} 0 0 1000\r\n{value}\r\nmn\r\n"));
        let mut first = [0; 1];
        client.0.read_exact(&mut first).unwrap();
        if first == *b"S" {
            let mut second = [0; 1];
            client.0.read_exact(&mut second).unwrap();
            if second == *b"T" {
                client.expect("ORED\r\nMN\r\n");
                stored += 1;
                continue;
            }
        }
        break client.expect("RVER_ERROR out of memory storing object\r\nMN\r\n");
    }
    assert!(stored > 6_000, "{stored}");
    assert_eq!((client.stat("evictions"), client.stat("curr_items")), (0, stored));
    // Room that is made by hand is there.
    for key in 0..1000 {
        client.ask(format!("delete key{key}\r\n"), "DELETED\r\n");
    }
    until("there is room", || cache.set(b"new", value.as_bytes(), 0, Exptime::Never).is_stored());
    client.ask("get key1000\r\n", format!("VALUE key1000 0 1000\r\n{value}\r\nEND\r\n"));
    assert_eq!(client.stat_of("settings", "evictions"), "off");
}

#[test]
fn settings_and_connections_are_told() {
    let handle = serve(|builder| {
        builder.max_connections(77).idle_timeout(Duration::from_secs(50)).requests_per_turn(20).threads(2)
    });
    let address = &handle.addresses()[0];
    let mut client = Client::at(address);
    for (name, value) in [
        ("maxconns", "77"),
        ("num_threads", "2"),
        ("idle_timeout", "50"),
        ("reqs_per_event", "20"),
        ("ssl_enabled", "no"),
        ("listen", address),
        ("binding_protocol", "auto-negotiate"),
    ] {
        assert_eq!(client.stat_of("settings", name), value, "{name}");
    }
    let other = tcp(address);
    let mut asked = Client::over(other.try_clone().unwrap());
    asked.ask("mn\r\n", "MN\r\n");
    assert_eq!(client.stat_of("conns", "1:addr"), format!("tcp:{}", other.local_addr().unwrap()));
    assert_eq!(client.stat_of("conns", "1:listen_addr"), format!("tcp:{address}"));
    assert_eq!(client.stat_of("conns", "1:secs_since_last_cmd"), "0");
}
