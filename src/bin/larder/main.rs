//! The server program: flags to a cache and a server, signals to its handle, and an eye on the process's memory.

mod allocator;
mod codec;
mod flags;
mod memory;
mod options;
mod refusals;

use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use clap::Parser;
use larder::Policy;
use larder::codec::Packer;
use larder::server::{Handle, Listen, Protocol, Server, ServerBuilder, ServerCache, Tls};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::flags::{Flags, PolicyName, ProtocolName};
use crate::options::Extended;

#[global_allocator]
static ALLOCATOR: allocator::BySize = allocator::BySize;

/// Descriptors beyond those of connections: listeners, event loops, files that are read again.
const SPARE_DESCRIPTORS: u64 = 128;

/// The largest item where nothing is said, in bytes, if the memory is twice as large.
const MAX_ITEM: u64 = 1 << 20;

fn main() -> ExitCode {
    allocator::set_up();
    match run(&Flags::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("{error}"));
            // As sysexits.h has it: the configuration is wrong.
            ExitCode::from(78)
        }
    }
}

fn run(flags: &Flags) -> Result<(), Box<dyn std::error::Error>> {
    let extended = Extended::of(flags)?;
    if !extended.notes.is_empty() {
        say(format_args!("without effect here: {}", extended.notes.join(", ")));
    }
    raise_descriptor_limit((flags.conn_limit as u64).saturating_add(SPARE_DESCRIPTORS));
    // Before anything else can be told by a signal.
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP])?;
    let cache = cache(flags)?;
    let server = server(flags, &extended)?.build(cache.clone()).map_err(|error| refusals::of_server(&error))?;
    let handle = Arc::new(server.spawn()?);
    // As with `say`.
    let _ = writeln!(
        io::stdout(),
        "larder {} serves {} with {} MiB{}",
        env!("CARGO_PKG_VERSION"),
        handle.addresses().join(" and "),
        flags.memory_limit >> 20,
        handle.metrics_address().map(|at| format!(", and metrics at {at}")).unwrap_or_default()
    );
    let told = handle.clone();
    let closer = signals.handle();
    let listener = thread::spawn(move || obey(&mut signals, &told));
    let (end, ended) = mpsc::channel();
    let keeper = thread::spawn(move || memory::keep(&cache, &ended));
    handle.wait();
    closer.close();
    drop(end);
    // They do nothing but wait.
    let _ = (listener.join(), keeper.join());
    Ok(())
}

/// Says something to whoever started the program. If nobody is there to hear it, since his terminal was closed, it goes on all
/// the same: `eprintln` would panic, and nobody would obey signals any more.
fn say(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "larder: {text}");
}

/// Does what signals say, until there are none any more.
fn obey(signals: &mut Signals, handle: &Handle) {
    for signal in signals.forever() {
        match signal {
            SIGHUP => match handle.reload() {
                Ok(()) => say(format_args!("credentials and certificates were read again")),
                Err(error) => say(format_args!("{error}; what was in force stays so")),
            },
            _ => handle.stop(),
        }
    }
}

fn cache(flags: &Flags) -> Result<ServerCache, Box<dyn std::error::Error>> {
    let policy = match flags.policy {
        PolicyName::Lru => Policy::Lru,
        PolicyName::S3fifo => Policy::S3Fifo,
    };
    let builder = ServerCache::builder()
        .max_bytes(flags.memory_limit)
        .max_item_bytes(flags.max_item_size.unwrap_or(MAX_ITEM.min(flags.memory_limit / 2)) as usize)
        .evictions(!flags.disable_evictions)
        .policy(policy);
    let builder = match flags.codec {
        Some(name) => builder.packer(Packer::new(name.codec()?)),
        None => builder,
    };
    let builder = match flags.stripes {
        Some(stripes) => builder.stripes(stripes),
        None => builder,
    };
    Ok(builder.build().map_err(|error| refusals::of_cache(&error))?)
}

fn server(flags: &Flags, extended: &Extended) -> Result<ServerBuilder, String> {
    let mut builder = Server::builder()
        .max_connections(flags.conn_limit)
        .backlog(flags.listen_backlog)
        .requests_per_turn(flags.max_reqs_per_event)
        .allow_shutdown(flags.enable_shutdown)
        .allow_flush(!flags.disable_flush_all)
        .allow_dump(!flags.disable_dumping)
        .allow_unauthenticated(flags.allow_unauthenticated);
    match flags.protocol {
        ProtocolName::Auto => {}
        ProtocolName::Ascii => builder = builder.protocol(Protocol::Text),
        ProtocolName::Binary => builder = builder.protocol(Protocol::Binary),
    }
    if let Some(threads) = flags.threads {
        builder = builder.threads(threads);
    }
    if extended.idle_timeout > 0 {
        builder = builder.idle_timeout(Duration::from_secs(extended.idle_timeout));
    }
    if let Some(address) = &flags.metrics {
        builder = builder.metrics(address);
    }
    if let Some(file) = &flags.auth_file {
        builder = builder.credentials(file);
    }
    for listen in listeners(flags, tls(flags, extended)?) {
        builder = builder.listen(listen);
    }
    Ok(builder)
}

fn tls(flags: &Flags, extended: &Extended) -> Result<Option<Tls>, String> {
    if !flags.enable_ssl {
        return Ok(None);
    }
    let chain = extended.chain.as_ref().ok_or("-Z needs a certificate: --tls-cert FILE")?;
    // The key may be in the same file.
    let tls = Tls::new(chain, extended.key.as_ref().unwrap_or(chain));
    Ok(Some(match &extended.client_ca {
        Some(authorities) => tls.client_ca(authorities).require_client_certificate(!extended.clients_may),
        None => tls,
    }))
}

/// What `-s`, or `-l` and `-p`, say.
fn listeners(flags: &Flags, tls: Option<Tls>) -> Vec<Listen> {
    let with_tls = |listen: Listen| match &tls {
        Some(tls) => listen.tls(tls.clone()),
        None => listen,
    };
    if let Some(path) = &flags.unix_socket {
        // A name without a slash is a path, too.
        let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        return vec![with_tls(Listen::from(path.to_string_lossy().into_owned()).mode(flags.unix_mask))];
    }
    let address = |given: &String| match given.strip_prefix("notls:") {
        Some(plain) => Listen::from(with_port(plain, flags.port)),
        None => with_tls(Listen::from(with_port(given, flags.port))),
    };
    flags.listen.iter().map(address).collect()
}

/// The address with the port that it has, or else the given one.
fn with_port(address: &str, port: u16) -> String {
    let has_port = match address.rsplit_once(':') {
        // An IPv6 address without brackets has no port.
        Some((host, _)) => !host.contains(':') || host.ends_with(']'),
        None => false,
    };
    match (has_port, address) {
        (true, _) => address.to_owned(),
        (false, "*") => format!("0.0.0.0:{port}"),
        (false, _) if address.contains(':') && !address.starts_with('[') => format!("[{address}]:{port}"),
        (false, _) => format!("{address}:{port}"),
    }
}

/// Lets the process have as many descriptors as its connections need, as far as the system allows.
#[cfg(target_os = "linux")]
fn raise_descriptor_limit(needed: u64) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return;
    }
    limit.current = Some(limit.maximum.map_or(needed, |maximum| maximum.min(needed)));
    let raised = setrlimit(Resource::Nofile, limit);
    if raised.is_err() || limit.current < Some(needed) {
        say(format_args!("the system allows fewer descriptors than {needed}: not all connections of -c may find one"));
    }
}

#[cfg(not(target_os = "linux"))]
fn raise_descriptor_limit(_needed: u64) {}
