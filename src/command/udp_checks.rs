//! What `doctor` looks at of UDP: round trips, multicast, and what the kernel does for speed and for
//! exact times. All of it stays on the loopback interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::doctor::{PING, Trouble, tell};
use crate::address::Address;
use crate::args::{Family, Host, Join, ListenAddress, SocketOptions};
use crate::event::{Check, CheckOutcome};
use crate::step::{self, Door, Extras, Failed, Joining, Tried, UdpWords, Unsent, now};

/// The loopback interface.
const LO: &str = "lo";

/// A family: its name in the names of checks, its loopback address, and a group that no router passes
/// on: of the site (RFC 2365), of the interface (RFC 4291, 2.7).
const FAMILIES: [(Family, [&str; 2], IpAddr, IpAddr); 2] = [
    (
        Family::V4,
        ["udp-ipv4", "multicast-ipv4"],
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V4(Ipv4Addr::new(239, 255, 83, 75)),
    ),
    (
        Family::V6,
        ["udp-ipv6", "multicast-ipv6"],
        IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::new(0xff11, 0, 0, 0, 0, 0, 0, 0x534b)),
    ),
];

/// How many datagrams the kernel is to cut a buffer into, and to merge again, and of how many bytes.
const SEGMENTS: u8 = 8;
const SEGMENT: u16 = 16;

/// Why something did not come about.
enum Refusal {
    /// The kernel did not take what was sent.
    Unsent(Unsent),
    /// Something else.
    Trouble(Trouble),
}

impl From<Unsent> for Refusal {
    fn from(unsent: Unsent) -> Self {
        Self::Unsent(unsent)
    }
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Self {
        Self::Trouble(failed.into())
    }
}

/// Looks at everything; returns whether every round trip worked that was to be expected to.
pub(super) async fn run(door: &Arc<Door>, only: Option<Family>, bound: Duration) -> bool {
    let mut worked = true;
    // Where the rest is tried; else why it is not.
    let mut base = Err(CheckOutcome::Absent);
    for (family, [unicast, multicast], loopback, group) in FAMILIES {
        if only.is_some_and(|only| only != family) {
            continue;
        }
        let began = now();
        let outcome = report_trip(door, unicast, began, round_trip(door, loopback, None, bound).await);
        worked &= outcome != CheckOutcome::Failed;
        if outcome != CheckOutcome::Ok {
            base = base.map_err(|before| if outcome == CheckOutcome::Absent { before } else { outcome });
            not_tried(door, multicast, outcome, unicast);
            continue;
        }
        base = base.or(Ok(loopback));
        let began = now();
        let outcome = report_trip(door, multicast, began, round_trip(door, loopback, Some(group), bound).await);
        worked &= outcome != CheckOutcome::Failed;
    }
    let loopback = match base {
        Ok(loopback) => loopback,
        Err(outcome) => {
            for name in ["udp-gso", "udp-gro", "receive-stamp", "transmit-stamp"] {
                not_tried(door, name, outcome, "a round trip of UDP");
            }
            return worked;
        }
    };
    let began = now();
    let outcome = report_batch(door, "udp-gso", began, cut(door, loopback, false, bound).await);
    worked &= outcome != CheckOutcome::Failed;
    if outcome == CheckOutcome::Ok {
        let began = now();
        let outcome = report_batch(door, "udp-gro", began, cut(door, loopback, true, bound).await);
        worked &= outcome != CheckOutcome::Failed;
    } else {
        not_tried(door, "udp-gro", outcome, "udp-gso");
    }
    worked & stamps(door, loopback, bound).await
}

/// Tells that something was not looked at, because what it needs came out otherwise than ok: so did
/// it, then.
fn not_tried(door: &Door, name: &str, outcome: CheckOutcome, needed: &str) {
    let hint = format!("it needs {needed} to work first");
    door.emit(Check { name, outcome, value: Some("not tried"), hint: Some(&hint), duration: None });
}

