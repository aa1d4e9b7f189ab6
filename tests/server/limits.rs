//! Every limit: what is answered when it is hit, and what counts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use larder::Clock;
use larder::server::{Server, ServerCache};

use crate::lab::{Client, serve, until};

#[test]
fn one_connection_too_many_is_told_so() {
    let handle = serve(|builder| builder.max_connections(3));
    let mut clients: Vec<_> = (0..3).map(|_| Client::connect(&handle)).collect();
    for client in &mut clients {
        client.ask("mn\r\n", "MN\r\n");
    }
    for _ in 0..5 {
        assert_eq!(Client::connect(&handle).expect_end(), b"ERROR Too many open connections\r\n");
    }
    assert_eq!(clients[0].stat("rejected_connections"), 5);
    assert_eq!(clients[0].stat("max_connections"), 3);
    drop(clients.pop());
    until("there is room for one", || clients[0].stat("curr_connections") == 2);
    Client::connect(&handle).ask("mn\r\n", "MN\r\n");
}

#[test]
fn an_item_too_large_is_refused_and_swallowed() {
    let cache = ServerCache::builder().max_bytes(32 << 20).max_item_bytes(10_000).build().unwrap();
    let handle = Server::builder().listen("127.0.0.1:0").build(cache).unwrap().spawn().unwrap();
    let mut client = Client::connect(&handle);
    client.ask("set a 0 0 3\r\nold\r\n", "STORED\r\n");
    let large = "x".repeat(20_000);
    client.ask(format!("set a 0 0 20000\r\n{large}\r\nmn\r\n"), "SERVER_ERROR object too large for cache\r\nMN\r\n");
    client.ask("get a\r\n", "END\r\n");
    assert_eq!(client.stat("store_too_large"), 1);
}

#[test]
fn a_line_without_end_ends_the_connection() {
    let handle = serve(|builder| builder);
    let mut client = Client::connect(&handle);
    client.send(vec![b'x'; 4096]);
    client.expect_end();
    // Of `get` only the keys have to be short.
    let mut client = Client::connect(&handle);
    client.ask(format!("get {}\r\n", "key ".repeat(5_000)), "END\r\n");
    client.ask(format!("get a{}\r\nmn\r\n", " ".repeat(5_000)), "END\r\nMN\r\n");
    let mut client = Client::connect(&handle);
    for _ in 0..1000 {
        if std::io::Write::write_all(&mut client.0, &[b'x'; 4096]).is_err() {
            break;
        }
    }
    client.expect_end();
}

#[test]
fn a_connection_that_does_nothing_is_closed_in_time() {
    let handle = serve(|builder| builder.idle_timeout(Duration::from_secs(2)));
    let (mut idle, mut busy) = (Client::connect(&handle), Client::connect(&handle));
    idle.ask("mn\r\n", "MN\r\n");
    until("the other is closed", || busy.stat("idle_kicks") > 0);
    assert_eq!(idle.expect_end(), b"");
    assert_eq!(busy.stat("idle_kicks"), 1);
    assert_eq!(busy.stat("curr_connections"), 1);
}

#[test]
fn who_reads_his_answers_slowly_is_not_idle() {
    let handle = serve(|builder| builder.idle_timeout(Duration::from_secs(2)));
    let (mut slow, mut busy) = (Client::connect(&handle), Client::connect(&handle));
    let value = "x".repeat(1_000_000);
    busy.ask(format!("set large 0 0 1000000\r\n{value}\r\n"), "STORED\r\n");
    // More than the sockets' buffers take.
    slow.send("get large\r\n".repeat(30));
    let (began, mut read) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(5) {
        busy.ask("mn\r\n", "MN\r\n");
        read += std::io::Read::read(&mut slow.0, &mut [0; 10_000]).unwrap();
        thread::sleep(Duration::from_millis(50));
    }
    assert!(read > 0);
    assert_eq!((busy.stat("idle_kicks"), busy.stat("curr_connections")), (0, 2));
}

#[test]
fn others_have_their_turn_between_the_large_requests_of_one() {
    const SETS: usize = 2_000;
    let handle = serve(|builder| builder.threads(1));
    let mut other = Client::connect(&handle);
    let set = format!("set a 0 0 20000 noreply\r\n{}\r\n", "x".repeat(20_000));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut greedy = Client::connect(&handle);
            greedy.send(set.repeat(SETS));
            greedy.ask("mn\r\n", "MN\r\n");
        });
        other.ask("mn\r\n", "MN\r\n");
    });
    // Of 600 times that what is read at once was full, hardly one can have been all that there was.
    assert!(other.stat("conn_yields") > 0);
}

#[test]
fn others_have_their_turn_between_the_requests_of_one() {
    let handle = serve(|builder| builder.requests_per_turn(3));
    let mut greedy = Client::connect(&handle);
    let mut other = Client::connect(&handle);
    greedy.send("set a 0 0 1\r\nx\r\n".to_owned() + &"get a\r\n".repeat(5_000));
    other.ask("mn\r\n", "MN\r\n");
    greedy.expect("STORED\r\n".to_owned() + &"VALUE a 0 1\r\nx\r\nEND\r\n".repeat(5_000));
    assert!(other.stat("conn_yields") > 1_000);
}

/// A clock that panics when told to.
struct Faulty(Arc<AtomicBool>, Instant);

impl Clock for Faulty {
    fn now(&self) -> Duration {
        if thread::current().name().is_some_and(|name| name.starts_with("larder-")) && self.0.swap(false, SeqCst) {
            panic!("the clock was told to panic");
        }
        self.1.elapsed()
    }
}

#[test]
fn a_panic_in_a_request_ends_its_connection_and_nothing_else() {
    let fault = Arc::new(AtomicBool::new(false));
    let clock = Faulty(fault.clone(), Instant::now());
    let cache = ServerCache::builder().max_bytes(32 << 20).clock(clock).build().unwrap();
    let handle = Server::builder().listen("127.0.0.1:0").threads(1).build(cache).unwrap().spawn().unwrap();
    let (mut first, mut second) = (Client::connect(&handle), Client::connect(&handle));
    first.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    second.ask("mn\r\n", "MN\r\n");
    for round in 1..4 {
        let mut victim = Client::connect(&handle);
        victim.ask("mn\r\n", "MN\r\n");
        fault.store(true, SeqCst);
        victim.send("set b 0 100 1\r\ny\r\n");
        assert_eq!(victim.expect_end(), b"");
        assert!(!fault.load(SeqCst));
        second.ask("set c 0 100 1\r\nz\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
        assert_eq!(second.stat("request_panics"), round);
    }
    first.ask("get c\r\n", "VALUE c 0 1\r\nz\r\nEND\r\n");
}
