//! `doctor`: what this machine permits, and one real round trip through every kind of socket.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::{Run, ping_checks, tls_checks, udp_checks};
use crate::address::Address;
use crate::args::{Doctor, Family, Host, ListenAddress, SocketOptions, UnixType};
use crate::error::{ExitCode, Step, errno_name};
use crate::event::{Check, CheckOutcome, Reason};
use crate::step::{self, Accepted, Cause, Door, Failed, Listener, Reach, Recvd, Rest, Stream, UnixPlace, now, within};

/// What goes there and back.
pub(super) const PING: &[u8] = b"sockeye";

/// Looks at everything, and fails if a round trip that is permitted did not work.
pub async fn run(doctor: Doctor, run: Run) -> ExitCode {
    let mut worked = true;
    let all = async {
        limits(&run.door);
        let only = doctor.output.family();
        for (name, family, loopback) in [
            ("tcp-ipv4", Family::V4, IpAddr::V4(Ipv4Addr::LOCALHOST)),
            ("tcp-ipv6", Family::V6, IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ] {
            if only.is_none_or(|only| only == family) {
                let began = now();
                let result = tcp(&run.door, loopback, SocketOptions::default(), doctor.timeout).await;
                worked &= report(&run.door, name, began, result.map(|(trip, _)| trip));
            }
        }
        worked &= udp_checks::run(&run.door, only, doctor.timeout).await;
        worked &= ping_checks::run(&run, only, doctor.timeout).await;
        for (name, kind) in [
            ("unix-stream", UnixType::Stream),
            ("unix-seqpacket", UnixType::Seqpacket),
            ("unix-dgram", UnixType::Dgram),
        ] {
            if only.is_none() {
                let began = now();
                let result = match kind {
                    UnixType::Dgram => unix_datagrams(&run.door, doctor.timeout).await,
                    _ => unix(&run.door, kind, doctor.timeout).await,
                };
                worked &= report(&run.door, name, began, result);
            }
        }
        worked &= mptcp(&run.door, only, doctor.timeout).await;
        worked &= tls_checks::run(&run.door, only, doctor.timeout).await;
    };
    // Cut short, it has not seen every round trip work; without a reader nobody asks.
    if let Err(cause) = run.stop.unless(all).await {
        run.stopped(cause, "everything was looked at");
        worked &= cause == Cause::Output;
    }
    if worked { ExitCode::Ok } else { ExitCode::No }
}

/// Tells the limits that servers and clients meet.
fn limits(door: &Door) {
    setting(door, "lowest-port", "net/ipv4/ip_unprivileged_port_start", "");
    let (outcome, value) = match step::descriptors() {
        Ok((soft, hard)) => (CheckOutcome::Ok, format!("{soft}, at most {hard}")),
        Err(error) => (CheckOutcome::Failed, error.to_string()),
    };
    door.emit(Check { name: "descriptors", outcome, value: Some(&value), hint: None, duration: None });
    setting(door, "somaxconn", "net/core/somaxconn", " connections in an accept queue");
    setting(door, "recv-buffer", "net/core/rmem_max", " bytes at most, more needs CAP_NET_ADMIN");
    setting(door, "send-buffer", "net/core/wmem_max", " bytes at most, more needs CAP_NET_ADMIN");
    fast_open(door);
}

/// Tells a number of the kernel's settings.
fn setting(door: &Door, name: &str, sysctl: &str, meaning: &str) {
    match step::sysctl(sysctl) {
        Ok(value) => {
            let value = format!("{value}{meaning}");
            door.emit(Check { name, outcome: CheckOutcome::Ok, value: Some(&value), hint: None, duration: None });
        }
        Err(error) => {
            unread(door, name, &error, None, "this kernel or this namespace does not show it");
        }
    }
}

/// Tells that a setting gave no number: there is none, for which `value` and `hint` are, or it could
/// not be read. Returns whether there is none, or it may not be read.
fn unread(door: &Door, name: &str, error: &io::Error, value: Option<&str>, hint: &str) -> bool {
    let errno = error.raw_os_error().map(Errno::from_raw);
    let why = errno.map_or_else(|| error.to_string(), errno_name);
    let (outcome, value, hint) = match errno {
        Some(Errno::ENOENT) => (CheckOutcome::Absent, value, hint),
        Some(Errno::EACCES | Errno::EPERM) => (CheckOutcome::Denied, Some(&*why), "a sandbox keeps /proc/sys from us"),
        Some(Errno::EMFILE) => (CheckOutcome::Failed, Some(&*why), "no descriptor was left to read it: `ulimit -n`"),
        _ => (CheckOutcome::Failed, Some(&*why), "the setting could not be read from /proc/sys"),
    };
    door.emit(Check { name, outcome, value, hint: Some(hint), duration: None });
    outcome != CheckOutcome::Failed
}

/// Tells who may use TCP Fast Open (RFC 7413).
fn fast_open(door: &Door) {
    const HINT: &str = "net.ipv4.tcp_fastopen: 1 for the client, 2 for the server, 3 for both";
    let bits = match step::fast_open() {
        Ok(bits) => bits,
        Err(error) => {
            unread(door, "fast-open", &error, Some("not in this kernel"), HINT);
            return;
        }
    };
    let (outcome, value) = match (bits & step::FAST_OPEN_CLIENT != 0, bits & step::FAST_OPEN_SERVER != 0) {
        (true, true) => (CheckOutcome::Ok, "client and server"),
        (true, false) => (CheckOutcome::Ok, "client, not server"),
        (false, true) => (CheckOutcome::Ok, "server, not client"),
        (false, false) => (CheckOutcome::Denied, "switched off"),
    };
    let hint = (outcome != CheckOutcome::Ok).then_some(HINT);
    door.emit(Check { name: "fast-open", outcome, value: Some(value), hint, duration: None });
}

/// Goes there and back over MPTCP, where it is switched on; returns whether that worked or was not
/// to be expected to.
async fn mptcp(door: &Arc<Door>, only: Option<Family>, bound: Duration) -> bool {
    match step::sysctl("net/mptcp/enabled") {
        Ok(1..) => {}
        Ok(0) => {
            let (outcome, hint) = (CheckOutcome::Denied, Some("net.mptcp.enabled=1 switches it on"));
            door.emit(Check { name: "mptcp", outcome, value: Some("switched off"), hint, duration: None });
            return true;
        }
        Err(error) => {
            let hint = "MPTCP needs Linux 5.6, built with CONFIG_MPTCP";
            return unread(door, "mptcp", &error, Some("not in this kernel"), hint);
        }
    }
    let loopback = match only {
        Some(Family::V6) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        _ => IpAddr::V4(Ipv4Addr::LOCALHOST),
    };
    let began = now();
    let words = SocketOptions { mptcp: true, ..SocketOptions::default() };
    let result = match tcp(door, loopback, words, bound).await {
        Ok((trip, Some(true))) => Ok(trip),
        Ok(_) => Err(Trouble::FellBack),
        Err(trouble) => Err(trouble),
    };
    report(door, "mptcp", began, result)
}

/// Reports a round trip; returns whether it worked or was not to be expected to.
fn report(door: &Door, name: &str, began: Instant, result: Result<Duration, Trouble>) -> bool {
    tell(door, name, began, result) != CheckOutcome::Failed
}

/// Reports a round trip; returns how it came out.
pub(super) fn tell(door: &Door, name: &str, began: Instant, result: Result<Duration, Trouble>) -> CheckOutcome {
    tell_found(door, name, began, result.map(|trip| (trip, "")))
}

/// Reports a round trip and what was found besides; returns how it came out.
pub(super) fn tell_found(
    door: &Door,
    name: &str,
    began: Instant,
    result: Result<(Duration, &str), Trouble>,
) -> CheckOutcome {
    let duration = Some(step::since(began));
    let (outcome, value, hint) = match result {
        Ok((trip, found)) => {
            let negotiated = if name == "mptcp" { "negotiated, " } else { "" };
            let found = if found.is_empty() { String::new() } else { format!(", {found}") };
            (CheckOutcome::Ok, format!("{negotiated}round trip {:.3} ms{found}", trip.as_secs_f64() * 1e3), None)
        }
        Err(trouble) if is_without_loopback(name, &trouble) => (
            CheckOutcome::Absent,
            "no loopback address".to_owned(),
            Some("bring the interface lo up, with this family switched on"),
        ),
        Err(Trouble::Step(Failed { code: ExitCode::Permission, .. })) => {
            (CheckOutcome::Denied, "not permitted".to_owned(), Some("a local firewall or a sandbox forbids it"))
        }
        Err(Trouble::Step(_)) => {
            (CheckOutcome::Failed, "a step failed".to_owned(), Some("the error says which: add -v"))
        }
        Err(Trouble::Silent) => {
            (CheckOutcome::Failed, "no answer in time".to_owned(), Some("is lo up? `ip link show lo`"))
        }
        Err(Trouble::FellBack) => {
            (CheckOutcome::Failed, "fell back to TCP".to_owned(), Some("does a firewall strip TCP options?"))
        }
        Err(Trouble::Damaged) => (CheckOutcome::Failed, "other bytes came back".to_owned(), None),
    };
    door.emit(Check { name, outcome, value: Some(&value), hint, duration });
    outcome
}

/// Returns whether a round trip failed because this machine has no loopback address. A firewall may
/// be silent or answer that there is no route, too.
fn is_without_loopback(name: &str, trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Step(Failed { errno: Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL), .. }) => true,
        Trouble::Step(Failed { code: ExitCode::Unreachable | ExitCode::NoAnswer, .. }) | Trouble::Silent => {
            !name.starts_with("unix") && !step::is_loopback_up()
        }
        _ => false,
    }
}