/// Reports a round trip, by a group or not; returns how it came out.
fn report_trip(door: &Door, name: &str, began: Instant, result: Result<Duration, Refusal>) -> CheckOutcome {
    let is_multicast = name.starts_with("multicast");
    let (outcome, value, hint) = match result {
        Ok(trip) => return tell(door, name, began, Ok(trip)),
        Err(Refusal::Unsent(Unsent(Errno::EPERM | Errno::EACCES))) => {
            (CheckOutcome::Denied, "not permitted".to_owned(), "a local firewall or a sandbox forbids it")
        }
        Err(Refusal::Unsent(unsent)) if is_multicast => {
            let hint = match name {
                "multicast-ipv6" => {
                    "lo has no route to groups, as usual: `ip -6 route add local ff00::/8 dev lo table local`"
                }
                _ => "lo has no route to groups: `ip route add multicast 224.0.0.0/4 dev lo`",
            };
            (CheckOutcome::Absent, unsent.name(), hint)
        }
        Err(Refusal::Unsent(unsent)) => (CheckOutcome::Failed, unsent.name(), "the kernel did not take the datagram"),
        Err(Refusal::Trouble(Trouble::Silent)) if is_multicast => (
            CheckOutcome::Failed,
            "no answer in time".to_owned(),
            "a firewall drops it, or the route to groups by lo is not of the type local",
        ),
        Err(Refusal::Trouble(trouble)) => return tell(door, name, began, Err(trouble)),
    };
    let (value, duration) = (Some(&*value), Some(step::since(began)));
    door.emit(Check { name, outcome, value, hint: Some(hint), duration });
    outcome
}

/// Reports what came of a buffer that the kernel was to cut, and to merge: how many datagrams, in how
/// many buffers. Returns how it came out.
fn report_batch(door: &Door, name: &str, began: Instant, result: Result<(u64, usize), Refusal>) -> CheckOutcome {
    let merges = name == "udp-gro";
    let (outcome, value, hint) = match result {
        Ok((datagrams, _)) if !merges => (CheckOutcome::Ok, format!("{datagrams} datagrams of one send"), None),
        Ok((datagrams, 1)) => (CheckOutcome::Ok, format!("{datagrams} datagrams in one buffer"), None),
        Ok((datagrams, buffers)) if (buffers as u64) < datagrams => {
            (CheckOutcome::Ok, format!("{datagrams} datagrams in {buffers} buffers"), None)
        }
        Ok((datagrams, _)) => (
            CheckOutcome::Absent,
            format!("{datagrams} datagrams in as many buffers"),
            Some("UDP_GRO was set, and nothing was merged: each datagram comes by itself"),
        ),
        Err(Refusal::Unsent(unsent)) => (
            CheckOutcome::Absent,
            unsent.name(),
            Some("UDP_SEGMENT needs Linux 4.18, and checksums that are offloaded: datagrams are sent one by one"),
        ),
        Err(Refusal::Trouble(Trouble::Step(Failed { errno: Some(Errno::ENOPROTOOPT), .. }))) => {
            (CheckOutcome::Absent, "ENOPROTOOPT".to_owned(), Some("UDP_GRO needs Linux 5.0"))
        }
        Err(Refusal::Trouble(trouble)) => return tell(door, name, began, Err(trouble)),
    };
    door.emit(Check { name, outcome, value: Some(&value), hint, duration: Some(step::since(began)) });
    outcome
}

/// Makes a socket that receives and one that sends to it: on loopback, or by a group.
async fn pair(
    door: &Arc<Door>,
    loopback: IpAddr,
    group: Option<IpAddr>,
    to: Extras,
    from: Extras,
    bound: Duration,
) -> Result<(Tried, Tried), Failed> {
    let options = SocketOptions::default();
    let words = |extras| UdpWords {
        options: &options,
        extras,
        broadcast: false,
        multicast_interface: group.map(|_| LO),
        source: None,
    };
    let host = match group {
        Some(group @ IpAddr::V6(_)) => Host::Ip(group, Some(LO.to_owned())),
        group => Host::Ip(group.unwrap_or(loopback), None),
    };
    let at = step::bind_address(door, &ListenAddress { host: Some(host), port: 0 }, None, bound).await?;
    let joins: Vec<_> =
        group.map(|group| Join { group, interface: Some(LO.to_owned()), source: None }).into_iter().collect();
    let server = Tried::new(step::udp_receiver(door, &at, Joining(&joins), &words(to)).await?);
    // From a group nothing can come: the answers need an address.
    let own = Address::from(SocketAddr::new(loopback, 0));
    let words = UdpWords { source: group.map(|_| &own), ..words(from) };
    let client = Tried::new(step::udp_sender(door, &[server.local().clone()], &words).await?);
    Ok((server, client))
}

/// Sends a datagram there and back, and returns how long that took.
async fn round_trip(
    door: &Arc<Door>,
    loopback: IpAddr,
    group: Option<IpAddr>,
    bound: Duration,
) -> Result<Duration, Refusal> {
    let extras = Extras { arrival: true, header: true, ..Extras::default() };
    let (server, client) = pair(door, loopback, group, extras, extras, bound).await?;
    let trip = there_and_back(&client, &server, bound).await;
    client.close();
    trip
}

