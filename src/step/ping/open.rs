//! The sockets of a pinger: raw ones where they are permitted, and what keeps strangers' packets away.

use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{SockFilter, Socket};

use super::book::{Book, Opening};
use super::lane::{Lane, Making, Sockets, Speech};
use super::targets::Targets;
use super::{Pinger, filter};
use crate::address::Address;
use crate::args::raw_ping::NONCE;
use crate::args::{Family, ProbeKind, SocketChoice, SocketOptions};
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Kind, OptionValue};
use crate::socket::options::{self, Extras, Role, Setting};
use crate::socket::{self, SocketKind};
use crate::step::open::{open, report_bind, set, set_options};
use crate::step::thread::ExactWait;
use crate::step::{Door, Failed};

/// What the sockets of a pinger are made for.
pub struct PingWords {
    /// The options that every subcommand has.
    pub options: SocketOptions,
    /// What is sent.
    pub kind: ProbeKind,
    /// By which socket echo requests go.
    pub socket: SocketChoice,
    /// The port that probes go to; 0 where there is none.
    pub port: u16,
    /// The data of a probe, of the greatest size.
    pub data: Vec<u8>,
    /// How much of it each has.
    pub size: usize,
    /// How long answers are waited for.
    pub patience: Duration,
    /// Our address.
    pub source: Option<Address>,
    /// Whether each target gets more than one probe.
    pub many: bool,
    /// Whether it is counted how much each target loses.
    pub counts_losses: bool,
    /// Whether the kernel is asked when each answer came.
    pub receive_time: bool,
    /// Whether the kernel is asked when each probe leaves.
    pub stamps: bool,
    /// Whether probes go as fast as answers come: then neither a probe nor an event is dropped for want of
    /// room.
    pub is_windowed: bool,
    /// Whether it is looked for the largest packet that passes whole.
    pub seeks_mtu: bool,
    /// Whether it may send to broadcast addresses.
    pub broadcast: bool,
    /// How many probes there will be, where that is known.
    pub expected: Option<usize>,
    /// At random: it tells our probes from those of others.
    pub seed: u64,
}

/// How long the kernel takes to begin with its receive stamps, once they were asked for.
const WARM_UP: Duration = Duration::from_millis(2);

impl Pinger {
    /// Opens the sockets that the targets need.
    ///
    /// # Errors
    /// The step that failed, reported: with exit code 4 where no kind of socket is permitted.
    pub fn open(door: &Arc<Door>, targets: Targets, words: PingWords) -> Result<Self, Failed> {
        let has_nonce = words.kind == ProbeKind::TcpSyn || words.size >= NONCE;
        let opening = Opening {
            patience: words.patience,
            data: words.data.clone(),
            size: words.size,
            many: words.many,
            counts_losses: words.counts_losses,
            keeps_fates: words.seeks_mtu,
            is_vague: words.kind == ProbeKind::Udp,
            waits_for_room: words.is_windowed,
            expected: words.expected,
            has_nonce,
            broadcasts: if words.broadcast { socket::broadcast_addresses() } else { Vec::new() },
            seed: words.seed,
        };
        let book = Book::new(door, targets, opening);
        book.announce();
        let mut lanes: Vec<Lane> = Vec::new();
        for family in [Family::V4, Family::V6] {
            if book.targets.has(family == Family::V6) {
                lanes.push(lane(door, family, &words, book.token())?);
            }
        }
        std::thread::sleep(WARM_UP);
        // From now on it is known whether any is dropped.
        lanes.iter_mut().for_each(|lane| lane.tell_drops(door));
        Ok(Self {
            door: Arc::clone(door),
            lanes,
            book,
            waits_for_room: words.is_windowed,
            numbered: Vec::new(),
            has_sent: true,
            missed: 0,
            undrained: 0,
            exact: ExactWait::default(),
            interface: words.options.interface,
        })
    }
}

/// Finds out whether a socket of ICMP may be made, and reports it where it may.
///
/// # Errors
/// As socket(2), not reported.
pub fn permits(door: &Door, family: Family, socket: SocketChoice) -> Result<(), Errno> {
    let kind = match socket {
        SocketChoice::Dgram => SocketKind::Echo(family),
        SocketChoice::Raw | SocketChoice::Auto => SocketKind::RawIcmp(family),
    };
    let made = socket::socket(kind);
    made.map(|_| tell_socket(door, kind)).map_err(|error| error.raw_os_error().map_or(Errno::EINVAL, Errno::from_raw))
}

