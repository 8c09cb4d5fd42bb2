//! `doctor`: what this machine permits, and one real round trip through each socket kind.

use crate::harness::Sockeye;
use crate::harness::events::{Check, CheckOutcome};
use crate::harness::net::Net;

#[test]
fn on_a_sound_machine_every_check_is_ok_or_permitted_and_the_exit_is_0() {
    let run = Sockeye::new("doctor --json").run().exits(0);
    let checks = run.all::<Check>();
    let outcome_of = |word: &str| {
        let found = checks.iter().find(|check| check.name.to_lowercase().contains(word));
        found.unwrap_or_else(|| panic!("no check about {word}: {checks:#?}")).outcome
    };
    assert_eq!(outcome_of("ipv4"), CheckOutcome::Ok);
    assert_eq!(outcome_of("ipv6"), CheckOutcome::Ok);
    assert!(checks.iter().all(|check| check.outcome != CheckOutcome::Failed), "{checks:#?}");
    assert!(checks.iter().any(|check| check.duration_ns.is_some()), "a round trip takes time: {checks:#?}");
    let mut names: Vec<_> = checks.iter().map(|check| &check.name).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), checks.len(), "each is looked at once");
}

#[test]
fn the_table_has_a_line_for_each_check() {
    let json = Sockeye::new("doctor --json").run().exits(0);
    let text = Sockeye::new("doctor").run().exits(0);
    let table = String::from_utf8(text.stdout().to_vec()).unwrap();
    for check in json.all::<Check>() {
        assert!(table.lines().any(|line| line.contains(&check.name)), "{} is in the table:\n{table}", check.name);
    }
    assert!(table.lines().count() >= json.all::<Check>().len());
}

#[test]
fn tls_goes_there_and_back_and_the_roots_are_counted() {
    let authority = crate::harness::tls::Authority::new();
    let of = |run: &crate::harness::Finished, name: &str| {
        let check = run.all::<Check>().into_iter().find(|check| check.name == name).cloned().unwrap();
        (check.outcome, check.value.unwrap_or_default())
    };
    let ca = authority.cert();
    let run = Sockeye::new("doctor --json").env("SSL_CERT_FILE", ca.to_str().unwrap()).run().exits(0);
    assert_eq!(of(&run, "tls").0, CheckOutcome::Ok);
    let (outcome, value) = of(&run, "tls-roots");
    assert!(outcome == CheckOutcome::Ok && value.contains(ca.to_str().unwrap()), "{value}");
    let none = Sockeye::new("doctor --json").env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/proc/self/fdinfo");
    let run = none.run().exits(0);
    assert_eq!((of(&run, "tls").0, of(&run, "tls-roots").0), (CheckOutcome::Ok, CheckOutcome::Absent));
}

#[test]
fn as_an_ordinary_user_it_is_exit_0_too() {
    Sockeye::new("doctor --json").by_nobody().run().exits(0);
}

#[test]
fn what_the_machine_does_not_have_is_absent_and_no_failure() {
    let net = Net::isolated().with("echo 1 >/proc/sys/net/ipv6/conf/all/disable_ipv6");
    let run = Sockeye::new("doctor --json").under(net.prefix()).run().exits(0);
    let about_v6 = |check: &&&Check| check.name.to_lowercase().contains("ipv6");
    let outcomes: Vec<_> = run.all::<Check>().iter().filter(about_v6).map(|check| check.outcome).collect();
    assert!(outcomes.contains(&CheckOutcome::Absent), "{}", run.dump());
    assert!(
        run.all::<Check>().iter().all(|check| check.outcome == CheckOutcome::Ok || check.hint.is_some()),
        "{}",
        run.dump()
    );
}

#[test]
fn a_round_trip_that_fails_is_exit_1() {
    crate::harness::require(&["nft"]);
    let net = Net::isolated()
        .with("nft add table ip t")
        .with("nft 'add chain ip t o { type filter hook output priority 0; }'")
        .with("nft add rule ip t o ip protocol tcp drop");
    let run = Sockeye::new("doctor --json").under(net.prefix()).run().exits(1);
    let failed: Vec<_> = run.all::<Check>().into_iter().filter(|check| check.outcome == CheckOutcome::Failed).collect();
    assert!(!failed.is_empty() && failed.iter().all(|check| check.hint.is_some()), "{}", run.dump());
}

