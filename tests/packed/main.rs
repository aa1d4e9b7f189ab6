//! Caches with a codec: the same calls as without one, for every codec there is.

mod change;
mod codecs;
mod faults;
mod lab;
mod loading;
mod reentry;
mod same;
mod stored;
mod values;
