//! The program's flags: memcached's by the same letters, and a few of its own.
//!
//! Knows what each means here, and what of memcached's has no meaning here; does nothing.

use std::path::PathBuf;

use clap::{ArgAction, Parser, ValueEnum};

use crate::codec::CodecName;

/// A cache server for every memcached client.
///
/// Without flags it serves 127.0.0.1:11211 with 64 MiB. The flags are memcached's where memcached has them; what has no
/// meaning here is accepted and said so, or refused with the reason. SIGTERM and SIGINT stop it when all requests that were
/// sent are answered; SIGHUP has it read credentials and certificates again.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "larder",
    version,
    max_term_width = 110,
    after_help = "Examples:\n  \
        larder -m 1024 -t 4                             one GiB, four threads\n  \
        larder -s /run/larder.sock -a 770               a Unix socket, for a group\n  \
        larder -l 0.0.0.0 -Y users.txt -Z --tls-cert chain.pem --tls-key key.pem\n  \
        \u{20}                                               for a network: users, and encryption\n  \
        larder --metrics 127.0.0.1:9150                 with /metrics for Prometheus"
)]
pub(crate) struct Flags {
    /// TCP port, where -l does not say one; 0 is one that is free
    #[arg(short, long, default_value_t = 11211, value_name = "NUM")]
    pub(crate) port: u16,

    /// Addresses to listen on, HOST or HOST:PORT, separated by commas; "notls:" before one leaves it plain where -Z is
    #[arg(short, long, default_value = "127.0.0.1", value_delimiter = ',', value_name = "ADDR")]
    pub(crate) listen: Vec<String>,

    /// Listen on a Unix socket instead of TCP
    #[arg(short = 's', long, value_name = "FILE")]
    pub(crate) unix_socket: Option<PathBuf>,

    /// Who may use the Unix socket: its file's mode, octal
    #[arg(short = 'a', long, default_value = "700", value_parser = octal, value_name = "MODE")]
    pub(crate) unix_mask: u32,

    /// Let clients from beyond this machine in without authentication
    #[arg(long)]
    pub(crate) allow_unauthenticated: bool,

    /// Memory for items with all that belongs to them: MiB, or with a unit (k, m, g)
    ///
    /// On top come values that are half sent, for all clients together up to a quarter of it, or two of the largest size
    /// (beyond that the one of which nothing has come for longest is given up, and its client told "SERVER_ERROR out of memory
    /// storing object" when it goes on), and what clients have not read of their answers: for each up to 256 KiB, or a value
    /// that went out of the cache meanwhile.
    #[arg(short, long, default_value = "64", value_parser = mebibytes, value_name = "SIZE")]
    pub(crate) memory_limit: u64,

    /// The largest item: bytes, or with a unit (k, m), and half of -m at the most; 1m unless set
    #[arg(short = 'I', long, value_parser = item_size, value_name = "SIZE")]
    pub(crate) max_item_size: Option<u64>,

    /// Answer an error when memory is full, instead of evicting
    #[arg(short = 'M', long)]
    pub(crate) disable_evictions: bool,

    /// Which items are evicted
    #[arg(long, value_enum, default_value_t = PolicyName::Lru)]
    pub(crate) policy: PolicyName,

    /// How values are compressed where that saves memory; not at all unless set
    #[arg(long, value_enum, value_name = "NAME")]
    pub(crate) codec: Option<CodecName>,

    /// Lock stripes of the cache; by the number of cores unless set
    #[arg(long, value_name = "NUM")]
    pub(crate) stripes: Option<usize>,

    /// Threads that serve; as many as cores unless set
    #[arg(short, long, value_name = "NUM")]
    pub(crate) threads: Option<usize>,

    /// Connections at a time; one more is told so and closed
    #[arg(short = 'c', long, default_value_t = 1024, value_name = "NUM")]
    pub(crate) conn_limit: usize,

    /// Connections that may wait in the kernel to be accepted
    #[arg(short = 'b', long, default_value_t = 1024, value_name = "NUM")]
    pub(crate) listen_backlog: u32,

    /// Requests of one connection that are answered before others have their turn
    #[arg(short = 'R', long, default_value_t = 1000, value_name = "NUM")]
    pub(crate) max_reqs_per_event: usize,

    /// Protocol that is spoken
    #[arg(short = 'B', long, value_enum, default_value_t = ProtocolName::Auto)]
    pub(crate) protocol: ProtocolName,

    /// Users who have to authenticate, a file of lines user:password; text form and SASL PLAIN alike
    #[arg(short = 'Y', long, value_name = "FILE")]
    pub(crate) auth_file: Option<PathBuf>,

    /// Authenticate by SASL; the users are those of -Y, which has to be there
    #[arg(short = 'S', long, requires = "auth_file")]
    pub(crate) enable_sasl: bool,

    /// Encrypt; needs --tls-cert and --tls-key, or memcached's -o ssl_chain_cert=FILE,ssl_key=FILE
    #[arg(short = 'Z', long, visible_alias = "enable-tls")]
    pub(crate) enable_ssl: bool,

