//! Servers and clients for the tests. Knows sockets and patience; knows no test.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use larder::server::{Handle, Server, ServerBuilder, ServerCache};

/// Nothing here takes so long, but on a machine that is very busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn cache() -> ServerCache {
    ServerCache::builder().max_bytes(32 << 20).build().expect("a cache of this size can be")
}

/// A server with one thread and these settings, on a port of its own.
pub(crate) fn serve(settings: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Handle {
    let builder = Server::builder().listen("127.0.0.1:0").threads(1);
    settings(builder).build(cache()).expect("settings are right").spawn().expect("threads start")
}

/// A stream that a client talks by.
pub(crate) trait Wire: Read + Write {}
impl<W: Read + Write> Wire for W {}

pub(crate) struct Client(pub(crate) Box<dyn Wire>);

impl Client {
    pub(crate) fn connect(handle: &Handle) -> Self {
        Self::at(&handle.addresses()[0])
    }

    pub(crate) fn at(address: &str) -> Self {
        Self::over(tcp(address))
    }

    pub(crate) fn over(stream: impl Wire + 'static) -> Self {
        Self(Box::new(stream))
    }

    pub(crate) fn unix(path: &str) -> Self {
        let stream = UnixStream::connect(path).expect("the socket is there");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self::over(stream)
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).expect("the server reads");
    }

    /// Reads as many bytes as there should be, and compares.
    #[track_caller]
    pub(crate) fn expect(&mut self, answer: impl AsRef<[u8]>) {
        let answer = answer.as_ref();
        let mut given = vec![0; answer.len()];
        let mut filled = 0;
        while filled < given.len() {
            match self.0.read(&mut given[filled..]) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) => panic!("{error} after {:?}", shown(&given[..filled])),
            }
        }
        assert_eq!(shown(&given[..filled]), shown(answer));
    }

    #[track_caller]
    pub(crate) fn ask(&mut self, request: impl AsRef<[u8]>, answer: impl AsRef<[u8]>) {
        self.send(request);
        self.expect(answer);
    }

    /// Reads a line, with its end.
    #[track_caller]
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("a line");
            line.push(byte[0]);
        }
        shown(&line)
    }

    /// Reads to the end, which has to come.
    #[track_caller]
    pub(crate) fn expect_end(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        match self.0.read_to_end(&mut rest) {
            Ok(_) => rest,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => rest,
            Err(error) => panic!("{error} instead of the end, after {:?}", shown(&rest)),
        }
    }

    /// One number of `stats`.
    #[track_caller]
    pub(crate) fn stat(&mut self, name: &str) -> u64 {
        self.stat_of("", name).parse().expect("a number")
    }

    /// One value of a group of `stats`.
    #[track_caller]
    pub(crate) fn stat_of(&mut self, group: &str, name: &str) -> String {
        self.send(format!("stats {group}\r\n"));
        let mut text = Vec::new();
        while !text.ends_with(b"END\r\n") {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("stats end with END");
            text.push(byte[0]);
        }
        let text = shown(&text);
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("STAT {name} ")));
        value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }
}

pub(crate) fn tcp(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits for what has to become true.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A port that nobody listens on now. Below those that the system gives out by itself, so that no other test's connection
/// gets it while a server that listened on it is away.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Another run of these tests begins elsewhere.
    let first = 20_000 + (std::process::id() % 10_000) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let ports = std::iter::from_fn(|| Some(first + NEXT.fetch_add(1, Relaxed)));
    ports.take(1_000).find(is_free).expect("one of a thousand is free")
}

pub(crate) fn serve_at(port: u16) -> Handle {
    let address = format!("127.0.0.1:{port}");
    Server::builder().listen(address).threads(1).build(cache()).unwrap().spawn().unwrap()
}

pub(crate) fn items(server: &Handle) -> usize {
    Client::connect(server).stat("curr_items") as usize
}

/// Says that a test is left out for lack of this program, past the capture of what tests print; or fails, if
/// `LARDER_REQUIRE_INTEROP` is set and so nothing may be left out.
pub(crate) fn leave_out(what: &str) {
    assert!(env::var_os("LARDER_REQUIRE_INTEROP").is_none(), "{what} is missing, and LARDER_REQUIRE_INTEROP is set");
    let _ = writeln!(io::stderr(), "LEFT OUT: the server's test with {what}, which is not installed");
}

/// A folder that goes with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("larder-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        let path = env::temp_dir().join(name);
        fs::create_dir_all(&path).expect("a folder for the test");
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, content).expect("a file for the test");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
