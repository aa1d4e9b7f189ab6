//! `stats`: what the server has done and what it holds, under memcached's names, where there is such a thing here.
//!
//! Knows names and numbers. Those that count since the start can be set back; they go on counting, and what they showed
//! then is taken off.

use std::collections::HashMap;
use std::fs;
use std::process;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::server::answer::VERSION;
use crate::server::conversation::Protocol;
use crate::server::protocol::binary::{self, Status};
use crate::server::protocol::{Form, Words};
use crate::server::service::Service;

/// What shows a state, and so can't be set back.
const STATES: [&str; 6] =
    ["max_connections", "curr_connections", "accepting_conns", "threads", "connection_structures", "pending_bytes"];

/// Ticks of the processor time in `/proc`, which Linux fixes at this for programs.
const TICKS: f64 = 100.0;

type Show<'a> = &'a mut dyn FnMut(&str, &str);

/// Answers with a group of figures; the one without a name is the general one.
#[cold]
pub(super) fn answer(service: &Service, group: &[u8], form: &Form<'_>, out: &mut Vec<u8>) {
    let group = Words::new(group).next().unwrap_or_default();
    if group == b"reset" {
        service.reset_counters();
    }
    let mut show = |name: &str, value: &str| match form {
        Form::Binary(header) => {
            binary::put_head(out, *header, Status::Ok, 0, [b"", name.as_bytes()], value.len());
            out.extend_from_slice(value.as_bytes());
        }
        _ => out.extend_from_slice(format!("STAT {name} {value}\r\n").as_bytes()),
    };
    let is_known = match group {
        b"" => general(service, &mut show),
        b"settings" => settings(service, &mut show),
        b"items" => items(service, &mut show),
        b"slabs" => slabs(service, &mut show),
        b"conns" => connections(service, &mut show),
        b"reset" => true,
        _ => false,
    };
    match form {
        Form::Binary(header) if is_known => binary::put_value(out, *header, 0, b""),
        Form::Binary(header) => binary::put_status(out, *header, Status::NotFound),
        _ if group == b"reset" => out.extend_from_slice(b"RESET\r\n"),
        _ => out.extend_from_slice(if is_known { b"END\r\n".as_slice() } else { b"ERROR\r\n" }),
    }
}

fn general(service: &Service, show: Show<'_>) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut put = |name: &str, value: u64| show(name, itoa::Buffer::new().format(value));
    put("pid", process::id().into());
    put("uptime", service.started.elapsed().as_secs());
    put("time", now.as_secs());
    put("pointer_size", usize::BITS.into());
    let stats = service.cache.stats();
    put("limit_maxbytes", stats.limit_maxbytes);
    put("bytes", stats.bytes);
    put("curr_items", stats.curr_items);
    let since = service.since.lock().clone();
    service.each_counter(&mut |name, value| put(name, value.saturating_sub(since.get(name).copied().unwrap_or(0))));
    show("version", VERSION);
    if let Some((user, system)) = processor_time() {
        show("rusage_user", &format!("{user:.6}"));
        show("rusage_system", &format!("{system:.6}"));
    }
    true
}

/// Seconds that this process has used, for itself and in the system; where Linux tells.
fn processor_time() -> Option<(f64, f64)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may have spaces.
    let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS);
    Some((seconds()?, seconds()?))
}

fn settings(service: &Service, show: Show<'_>) -> bool {
    let asks = yes(service.host.asks_for_credentials());
    show("maxbytes", &service.cache.stats().limit_maxbytes.to_string());
    show("item_size_max", &service.cache.max_item_bytes().to_string());
    show("evictions", if service.cache.evicts() { "on" } else { "off" });
    show("cas_enabled", "yes");
    show("flush_enabled", yes(service.allow_flush));
    show("dump_enabled", yes(service.allow_dump));
    show(
        "binding_protocol",
        match service.protocol {
            None => "auto-negotiate",
            Some(Protocol::Text) => "ascii",
            Some(Protocol::Binary) => "binary",
        },
    );
    show("reqs_per_event", &service.requests_per_turn.to_string());
    show("auth_enabled_sasl", asks);
    show("auth_enabled_ascii", asks);
    show("max_output", &service.max_output.to_string());
    service.host.settings(show);
    true
}

