//! Clients of other Rust programs, the crates `memcache` and `async-memcached`, each through its ordinary calls.
//!
//! `LARDER_PROGRAM` names the program `larder`, which each test starts for itself.

use std::collections::HashMap;
use std::env;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use async_memcached::{AsciiProtocol, MetaProtocol};

/// Nothing here takes so long, but on a machine that is very busy.
const PATIENCE: Duration = Duration::from_secs(20);
/// Until an item that was stored for a second is gone.
const EXPIRY: Duration = Duration::from_millis(2_200);

/// The program, at a port of its own. Dropped, it is killed.
struct Program {
    child: Child,
    address: String,
}

impl Program {
    fn start() -> Self {
        let path = env::var_os("LARDER_PROGRAM").expect("LARDER_PROGRAM names the program larder");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let child = Command::new(path).args(["-l", "127.0.0.1", "-p", &port]).spawn().expect("the program starts");
        let program = Self { child, address: format!("127.0.0.1:{port}") };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(&program.address).is_err() {
            assert!(Instant::now() < deadline, "it does not listen");
            thread::sleep(Duration::from_millis(5));
        }
        program
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn large() -> Vec<u8> {
    (0..1_000_000_u32).map(|at| at as u8).collect()
}

/// The same calls by both protocols.
fn check_memcache(address: &str, protocol: &str) {
    let url = format!("memcache://{address}?timeout={}&tcp_nodelay=true&protocol={protocol}", PATIENCE.as_secs());
    let client = memcache::connect(url).unwrap();
    client.flush().unwrap();
    assert_eq!(client.get::<String>("none").unwrap(), None);
    client.set("a", "one", 0).unwrap();
    assert_eq!(client.get::<String>("a").unwrap().as_deref(), Some("one"));
    client.append("a", "+").unwrap();
    client.prepend("a", "-").unwrap();
    assert_eq!(client.get::<Vec<u8>>("a").unwrap().as_deref(), Some(&b"-one+"[..]));
    client.add("b", true, 0).unwrap();
    // What is not stored is an error by the binary protocol only.
    let _ = (client.add("b", false, 0), client.replace("none", 1, 0));
    assert_eq!((client.get::<bool>("b").unwrap(), client.get::<u64>("none").unwrap()), (Some(true), None));
    client.replace("b", 7, 0).unwrap();
    assert_eq!(client.get::<u64>("b").unwrap(), Some(7));
    assert_eq!((client.increment("b", 5).unwrap(), client.decrement("b", 20).unwrap()), (12, 0));

    // A value that has been changed meanwhile is not stored.
    let (_, _, unique): (Vec<u8>, u32, Option<u64>) = client.get("a").unwrap().unwrap();
    assert!(client.cas("a", "two", 0, unique.unwrap()).unwrap());
    assert!(!client.cas("a", "three", 0, unique.unwrap()).unwrap());
    assert_eq!(client.get::<String>("a").unwrap().as_deref(), Some("two"));

    let keys: Vec<_> = (0..200).map(|at| format!("key{at}")).collect();
    for key in &keys {
        client.set(key, &key[..], 0).unwrap();
    }
    let asked: Vec<_> = keys.iter().map(String::as_str).chain(["none"]).collect();
    let found: HashMap<String, String> = client.gets(&asked).unwrap();
    assert!(found.len() == keys.len() && found.iter().all(|(key, value)| key == value));

    client.set("large", &large()[..], 0).unwrap();
    assert!(client.get::<Vec<u8>>("large").unwrap() == Some(large()));

    client.set("short", "x", 1).unwrap();
    client.set("touched", "x", 1).unwrap();
    assert!(client.touch("touched", 100).unwrap() && !client.touch("none", 100).unwrap());
    thread::sleep(EXPIRY);
    assert_eq!(client.get::<String>("short").unwrap(), None);
    assert_eq!(client.get::<String>("touched").unwrap().as_deref(), Some("x"));

    assert!(client.delete("a").unwrap() && !client.delete("a").unwrap());
    // By text, the crate stops at the first line of them.
    if protocol == "binary" {
        assert!(client.stats().unwrap()[0].1["curr_items"].parse::<u64>().unwrap() > 200);
    }
    client.flush().unwrap();
    assert_eq!(client.get::<String>("touched").unwrap(), None);
}

#[test]
fn memcache_by_text() {
    check_memcache(&Program::start().address, "ascii");
}

#[test]
fn memcache_by_the_binary_protocol() {
    check_memcache(&Program::start().address, "binary");
}

async fn check_text(client: &mut async_memcached::Client) {
    assert!(client.get("none").await.unwrap().is_none());
    client.set("a", "one", None, Some(7)).await.unwrap();
    let value = client.get("a").await.unwrap().unwrap();
    assert_eq!((value.flags, value.data.as_deref()), (Some(7), Some(&b"one"[..])));
    client.add("n", 10_u64, None, None).await.unwrap();
    assert!(client.add("n", 1_u64, None, None).await.is_err());
    assert_eq!(client.increment("n", 5).await.unwrap(), 15);
    assert_eq!(client.decrement("n", 20).await.unwrap(), 0);
    assert!(client.increment("none", 1).await.is_err());

    let pairs: Vec<_> = (0..200).map(|at| (format!("key{at}"), at as u64)).collect();
    let stored = client.set_multi(&pairs, None, None).await.unwrap();
    assert!(stored.len() == pairs.len() && stored.values().all(Result::is_ok));
    let found = client.get_multi(pairs.iter().map(|(key, _)| key.as_str()).chain(["none"])).await.unwrap();
    assert_eq!(found.len(), pairs.len());

    client.set("large", &large()[..], None, None).await.unwrap();
    assert!(client.get("large").await.unwrap().unwrap().data == Some(large()));
    client.set("short", "x", Some(1), None).await.unwrap();
    client.delete("a").await.unwrap();
    assert!(client.delete("a").await.is_err());
}

async fn check_meta(client: &mut async_memcached::Client) {
    assert!(client.meta_get("none", false, None, Some(&["v"])).await.unwrap().is_none());
    client.meta_set("m", "one", false, None, Some(&["T1", "F3"])).await.unwrap();
    let value = client.meta_get("m", false, Some(b"token"), Some(&["v", "f", "c", "t", "h"])).await.unwrap().unwrap();
    assert_eq!((value.data.as_deref(), value.flags, value.hit_before), (Some(&b"one"[..]), Some(3), Some(false)));
    assert_eq!(value.opaque_token.as_deref(), Some(&b"token"[..]));
    assert!(value.ttl_remaining.is_some_and(|seconds| (0..=1).contains(&seconds)));

    let unique = format!("C{}", value.cas.unwrap());
    client.meta_set("m", "two", false, None, Some(&[&unique, "T100"])).await.unwrap();
    assert!(client.meta_set("m", "three", false, None, Some(&[&unique])).await.is_err());
    client.meta_set("count", "10", false, None, None).await.unwrap();
    let counted = client.meta_increment("count", false, None, Some(5), Some(&["v"])).await.unwrap().unwrap();
    assert_eq!(counted.data.as_deref(), Some(&b"15"[..]));
    client.meta_delete("count", false, None, None).await.unwrap();
}

#[test]
fn async_memcached() {
    let program = Program::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let calls = async {
        let mut client = async_memcached::Client::new(format!("tcp://{}", program.address)).await.unwrap();
        check_text(&mut client).await;
        check_meta(&mut client).await;
        tokio::time::sleep(EXPIRY).await;
        assert!(client.get("short").await.unwrap().is_none());
        assert!(client.get("m").await.unwrap().is_some_and(|value| value.data.as_deref() == Some(b"two")));

        // All keys, while nobody writes.
        let mut keys = client.dump_keys().await.unwrap();
        let mut found = Vec::new();
        while let Some(key) = keys.next().await {
            found.push(key.unwrap().key);
        }
        drop(keys);
        assert!(found.contains(&b"large".to_vec()) && found.len() > 200, "{}", found.len());
        assert!(client.stats().await.unwrap().contains_key("curr_items"));
        client.flush_all().await.unwrap();
        assert!(client.get("m").await.unwrap().is_none());
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, calls).await.expect("answers come") });
}
