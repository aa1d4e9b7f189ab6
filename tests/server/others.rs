//! Programs that are not ours, where they are installed; see `leave_out` for where they are not.

use std::io::{self, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::lab::{Client, Folder, free_port, items, leave_out, serve, serve_at, until};

/// A program that was started. Dropped, it is killed.
struct Other(Child);

impl Other {
    /// `None`, and a word about it, if it is not installed.
    fn start(program: &str, arguments: &[&str]) -> Option<Self> {
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        match command.spawn() {
            Ok(child) => Some(Self(child)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                leave_out(program);
                None
            }
            Err(error) => panic!("{program}: {error}"),
        }
    }

    /// All that it says before it ends.
    fn said(mut self) -> String {
        drop(self.0.stdin.take());
        let mut text = String::new();
        io::Read::read_to_string(&mut self.0.stdout.take().expect("piped"), &mut text).expect("text");
        text
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn memccapable_finds_nothing_wrong() {
    let handle = serve(|builder| builder);
    let port = handle.addresses()[0].rsplit(':').next().unwrap();
    for protocol in ["-a", "-b"] {
        // It gives up on an answer after five seconds.
        let Some(program) = Other::start("memccapable", &["-h", "127.0.0.1", "-p", port, protocol]) else { return };
        let said = program.said();
        assert!(said.contains("All tests passed"), "{said}");
        assert_eq!(said.matches("[pass]").count(), 27, "{said}");
    }
}

#[test]
fn openssl_talks_to_it() {
    let folder = Folder::new();
    let (authority, encrypted) = crate::tls::listen(&folder);
    let handle = serve(|builder| builder.listen(encrypted));
    let connect = handle.addresses()[1].as_str();
    for version in ["-tls1_2", "-tls1_3"] {
        let arguments =
            ["s_client", "-connect", connect, "-CAfile", &authority, "-verify_return_error", "-quiet", version];
        let Some(mut program) = Other::start("openssl", &arguments) else { return };
        let mut input = program.0.stdin.take().expect("piped");
        input.write_all(b"set a 0 0 1\r\nx\r\nget a\r\nquit\r\n").unwrap();
        assert_eq!(program.said(), "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n", "{version}");
        drop(input);
    }
}

/// Which of these keys are found by way of the proxy; keys of a server that has just gone are answered by an error.
fn found(proxy: &str, keys: std::ops::Range<usize>) -> Vec<usize> {
    let mut client = Client::at(proxy);
    keys.filter(|key| {
        client.send(format!("get key{key}\r\n"));
        let hit = client.line().starts_with("VALUE");
        if hit {
            client.expect(format!("{key:06}\r\nEND\r\n"));
        }
        hit
    })
    .collect()
}

#[test]
fn twemproxy_spreads_keys_ejects_a_server_and_takes_it_back() {
    const KEYS: usize = 10_000;
    let ports = [free_port(), free_port(), free_port()];
    let mut servers: Vec<_> = ports.iter().map(|&port| serve_at(port)).collect();
    let folder = Folder::new();
    let proxy = format!("127.0.0.1:{}", free_port());
    let list: String = ports.iter().map(|port| format!("   - 127.0.0.1:{port}:1\n")).collect();
    let config = folder.write(
        "nutcracker.yml",
        format!(
            "pool:\n  listen: {proxy}\n  hash: md5\n  distribution: ketama\n  auto_eject_hosts: true\n  timeout: 2000\n  \
             server_retry_timeout: 2000\n  server_failure_limit: 1\n  servers:\n{list}"
        ),
    );
    let (log, stats) = (folder.path("log"), free_port().to_string());
    let Some(_program) = Other::start("nutcracker", &["-c", &config, "-o", &log, "-s", &stats]) else { return };
    until("the proxy listens", || std::net::TcpStream::connect(&proxy).is_ok());

    let mut client = Client::at(&proxy);
    for key in 0..KEYS {
        client.ask(format!("set key{key} 0 0 6\r\n{key:06}\r\n"), "STORED\r\n");
    }
    let shares: Vec<_> = servers.iter().map(items).collect();
    assert_eq!(shares.iter().sum::<usize>(), KEYS);
    assert!(shares.iter().all(|share| (KEYS / 6..KEYS / 2).contains(share)), "{shares:?}");
    assert_eq!(found(&proxy, 0..KEYS).len(), KEYS);

    // One goes, and only its share with it; its keys are stored by the others from then on.
    let address = servers.pop().map(|server| server.addresses()[0].clone()).unwrap();
    let left = found(&proxy, 0..KEYS).len();
    assert_eq!(left, KEYS - shares[2]);
    until("the proxy has ejected it", || {
        client.send("set key0 0 0 6\r\n000000\r\nset key1 0 0 6\r\n000001\r\nset key2 0 0 6\r\n000002\r\n");
        let answers = [(); 3].map(|()| client.line());
        answers.iter().all(|answer| answer == "STORED\r\n")
    });

    // It comes back, empty, and gets its share again.
    let back = serve_at(address.rsplit(':').next().unwrap().parse().unwrap());
    until("the proxy has taken it back", || {
        std::thread::sleep(Duration::from_millis(200));
        for key in 0..100 {
            client.send(format!("set other{key} 0 0 1\r\nx\r\n"));
            client.line();
        }
        items(&back) > 10
    });
}
