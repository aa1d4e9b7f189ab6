//! Clients of Python's, each through its ordinary calls, by the scripts in `python/`; and Prometheus' own parser.
//!
//! `LARDER_PYTHON` names the interpreter, `python3` unless it is set; it needs `pip install pymemcache python-memcached
//! pylibmc python-binary-memcached prometheus_client`. See `leave_out` for where something is missing.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::lab::{Client, Folder, free_port, items, leave_out, serve, serve_at, until};
use crate::metrics::http;

fn python() -> OsString {
    env::var_os("LARDER_PYTHON").unwrap_or_else(|| "python3".into())
}

/// A script that runs. Dropped, it is killed: a test that has lost its patience doesn't leave it behind.
struct Script(Child);

impl Script {
    fn start(name: &str, arguments: &[&str]) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/python").join(name);
        let mut command = Command::new(python());
        command.arg(path).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().expect("the interpreter was there"))
    }

    /// What it prints, which is less than a pipe holds, when it is given this.
    fn prints(mut self, input: &str) -> String {
        self.0.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
        until("the script ends", || self.0.try_wait().expect("it is a child").is_some());
        let [mut printed, mut errors] = [String::new(), String::new()];
        std::io::Read::read_to_string(&mut self.0.stdout.take().expect("piped"), &mut printed).expect("text");
        std::io::Read::read_to_string(&mut self.0.stderr.take().expect("piped"), &mut errors).expect("text");
        assert!(self.0.wait().expect("it has ended").success(), "{printed}{errors}");
        printed
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether there is an interpreter with this module; it is said if there isn't.
fn has_module(module: &str) -> bool {
    let mut command = Command::new(python());
    command.arg("-c").arg(format!("import {module}")).stdin(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    if !found {
        leave_out(&format!("Python's {module}"));
    }
    found
}

/// Runs a script with the port of a new server.
fn check(module: &str, script: &str) {
    if !has_module(module) {
        return;
    }
    let handle = serve(|builder| builder);
    let port = handle.addresses()[0].rsplit(':').next().expect("a port");
    Script::start(script, &[port]).prints("");
}

#[test]
fn the_first_article() {
    check("pymemcache", "first_article.py");
}

#[test]
fn pymemcache() {
    check("pymemcache", "pymemcache_client.py");
}

#[test]
fn python_memcached() {
    check("memcache", "python_memcached_client.py");
}

#[test]
fn pylibmc() {
    check("pylibmc", "pylibmc_client.py");
}

/// Three servers, of which libmemcached knows by itself who has which key.
#[test]
fn libmemcached_spreads_keys_ejects_a_server_and_takes_it_back() {
    if !has_module("pylibmc") {
        return;
    }
    const KEYS: usize = 10_000;
    let ports = [free_port(), free_port(), free_port()];
    let mut servers: Vec<_> = ports.iter().map(|&port| serve_at(port)).collect();
    let names = ports.map(|port| port.to_string());
    let mut script = Script::start("pylibmc_ketama.py", &names.each_ref().map(String::as_str));
    let mut answers = BufReader::new(script.0.stdout.take().expect("piped")).lines();
    let mut count = |what: &str| -> usize {
        writeln!(script.0.stdin.as_mut().expect("piped"), "{what}").expect("it reads");
        answers.next().expect("it answers").expect("text").parse().expect("a number")
    };

    assert_eq!(count("stored"), KEYS);
    let shares: Vec<_> = servers.iter().map(items).collect();
    assert_eq!(shares.iter().sum::<usize>(), KEYS);
    assert!(shares.iter().all(|share| (KEYS / 6..KEYS / 2).contains(share)), "{shares:?}");
    assert_eq!(count("found"), KEYS);

    // One goes, and only its share with it; its keys are stored by the others from then on.
    drop(servers.pop());
    assert_eq!(count("found"), KEYS - shares[2]);
    assert_eq!(count("stored"), KEYS);
    assert_eq!(count("found"), KEYS);
    assert_eq!(servers.iter().map(items).sum::<usize>(), KEYS);

    // It comes back, empty, and gets the same share again.
    let back = serve_at(ports[2]);
    let is_back = || (count("stored"), items(&back)) == (KEYS, shares[2]);
    until("the server has been taken back", is_back);
    assert_eq!(count("found"), KEYS);
}

#[test]
fn python_binary_memcached() {
    check("bmemcached", "bmemcached_client.py");
}

#[test]
fn python_binary_memcached_signs_in() {
    if !has_module("bmemcached") {
        return;
    }
    let folder = Folder::new();
    let file = folder.write("users", "alice:secret\n");
    let handle = serve(|builder| builder.credentials(file));
    let port = handle.addresses()[0].rsplit(':').next().expect("a port");
    Script::start("bmemcached_client.py", &[port, "alice", "secret"]).prints("");
}

#[test]
fn prometheus_reads_the_metrics() {
    if !has_module("prometheus_client") {
        return;
    }
    let handle = serve(|builder| builder.metrics("127.0.0.1:0"));
    let mut client = Client::connect(&handle);
    client.ask("set a 0 0 1\r\nx\r\nget a\r\nget b\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\nEND\r\n");
    let (status, text) = http(handle.metrics_address().expect("it was asked for"), "GET", "/metrics");
    assert_eq!(status, 200);
    let printed = Script::start("metrics.py", &[]).prints(&text);
    for found in ["counter larder_get_hits_total 1", "counter larder_cmd_set_total 1", "gauge larder_curr_items 1"] {
        assert!(printed.lines().any(|line| line == found), "{found} in {printed}");
    }
    let values = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(printed.lines().count(), values, "{printed}");
}