/// What a round trip can fail on.
pub(super) enum Trouble {
    /// A step, reported.
    Step(Failed),
    /// Something did not come in time.
    Silent,
    /// What came back is not what was sent.
    Damaged,
    /// It worked, but not over MPTCP.
    FellBack,
}

impl From<Failed> for Trouble {
    fn from(failed: Failed) -> Self {
        Self::Step(failed)
    }
}

/// Serves and connects over TCP on loopback, and returns how long a round trip took, and whether
/// MPTCP was spoken.
async fn tcp(
    door: &Arc<Door>,
    loopback: IpAddr,
    words: SocketOptions,
    bound: Duration,
) -> Result<(Duration, Option<bool>), Trouble> {
    let listen = ListenAddress { host: Some(Host::Ip(loopback, None)), port: 0 };
    let address = step::bind_address(door, &listen, None, bound).await?;
    let listener = step::listener(door, &address, 1, &words).await?;
    connections(door, &listener, &reach(UnixType::Stream, words, bound), bound).await
}

/// Serves and connects over unix sockets with connections, likewise.
async fn unix(door: &Arc<Door>, kind: UnixType, bound: Duration) -> Result<Duration, Trouble> {
    let listener = step::unix_listener(door, &anywhere(kind), 1, &SocketOptions::default()).await?;
    let reach = reach(kind, SocketOptions::default(), bound);
    connections(door, &listener, &reach, bound).await.map(|(trip, _)| trip)
}