fn lane(door: &Arc<Door>, family: Family, words: &PingWords, token: u32) -> Result<Lane, Failed> {
    let is_v6 = family == Family::V6;
    let id = (words.seed >> 16) as u16;
    let (speech, sockets, id) = match words.kind {
        ProbeKind::Icmp => icmp(door, family, words, id, token)?,
        ProbeKind::TcpSyn => syn(door, family, words)?,
        ProbeKind::Udp => {
            let sender =
                prepared(door, open(door, SocketKind::Udp(family))?, SocketKind::Udp(family), words, Ends::Both)?;
            bind_source(door, &sender, is_v6, words)?;
            (Speech::Udp, Sockets { sender, hearer: None, errors: None, _reserved: None }, 0)
        }
    };
    let making = Making {
        is_v6,
        speech,
        id,
        port: words.port,
        size: words.data.len(),
        stamps: words.stamps,
        recv_buffer: words.options.recv_buffer,
        interface: words.options.interface.clone(),
    };
    Ok(Lane::new(making, sockets))
}

/// Which way a socket is used.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Both,
    Sends,
    Hears,
}

/// Opens the sockets of echo requests, and returns their identifier.
fn icmp(
    door: &Arc<Door>,
    family: Family,
    words: &PingWords,
    id: u16,
    token: u32,
) -> Result<(Speech, Sockets, u16), Failed> {
    let is_v6 = family == Family::V6;
    let (raw, dgram) = (SocketKind::RawIcmp(family), SocketKind::Echo(family));
    let made = match words.socket {
        SocketChoice::Dgram => None,
        SocketChoice::Raw => Some(opened(door, raw)?),
        SocketChoice::Auto => match socket::socket(raw) {
            Ok(made) => {
                tell_socket(door, raw);
                Some(made)
            }
            Err(error) if is_forbidden(&error) => None,
            Err(error) => return Err(door.fail(&failed(raw, &error))),
        },
    };
    let Some(made) = made else {
        let sender = prepared(door, opened(door, dgram)?, dgram, words, Ends::Both)?;
        let any: std::net::IpAddr = if is_v6 { [0_u16; 8].into() } else { [0_u8; 4].into() };
        let from = source_of(is_v6, words).unwrap_or(Address::Ip(any, 0));
        bind(door, &sender, &from)?;
        // The kernel gives the identifier as the port (icmp(7)).
        let id = sender.local_addr().ok().and_then(|local| local.as_socket()).map_or(0, |local| local.port());
        return Ok((Speech::Dgram, Sockets { sender, hearer: None, errors: None, _reserved: None }, id));
    };
    if !is_v6 {
        let sender = prepared(door, made, raw, words, Ends::Both)?;
        set(door, &sender, &options::icmp_filter(raw, options::ECHO_AND_ERRORS_V4))?;
        // Without a nonce nothing tells an answer with another identifier from those to others.
        if words.size >= NONCE {
            attach(door, &sender, &filter::echo_v4(id, token), &format!("identifier {id}"))?;
        }
        bind_source(door, &sender, is_v6, words)?;
        return Ok((Speech::Raw, Sockets { sender, hearer: None, errors: None, _reserved: None }, id));
    }
    // Where the kernel makes the checksums of what goes, it drops what comes with a wrong one, and so it
    // does where a filter is attached (rawv6_rcv in net/ipv6/raw.c). So one socket sends and another hears.
    let sender = prepared(door, made, raw, words, Ends::Sends)?;
    set(door, &sender, &options::icmp_filter(raw, options::NOTHING))?;
    bind_source(door, &sender, is_v6, words)?;
    let hearer = prepared(door, open(door, raw)?, raw, words, Ends::Hears)?;
    set(door, &hearer, &options::icmp_filter(raw, options::ECHO_AND_ERRORS_V6))?;
    set(door, &hearer, &options::icmpv6_checksum_off())?;
    Ok((Speech::Raw, Sockets { sender, hearer: Some(hearer), errors: None, _reserved: None }, id))
}

/// Opens the sockets of SYNs, and returns their port.
fn syn(door: &Arc<Door>, family: Family, words: &PingWords) -> Result<(Speech, Sockets, u16), Failed> {
    let is_v6 = family == Family::V6;
    let (raw, errors, plain) = (SocketKind::RawTcp(family), SocketKind::RawIcmp(family), SocketKind::Tcp(family));
    let sender = prepared(door, opened(door, raw)?, raw, words, Ends::Both)?;
    // A port of our own that nobody else gets: what comes to it the kernel refuses by itself, so that
    // nothing stays half open.
    let reserved = open(door, plain)?;
    let any: std::net::IpAddr = if is_v6 { [0_u16; 8].into() } else { [0_u8; 4].into() };
    bind(door, &reserved, &source_of(is_v6, words).unwrap_or(Address::Ip(any, 0)))?;
    let port = reserved.local_addr().ok().and_then(|local| local.as_socket()).map_or(0, |local| local.port());
    attach(door, &sender, &filter::tcp(is_v6, port), &format!("port {port}"))?;
    bind_source(door, &sender, is_v6, words)?;
    let heard = prepared(door, open(door, errors)?, errors, words, Ends::Hears)?;
    let types = if is_v6 { options::ERRORS_V6 } else { options::ERRORS_V4 };
    set(door, &heard, &options::icmp_filter(errors, types))?;
    Ok((Speech::Syn, Sockets { sender, hearer: None, errors: Some(heard), _reserved: Some(reserved) }, port))
}

