//! The memcached front end: a cache that every memcached client can use, and the program itself by plain calls.
//!
//! [`ServerCache`] is the cache. It keeps items as memcached does, with client flags, a cas unique and an expiry time, and
//! is a [`Cache`](crate::Cache) inside: the same eviction, the same limit in bytes, the same look-ups without a lock.
//! [`Server`] gives it addresses.

mod answer;
mod auth;
mod builder;
mod connection;
mod conversation;
mod error;
mod listener;
mod metrics;
mod output;
mod pending;
mod protocol;
mod roster;
mod service;
mod shared;
mod sign_in;
mod stats;
mod store;
mod stream;
mod tls;
mod worker;

pub use builder::{Handle, Server, ServerBuilder};
pub use conversation::{Conversation, MIN_INPUT, Protocol};
pub use error::ServerError;
pub use listener::Listen;
pub use output::Output;
pub use service::{Host, Service};
pub use store::*;
pub use tls::Tls;