/// Sends a unix datagram to a server and awaits its answer, likewise.
async fn unix_datagrams(door: &Arc<Door>, bound: Duration) -> Result<Duration, Trouble> {
    let server = step::unix_datagram(door, &anywhere(UnixType::Dgram), &SocketOptions::default()).await?;
    let client = step::connect(
        door,
        &[server.local().clone()],
        &reach(UnixType::Dgram, SocketOptions::default(), bound),
        &mut 0,
    )
    .await?;
    let began = now();
    client.send_all(PING, Some(bound), Rest::Stays).await?;
    let mut buffer = [0; PING.len()];
    let received = loop {
        within(Some(bound), server.readable()).await.ok_or(Trouble::Silent)?;
        if let Some(received) = server.recv(&mut buffer, |_| true)? {
            break received;
        }
    };
    let Some(from) = &received.from else { return Err(Trouble::Damaged) };
    server.send_to(from, [&[], &buffer[..received.bytes]])?;
    take(&client, bound).await?;
    let trip = step::since(began);
    client.close(Reason::Local);
    Ok(trip)
}

/// Returns a place that the kernel chooses: an abstract name, so that there is no file.
fn anywhere(kind: UnixType) -> UnixPlace {
    UnixPlace { address: Address::UnixUnnamed, kind, mode: 0, group: None }
}