/// Makes a socket that needs a right, and says how it is granted.
fn opened(door: &Door, kind: SocketKind) -> Result<Socket, Failed> {
    match socket::socket(kind) {
        Ok(made) => {
            tell_socket(door, kind);
            Ok(made)
        }
        Err(error) => Err(door.fail(&failed(kind, &error))),
    }
}

fn tell_socket(door: &Door, kind: SocketKind) {
    door.emit(event::Socket { family: kind.family_name(), kind: kind.type_name(), protocol: kind.protocol_name() });
}

fn failed(kind: SocketKind, error: &std::io::Error) -> Error {
    let made = Error::of_io(Step::Socket, error, &format!("{} {}", kind.family_name(), kind.type_name()));
    if !is_forbidden(error) {
        return made;
    }
    let hint = match kind {
        SocketKind::Echo(_) => {
            "neither raw sockets (CAP_NET_RAW) nor datagram sockets of ICMP (net.ipv4.ping_group_range) are permitted: \
             run it with sudo, or grant one of them with `sudo setcap cap_net_raw+ep $(command -v sockeye)` or `sudo \
             sysctl -w net.ipv4.ping_group_range='0 2147483647'`"
        }
        SocketKind::RawTcp(_) => {
            "SYNs need a raw socket (CAP_NET_RAW): run it with sudo, or grant it with `sudo setcap cap_net_raw+ep \
             $(command -v sockeye)`; `sockeye connect --probe` tests ports without it"
        }
        _ => {
            "raw sockets need CAP_NET_RAW: run it with sudo, grant it with `sudo setcap cap_net_raw+ep $(command -v \
             sockeye)`, or let --socket auto take datagram sockets, where net.ipv4.ping_group_range permits them"
        }
    };
    made.with_exit_code(ExitCode::Permission).with_hint(hint)
}

fn is_forbidden(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EPERM | Errno::EACCES))
}

/// Sets the options that the words ask for, and those that the use needs.
fn prepared(door: &Door, made: Socket, kind: SocketKind, words: &PingWords, ends: Ends) -> Result<Socket, Failed> {
    let recv_buffer = words.options.recv_buffer.filter(|_| ends != Ends::Sends);
    let send_buffer = words.options.send_buffer.filter(|_| ends != Ends::Hears);
    let options = SocketOptions { recv_buffer, send_buffer, ..words.options.clone() };
    set_options(door, &made, kind, Role::Sender, &options)?;
    let extras = Extras {
        arrival: kind.is_v6() && ends != Ends::Sends,
        // A raw socket of IPv4 gives the header itself.
        header: ends != Ends::Sends
            && (kind.is_v6() || !matches!(kind, SocketKind::RawIcmp(_) | SocketKind::RawTcp(_))),
        receive_time: ends != Ends::Sends && words.receive_time,
        send_time: words.stamps && ends != Ends::Hears,
        device_time: words.stamps && words.receive_time,
        merged: false,
    };
    let mut further: Vec<Setting> = options::extras(kind, Role::Sender, extras);
    if words.broadcast && !kind.is_v6() {
        further.push(options::broadcast());
    }
    if ends != Ends::Hears {
        // Groups have a limit of their own, and it is 1.
        further.extend(options::multicast(kind, words.options.ttl, None));
    }
    if words.seeks_mtu && ends != Ends::Hears {
        further.push(options::probes_mtu(kind));
    }
    for setting in further {
        set(door, &made, &setting)?;
    }
    Ok(made)
}

fn attach(door: &Door, made: &Socket, program: &[SockFilter], what: &str) -> Result<(), Failed> {
    made.attach_filter(program)
        .map_err(|error| door.fail(&Error::of_io(Step::Setsockopt, &error, &format!("SO_ATTACH_FILTER {what}"))))?;
    if door.wants(Kind::Setsockopt) {
        let requested = OptionValue::Name(what.to_owned());
        door.emit(event::Setsockopt { option: "SO_ATTACH_FILTER", requested: &requested, effective: None });
    }
    Ok(())
}

/// Returns our address, where one of this family was named.
fn source_of(is_v6: bool, words: &PingWords) -> Option<Address> {
    let source = words.source.as_ref()?;
    (source.ip()?.is_ipv6() == is_v6).then(|| source.clone())
}

fn bind_source(door: &Door, made: &Socket, is_v6: bool, words: &PingWords) -> Result<(), Failed> {
    source_of(is_v6, words).map_or(Ok(()), |source| bind(door, made, &source))
}

fn bind(door: &Door, made: &Socket, address: &Address) -> Result<(), Failed> {
    socket::bind(made, address).map_err(|error| {
        let error = Error::of_io(Step::Bind, &error, &address.to_string());
        door.fail(&error.with_local(address.clone()))
    })?;
    let local = socket::local(made);
    let is_raw = made.r#type().is_ok_and(|kind| kind == socket2::Type::RAW);
    report_bind(door, &if is_raw { local.without_port() } else { local }, None, None);
    Ok(())
}
