//! What the library refuses, said in the words of the flags.
//!
//! Knows errors and flags; does nothing. What names no setting is said as the library says it.

use larder::BuildError;
use larder::server::ServerError;

/// Why there can be no such cache, and which flag would help.
pub(crate) fn of_cache(error: &BuildError) -> String {
    match error {
        BuildError::TooFewBytes { given, min } => format!(
            "-m: {given} bytes are too few, the empty cache takes {min} with as many stripes: give -m {}k or more, or \
             fewer --stripes",
            min.div_ceil(1 << 10)
        ),
        BuildError::TooManyBytes { given, max } => {
            format!("-m: {given} bytes are more than can be counted: give -m {} or less", max >> 20)
        }
        BuildError::Stripes { given, max } => format!("--stripes {given}: give a number from 1 to {max}"),
        other => other.to_string(),
    }
}

/// Why there can be no such server, and which flag would help.
pub(crate) fn of_server(error: &ServerError) -> String {
    match error {
        ServerError::OutOfBounds { setting, given, min, max } => {
            let flag = match *setting {
                "threads" => "--threads (-t)",
                "max_connections" => "--conn-limit (-c)",
                "requests_per_turn" => "--max-reqs-per-event (-R)",
                "backlog" => "--listen-backlog (-b)",
                other => other,
            };
            // Where the machine's numbers end is no help to anyone.
            if *max >= usize::MAX as u64 {
                format!("{flag} {given}: give a number from {min} on")
            } else {
                format!("{flag} {given}: give a number from {min} to {max}")
            }
        }
        ServerError::Unauthenticated { address } => format!(
            "-l: {address} can be reached from beyond this machine and nobody would have to authenticate: give users (-Y \
             FILE) or ask for client certificates (-Z and --tls-client-ca FILE), listen on 127.0.0.1, or allow it by \
             --allow-unauthenticated"
        ),
        ServerError::Address { given, source } => {
            format!("-l: \"{given}\" is not an address to listen on ({source}): give HOST or HOST:PORT")
        }
        other => other.to_string(),
    }
}
