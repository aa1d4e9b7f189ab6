//! The memcached front end, from the store up to real clients.
#![cfg(feature = "server")]

mod attacks;
mod binary;
mod full;
mod lab;
mod large;
mod meta;
mod sign_in;
mod stats;
mod store;
mod text;
mod transcripts;
