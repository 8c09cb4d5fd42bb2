//! The Internet checksum (RFC 1071) once more, in its plainest form, for tests to hold the crate's
//! against.

/// Returns the checksum of parts that stand one behind the other; 0 where theirs is in them and
/// right. Only the last may have an odd number of octets.
pub(super) fn checksum(parts: &[&[u8]]) -> u16 {
    let words = parts.iter().flat_map(|part| part.chunks(2));
    let sum = words
        .fold(0_u64, |sum, word| sum + 256 * u64::from(word[0]) + word.get(1).map_or(0, |octet| u64::from(*octet)));
    // 65,536 is 1 modulo 65,535; only a sum of no octets but zeros is 0.
    let folded = if sum == 0 { 0 } else { (sum - 1) % 65_535 + 1 };
    65_535 - folded as u16
}

/// Returns the pseudo header of IPv6 (RFC 8200, 8.1).
pub(super) fn pseudo_v6(from: [u8; 16], to: [u8; 16], length: usize, protocol: u8) -> Vec<u8> {
    [&from[..], &to, &(length as u32).to_be_bytes(), &[0, 0, 0, protocol]].concat()
}

/// Returns the pseudo header of IPv4 (RFC 9293, 3.1).
pub(super) fn pseudo_v4(from: [u8; 4], to: [u8; 4], length: usize, protocol: u8) -> Vec<u8> {
    [&from[..], &to, &[0, protocol], &(length as u16).to_be_bytes()].concat()
}
