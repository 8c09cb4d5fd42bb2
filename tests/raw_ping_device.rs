//! raw-ping beside a network device that stamps packets by a clock of its own: a simulated one, which gives only
//! what it was asked for.

use crate::harness::events::{Check, CheckOutcome};
use crate::harness::net::{TempDir, over_both_families};
use crate::harness::pinged::{Pinged, TIMEOUT, ms, number, ping, ping_unprivileged};
use crate::harness::tun::{DEVICE, Network, Seen, host, reply};
use crate::harness::{Family, Sockeye, require};

/// What the device says that each round trip took.
const BY_DEVICE: u64 = 1_234_567;

/// Builds the device, and runs this with it.
fn with_device(run: Sockeye, dir: &TempDir) -> Sockeye {
    require(&["gcc"]);
    let device = dir.path().join("device.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/device.c");
    let mut gcc = std::process::Command::new("gcc");
    gcc.args(["-shared", "-fPIC", "-Wall", "-Werror", "-o"]).arg(&device).arg(source);
    assert!(gcc.status().unwrap().success());
    run.under(["env".to_owned(), format!("LD_PRELOAD={}", device.display())])
}

#[test]
fn doctor_tells_which_device_has_a_clock_and_whether_it_is_on() {
    let dir = TempDir::new();
    let network = Network::new(|_: &Seen| vec![]);
    let look = |words: &[&str]| {
        let env = ["env".to_owned()].into_iter().chain(words.iter().map(ToString::to_string));
        let run = with_device(Sockeye::new("doctor -4 --json"), &dir).under(env).under(network.prefix()).run().exits(0);
        let check = run.all::<Check>().into_iter().find(|check| check.name == "device-stamps").unwrap().clone();
        (check.outcome, check.value.unwrap_or_default(), check.hint.unwrap_or_default())
    };
    let on = format!("SIM_DEVICE={DEVICE}");
    assert_eq!(look(&[&on]), (CheckOutcome::Ok, format!("{DEVICE} on"), String::new()));
    let (outcome, value, hint) = look(&[&on, "SIM_OFF=1"]);
    assert_eq!((outcome, value), (CheckOutcome::Denied, format!("{DEVICE} off")));
    assert!(hint.contains("hwstamp_ctl"), "{hint}");
    assert_eq!(look(&[]).0, CheckOutcome::Absent);
}

over_both_families! {
    fn a_device_that_stamps_both_ways_is_believed(family) {
        let dir = TempDir::new();
        for socket in ["raw", "dgram"] {
            let network = Network::builder().permitting_ping_sockets().start(|_: &Seen| vec![reply().after(ms(2))]);
            let words = format!("{} --count 6 --interval 20ms --socket {socket}", host(family, 1));
            let run = if socket == "raw" { ping(&network, &words) } else { ping_unprivileged(&network, &words) };
            let run = Pinged::of(with_device(run, &dir).run().exits(0));
            run.agrees(&network.finish(), TIMEOUT);
            for event in run.all("reply") {
                // Of the one nothing was told of its departure, and another device's clock is no measure.
                if [3, 4].contains(&number(event, "sequence")) {
                    assert_eq!(event["clock"], "kernel", "{event}");
                    assert!(number(event, "rtt_ns") > 1_999_000, "{event}");
                } else {
                    assert_eq!((&event["clock"], number(event, "rtt_ns")), (&"hardware".into(), BY_DEVICE), "{event}");
                }
                // How long it waited here is known by the kernel's stamp.
                assert!(number(event, "queued_ns") < 20_000_000, "{event}");
            }
        }
    }

    fn a_flood_asks_no_device(family) {
        let dir = TempDir::new();
        let network = Network::new(|_: &Seen| vec![reply()]);
        let words = format!("{} --count 30 --flood", host(family, 1));
        let run = Pinged::of(with_device(ping(&network, &words), &dir).run().exits(0));
        run.agrees(&network.finish(), TIMEOUT);
        assert!(run.all("reply").iter().all(|event| event["clock"] == "user"), "{}", run.run.dump());
    }
}
