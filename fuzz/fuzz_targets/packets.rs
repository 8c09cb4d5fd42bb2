//! What comes from the network as a packet: whatever it is, it is read or is none.
//!
//! `cargo +nightly fuzz run packets`

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye::packet::message::{Message, read_icmp, read_icmpv6, read_v4};
use sockeye::packet::stamp::{Reply, TestPacket};
use sockeye::packet::{quote, syn};

fuzz_target!(|bytes: &[u8]| {
    for message in [read_icmp(bytes), read_icmpv6(bytes, None)] {
        if let Message::Error(error) = message {
            error.objects.for_each(|object| drop(format!("{object:?}")));
        }
    }
    let _ = (read_v4(bytes), syn::read_tcp_v4(bytes), syn::read_tcp(bytes));
    for is_v6 in [false, true] {
        let _ = (quote::read(bytes, is_v6), quote::read_echo(bytes, is_v6));
    }
    if let Some(packet) = TestPacket::read(bytes) {
        let mut octets = [0; 64];
        assert!(packet.write(&mut octets));
        assert_eq!(TestPacket::read(&octets).map(|read| read.sequence), Some(packet.sequence));
    }
    let _ = Reply::read(bytes);
});
