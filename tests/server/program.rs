//! The program: its flags, its signals, and what it does at the process's limit of files.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, kill_process};

use crate::lab::{Client, Folder, PATIENCE, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_larder");

/// The program, running. Dropped, it is killed.
struct Program {
    child: Child,
    _output: BufReader<ChildStdout>,
    line: String,
}

impl Program {
    fn start(flags: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(["-t", "1"]).args(flags);
        Self::run(command)
    }

    fn run(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program starts");
        let mut output = BufReader::new(child.stdout.take().expect("it was piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("it says that it serves");
        Self { child, _output: output, line }
    }

    /// Where it listens, by its own word.
    fn address(&self) -> &str {
        let (_, rest) = self.line.split_once(" serves ").unwrap_or_else(|| panic!("it said {:?}", self.line));
        rest.split(' ').next().unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end, which has to come.
    fn ended(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What it says when it refuses to start, and its exit code.
fn refused(flags: &[&str]) -> (String, Option<i32>) {
    let mut child = Command::new(PROGRAM)
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut said = String::new();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is ours") {
            break status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            panic!("it was not refused: {flags:?}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    (said, status.code())
}

#[test]
fn one_line_says_what_is_served() {
    let program = Program::start(&["-p", "0", "-m", "100"]);
    assert!(
        program.line.contains(" serves 127.0.0.1:") && program.line.ends_with(" with 100 MiB\n"),
        "{}",
        program.line
    );
    let mut client = Client::at(program.address());
    client.ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    assert_eq!(client.stat("limit_maxbytes"), 100 << 20);
    assert_eq!(client.stat("threads"), 1);
}

#[test]
fn signals_end_it_when_all_is_answered() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut program = Program::start(&["-p", "0"]);
        let mut client = Client::at(program.address());
        client.ask("mn\r\n", "MN\r\n");
        client.send("set a 0 0 1\r\nx\r\nget a\r\n");
        program.signal(signal);
        assert_eq!(client.expect_end(), b"STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
        assert!(program.ended().success());
    }
}

#[test]
fn signals_are_obeyed_when_nobody_hears_what_it_says() {
    // Writing to the one is an error as soon as the other is closed.
    let deaf = || Stdio::from(OwnedFd::from(UnixStream::pair().unwrap().0));
    let folder = Folder::new();
    let path = folder.path("socket");
    let mut command = Command::new(PROGRAM);
    let mut child = command.args(["-t", "1", "-s", &path]).stdout(deaf()).stderr(deaf()).spawn().unwrap();
    until("it serves", || UnixStream::connect(&path).is_ok());
    let pid = Pid::from_child(&child);
    kill_process(pid, Signal::HUP).unwrap();
    Client::unix(&path).ask("mn\r\n", "MN\r\n");
    kill_process(pid, Signal::TERM).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().unwrap() {
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
            status => break status,
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

#[test]
fn hup_has_it_read_users_again() {
    let folder = Folder::new();
    let users = folder.write("users", "alice:secret\n");
    let mut program = Program::start(&["-p", "0", "-Y", &users]);
    let present = "set auth 0 0 9\r\nbob other\r\n";
    Client::at(program.address()).ask(present, "CLIENT_ERROR authentication failure\r\n");
    // What is wrong is not read, and does not end it.
    folder.write("users", "nonsense\n");
    program.signal(Signal::HUP);
    folder.write("users", "bob:other\n");
    program.signal(Signal::HUP);
    until("it has read the file", || {
        let mut client = Client::at(program.address());
        client.send(present);
        let mut first = [0];
        client.0.read_exact(&mut first).expect("an answer");
        first == *b"S"
    });
    program.signal(Signal::TERM);
    assert!(program.ended().success());
}

#[test]
fn clients_may_end_it_if_it_was_told_so() {
    let mut program = Program::start(&["-p", "0", "-A"]);
    Client::at(program.address()).send("shutdown\r\n");
    assert!(program.ended().success());
    let program = Program::start(&["-p", "0"]);
    Client::at(program.address()).ask("shutdown\r\nmn\r\n", "SERVER_ERROR: shutdown not enabled\r\nMN\r\n");
}

#[test]
fn memcached_flags_are_known() {
    let folder = Folder::new();
    let path = folder.path("socket");
    let program =
        Program::start(&["-s", &path, "-a", "600", "-m", "1g", "-c", "50", "-I", "2m", "-R", "20", "-b", "10"]);
    assert!(program.line.contains(&path) && program.line.contains("1024 MiB"), "{}", program.line);
    let mut client = Client::unix(&path);
    let value = "v".repeat(1_500_000);
    client.ask(format!("set big 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
    assert_eq!(client.stat("max_connections"), 50);
    drop(program);

    let program = Program::start(&[
        "-l",
        "127.0.0.1:0,[::1]:0",
        "-U",
        "0",
        "-vv",
        "-L",
        "-f",
        "1.25",
        "-n",
        "48",
        "-k",
        "-r",
        "-C",
    ]);
    assert!(program.line.contains(" and [::1]:"), "{}", program.line);
    drop(program);
    let options = "idle_timeout=100,maxconns_fast,no_lru_crawler,hashpower=20,slab_chunk_max=512,modern";
    Client::at(Program::start(&["-p", "0", "-o", options]).address()).ask("mn\r\n", "MN\r\n");
}

#[test]
fn its_own_flags_do_what_they_say() {
    let program = Program::start(&["-p", "0", "--policy", "s3fifo", "--stripes", "4", "--metrics", "127.0.0.1:0"]);
    let metrics = program.line.trim_end().rsplit(' ').next().unwrap();
    let mut http = crate::lab::tcp(metrics);
    http.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("200 OK") && answer.ends_with("ok\n"), "{answer}");
    let mut client = Client::at(program.address());
    client.ask("set a 0 0 1\r\nx\r\n", "STORED\r\n");
    drop(program);

    let program = Program::start(&["-p", "0", "-M", "-F", "-X", "-B", "ascii", "-m", "8"]);
    let mut client = Client::at(program.address());
    client.ask("flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n");
    client.ask("lru_crawler metadump all\r\n", "ERROR metadump not allowed\r\n");
    assert_eq!(client.stat_of("settings", "evictions"), "off");
    assert_eq!(client.stat_of("settings", "binding_protocol"), "ascii");
}

#[test]
fn values_are_compressed_when_asked_to() {
    let codecs = [
        (true, "auto"),
        (cfg!(feature = "snappy"), "snappy"),
        (cfg!(feature = "lz4"), "lz4"),
        (cfg!(feature = "deflate"), "deflate"),
        (cfg!(feature = "zstd"), "zstd"),
    ];
    for (_, codec) in codecs.iter().filter(|(built, _)| *built) {
        let program = Program::start(&["-p", "0", "--codec", codec]);
        let mut client = Client::at(program.address());
        let value = "the same again and ".repeat(5_000);
        for key in 0..100 {
            client.ask(format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()), "STORED\r\n");
        }
        // That one may find it not worth the time on a machine that is busy.
        assert!(*codec == "auto" || client.stat("bytes") < 6 << 20, "{codec}");
        client.ask("get 7\r\n", format!("VALUE 7 0 {}\r\n{value}\r\nEND\r\n", value.len()));
    }
}

#[test]
fn what_has_no_meaning_is_refused_with_a_reason() {
    for (flags, reason) in [
        (&["-U", "11211"][..], "UDP"),
        (&["-d"], "foreground"),
        (&["-e", "/tmp/items"], "memory"),
        (&["-o", "ext_path=/tmp/items:1G"], "external storage"),
        (&["-o", "nonsense"], "no such option"),
        (&["-o", "idle_timeout=soon"], "a number"),
        (&["-o", "ssl_verify_mode=2", "-Z", "--tls-cert", "x"], "authorities"),
        (&["-Z"], "--tls-cert"),
        (&["--tls-cert", "x"], "--enable-ssl"),
        (&["-o", "ssl_chain_cert=x"], "--enable-ssl"),
        (&["-o", "idle_timeout=9,ssl_key=x"], "--enable-ssl"),
        (&["-o", "ssl_ca_cert=x"], "--enable-ssl"),
        (&["-S"], "--auth-file"),
        (&["-I", "1"], "from 1k"),
        (&["-I", "33m"], "half of the memory (-m), 33554432 bytes"),
        (&["-m", "0"], "more than 0"),
        (&["-m", "12q"], "units"),
        (&["-a", "999"], "octal"),
        (&["-t", "0"], "threads"),
        (&["-t", "0"], "--threads (-t) 0: give a number from 1 to 1024"),
        (&["-c", "0"], "--conn-limit (-c) 0: give a number from 1 to 1048576"),
        (&["-R", "0"], "--max-reqs-per-event (-R) 0: give a number from 1 on"),
        (&["-b", "0"], "--listen-backlog (-b) 0: give a number from 1 to"),
        (&["--stripes", "0"], "--stripes 0: give a number from 1 to"),
        (&["-m", "1k"], "-m: 1024 bytes are too few"),
        (&["-m", "1000000t"], "-m: 1099511627776000000 bytes are more"),
        (&["-l", "0.0.0.0", "-p", "0"], "authenticate"),
        (&["-l", "0.0.0.0", "-p", "0"], "--allow-unauthenticated"),
        (&["-l", "0.0.0.0", "-p", "0"], "-Y FILE"),
        (&["-l", "not a host"], "not a host"),
        (&["-l", "/tmp/x.sock"], "-s FILE"),
        (&["-l", "127.0.0.1:0,./x.sock"], "./x.sock: that is a path"),
        (&["-l", "notls:/tmp/x.sock"], "-s FILE"),
        (&["-Y", "/nowhere/users", "-p", "0"], "/nowhere/users"),
        (&["--nonsense"], "--nonsense"),
    ] {
        let (said, code) = refused(flags);
        assert!(said.contains(reason), "{flags:?}: {said}");
        assert!(code.is_some_and(|code| code != 0), "{flags:?}");
        // Settings of the library are not for whoever reads this.
        for name in ["max_connections", "requests_per_turn", "max_bytes", "allow_unauthenticated", "listen()"] {
            assert!(!said.contains(name), "{flags:?}: {said}");
        }
    }
}

#[test]
fn help_and_version_are_answered() {
    let output = |flag| String::from_utf8(Command::new(PROGRAM).arg(flag).output().unwrap().stdout).unwrap();
    assert!(output("-V").starts_with("larder "));
    for word in ["--listen", "--memory-limit", "127.0.0.1", "Examples", "SIGHUP", "--metrics"] {
        assert!(output("--help").contains(word), "{word}");
    }
    assert!(output("-h").contains("--conn-limit"));
}

#[test]
fn at_the_limit_of_files_it_goes_on_and_accepts_again() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" -t 1 -p 0 -c 1000", PROGRAM]);
    let program = Program::run(command);
    let mut first = Client::at(program.address());
    first.ask("mn\r\n", "MN\r\n");
    // Those beyond the limit wait in the kernel.
    let mut clients: Vec<_> = (0..60).map(|_| Client::at(program.address())).collect();
    for client in &mut clients {
        client.send("mn\r\n");
    }
    until("the limit is met", || first.stat("listen_disabled_num") > 0);
    assert_eq!(first.stat("accepting_conns"), 0);
    for _ in 0..100 {
        first.ask("set a 0 0 1\r\nx\r\nget a\r\n", "STORED\r\nVALUE a 0 1\r\nx\r\nEND\r\n");
    }
    let waiting = clients.split_off(20);
    for mut client in clients {
        client.expect("MN\r\n");
    }
    // As some go others come in, to the last.
    for mut client in waiting {
        client.expect("MN\r\n");
    }
    until("it accepts again", || first.stat("accepting_conns") == 1);
    assert!(first.stat("time_in_listen_disabled_us") > 0);
}

#[test]
fn ten_thousand_idle_connections_cost_little() {
    // As many descriptors as the system lets this process have, which the test shares with others.
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let raised = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Nofile, raised);
    let count = limit.maximum.map_or(10_000, |maximum| maximum.saturating_sub(500).min(10_000)) as usize;
    if count < 10_000 {
        println!("left out: {} of 10,000 connections, for which there are no descriptors", 10_000 - count);
    }
    let program = Program::start(&["-p", "0", "-c", "20000"]);
    let mut first = Client::at(program.address());
    first.ask("mn\r\n", "MN\r\n");
    let before = resident(&program);
    let mut clients: Vec<_> = (0..count).map(|_| Client::at(program.address())).collect();
    for client in &mut clients {
        client.send("set a 0 0 1\r\nx\r\n");
    }
    for client in &mut clients {
        client.expect("STORED\r\n");
    }
    let each = resident(&program).saturating_sub(before) / count as u64;
    assert!(each < 2048, "an idle connection costs {each} bytes");
    assert_eq!(first.stat("curr_connections"), count as u64 + 1);
    // A thousand of them are busy, at once.
    for _ in 0..3 {
        for client in clients.iter_mut().take(1_000) {
            client.send("get a\r\n".repeat(10));
        }
        for client in clients.iter_mut().take(1_000) {
            client.expect("VALUE a 0 1\r\nx\r\nEND\r\n".repeat(10));
        }
    }
    first.ask("get a\r\n", "VALUE a 0 1\r\nx\r\nEND\r\n");
}

#[test]
fn memory_stays_within_the_budget_under_random_sizes() {
    const BUDGET: u64 = 48 << 20;
    let program = Program::start(&["-p", "0", "-m", "48"]);
    let mut client = Client::at(program.address());
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let filler = "0123456789abcdefghijklmnopqrstuvwxyz".repeat(3_000);
    let mut sizes = vec![0; 20_000];
    for _ in 0..150 {
        let mut requests = String::new();
        for _ in 0..200 {
            let key = random(sizes.len() as u64) as usize;
            let most = [100, 1_000, 10_000, 100_000][random(4) as usize];
            sizes[key] = random(most) as usize;
            requests += &format!("set {key} 0 0 {} noreply\r\n{}\r\n", sizes[key], &filler[..sizes[key]]);
        }
        client.ask(requests + "mn\r\n", "MN\r\n");
        // What is found is what was stored last.
        let key = random(sizes.len() as u64) as usize;
        client.send(format!("get {key}\r\nmn\r\n"));
        let mut answer = Vec::new();
        while !answer.ends_with(b"MN\r\n") {
            let mut bytes = [0; 4096];
            let count = client.0.read(&mut bytes).expect("an answer");
            answer.extend_from_slice(&bytes[..count]);
        }
        let found = format!("VALUE {key} 0 {}\r\n{}\r\nEND\r\nMN\r\n", sizes[key], &filler[..sizes[key]]);
        let answer = crate::lab::shown(&answer);
        assert!(answer == found || answer == "END\r\nMN\r\n", "{key}: {} bytes", answer.len());
        let resident = resident(&program);
        assert!(resident < BUDGET + BUDGET / 10 + (64 << 20), "{} MiB", resident >> 20);
    }
    assert!(client.stat("evictions") > 10_000);
}

#[test]
fn memory_is_given_back_when_sizes_change_altogether() {
    const BUDGET: u64 = 96 << 20;
    let program = Program::start(&["-p", "0", "-m", "96"]);
    let mut client = Client::at(program.address());
    let mut key = 0;
    // What one kind of allocation has had is of no use to the next.
    for size in [60, 1_000, 60, 50_000, 1_000] {
        let value = "v".repeat(size);
        let times = 2 * BUDGET as usize / (size + 100);
        for _ in 0..times.div_ceil(1_000) {
            let requests: String = (0..times.min(1_000))
                .map(|at| format!("set key{} 0 0 {size} noreply\r\n{value}\r\n", key + at))
                .collect();
            key += times.min(1_000);
            client.ask(requests + "mn\r\n", "MN\r\n");
        }
        until("memory is given back", || resident(&program) < BUDGET + BUDGET / 8 + (32 << 20));
    }
}

/// The program's memory, in bytes.
fn resident(program: &Program) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.child.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
