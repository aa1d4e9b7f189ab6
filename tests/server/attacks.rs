//! Inputs that once broke memcached, at a server that others use meanwhile.

use larder::server::Handle;

use crate::lab::{Client, serve, tcp, until};

/// A binary header that says what it likes.
fn header(opcode: u8, key: u16, extras: u8, body: u32) -> Vec<u8> {
    let mut header = vec![0x80, opcode];
    header.extend(key.to_be_bytes());
    header.extend([extras, 0, 0, 0]);
    header.extend(body.to_be_bytes());
    header.extend([0; 12]);
    header
}

/// Sends it, says that this is all, and reads what comes, of which there is little.
fn attack(handle: &Handle, bytes: &[u8]) -> Vec<u8> {
    let stream = tcp(&handle.addresses()[0]);
    let mut client = Client::over(stream.try_clone().unwrap());
    // It may be closed before all is sent.
    let _ = std::io::Write::write_all(&mut client.0, bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let said = client.expect_end();
    assert!(said.len() < 100_000, "{} bytes", said.len());
    said
}

#[test]
fn lengths_that_lie_do_no_harm() {
    let handle = serve(|builder| builder);
    let mut other = Client::connect(&handle);
    for opcode in (0..=0x25).chain([0x40, 0xFF]) {
        for body in [0, 7, 23, 0x7FFF_FFFE, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF] {
            for (key, extras) in [(0, 0), (1, 8), (250, 20), (251, 0), (0xFFFF, 255)] {
                let mut request = header(opcode, key, extras, body);
                request.extend([b'x'; 40]);
                attack(&handle, &request);
            }
        }
        // Some may have emptied it, or ended their own connection.
        other.ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    }
    until("all are gone", || other.stat("curr_connections") == 1);
    assert_eq!(other.stat("request_panics"), 0);
}

#[test]
fn lines_that_are_odd_do_no_harm() {
    let handle = serve(|builder| builder);
    let mut other = Client::connect(&handle);
    other.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    let long = "k".repeat(251);
    for line in [
        format!("get{}\r\n", " ".repeat(200)),
        format!("get {}\n", " a".repeat(500)),
        format!("get {}", "a".repeat(3000)),
        format!("set {long} 0 0 1\r\nx\r\n"),
        format!("set a 0 0 {}\r\nx\r\n", "9".repeat(1000)),
        format!("gat {} a\r\n", "9".repeat(1000)),
        format!("mg {long} v\r\n"),
        format!("mg a {}\r\n", "v ".repeat(600)),
        format!("ms a {} \r\n", u64::MAX),
        format!("incr a {}\r\n", u128::MAX),
        "set a 0 0 -1\r\nx\r\n".to_owned(),
        "set a 0 0 2147483647\r\nx\r\n".to_owned(),
        "set a 0 0 4294967295\r\nx\r\n".to_owned(),
        "mg a \u{7f}\u{0} \u{1} !@#$\r\n".to_owned(),
        "mg a k k k k\r\nms a 1 S99999999999999999999 T\r\nx\r\nma a N J D M\r\nmd a q C\r\nme\r\nmg\r\nms\r\n"
            .to_owned(),
        "get a\nget a\ngets a\n".to_owned(),
        "\n\n\n\r\n\r\r\r\n".to_owned(),
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    ] {
        attack(&handle, line.as_bytes());
        other.ask("mn\r\n", "MN\r\n");
    }
    other.send("set a 0 0 1\r\nx\r\nget a\r\n");
    other.expect("STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(other.stat("request_panics"), 0);
    assert_eq!(other.stat("curr_items"), 1);
}

#[test]
fn noise_does_no_harm() {
    let handle = serve(|builder| builder);
    let mut other = Client::connect(&handle);
    let mut state = 0x1234_5678_9ABC_DEF1_u64;
    for round in 0..300 {
        let noise: Vec<u8> = (0..round * 20)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // As good as all bytes, or few that mean something.
                if round % 2 == 0 { state as u8 } else { b"get setmgv01 \r\n\x80\0"[state as usize % 17] }
            })
            .collect();
        attack(&handle, &noise);
    }
    other.ask("mn\r\n", "MN\r\n");
    assert_eq!(other.stat("request_panics"), 0);
}
