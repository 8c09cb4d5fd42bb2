//! ICMP errors by name: RFC 792, 1108, 1122, 1812 for IPv4, RFC 4443, 6554, 7112, 8754 and 8883 for
//! IPv6.

/// Returns the name of an ICMP error of either family; `icmp-error` where none was given to it.
#[must_use]
pub fn name(is_v6: bool, kind: u8, code: u8) -> &'static str {
    if is_v6 { name_v6(kind, code) } else { name_v4(kind, code) }
}

/// Returns whether an error of this type says that a packet went no further. Of IPv4 a redirect is about one
/// that was passed on, and a source quench is to be ignored (RFC 6633).
#[must_use]
pub fn ends(is_v6: bool, kind: u8) -> bool {
    is_v6 || !matches!(kind, 4 | 5)
}

/// Returns whether an error says that the packet had gone as many hops as it was to: every router on the way
/// says so. That fragments did not come together has the same type, and is said where they were to.
#[must_use]
pub fn is_exceeded_in_transit(is_v6: bool, kind: u8, code: u8) -> bool {
    (kind, code) == if is_v6 { (3, 0) } else { (11, 0) }
}

/// Returns whether an error says that the packet was larger than the next link takes (RFC 1191; RFC 4443, 3.2,
/// where the code is to be ignored).
#[must_use]
pub fn is_too_big(is_v6: bool, kind: u8, code: u8) -> bool {
    if is_v6 { kind == 2 } else { (kind, code) == (3, 4) }
}

/// Returns whether an error says that nobody listens at a port.
#[must_use]
pub fn is_port_unreachable(is_v6: bool, kind: u8, code: u8) -> bool {
    (kind, code) == if is_v6 { (1, 4) } else { (3, 3) }
}

/// Returns the name of an ICMP error for IPv4 (IANA, "ICMP Type Numbers").
fn name_v4(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (3, 0) => "net-unreachable",
        (3, 1) => "host-unreachable",
        (3, 2) => "protocol-unreachable",
        (3, 3) => "port-unreachable",
        (3, 4) => "fragmentation-needed",
        (3, 5) => "source-route-failed",
        (3, 6) => "net-unknown",
        (3, 7) => "host-unknown",
        (3, 8) => "source-host-isolated",
        (3, 9) => "net-prohibited",
        (3, 10) => "host-prohibited",
        (3, 11) => "net-unreachable-for-tos",
        (3, 12) => "host-unreachable-for-tos",
        (3, 13) => "admin-prohibited",
        (3, 14) => "host-precedence-violation",
        (3, 15) => "precedence-cutoff",
        (4, _) => "source-quench",
        (5, _) => "redirect",
        (11, 0) => "ttl-exceeded",
        (11, _) => "reassembly-time-exceeded",
        (12, 1) => "option-missing",
        (12, 2) => "bad-length",
        (12, _) => "parameter-problem",
        _ => "icmp-error",
    }
}

/// Returns the name of an ICMP error for IPv6 (IANA, "ICMPv6 Parameters").
fn name_v6(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (1, 0) => "no-route",
        (1, 1) => "admin-prohibited",
        (1, 2) => "beyond-scope",
        (1, 3) => "address-unreachable",
        (1, 4) => "port-unreachable",
        (1, 5) => "source-policy-failed",
        (1, 6) => "reject-route",
        (1, 7) => "source-routing-header-error",
        (1, 8) => "headers-too-long",
        (2, _) => "packet-too-big",
        (3, 0) => "hop-limit-exceeded",
        (3, _) => "reassembly-time-exceeded",
        (4, 1) => "unrecognized-next-header",
        (4, 2) => "unrecognized-option",
        (4, 3) => "incomplete-header-chain",
        (4, 4) => "sr-upper-layer-header-error",
        (4, 5) => "unrecognized-next-header-on-path",
        (4, 6) => "extension-header-too-big",
        (4, 7) => "extension-header-chain-too-long",
        (4, 8) => "too-many-extension-headers",
        (4, 9) => "too-many-options",
        (4, 10) => "option-too-big",
        (4, _) => "parameter-problem",
        _ => "icmp-error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_the_names_of_the_contract() {
        assert_eq!(name_v4(3, 3), "port-unreachable");
        assert_eq!(name_v4(3, 4), "fragmentation-needed");
        assert_eq!(name_v4(11, 0), "ttl-exceeded");
        assert_eq!(name_v4(12, 0), "parameter-problem");
        assert_eq!(name_v4(12, 1), "option-missing");
        assert_eq!(name_v4(12, 9), "parameter-problem");
        assert_eq!(name_v4(200, 1), "icmp-error");
        assert_eq!(name_v6(1, 4), "port-unreachable");
        assert_eq!(name_v6(2, 0), "packet-too-big");
        assert_eq!(name_v6(4, 0), "parameter-problem");
        assert_eq!(name_v6(4, 2), "unrecognized-option");
        assert_eq!(name_v6(200, 1), "icmp-error");
        assert_eq!([name(false, 3, 1), name(true, 3, 1)], ["host-unreachable", "reassembly-time-exceeded"]);
    }

    #[test]
    fn what_is_said_of_a_packet_that_went_on_is_no_end() {
        assert_eq!([3, 4, 5, 11, 12].map(|kind| ends(false, kind)), [true, false, false, true, true]);
        assert!((1..128).all(|kind| ends(true, kind)));
    }

    #[test]
    fn each_family_has_its_own_numbers() {
        for is_v6 in [false, true] {
            let all = (0..=255).flat_map(|kind| (0..=255).map(move |code| (kind, code)));
            let named = |is: fn(bool, u8, u8) -> bool| {
                let names = all.clone().filter(|(kind, code)| is(is_v6, *kind, *code));
                names.map(|(kind, code)| name(is_v6, kind, code)).collect::<std::collections::BTreeSet<_>>()
            };
            let over = if is_v6 { "hop-limit-exceeded" } else { "ttl-exceeded" };
            assert_eq!(named(is_exceeded_in_transit), [over].into());
            let too_big = if is_v6 { "packet-too-big" } else { "fragmentation-needed" };
            assert_eq!(named(is_too_big), [too_big].into());
            assert_eq!(named(is_port_unreachable), ["port-unreachable"].into());
        }
    }
}
