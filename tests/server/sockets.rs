//! Addresses: TCP on v4 and v6, Unix sockets, several at once, and those that are refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use larder::server::{Listen, Server, ServerError};

use crate::lab::{Client, Folder, cache, serve};

#[test]
fn one_server_listens_on_several_addresses() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let handle = serve(|builder| builder.listen(Listen::from(path.as_str()).mode(0o600)).listen("[::1]:0"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(handle.addresses()[1], path);
    assert!(handle.addresses()[2].starts_with("[::1]:"));
    Client::connect(&handle).ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    Client::unix(&path).ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    Client::at(&handle.addresses()[2]).ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
    handle.stop();
    assert!(!fs::exists(&path).unwrap(), "the socket goes with the server");
}

#[test]
fn a_socket_left_behind_is_replaced_and_others_are_not() {
    let folder = Folder::new();
    let path = folder.path("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(fs::exists(&path).unwrap());
    let handle = serve(|builder| builder.listen(path.as_str()));
    Client::unix(&path).ask("mn\r\n", "MN\r\n");
    // One that is in use stays.
    let second = Server::builder().listen(path.as_str()).build(cache());
    assert!(matches!(second.err(), Some(ServerError::Listen { .. })));
    Client::unix(&path).ask("mn\r\n", "MN\r\n");
    drop(handle);
    // So does what is no socket.
    let file = folder.write("file", "precious");
    assert!(Server::builder().listen(file.as_str()).build(cache()).is_err());
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn an_address_in_use_is_refused() {
    let handle = serve(|builder| builder);
    let address = handle.addresses()[0].as_str();
    let error = Server::builder().listen(address).build(cache()).err().expect("it is in use");
    assert!(error.to_string().contains(address), "{error}");
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let on = || Server::builder().listen("127.0.0.1:0");
    let refused = [
        Server::builder(),
        on().threads(0),
        on().threads(100_000),
        on().max_connections(0),
        on().requests_per_turn(0),
        on().max_output(0),
        on().backlog(0),
        Server::builder().listen("no port"),
        Server::builder().listen("127.0.0.1:99999"),
        on().credentials("/nowhere/users"),
    ];
    for builder in refused {
        let said = format!("{builder:?}");
        assert!(builder.build(cache()).is_err(), "{said}");
    }
}

#[test]
fn nobody_listens_to_the_network_unauthenticated_unless_told_to() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = Server::builder().listen(address).build(cache()).err().expect("anyone could come in");
        assert!(matches!(error, ServerError::Unauthenticated { .. }), "{error}");
        assert!(Server::builder().listen(address).allow_unauthenticated(true).build(cache()).is_ok());
    }
    for address in ["127.0.0.1:0", "127.1.2.3:0", "[::1]:0", "localhost:0"] {
        assert!(Server::builder().listen(address).build(cache()).is_ok(), "{address}");
    }
    let folder = Folder::new();
    let users = folder.write("users", "alice:secret\n");
    assert!(Server::builder().listen("0.0.0.0:0").credentials(users).build(cache()).is_ok());
}