    /// Certificate chain, PEM
    #[arg(long, value_name = "FILE", requires = "enable_ssl")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Private key, PEM
    #[arg(long, value_name = "FILE", requires = "enable_ssl")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Authorities, PEM, one of which has to have signed a client's certificate
    #[arg(long, value_name = "FILE", requires = "enable_ssl")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Let clients end the server by "shutdown"
    #[arg(short = 'A', long)]
    pub(crate) enable_shutdown: bool,

    /// Refuse "flush_all"
    #[arg(short = 'F', long)]
    pub(crate) disable_flush_all: bool,

    /// Refuse "lru_crawler metadump"
    #[arg(short = 'X', long)]
    pub(crate) disable_dumping: bool,

    /// Close connections that are idle for so long; 0 never does
    #[arg(long, value_name = "SECONDS")]
    pub(crate) idle_timeout: Option<u64>,

    /// Serve /metrics for Prometheus, and /healthz, at this address, to anyone
    #[arg(long, value_name = "ADDR")]
    pub(crate) metrics: Option<String>,

    /// memcached's further options, separated by commas: idle_timeout=SECONDS, ssl_chain_cert=FILE, ssl_key=FILE,
    /// ssl_ca_cert=FILE, ssl_verify_mode=0..3
    #[arg(short = 'o', long, value_delimiter = ',', value_name = "NAME[=VALUE]")]
    pub(crate) extended: Vec<String>,

    #[command(flatten)]
    pub(crate) foreign: Foreign,
}

/// What memcached has and this program has not.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Of memcached's, accepted without effect or refused with a reason")]
pub(crate) struct Foreign {
    /// 0; UDP is not offered
    #[arg(short = 'U', long, default_value_t = 0, hide_default_value = true, value_name = "NUM")]
    pub(crate) udp_port: u16,
    /// Refused: run it under a service manager
    #[arg(short = 'd', long)]
    pub(crate) daemon: bool,
    /// Refused for root: start it as that user; else without effect
    #[arg(short = 'u', long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Refused: items live in memory
    #[arg(short = 'e', long, value_name = "FILE")]
    pub(crate) memory_file: Option<PathBuf>,
    /// Without effect: nothing is logged but what goes wrong
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Without effect: set it where the program is started
    #[arg(short = 'r', long)]
    pub(crate) enable_coredumps: bool,
    /// Without effect: set it where the program is started
    #[arg(short = 'k', long)]
    pub(crate) lock_memory: bool,
    /// Without effect: it belongs to -d
    #[arg(short = 'P', long, value_name = "FILE")]
    pub(crate) pidfile: Option<PathBuf>,
    /// Without effect: there are no slabs
    #[arg(short = 'f', long, value_name = "NUM")]
    pub(crate) slab_growth_factor: Option<f64>,
    /// Without effect: there are no slabs
    #[arg(short = 'n', long, value_name = "BYTES")]
    pub(crate) slab_min_size: Option<u64>,
    /// Without effect
    #[arg(short = 'L', long)]
    pub(crate) enable_largepages: bool,
    /// Without effect: there are no statistics by prefix
    #[arg(short = 'D', value_name = "CHAR")]
    pub(crate) delimiter: Option<String>,
    /// Without effect: every item has its cas unique
    #[arg(short = 'C', long)]
    pub(crate) disable_cas: bool,
    /// Without effect: there is no "watch"
    #[arg(short = 'W', long)]
    pub(crate) disable_watch: bool,
    /// Without effect
    #[arg(short = 'N', long, value_name = "NUM")]
    pub(crate) napi_ids: Option<u32>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum PolicyName {
    /// What was used longest ago
    Lru,
    /// What was used once, first; better on most loads
    S3fifo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolName {
    /// Whichever the client speaks
    Auto,
    /// The text commands, classic and meta
    Ascii,
    /// The binary protocol
    Binary,
}

fn octal(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8).ok().filter(|&mode| mode <= 0o777).ok_or_else(|| "an octal mode, as 770".to_owned())
}

fn mebibytes(text: &str) -> Result<u64, String> {
    size(text, 1 << 20)
}

fn item_size(text: &str) -> Result<u64, String> {
    let bytes = size(text, 1)?;
    if !(1 << 10..=1 << 30).contains(&bytes) {
        return Err("from 1k to 1024m".to_owned());
    }
    Ok(bytes)
}

/// A number with a unit; `plain` is what it counts without one.
fn size(text: &str, plain: u64) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().trim_end_matches('b').trim_end_matches('i') {
        "" if digits.len() == text.len() => plain,
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1 << 40,
        _ => return Err("the units are k, m, g and t".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| "a number, as 64, 4m or 2g".to_owned())?;
    number
        .checked_mul(unit)
        .filter(|&bytes| bytes > 0)
        .ok_or_else(|| "more than 0, and less than 2^64 bytes".to_owned())
}