fn yes(is_so: bool) -> &'static str {
    if is_so { "yes" } else { "no" }
}

/// There is one class of items.
fn items(service: &Service, show: Show<'_>) -> bool {
    let stats = service.cache.stats();
    if stats.curr_items > 0 {
        show("items:1:number", &stats.curr_items.to_string());
        show("items:1:mem_requested", &stats.bytes.to_string());
        show("items:1:evicted", &stats.evictions.to_string());
        show("items:1:reclaimed", &stats.reclaimed.to_string());
    }
    true
}

fn slabs(service: &Service, show: Show<'_>) -> bool {
    let stats = service.cache.stats();
    if stats.curr_items > 0 {
        for (name, value) in [
            ("1:used_chunks", stats.curr_items),
            ("1:mem_requested", stats.bytes),
            ("1:get_hits", stats.get_hits),
            ("1:cmd_set", stats.cmd_set),
            ("1:delete_hits", stats.delete_hits),
            ("1:incr_hits", stats.incr_hits),
            ("1:decr_hits", stats.decr_hits),
            ("1:cas_hits", stats.cas_hits),
            ("1:cas_badval", stats.cas_badval),
            ("1:touch_hits", stats.touch_hits),
        ] {
            show(name, &value.to_string());
        }
    }
    show("active_slabs", if stats.curr_items > 0 { "1" } else { "0" });
    show("total_malloced", &stats.bytes.to_string());
    true
}

fn connections(service: &Service, show: Show<'_>) -> bool {
    service.host.connections(&mut |number, name, value| show(&format!("{number}:{name}"), value));
    true
}

impl Service {
    /// Shows everything that counts since the start, and the states of connections and threads.
    pub(crate) fn each_counter(&self, show: &mut dyn FnMut(&'static str, u64)) {
        let [cmd_meta, auth_cmds, auth_errors, refused] = self.counts.sum();
        let (pending_bytes, pending_given_up) = self.blocks.state();
        let stats = self.cache.stats();
        self.host.counters(show);
        for (name, value) in [
            ("cmd_get", stats.cmd_get),
            ("cmd_set", stats.cmd_set),
            ("cmd_flush", stats.cmd_flush),
            ("cmd_touch", stats.cmd_touch),
            ("cmd_meta", cmd_meta),
            ("get_hits", stats.get_hits),
            ("get_misses", stats.get_misses),
            ("get_expired", stats.get_expired),
            ("get_flushed", stats.get_flushed),
            ("delete_misses", stats.delete_misses),
            ("delete_hits", stats.delete_hits),
            ("incr_misses", stats.incr_misses),
            ("incr_hits", stats.incr_hits),
            ("decr_misses", stats.decr_misses),
            ("decr_hits", stats.decr_hits),
            ("cas_misses", stats.cas_misses),
            ("cas_hits", stats.cas_hits),
            ("cas_badval", stats.cas_badval),
            ("touch_hits", stats.touch_hits),
            ("touch_misses", stats.touch_misses),
            ("store_too_large", stats.store_too_large),
            ("pending_bytes", pending_bytes),
            ("pending_given_up", pending_given_up),
            ("auth_cmds", auth_cmds),
            ("auth_errors", auth_errors),
            ("unauthenticated_requests", refused),
            ("total_items", stats.total_items),
            ("evictions", stats.evictions),
            ("reclaimed", stats.reclaimed),
        ] {
            show(name, value);
        }
    }

    fn reset_counters(&self) {
        let mut since = HashMap::new();
        self.each_counter(&mut |name, value| {
            if !STATES.contains(&name) {
                since.insert(name, value);
            }
        });
        *self.since.lock() = since;
    }
}