#[test]
fn fast_open_and_mptcp_are_told_as_the_kernel_has_them() {
    for (bits, enabled, fast_open, mptcp) in [
        (3, 1, (CheckOutcome::Ok, "client and server"), CheckOutcome::Ok),
        (1, 1, (CheckOutcome::Ok, "client, not server"), CheckOutcome::Ok),
        (0, 0, (CheckOutcome::Denied, "switched off"), CheckOutcome::Denied),
    ] {
        let net = Net::isolated()
            .with(format!("echo {bits} >/proc/sys/net/ipv4/tcp_fastopen"))
            .with(format!("echo {enabled} >/proc/sys/net/mptcp/enabled"))
            .with("echo 77 >/proc/sys/net/core/somaxconn");
        let run = Sockeye::new("doctor --json").under(net.prefix()).run().exits(0);
        let of = |name: &str| {
            let found = run.all::<Check>().into_iter().find(|check| check.name == name);
            let check = found.unwrap_or_else(|| panic!("no {name} in\n{}", run.dump()));
            (check.outcome, check.value.clone().unwrap())
        };
        assert_eq!(of("fast-open"), (fast_open.0, fast_open.1.to_owned()));
        assert_eq!(of("mptcp").0, mptcp, "{}", run.dump());
        assert!(of("somaxconn").1.starts_with("77 "), "{:?}", of("somaxconn"));
    }
}

#[test]
fn the_limits_of_the_buffers_are_those_of_the_kernel() {
    let run = Sockeye::new("doctor --json").run().exits(0);
    for (name, file) in [("recv-buffer", "rmem_max"), ("send-buffer", "wmem_max")] {
        let most = std::fs::read_to_string(format!("/proc/sys/net/core/{file}")).unwrap();
        let check = run.all::<Check>().into_iter().find(|check| check.name == name).unwrap();
        assert!(check.value.as_ref().unwrap().starts_with(&format!("{} bytes", most.trim())), "{check:?}");
    }
}

#[test]
fn what_could_not_be_read_is_not_absent() {
    // Without a descriptor to read it, each setting was one that this kernel has not.
    crate::harness::require(&["prlimit"]);
    let mut unread = 0;
    for limit in 8..=12 {
        let run = Sockeye::new("doctor").under(["prlimit", &format!("--nofile={limit}")]).run();
        let table = String::from_utf8(run.stdout().to_vec()).unwrap();
        assert!(!table.contains(" absent ") || table.contains(" 0 absent"), "{limit}: {table}");
        let is_unread =
            |name: &str| table.lines().any(|line| line.starts_with(name) && line.ends_with("failed EMFILE"));
        unread += u32::from(["lowest-port", "somaxconn", "fast-open", "mptcp"].into_iter().all(is_unread));
    }
    assert!(unread > 0, "each had a descriptor to read the settings with");
}

#[test]
fn without_lo_both_families_are_absent_for_the_same_reason() {
    // That of IPv4 had no route, and so failed.
    // It has never been up, or it is not any more.
    let down = Net::isolated().with("ip link set lo down");
    for prefix in [["unshare", "-Urn"].map(Into::into).to_vec(), down.prefix()] {
        let run = Sockeye::new("doctor --timeout 300ms --json").under(prefix).run().exits(0);
        let of = |name: &str| {
            let check = run.all::<Check>().into_iter().find(|check| check.name == name).unwrap();
            (check.outcome, check.value.clone(), check.hint.clone())
        };
        assert_eq!(of("tcp-ipv4").0, CheckOutcome::Absent, "{}", run.dump());
        assert_eq!(of("tcp-ipv4"), of("tcp-ipv6"));
        assert_eq!(of("tcp-ipv4"), of("mptcp"));
        assert_eq!(of("unix-stream").0, CheckOutcome::Ok);
    }

    // A firewall that says so is not that.
    crate::harness::require(&["nft"]);
    let net = Net::isolated()
        .with("nft add table ip t")
        .with("nft 'add chain ip t o { type filter hook output priority 0; }'")
        .with("nft add rule ip t o ip protocol tcp reject with icmp type net-unreachable");
    let run = Sockeye::new("doctor --json").under(net.prefix()).run().exits(1);
    let check = run.all::<Check>().into_iter().find(|check| check.name == "tcp-ipv4").unwrap();
    assert_eq!(check.outcome, CheckOutcome::Failed, "{}", run.dump());
}
