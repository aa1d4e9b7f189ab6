//! Where the figures come from: machine, compiler, versions, command.

use std::{env, fs, thread};

/// The lock file this program was built with, for the versions of the subjects.
const LOCK: &str = include_str!("../Cargo.lock");
const SUBJECTS: [&str; 6] = ["quick_cache", "TinyUFO", "moka", "foyer-memory", "lru", "larder"];

pub(crate) fn print() {
    let cores = thread::available_parallelism().map_or(0, usize::from);
    let versions: Vec<_> = SUBJECTS.iter().filter_map(|name| Some(format!("{name} {}", version(name)?))).collect();
    let quoted = |word: String| if word.contains(' ') { format!("\"{word}\"") } else { word };
    let arguments: Vec<_> = env::args().skip(1).map(quoted).collect();
    let arguments = match arguments.as_slice() {
        [] => String::new(),
        arguments => format!(" -- {}", arguments.join(" ")),
    };
    println!("# larder beside other caches\n");
    println!("- machine: {}, {cores} cores, load {} before the run", processor(), load());
    println!("- compiler: {}, opt-level 3, thin LTO", env!("COMPARE_RUSTC"));
    println!("- subjects: {}", versions.join(", "));
    println!("- command: `cargo run --release --manifest-path benches/compare/Cargo.toml{arguments}`\n");
}

fn processor() -> String {
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    model.map_or_else(|| env::consts::ARCH.to_owned(), |(_, model)| model.trim().to_owned())
}

/// The average number of running threads over the last minute: what else runs takes a core from the runs of two threads,
/// and then they meet less often than they would.
fn load() -> String {
    let averages = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    averages.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// The version that follows the package's name in the lock file.
fn version(name: &str) -> Option<&'static str> {
    let (_, rest) = LOCK.split_once(&format!("name = \"{name}\"\nversion = \""))?;
    Some(rest.split_once('"')?.0)
}
