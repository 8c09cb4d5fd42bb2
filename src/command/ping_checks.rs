//! What `doctor` looks at of ICMP: an echo request to loopback by a raw socket and by a datagram socket,
//! over both families, and whose time stamps its round trip is of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::Run;
use super::doctor::{Trouble, tell_found};
use crate::address::Address;
use crate::args::{Family, ProbeKind, SocketChoice, SocketOptions};
use crate::error::{ExitCode, Step, errno_name};
use crate::event::{Check, CheckOutcome, Clock};
use crate::packet::pattern;
use crate::step::{self, Due, Failed, Halt, PingWords, Pinger, Targets, Woken, now};

/// The sockets, and the names of their checks.
const SOCKETS: [(&str, Family, SocketChoice); 4] = [
    ("icmp-raw-ipv4", Family::V4, SocketChoice::Raw),
    ("icmp-raw-ipv6", Family::V6, SocketChoice::Raw),
    ("icmp-dgram-ipv4", Family::V4, SocketChoice::Dgram),
    ("icmp-dgram-ipv6", Family::V6, SocketChoice::Dgram),
];

/// As ping(8) has it.
const SIZE: usize = 56;

/// Looks at everything; returns whether every round trip worked that was to be expected to.
pub(super) async fn run(run: &Run, only: Option<Family>, bound: Duration) -> bool {
    let mut worked = true;
    for (name, family, socket) in SOCKETS {
        if only.is_some_and(|only| only != family) {
            continue;
        }
        let began = now();
        if let Err(errno) = step::permits(&run.door, family, socket) {
            worked &= refused(run, name, socket, errno);
            continue;
        }
        let loopback: IpAddr = match family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        let door = Arc::clone(&run.door);
        let tried =
            step::on_thread(&run.door, &run.stop, Step::Send, move |halt| trip(&door, loopback, socket, bound, halt));
        let result = match tried.await {
            Ok((Ok(Some(trip)), _)) => Ok(trip),
            Ok((Ok(None), _)) => Err(Trouble::Silent),
            Ok((Err(failed), _)) | Err(failed) => Err(failed.into()),
        };
        let result = result.map(|(trip, clock)| {
            let stamps = match clock {
                Clock::Hardware => "stamps of the network device of both ways",
                Clock::Kernel => "kernel stamps of both ways",
                Clock::User => "not all stamps are the kernel's",
            };
            (trip, stamps)
        });
        worked &= tell_found(&run.door, name, began, result) != CheckOutcome::Failed;
    }
    tell_devices(&run.door);
    worked
}

/// Tells which network devices stamp packets by a clock of their own, and which of them do so.
fn tell_devices(door: &step::Door) {
    let name = "device-stamps";
    let devices = match step::stamping_interfaces() {
        Ok(devices) => devices,
        Err(error) => {
            let (outcome, value) = (CheckOutcome::Failed, error.to_string());
            let hint = Some("the interfaces of this machine could not be asked");
            return door.emit(Check { name, outcome, value: Some(&value), hint, duration: None });
        }
    };
    let told: Vec<String> =
        devices.iter().map(|(name, is_on)| format!("{name} {}", if *is_on { "on" } else { "off" })).collect();
    let (value, off) = (told.join(", "), devices.iter().find(|(_, is_on)| !is_on));
    let off =
        off.map(|(name, _)| format!("`sudo hwstamp_ctl -i {name} -t 1 -r 1` switches them on: raw-ping takes them"));
    let (outcome, hint) = match (devices.is_empty(), &off) {
        (true, _) => (CheckOutcome::Absent, Some("no network device of this machine has a clock: its kernel stamps")),
        (false, Some(off)) => (CheckOutcome::Denied, Some(off.as_str())),
        (false, None) => (CheckOutcome::Ok, None),
    };
    let value = Some(value.as_str()).filter(|value| !value.is_empty());
    door.emit(Check { name, outcome, value, hint, duration: None });
}

/// Tells that a socket cannot be made; returns whether that was to be expected.
fn refused(run: &Run, name: &str, socket: SocketChoice, errno: Errno) -> bool {
    let (outcome, hint) = match (errno, socket) {
        (Errno::EPERM | Errno::EACCES, SocketChoice::Dgram) => {
            (CheckOutcome::Denied, "sudo sysctl -w net.ipv4.ping_group_range='0 2147483647' permits it to everybody")
        }
        (Errno::EPERM | Errno::EACCES, _) => {
            (CheckOutcome::Denied, "sudo setcap cap_net_raw+ep $(command -v sockeye) grants it")
        }
        (Errno::EAFNOSUPPORT | Errno::EPROTONOSUPPORT, _) => (CheckOutcome::Absent, "this kernel does not have it"),
        _ => (CheckOutcome::Failed, "the socket could not be made"),
    };
    let value = errno_name(errno);
    run.door.emit(Check { name, outcome, value: Some(&value), hint: Some(hint), duration: None });
    outcome != CheckOutcome::Failed
}

/// Sends one echo request, and returns its round-trip time and whose clock that is of; `None` where nobody
/// answers.
fn trip(
    door: &Arc<step::Door>,
    loopback: IpAddr,
    socket: SocketChoice,
    bound: Duration,
    halt: &Halt,
) -> Result<Option<(Duration, Clock)>, Failed> {
    let mut targets = Targets::new(0);
    targets.push(&Address::Ip(loopback, 0));
    let words = PingWords {
        options: SocketOptions::default(),
        kind: ProbeKind::Icmp,
        socket,
        port: 0,
        data: pattern::bytes(SIZE),
        size: SIZE,
        patience: bound,
        source: None,
        many: true,
        counts_losses: false,
        receive_time: true,
        stamps: true,
        is_windowed: false,
        seeks_mtu: false,
        broadcast: false,
        expected: Some(1),
        seed: fastrand::u64(..),
    };
    let mut pinger = Pinger::open(door, targets, words)?;
    pinger.send(&[Due { target: 0, sequence: 0, hops: None, size: SIZE }], None, 0, halt);
    loop {
        pinger.take()?;
        if pinger.is_settled() {
            break;
        }
        if pinger.wait(halt, None) == Woken::Halted {
            pinger.give_up(false);
        }
    }
    match (pinger.ends().next(), pinger.unsent()) {
        (Some(ExitCode::Ok), _) => Ok(pinger.clock().map(|clock| (pinger.longest(), clock))),
        (_, Some(failed)) => Err(failed),
        _ => Ok(None),
    }
}