pub(super) fn reach(unix_type: UnixType, options: SocketOptions, bound: Duration) -> Arc<Reach> {
    let (source, first, target, proxy) = (None, None, None, None);
    Arc::new(Reach { source, options, unix_type, bound, first, is_explained: true, target, number: 0, proxy })
}

/// Connects to a listener, sends there and back, and returns how long that took, and whether MPTCP
/// was spoken.
async fn connections(
    door: &Arc<Door>,
    listener: &Listener,
    reach: &Arc<Reach>,
    bound: Duration,
) -> Result<(Duration, Option<bool>), Trouble> {
    let client = step::connect(door, &[listener.local().clone()], reach, &mut 0).await?;
    let server = accepted(listener, bound).await?;
    let began = now();
    pass(&client, &server, bound).await?;
    pass(&server, &client, bound).await?;
    let trip = step::since(began);
    let is_mptcp = client.is_mptcp();
    client.shutdown().await?;
    to_end(&server, bound).await?;
    server.close(Reason::Eof);
    to_end(&client, bound).await?;
    client.close(Reason::Eof);
    Ok((trip, is_mptcp))
}

/// Accepts one connection.
pub(super) async fn accepted(listener: &Listener, bound: Duration) -> Result<Stream, Trouble> {
    loop {
        match within(Some(bound), listener.accept()).await.ok_or(Trouble::Silent)?? {
            Accepted::Connection(connection) => return Ok(connection.open()?),
            Accepted::Lost => {}
            Accepted::Exhausted(failed) => return Err(failed.into()),
        }
    }
}

/// Sends from one end and takes it at the other.
pub(super) async fn pass(from: &Stream, to: &Stream, bound: Duration) -> Result<(), Trouble> {
    from.send_all(PING, Some(bound), Rest::Stays).await?;
    take(to, bound).await
}

/// Takes what was sent.
async fn take(to: &Stream, bound: Duration) -> Result<(), Trouble> {
    let mut buffer = [0; PING.len()];
    let mut came = 0;
    while came < PING.len() {
        match recv(to, &mut buffer[came..], bound).await? {
            Recvd::Data(bytes) => came += bytes,
            Recvd::Nothing => {}
            Recvd::Eof => return Err(Trouble::Damaged),
        }
    }
    if buffer == PING { Ok(()) } else { Err(Trouble::Damaged) }
}

/// Waits for the other side's end.
pub(super) async fn to_end(stream: &Stream, bound: Duration) -> Result<(), Trouble> {
    while recv(stream, &mut [0; 1], bound).await? != Recvd::Eof {}
    Ok(())
}

async fn recv(stream: &Stream, buffer: &mut [u8], bound: Duration) -> Result<Recvd, Trouble> {
    if let Err(after) = stream.readable_within(Some(bound)).await {
        stream.timeout(Step::Recv, after);
        return Err(Trouble::Silent);
    }
    Ok(stream.recv(buffer)?)
}
