//! The server by its sockets: start and stop, TLS, authentication, limits, and clients that behave badly.
//!
//! Everything listens on loopback at ports that the system chooses, and every wait is bounded.

#![cfg(feature = "server")]

mod attacks;
mod embed;
mod lab;
mod limits;
mod metrics;
mod others;
mod program;
mod python;
mod settings;
mod sign_in;
mod slow;
mod sockets;
mod tls;
