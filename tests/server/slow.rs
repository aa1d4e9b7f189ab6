//! Clients that are slow, do not read, or vanish.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::{Client, serve, tcp, until};

#[test]
fn one_byte_at_a_time_is_as_good() {
    let handle = serve(|builder| builder);
    let (mut slow, mut other) = (Client::connect(&handle), Client::connect(&handle));
    let requests = "set a 0 0 5\r\nhello\r\nget a\r\nmg a v\r\nms b 3\r\nabc\r\nget a b\r\n";
    for byte in requests.bytes() {
        slow.send([byte]);
        other.ask("mn\r\n", "MN\r\n");
    }
    slow.expect("STORED\r\nVALUE a 0 5\r\nhello\r\nEND\r\nVA 5\r\nhello\r\nHD\r\n");
    slow.expect("VALUE a 0 5\r\nhello\r\nVALUE b 0 3\r\nabc\r\nEND\r\n");
}

#[test]
fn large_values_come_in_pieces() {
    let handle = serve(|builder| builder);
    let mut client = Client::connect(&handle);
    let value: Vec<u8> = (0..1_000_000_u32).map(|at| (at * 31 % 251) as u8).collect();
    client.send(format!("set big 0 0 {}\r\n", value.len()));
    for piece in value.chunks(70_001) {
        client.send(piece);
        thread::sleep(Duration::from_millis(1));
    }
    client.ask("\r\n", "STORED\r\n");
    let mut answer = format!("VALUE big 0 {}\r\n", value.len()).into_bytes();
    answer.extend_from_slice(&value);
    answer.extend_from_slice(b"\r\nEND\r\n");
    for _ in 0..5 {
        client.ask("get big\r\n", &answer);
    }
}

#[test]
fn who_vanishes_amid_a_value_leaves_nothing() {
    let handle = serve(|builder| builder);
    let mut client = Client::connect(&handle);
    client.ask("set a 0 0 3\r\nold\r\n", "STORED\r\n");
    for length in [10, 100_000] {
        let mut gone = Client::connect(&handle);
        gone.ask("mn\r\n", "MN\r\n");
        gone.send(format!("set a 0 0 {length}\r\n01234"));
        drop(gone);
    }
    until("they are gone", || client.stat("curr_connections") == 1);
    client.ask("get a\r\n", "VALUE a 0 3\r\nold\r\nEND\r\n");
}

/// Sends until the server takes no more, without reading; how much it took.
fn send_until_stuck(address: &str, request: &[u8], most: usize) -> (std::net::TcpStream, usize) {
    let mut stream = tcp(address);
    stream.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    let batch = request.repeat(1000);
    let mut sent = 0;
    while sent < most {
        match stream.write(&batch[sent % request.len()..]) {
            Ok(count) => sent += count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => break,
            Err(error) => panic!("{error}"),
        }
    }
    (stream, sent)
}

#[test]
fn who_does_not_read_is_no_longer_read_and_gets_all_in_the_end() {
    let handle = serve(|builder| builder);
    let address = &handle.addresses()[0];
    let mut other = Client::at(address);
    for size in [1_000, 200_000] {
        let value = "v".repeat(size);
        other.ask(format!("set a 0 0 {size}\r\n{value}\r\n"), "STORED\r\n");
        let most = 64 << 20;
        let (stream, sent) = send_until_stuck(address, b"get a\r\n", most);
        assert!(sent < most, "all of it was taken");
        let began = Instant::now();
        other.ask("mn\r\n", "MN\r\n");
        assert!(began.elapsed() < Duration::from_secs(5));
        assert!(other.stat("output_stalls") > 0);
        // The first of the answers that wait are right, whatever has become of the item.
        other.ask("delete a\r\n", "DELETED\r\n");
        let mut client = Client::over(stream);
        client.expect(format!("VALUE a 0 {size}\r\n{value}\r\nEND\r\n").repeat(20));
    }
}

#[test]
fn who_asks_for_all_keys_and_does_not_read_holds_up_nobody() {
    let handle = serve(|builder| builder.grace(Duration::from_millis(200)));
    let mut other = Client::connect(&handle);
    for batch in 0..50 {
        let sets: String =
            (0..1000).map(|at| format!("set key{:0200} 0 0 1 noreply\r\nx\r\n", batch * 1000 + at)).collect();
        other.ask(sets + "mn\r\n", "MN\r\n");
    }
    let mut stuck: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::connect(&handle);
            client.send("lru_crawler metadump all\r\n");
            client
        })
        .collect();
    until("they wait", || other.stat("output_stalls") >= 20);
    for _ in 0..100 {
        other.ask("set new 0 0 1\r\nx\r\nget new\r\n", "STORED\r\nVALUE new 0 1\r\nx\r\nEND\r\n");
    }
    // One that does read sees every key that was there all the time.
    let mut reader = stuck.pop().unwrap();
    let mut lines = String::new();
    while !lines.ends_with("END\r\n") {
        let mut bytes = [0; 65536];
        let count = io::Read::read(&mut reader.0, &mut bytes).unwrap();
        assert!(count > 0);
        lines.push_str(std::str::from_utf8(&bytes[..count]).unwrap());
    }
    let mut keys: Vec<_> = lines.lines().filter_map(|line| line.strip_prefix("key=")?.split(' ').next()).collect();
    keys.retain(|key| *key != "new");
    keys.sort_unstable();
    assert_eq!(keys.len(), 50_000);
    assert!(keys.iter().enumerate().all(|(at, key)| *key == format!("key{at:0200}")));
    handle.stop();
}

#[test]
fn a_thousand_answers_to_one_line_do_not_pile_up() {
    let handle = serve(|builder| builder);
    let mut other = Client::connect(&handle);
    let value = "v".repeat(50_000);
    other.ask(format!("set a 0 0 50000\r\n{value}\r\n"), "STORED\r\n");
    let mut client = Client::connect(&handle);
    client.send("get".to_owned() + &" a".repeat(1_000) + "\r\n");
    until("it waits", || other.stat("output_stalls") > 0);
    client.expect(format!("VALUE a 0 50000\r\n{value}\r\n").repeat(1_000));
    client.expect("END\r\n");
}
