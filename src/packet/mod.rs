//! Bytes to values and back, and the names that RFCs give to the values. Pure.

pub mod dialogue;
pub mod echo;
pub mod http_connect;
pub mod icmp;
pub mod message;
pub mod objects;
pub mod pattern;
pub mod proxy_protocol;
pub mod quote;
pub mod socks;
pub mod stamp;
pub mod starttls;
pub mod syn;

mod checksum;
mod http_auth;
mod ip;
#[cfg(test)]
mod reckoned;
mod xml;
