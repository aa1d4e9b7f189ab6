//! A program that serves a cache of its own.

use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::server::{Exptime, Handle, Server, ServerCache};

use crate::lab::{Client, PATIENCE, cache, free_port, serve, tcp, until};

#[test]
fn the_program_and_its_clients_see_the_same_items() {
    let cache = cache();
    let handle = Server::builder().listen("127.0.0.1:0").build(cache.clone()).unwrap().spawn().unwrap();
    let mut client = Client::connect(&handle);
    client.ask("set a 5 0 3\r\nabc\r\n", "STORED\r\n");
    let item = cache.get(b"a").expect("the client stored it");
    assert_eq!((item.value.as_slice(), item.flags), (b"abc".as_slice(), 5));
    cache.set(b"b", b"from here", 7, Exptime::Never);
    client.ask("get b\r\n", "VALUE b 7 9\r\nfrom here\r\nEND\r\n");
    assert!(cache.delete(b"a"));
    client.ask("get a\r\n", "END\r\n");
}

#[test]
fn a_server_that_has_stopped_has_answered_and_leaves_its_port() {
    let handle = serve(|builder| builder.threads(2));
    let address = handle.addresses()[0].clone();
    let mut clients: Vec<_> = (0..20).map(|_| Client::at(&address)).collect();
    for client in &mut clients {
        client.ask("mn\r\n", "MN\r\n");
        client.send("set a 0 0 1\r\nx\r\nget a\r\n");
    }
    handle.stop();
    for client in &mut clients {
        assert_eq!(client.expect_end(), b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    }
    TcpListener::bind(&address).expect("the port is free");
    // Once more has no effect.
    handle.stop();
}

#[test]
fn stopping_waits_for_half_a_request() {
    let handle = serve(|builder| builder.grace(Duration::from_secs(20)));
    let mut client = Client::connect(&handle);
    client.ask("mn\r\nset a 0 0 10\r\n01234", "MN\r\n");
    let address = handle.addresses()[0].clone();
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| handle.stop());
        until("it stops, and takes nobody in", || TcpStream::connect(&address).is_err());
        assert!(!stopping.is_finished());
        client.ask("56789\r\n", "STORED\r\n");
        assert_eq!(client.expect_end(), b"");
        stopping.join().unwrap();
    });
}

#[test]
fn stopping_does_not_wait_longer_than_it_may() {
    let handle = serve(|builder| builder.grace(Duration::from_millis(100)));
    let mut client = Client::connect(&handle);
    client.ask("mn\r\nset a 0 0 10\r\n01234", "MN\r\n");
    handle.stop();
    client.expect_end();
}

#[test]
fn a_dropped_handle_stops_the_server() {
    let handle = serve(|builder| builder);
    let address = handle.addresses()[0].clone();
    let mut client = Client::at(&address);
    client.ask("mn\r\n", "MN\r\n");
    drop(handle);
    assert_eq!(client.expect_end(), b"");
    TcpListener::bind(&address).expect("the port is free");
}

#[test]
fn a_server_that_is_never_spawned_leaves_its_port() {
    let address = format!("127.0.0.1:{}", free_port());
    let server = Server::builder().listen(address.as_str()).build(cache()).unwrap();
    TcpListener::bind(&address).expect_err("the server has the port");
    drop(server);
    TcpListener::bind(&address).expect("the port is free");
}

#[test]
fn many_threads_serve_many_clients() {
    let handle = serve(|builder| builder.threads(4));
    let mut clients: Vec<_> = (0..50).map(|_| Client::connect(&handle)).collect();
    for round in 0..20 {
        for (number, client) in clients.iter_mut().enumerate() {
            client.send(format!("set key{number} 0 0 2\r\n{round:02}\r\nget key{number}\r\n"));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            client.expect(format!("STORED\r\nVALUE key{number} 0 2\r\n{round:02}\r\nEND\r\n"));
        }
    }
    assert_eq!(clients[0].stat("threads"), 4);
    assert_eq!(clients[0].stat("curr_connections"), 50);
}

#[test]
fn a_connection_that_closes_is_forgotten() {
    let handle = serve(|builder| builder);
    for _ in 0..50 {
        let mut client = Client::connect(&handle);
        client.ask("mn\r\n", "MN\r\n");
    }
    let mut client = Client::connect(&handle);
    crate::lab::until("all others are gone", || client.stat("curr_connections") == 1);
    assert_eq!(client.stat("total_connections"), 51);
    assert!(client.stat("bytes_read") > 50 * 4);
    assert!(client.stat("bytes_written") > 50 * 4);
}

#[test]
fn who_has_said_all_still_gets_the_answers() {
    let handle = serve(|builder| builder);
    let stream = tcp(&handle.addresses()[0]);
    let mut client = Client::over(stream.try_clone().unwrap());
    client.send("set a 0 0 1\r\nx\r\nget a\r\n");
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.expect_end(), b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
}

/// A listener of the cache runs on the server's own threads, and may have the last hold of the handle, or stop it.
#[test]
fn a_handle_may_be_stopped_and_dropped_on_a_thread_of_the_server() {
    for drops in [false, true] {
        let held: Arc<Mutex<Option<Arc<Handle>>>> = Arc::default();
        let for_listener = held.clone();
        let cache = ServerCache::builder().max_bytes(8 << 20).on_removal(move |_, _, _| {
            let handle = for_listener.lock().unwrap().take();
            if let Some(handle) = handle {
                handle.stop();
            }
        });
        let server = Server::builder().listen("127.0.0.1:0").threads(2).build(cache.build().unwrap()).unwrap();
        let handle = Arc::new(server.spawn().unwrap());
        let mut client = Client::connect(&handle);
        let waiting = if drops {
            *held.lock().unwrap() = Some(handle);
            None
        } else {
            *held.lock().unwrap() = Some(handle.clone());
            Some(std::thread::spawn(move || handle.wait()))
        };
        client.send("set a 0 0 1\r\nx\r\ndelete a\r\n");
        assert_eq!(client.expect_end(), b"STORED\r\nDELETED\r\n");
        if let Some(waiting) = waiting {
            waiting.join().unwrap();
        }
    }
}

#[test]
fn whoever_connects_while_the_server_stops_sees_the_end() {
    for _ in 0..20 {
        let handle = serve(|builder| builder);
        let address = handle.addresses()[0].clone();
        std::thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                let mut clients = Vec::new();
                while let Ok(stream) = std::net::TcpStream::connect(&address) {
                    clients.push(stream);
                }
                clients
            });
            std::thread::sleep(Duration::from_millis(1));
            handle.stop();
            for mut client in connecting.join().unwrap() {
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                // When a listening socket is closed in the middle of a handshake, the system may leave the client with a
                // connection that nobody has, and says so only when something is sent.
                let _ = std::io::Write::write_all(&mut client, b"version\r\n");
                Client::over(client).expect_end();
            }
        });
    }
}
