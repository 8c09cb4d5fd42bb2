//! Bytes to values and back, and the names that RFCs give to the values. Pure.

pub mod icmp;
pub mod pattern;
pub mod stamp;
