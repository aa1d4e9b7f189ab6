//! What the flags come to: memcached's `-o` options, what is refused and why, and what is accepted without effect.
//!
//! Knows flags; does nothing.

use std::path::PathBuf;

use crate::flags::{Flags, Foreign};

/// memcached's options for which there is nothing here to be set.
const WITHOUT_EFFECT: &[&str] = &[
    "maxconns_fast",
    "hashpower",
    "hash_algorithm",
    "tail_repair_time",
    "lru_crawler",
    "lru_crawler_sleep",
    "lru_crawler_tocrawl",
    "read_buf_mem_limit",
    "resp_obj_mem_limit",
    "lru_maintainer",
    "hot_lru_pct",
    "warm_lru_pct",
    "hot_max_factor",
    "warm_max_factor",
    "temporary_ttl",
    "slab_reassign",
    "slab_automove",
    "slab_automove_window",
    "slab_automove_ratio",
    "slab_automove_freeratio",
    "slab_chunk_max",
    "watcher_logbuf_size",
    "worker_logbuf_size",
    "track_sizes",
    "hashexpand",
    "modern",
    "inline_ascii_resp",
    "drop_privileges",
    "ssl_session_cache",
    "ssl_wbuf_size",
];

/// What `-o` and the long names say, each of which may say the same.
#[derive(Debug, Default)]
pub(crate) struct Extended {
    pub(crate) idle_timeout: u64,
    pub(crate) chain: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
    pub(crate) client_ca: Option<PathBuf>,
    pub(crate) clients_may: bool,
    /// What was accepted and has no effect.
    pub(crate) notes: Vec<String>,
}

impl Extended {
    /// # Errors
    ///
    /// What is refused, and why.
    pub(crate) fn of(flags: &Flags) -> Result<Self, String> {
        let mut extended = Self {
            idle_timeout: flags.idle_timeout.unwrap_or(0),
            chain: flags.tls_cert.clone(),
            key: flags.tls_key.clone(),
            client_ca: flags.tls_client_ca.clone(),
            ..Self::default()
        };
        let mut verify = None;
        for option in &flags.extended {
            let (name, value) = option.split_once('=').map_or((option.as_str(), ""), |(name, value)| (name, value));
            // As --tls-cert and its like: whoever gives files means to encrypt.
            if matches!(name, "ssl_chain_cert" | "ssl_key" | "ssl_ca_cert") && !flags.enable_ssl {
                return Err(format!("-o {name} needs --enable-ssl (-Z), without which nothing is encrypted"));
            }
            match name {
                "idle_timeout" => extended.idle_timeout = number(name, value)?,
                "ssl_chain_cert" => extended.chain = Some(value.into()),
                "ssl_key" => extended.key = Some(value.into()),
                "ssl_ca_cert" => extended.client_ca = Some(value.into()),
                "ssl_verify_mode" => verify = Some(number(name, value)?),
                "ssl_keyformat" if value.eq_ignore_ascii_case("pem") => {}
                "ssl_min_version" if matches!(value, "2" | "tlsv1.2") => {}
                _ => extended.other(name)?,
            }
        }
        match verify {
            Some(0) => extended.client_ca = None,
            Some(1) => extended.clients_may = true,
            None | Some(2 | 3) => {}
            Some(_) => return Err("-o ssl_verify_mode is 0, 1, 2 or 3".to_owned()),
        }
        if verify.unwrap_or(0) > 0 && extended.client_ca.is_none() {
            return Err("-o ssl_verify_mode needs the authorities: -o ssl_ca_cert=FILE".to_owned());
        }
        let largest = flags.memory_limit / 2;
        if let Some(given) = flags.max_item_size.filter(|given| *given > largest) {
            return Err(format!("-I {given}: an item may take half of the memory (-m), {largest} bytes, at the most"));
        }
        for path in &flags.listen {
            // With a port behind it, it would be a socket of another name.
            if path.contains('/') {
                return Err(format!("-l {path}: that is a path; for a Unix socket give -s FILE"));
            }
        }
        extended.foreign(&flags.foreign)?;
        Ok(extended)
    }

    /// An option that sets nothing here.
    fn other(&mut self, name: &str) -> Result<(), String> {
        if WITHOUT_EFFECT.contains(&name.trim_start_matches("no_")) {
            self.notes.push(format!("-o {name}"));
            return Ok(());
        }
        Err(match name {
            _ if name.starts_with("ext_") => format!("-o {name}: there is no external storage, items live in memory"),
            "ssl_keyformat" => "-o ssl_keyformat: keys are PEM".to_owned(),
            "ssl_min_version" => "-o ssl_min_version: TLS 1.2 and 1.3 are spoken".to_owned(),
            "ssl_ciphers" => "-o ssl_ciphers: there are only safe ones, none can be chosen".to_owned(),
            "ssl_kernel_tls" => "-o ssl_kernel_tls: encryption is not left to the kernel".to_owned(),
            _ => format!("-o {name}: there is no such option"),
        })
    }

    fn foreign(&mut self, foreign: &Foreign) -> Result<(), String> {
        if foreign.udp_port != 0 {
            return Err("-U: UDP is not offered; forged requests would have the answers sent to others".to_owned());
        }
        if foreign.daemon {
            return Err("-d: the program stays in the foreground; leave that to a service manager".to_owned());
        }
        if foreign.memory_file.is_some() {
            return Err("-e: items live in memory and are gone with the program".to_owned());
        }
        if foreign.user.is_some() && is_root() {
            return Err("-u: the program does not change its user; start it as the one it should be".to_owned());
        }
        let flags = [
            ("-u", foreign.user.is_some()),
            ("-v", foreign.verbose > 0),
            ("-r", foreign.enable_coredumps),
            ("-k", foreign.lock_memory),
            ("-P", foreign.pidfile.is_some()),
            ("-f", foreign.slab_growth_factor.is_some()),
            ("-n", foreign.slab_min_size.is_some()),
            ("-L", foreign.enable_largepages),
            ("-D", foreign.delimiter.is_some()),
            ("-C", foreign.disable_cas),
            ("-W", foreign.disable_watch),
            ("-N", foreign.napi_ids.is_some()),
        ];
        self.notes.extend(flags.iter().filter(|(_, given)| *given).map(|(flag, _)| (*flag).to_owned()));
        Ok(())
    }
}

fn number(name: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("-o {name}={value}: it should be a number"))
}

#[cfg(target_os = "linux")]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(target_os = "linux"))]
fn is_root() -> bool {
    false
}
