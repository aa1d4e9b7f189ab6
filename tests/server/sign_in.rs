//! Who has to say who it is: memcached's text form, SASL PLAIN, one file for both.

use std::fs;
use std::net::Shutdown;

use larder::server::{Handle, ServerError};

use crate::lab::{Client, Folder, serve, tcp};

fn serve_users(folder: &Folder, users: &str) -> Handle {
    let file = folder.write("users", users);
    serve(|builder| builder.credentials(file))
}

fn present(user: &str, password: &str) -> String {
    let token = format!("{user} {password}");
    format!("set auth 0 0 {}\r\n{token}\r\n", token.len())
}

/// All that is said to somebody who sends this and nothing more.
fn answer(handle: &Handle, request: &str) -> String {
    let stream = tcp(&handle.addresses()[0]);
    let mut client = Client::over(stream.try_clone().unwrap());
    client.send(request);
    stream.shutdown(Shutdown::Write).unwrap();
    String::from_utf8(client.expect_end()).unwrap()
}

/// A binary request.
fn binary(opcode: u8, key: &[u8], body: &[u8]) -> Vec<u8> {
    let mut request = vec![0x80, opcode];
    request.extend((key.len() as u16).to_be_bytes());
    request.extend([0, 0, 0, 0]);
    request.extend(((key.len() + body.len()) as u32).to_be_bytes());
    request.extend([0; 12]);
    request.extend(key);
    request.extend(body);
    request
}

/// The status of the next binary answer.
#[track_caller]
fn status(client: &mut Client) -> u16 {
    let mut header = [0; 24];
    client.0.read_exact(&mut header).expect("an answer");
    assert_eq!(header[0], 0x81);
    let body = u32::from_be_bytes(header[8..12].try_into().unwrap());
    client.0.read_exact(&mut vec![0; body as usize]).expect("its body");
    u16::from_be_bytes(header[6..8].try_into().unwrap())
}

const SASL_AUTH: u8 = 0x21;
const GET: u8 = 0;
const AUTH_ERROR: u16 = 0x20;

#[test]
fn text_clients_show_a_user_and_a_password() {
    let folder = Folder::new();
    let handle = serve_users(&folder, "alice:secret\nbob:pass word\n");
    let mut client = Client::connect(&handle);
    client.ask(present("alice", "wrong"), "CLIENT_ERROR authentication failure\r\n");
    client.ask(present("alice", "secret"), "STORED\r\n");
    client.ask("set a 0 0 1\r\nx\r\nget a\r\nget auth\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nEND\r\n");
    assert_eq!(client.stat("auth_cmds"), 2);
    assert_eq!(client.stat("auth_errors"), 1);
}

#[test]
fn nothing_is_told_to_who_is_not_known() {
    let folder = Folder::new();
    let handle = serve_users(&folder, "alice:secret\n");
    let mut known = Client::connect(&handle);
    known.ask(present("alice", "secret"), "STORED\r\n");
    known.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    for request in ["get a\r\n", "mg a v\r\n", "stats\r\n", "delete a\r\n", "flush_all\r\n", "\r\n", "shutdown\r\n"] {
        let said = answer(&handle, request);
        assert!(said.lines().all(|line| line.contains("ERROR")), "{request:?}: {said}");
    }
    known.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn who_tries_too_often_is_turned_away() {
    let folder = Folder::new();
    let handle = serve_users(&folder, "alice:secret\n");
    for request in [present("alice", "guess"), "\r\n".to_owned()] {
        let mut client = Client::connect(&handle);
        client.send(request.repeat(100));
        let said = client.expect_end();
        let lines = said.iter().filter(|&&byte| byte == b'\n').count();
        assert!((1..50).contains(&lines), "{lines} answers");
    }
}

#[test]
fn a_token_of_two_gigabytes_is_not_waited_for() {
    let folder = Folder::new();
    let handle = serve_users(&folder, "alice:secret\n");
    for length in ["2147483645", "2147483647", "4294967296", "1048576"] {
        answer(&handle, &format!("set auth 0 0 {length}\r\n"));
    }
    Client::connect(&handle).ask(present("alice", "secret"), "STORED\r\n");
}

#[test]
fn sasl_plain_is_the_same_file() {
    let folder = Folder::new();
    let handle = serve_users(&folder, "alice:secret\n");
    // Whoever asks for something without being known is turned away.
    let mut stranger = Client::connect(&handle);
    stranger.send(binary(GET, b"a", b""));
    assert_eq!(status(&mut stranger), AUTH_ERROR);
    stranger.expect_end();
    // To have failed is not to be let in.
    let mut client = Client::connect(&handle);
    client.send(binary(SASL_AUTH, b"PLAIN", b"\0alice\0guess"));
    assert_eq!(status(&mut client), AUTH_ERROR);
    client.send(binary(GET, b"a", b""));
    assert_eq!(status(&mut client), AUTH_ERROR);
    client.expect_end();
    // Nor is to have been let in once, when the next try fails.
    let mut client = Client::connect(&handle);
    client.send(binary(SASL_AUTH, b"PLAIN", b"\0alice\0guess"));
    assert_eq!(status(&mut client), AUTH_ERROR);
    client.send(binary(SASL_AUTH, b"PLAIN", b"\0alice\0secret"));
    assert_eq!(status(&mut client), 0);
    client.send(binary(GET, b"a", b""));
    assert_eq!(status(&mut client), 1, "there is no such key, which only who is known is told");
    client.send(binary(SASL_AUTH, b"PLAIN", b"\0alice\0guess"));
    assert_eq!(status(&mut client), AUTH_ERROR);
    client.send(binary(GET, b"a", b""));
    assert_eq!(status(&mut client), AUTH_ERROR);
}

#[test]
fn users_are_read_again_while_others_are_served() {
    let folder = Folder::new();
    let handle = serve_users(&folder, "alice:secret\n");
    let mut alice = Client::connect(&handle);
    alice.ask(present("alice", "secret"), "STORED\r\n");

    folder.write("users", "bob:other\n");
    handle.reload().unwrap();
    Client::connect(&handle).ask(present("bob", "other"), "STORED\r\n");
    Client::connect(&handle).ask(present("alice", "secret"), "CLIENT_ERROR authentication failure\r\n");
    alice.ask("mn\r\n", "MN\r\n");

    // What is wrong does not come into force.
    for wrong in ["", "bob\n"] {
        folder.write("users", wrong);
        assert!(matches!(handle.reload(), Err(ServerError::Credentials { .. })));
    }
    fs::remove_file(folder.path("users")).unwrap();
    assert!(matches!(handle.reload(), Err(ServerError::File { .. })));
    Client::connect(&handle).ask(present("bob", "other"), "STORED\r\n");
}
