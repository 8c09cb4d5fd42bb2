//! Filters of raw sockets: strangers' packets never wake us.

use libc::{
    BPF_ABS, BPF_ADD, BPF_ALU, BPF_AND, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_K, BPF_LD, BPF_LDX, BPF_LSH,
    BPF_MISC, BPF_MSH, BPF_RET, BPF_TAX, BPF_W, BPF_X,
};
use socket2::SockFilter;

const ACCEPT: u32 = u32::MAX;
const DROP: u32 = 0;

/// Builds a program of classic BPF (Documentation/networking/filter.rst).
struct Program(Vec<SockFilter>);

impl Program {
    fn then(mut self, code: u32, k: u32) -> Self {
        self.0.push(SockFilter::new(code as u16, 0, 0, k));
        self
    }

    /// Goes on where the accumulator is `k`, else `skipped` instructions further.
    fn unless_skip(mut self, k: u32, skipped: u8) -> Self {
        self.0.push(SockFilter::new((BPF_JMP | BPF_JEQ | BPF_K) as u16, 0, skipped, k));
        self
    }
}

/// Returns the filter of a raw socket of ICMP over IPv4: echo replies with our identifier or our token,
/// and errors that quote an echo request with our identifier. What it reads lies behind the IP header,
/// the length of which is in its first byte; a load beyond the packet drops it.
pub(super) fn echo_v4(id: u16, token: u32) -> Vec<SockFilter> {
    let (id, load) = (u32::from(id), BPF_LD | BPF_IND);
    Program(Vec::new())
        .then(BPF_LDX | BPF_B | BPF_MSH, 0)
        .then(load | BPF_B, 0)
        // An echo reply.
        .unless_skip(0, 6)
        .then(load | BPF_H, 4)
        .unless_skip(id, 1)
        .then(BPF_RET | BPF_K, ACCEPT)
        .then(load | BPF_W, 8)
        .unless_skip(token, 9)
        .then(BPF_RET | BPF_K, ACCEPT)
        // An error: behind its 8 bytes a quoted IP header, and behind that 4 bytes and the identifier.
        .then(load | BPF_B, 8)
        .then(BPF_ALU | BPF_AND | BPF_K, 0x0f)
        .then(BPF_ALU | BPF_LSH | BPF_K, 2)
        .then(BPF_ALU | BPF_ADD | BPF_X, 0)
        .then(BPF_MISC | BPF_TAX, 0)
        .then(load | BPF_H, 12)
        .unless_skip(id, 1)
        .then(BPF_RET | BPF_K, ACCEPT)
        .then(BPF_RET | BPF_K, DROP)
        .0
}

/// Returns the filter of a raw socket of TCP: segments to our port. Over IPv4 the IP header comes before
/// them.
pub(super) fn tcp(is_v6: bool, port: u16) -> Vec<SockFilter> {
    let program = match is_v6 {
        true => Program(Vec::new()).then(BPF_LD | BPF_H | BPF_ABS, 2),
        false => Program(Vec::new()).then(BPF_LDX | BPF_B | BPF_MSH, 0).then(BPF_LD | BPF_H | BPF_IND, 2),
    };
    let program = program.unless_skip(u32::from(port), 1);
    program.then(BPF_RET | BPF_K, ACCEPT).then(BPF_RET | BPF_K, DROP).0
}