async fn there_and_back(client: &Tried, server: &Tried, bound: Duration) -> Result<Duration, Refusal> {
    let (mut asked, mut answered) = (server.taker()?, client.taker()?);
    let began = now();
    client.send(PING, None)?;
    let taken = asked.take(bound).await?.ok_or(Trouble::Silent)?;
    server.send_back(&taken)?;
    let back = answered.take(bound).await?.ok_or(Trouble::Silent)?;
    let trip = step::since(began);
    if back.data == PING { Ok(trip) } else { Err(Trouble::Damaged.into()) }
}

/// Sends a buffer that the kernel cuts, and returns how many datagrams come of it, and in how many
/// buffers they lie: fewer, where the kernel is to merge them again and does.
async fn cut(door: &Arc<Door>, loopback: IpAddr, merged: bool, bound: Duration) -> Result<(u64, usize), Refusal> {
    let extras = Extras { merged, ..Extras::default() };
    let (server, client) = pair(door, loopback, None, extras, Extras::default(), bound).await?;
    let came = batch(&client, &server, bound).await;
    client.close();
    came
}

async fn batch(client: &Tried, server: &Tried, bound: Duration) -> Result<(u64, usize), Refusal> {
    let mut taker = server.taker()?;
    let data: Vec<u8> = (b'a'..b'a' + SEGMENTS).flat_map(|letter| [letter; SEGMENT as usize]).collect();
    client.send(&data, Some(SEGMENT))?;
    let (mut came, mut datagrams, mut buffers) = (Vec::new(), 0, 0);
    while came.len() < data.len() {
        let taken = taker.take(bound).await?.ok_or(Trouble::Silent)?;
        came.extend_from_slice(&taken.data);
        datagrams += taken.datagrams;
        buffers += taken.buffers;
    }
    if came != data || datagrams != u64::from(SEGMENTS) {
        return Err(Trouble::Damaged.into());
    }
    Ok((datagrams, buffers))
}

/// Tells whether the kernel stamps what comes and what goes.
async fn stamps(door: &Arc<Door>, loopback: IpAddr, bound: Duration) -> bool {
    let began = now();
    let (left, came) = match stamped(door, loopback, bound).await {
        Ok(stamps) => stamps,
        Err(refusal) => {
            let outcome = report_trip(door, "receive-stamp", began, Err(refusal));
            not_tried(door, "transmit-stamp", outcome, "receive-stamp");
            return outcome != CheckOutcome::Failed;
        }
    };
    let took = step::since(began);
    for (name, stamp, when) in
        [("receive-stamp", came, "before recv gave it"), ("transmit-stamp", left, "after the send began")]
    {
        let value = stamp.map(|stamp| format!("{:.3} ms {when}", stamp.as_secs_f64() * 1e3));
        door.emit(Check {
            name,
            outcome: if stamp.is_some() { CheckOutcome::Ok } else { CheckOutcome::Absent },
            value: value.as_deref(),
            hint: stamp.is_none().then_some("SO_TIMESTAMPING gave none: times are then this program's own"),
            duration: Some(took),
        });
    }
    true
}

/// Sends a datagram, and returns when it left, after its send began, and when it came, before it was
/// taken, as far as the kernel says.
async fn stamped(
    door: &Arc<Door>,
    loopback: IpAddr,
    bound: Duration,
) -> Result<(Option<Duration>, Option<Duration>), Refusal> {
    let to = Extras { receive_time: true, ..Extras::default() };
    let from = Extras { send_time: true, ..Extras::default() };
    let (server, client) = pair(door, loopback, None, to, from, bound).await?;
    let stamps = both(&client, &server, bound).await;
    client.close();
    stamps
}

async fn both(
    client: &Tried,
    server: &Tried,
    bound: Duration,
) -> Result<(Option<Duration>, Option<Duration>), Refusal> {
    /// The kernel begins to stamp what comes in its own time, after it was asked to.
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(2);
    let mut taker = server.taker()?;
    let mut left = None;
    for _ in 0..TRIES {
        left = client.send_stamped(PING).await?.or(left);
        let taken = taker.take(bound).await?.ok_or(Trouble::Silent)?;
        if taken.since_stamp.is_some() {
            return Ok((left, taken.since_stamp));
        }
        step::sleep(PAUSE).await;
    }
    Ok((left, None))
}
