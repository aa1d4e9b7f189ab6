//! A server as a process of its own: started, waited for, asked what it has used, ended.
//!
//! Knows processes and `/proc`. A server of one thread runs on the first core and this program on the second; where there
//! are more threads, all run where they like.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::thread::{CpuSet, sched_setaffinity};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Larder,
    Memcached,
}

impl Kind {
    /// Those that are installed. This crate's own always is.
    pub(crate) fn present() -> Vec<Self> {
        let version = Command::new("memcached").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        let memcached = version.is_ok_and(|status| status.success());
        if !memcached {
            eprintln!("server: memcached is not installed, so its columns are left out");
        }
        [Some(Self::Larder), memcached.then_some(Self::Memcached)].into_iter().flatten().collect()
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Larder => "larder",
            Self::Memcached => "memcached",
        }
    }

    fn command(self, port: u16, mebibytes: u64, threads: usize) -> Command {
        let mut command = match self {
            Self::Larder => Command::new(env!("CARGO_BIN_EXE_larder")),
            Self::Memcached => Command::new("memcached"),
        };
        let (port, memory, threads) = (port.to_string(), mebibytes.to_string(), threads.to_string());
        command.args(["-l", "127.0.0.1", "-p", &port, "-m", &memory, "-t", &threads, "-R", "1000", "-U", "0"]);
        if self == Self::Memcached {
            // It does not run as root.
            command.args(["-u", "nobody"]);
        }
        command.stdout(Stdio::null());
        command
    }
}

/// A server that runs. Dropped, it ends.
pub(crate) struct Subject {
    child: Child,
    pub(crate) address: String,
}

impl Subject {
    /// On the first core, with one thread.
    pub(crate) fn start(kind: Kind, mebibytes: u64) -> io::Result<Self> {
        Self::start_on(Some((0, 1)), kind, mebibytes, 1)
    }

    /// With so many threads, anywhere.
    pub(crate) fn start_anywhere(kind: Kind, mebibytes: u64, threads: usize) -> io::Result<Self> {
        Self::start_on(None, kind, mebibytes, threads)
    }

    /// Where `cores` names one for the server and one for this program, each is to run there only.
    fn start_on(cores: Option<(usize, usize)>, kind: Kind, mebibytes: u64, threads: usize) -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let address = format!("127.0.0.1:{port}");
        // A child inherits where it may run.
        run_on(cores.map(|(server, _)| server))?;
        let child = kind.command(port, mebibytes, threads).spawn();
        run_on(cores.map(|(_, load)| load))?;
        let subject = Self { child: child?, address };
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(&subject.address).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not listen"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(subject)
    }

    /// What all its threads have run, in the kernel and outside.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
            let running = schedstat.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
            nanos += running.ok_or(io::ErrorKind::InvalidData)?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Its memory that is not shared and not swapped out, in bytes.
    pub(crate) fn resident(&self) -> io::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or(io::ErrorKind::InvalidData)?;
        let kibibytes = line.trim().trim_end_matches(" kB").parse::<u64>().map_err(io::Error::other)?;
        Ok(kibibytes << 10)
    }
}

impl Drop for Subject {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Has this thread, and the processes that it starts, run on one core, where there are as many; or on all.
fn run_on(core: Option<usize>) -> io::Result<()> {
    let all = core_count();
    let mut cores = CpuSet::new();
    match core {
        Some(core) => cores.set(core.min(all - 1)),
        None => (0..all).for_each(|core| cores.set(core)),
    }
    sched_setaffinity(None, &cores)?;
    Ok(())
}

/// The machine's cores, whatever this thread may use of them.
fn core_count() -> usize {
    fs::read_to_string("/proc/cpuinfo").map_or(1, |text| text.matches("processor\t").count().max(1))
}
