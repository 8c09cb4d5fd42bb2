//! A build without the feature `tls`: it knows the words, says that it has none, and does all else.
#![cfg(not(feature = "tls"))]

use crate::harness::Sockeye;
use crate::harness::events::{Check, CheckOutcome};

#[test]
fn every_word_of_tls_is_exit_2_and_the_message_says_that_this_build_has_none() {
    for line in [
        "connect localhost:1 --tls",
        "connect localhost:1 --tls --starttls smtp",
        "connect localhost:1 --tls --insecure --alpn h2 --tls-max 1.2",
        "connect -z localhost 1 --tls --min-days 21",
        "serve 0 --tls-self-signed",
        "serve 0 --tls-cert c.pem --tls-key k.pem --client-ca ca.pem",
        "serve 0 --tls-self-signed --fault expired",
        "unix-serve /nonexistent/x --tls-self-signed",
    ] {
        let run = Sockeye::new(line).run().exits(2);
        assert_eq!(run.stdout(), b"", "{line}");
        assert!(run.stderr().contains("was built without the feature `tls`"), "{line}:\n{}", run.stderr());
    }
}

#[test]
fn doctor_tells_that_it_is_absent_and_is_well() {
    let run = Sockeye::new("doctor --json").run().exits(0);
    let of_tls: Vec<_> = run.all::<Check>().into_iter().filter(|check| check.name.starts_with("tls")).collect();
    assert!(!of_tls.is_empty());
    for check in of_tls {
        assert_eq!((check.outcome, check.value.as_deref()), (CheckOutcome::Absent, Some("not in this build")));
    }
}
