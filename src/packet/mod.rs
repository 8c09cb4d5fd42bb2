//! Bytes to values and back, and the names that RFCs give to the values. Pure.

pub mod echo;
pub mod icmp;
pub mod message;
pub mod objects;
pub mod pattern;
pub mod quote;
pub mod stamp;
pub mod starttls;
pub mod syn;

mod checksum;
mod ip;
#[cfg(test)]
mod reckoned;
