//! `/metrics` and `/healthz`, by plain HTTP.

use std::io::{Read, Write};

use crate::lab::{Client, serve, tcp};

/// The status and the body of an answer.
pub(crate) fn http(address: &str, method: &str, path: &str) -> (u16, String) {
    let mut stream = tcp(address);
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("head and body");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[test]
fn counters_are_served_and_health() {
    let handle = serve(|builder| builder.metrics("127.0.0.1:0"));
    let address = handle.metrics_address().expect("it was asked for").to_owned();
    let mut client = Client::connect(&handle);
    client.ask("set a 0 0 1\r\nx\r\nget a\r\nget b\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nEND\r\n");
    let (status, text) = http(&address, "GET", "/metrics");
    assert_eq!(status, 200);
    for line in [
        "larder_cmd_set_total 1",
        "larder_get_hits_total 1",
        "larder_get_misses_total 1",
        "larder_curr_items 1",
        "larder_curr_connections 1",
        "# TYPE larder_get_hits counter",
        "# TYPE larder_curr_items gauge",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} in {text}");
    }
    // Every line is a comment, or a name and a number.
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.split_once(' ').expect("a name and a number");
        assert!(name.starts_with("larder_") && value.parse::<f64>().is_ok(), "{line}");
    }
    assert_eq!(http(&address, "GET", "/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(http(&address, "HEAD", "/healthz"), (200, String::new()));
    assert_eq!(http(&address, "GET", "/other").0, 404);
    assert_eq!(http(&address, "POST", "/metrics").0, 405);
    handle.stop();
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let handle = serve(|builder| builder.metrics("127.0.0.1:0"));
    let address = handle.metrics_address().unwrap();
    let error = larder::server::Server::builder()
        .listen("127.0.0.1:0")
        .metrics(address)
        .build(crate::lab::cache())
        .err()
        .expect("it is in use");
    assert!(error.to_string().contains(address), "{error}");
    assert!(serve(|builder| builder).metrics_address().is_none());
}

/// Somebody who reaches the address and means ill.
#[test]
fn who_asks_without_end_is_turned_away() {
    let handle = serve(|builder| builder.metrics("127.0.0.1:0"));
    let address = handle.metrics_address().unwrap().to_owned();
    // Says nothing, and others have their turn after a while.
    let silent: Vec<_> = (0..2).map(|_| tcp(&address)).collect();
    // Goes on and on.
    let mut endless = tcp(&address);
    let line = format!("X-Long: {}\r\n", "x".repeat(1000));
    let _ = endless.write_all(format!("GET /metrics HTTP/1.1\r\n{}", line.repeat(1000)).as_bytes());
    let mut nonsense = tcp(&address);
    nonsense.write_all(b"\0\0\r\n\r\n").unwrap();
    assert_eq!(http(&address, "GET", "/healthz"), (200, "ok\n".to_owned()));
    let mut heard = String::new();
    nonsense.read_to_string(&mut heard).unwrap();
    assert!(heard.starts_with("HTTP/1.1 400 "), "{heard}");
    // It is closed, be it with data unread.
    let mut rest = Vec::new();
    let _ = endless.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 431 "));
    drop(silent);
    handle.stop();
}
