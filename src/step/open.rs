//! The steps before a socket is used: socket, setsockopt, bind, listen.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use socket2::{Socket, Type};

use super::listener::Bound;
use super::{Door, Failed, Listener, fast_open};
use crate::address::Address;
use crate::args::{Family, Host, ListenAddress, SocketOptions};
use crate::cause;
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Kind, OptionValue};
use crate::socket::options::{self, Role, Setting, Value};
use crate::socket::{self, SocketKind};

/// Makes a socket.
pub(super) fn open(door: &Door, kind: SocketKind) -> Result<Socket, Failed> {
    try_open(door, kind).map_err(|error| door.fail(&error))
}

/// Makes a socket; its failure is left to be reported, with what it was for.
pub(super) fn try_open(door: &Door, kind: SocketKind) -> Result<Socket, Box<Error>> {
    let made = socket::socket(kind)
        .map_err(|error| Error::of_io(Step::Socket, &error, &format!("{} {}", kind.family_name(), kind.type_name())))?;
    door.emit(event::Socket { family: kind.family_name(), kind: kind.type_name(), protocol: kind.protocol_name() });
    Ok(made)
}

/// Sets the options that the words ask for, and reports each where that is wanted.
pub(super) fn set_options(
    door: &Door,
    made: &Socket,
    kind: SocketKind,
    role: Role,
    words: &SocketOptions,
) -> Result<(), Failed> {
    try_set_options(door, made, kind, role, words).map_err(|error| door.fail(&error))
}

/// As [`set_options`]; a failure is left to be reported.
pub(super) fn try_set_options(
    door: &Door,
    made: &Socket,
    kind: SocketKind,
    role: Role,
    words: &SocketOptions,
) -> Result<(), Box<Error>> {
    for setting in options::settings(kind, role, words) {
        let effective = try_set(door, made, &setting)?;
        let (Some(forced), Value::Int(asked), Some(Value::Int(granted))) =
            (setting.forced(), &setting.value, effective)
        else {
            continue;
        };
        // The kernel doubles what it grants (socket(7)). Less than that: the limit cut it, which
        // only CAP_NET_ADMIN may pass. Without it the grant is what the event says.
        if i64::from(granted) < 2 * i64::from(*asked) {
            let result = forced.set(made);
            report(door, &forced, forced.effective(made).ok().as_ref());
            if let (Err(error), true) = (result, door.wants(Kind::Setsockopt)) {
                door.warn(
                    "buffer-limited",
                    &format!("{}: {error}; net.core.rmem_max and wmem_max limit it", forced.name),
                );
            }
        }
    }
    Ok(())
}

/// Makes one call and reports it; returns what is in force where it was asked for.
pub(super) fn set(door: &Door, made: &Socket, setting: &Setting) -> Result<Option<Value>, Failed> {
    try_set(door, made, setting).map_err(|error| door.fail(&error))
}

/// As [`set`]; a failure is left to be reported.
pub(super) fn try_set(door: &Door, made: &Socket, setting: &Setting) -> Result<Option<Value>, Box<Error>> {
    setting.set(made).map_err(|error| Error::of_io(Step::Setsockopt, &error, &subject(setting)))?;
    if !door.wants(Kind::Setsockopt) && setting.forced().is_none() {
        return Ok(None);
    }
    let effective = setting.effective(made).ok();
    report(door, setting, effective.as_ref());
    Ok(effective)
}

/// Makes the close of a socket a reset (SO_LINGER of 0, socket(7)), and reports the call.
///
/// # Errors
/// As setsockopt(2), not reported.
pub(super) fn reset_at_close(door: &Door, made: &Socket) -> io::Result<()> {
    made.set_linger(Some(Duration::ZERO))?;
    if door.wants(Kind::Setsockopt) {
        let seconds = |linger: Duration| OptionValue::Number(linger.as_secs().try_into().unwrap_or(i64::MAX));
        let effective = made.linger().ok().flatten().map(seconds);
        let (option, requested) = ("SO_LINGER", &OptionValue::Number(0));
        door.emit(event::Setsockopt { option, requested, effective: effective.as_ref() });
    }
    Ok(())
}

fn subject(setting: &Setting) -> String {
    match &setting.value {
        Value::Int(value) => format!("{} {value}", setting.name),
        Value::Time(time) => format!("{} {} us", setting.name, time.as_micros()),
        Value::Name(name) | Value::Raw(_, name) => format!("{} {name}", setting.name),
    }
}

fn report(door: &Door, setting: &Setting, effective: Option<&Value>) {
    let shown = |value: &Value| match value {
        Value::Int(value) => OptionValue::Number(i64::from(*value)),
        Value::Time(time) => OptionValue::Number(i64::try_from(time.as_micros()).unwrap_or(i64::MAX)),
        Value::Name(name) | Value::Raw(_, name) => OptionValue::Name(name.clone()),
    };
    let effective = effective.map(shown);
    door.emit(event::Setsockopt {
        option: setting.name,
        requested: &shown(&setting.value),
        effective: effective.as_ref(),
    });
}

/// Binds a socket and reports the address that it then has.
pub(super) async fn bind(door: &Door, made: &Socket, address: &Address) -> Result<Address, Failed> {
    match try_bind(door, made, address) {
        Ok(local) => Ok(local),
        Err(error) => Err(door.fail_explained(*error).await),
    }
}

/// As [`bind`]; a failure is left to be explained and reported.
pub(super) fn try_bind(door: &Door, made: &Socket, address: &Address) -> Result<Address, Box<Error>> {
    if let Err(error) = socket::bind(made, address) {
        let is_udp = address.ip().is_some() && made.r#type().is_ok_and(|kind| kind == Type::DGRAM);
        let error = Error::of_io(Step::Bind, &error, &address.to_string()).with_local(address.clone());
        return Err(Box::new(error.with_is_udp(is_udp)));
    }
    let local = socket::local(made);
    report_bind(door, &local, None, None);
    Ok(local)
}

/// Reports the address that a socket has, and the rights of its file where it has one.
pub(super) fn report_bind(door: &Door, local: &Address, mode: Option<&str>, gid: Option<u32>) {
    door.emit(event::Bind { local, mode, gid });
}

/// Returns the address of ours that `--source` names.
///
/// # Errors
/// The zone names no interface.
pub fn source_address(door: &Door, words: &SocketOptions) -> Result<Option<Address>, Failed> {
    let Some(source) = &words.source else { return Ok(None) };
    let Host::Ip(ip, zone) = &source.host else { return Ok(None) };
    socket::inet(*ip, zone.as_deref(), source.port.unwrap_or(0))
        .map(Some)
        .map_err(|error| door.fail(&no_interface(zone, &error)))
}

/// Makes the error of a zone that names no interface.
pub(super) fn no_interface(zone: &Option<String>, error: &io::Error) -> Error {
    let zone = zone.as_deref().unwrap_or_default();
    let code = ExitCode::Local;
    let error = Error::of_io(Step::Resolve, error, &format!("zone %{zone}")).with_exit_code(code);
    error.with_hint(cause::wrong_zone())
}

/// An address to bind, and whether it is the wildcard that takes both families.
#[derive(Clone, Debug)]
pub struct BindAddress {
    address: Address,
    family: Family,
    dual_stack: bool,
}

impl BindAddress {
    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    pub(super) fn family(&self) -> Family {
        self.family
    }

    /// Returns whether it takes both families: of IPv6 alone that is a question.
    pub(super) fn dual_stack(&self) -> Option<bool> {
        (self.family == Family::V6).then_some(self.dual_stack)
    }

    /// Returns whether it is all addresses of this host.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.address.ip().is_some_and(|ip| ip.is_unspecified())
    }

    /// Returns whether it is the wildcard of both families.
    pub(super) fn is_dual_stack(&self) -> bool {
        self.dual_stack
    }

    /// Returns the wildcard of IPv4 with the same port.
    pub(super) fn of_ipv4(&self) -> Self {
        let port = if let Address::Inet(inet) = &self.address { inet.port() } else { 0 };
        let address = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)).into();
        Self { address, family: Family::V4, dual_stack: false }
    }
}

/// Returns what to bind for the words: an address, or the wildcard of the family kept to, or the
/// dual-stack wildcard.
///
/// # Errors
/// A name does not resolve; a zone names no interface.
pub async fn bind_address(
    door: &Door,
    listen: &ListenAddress,
    only: Option<Family>,
    bound: Duration,
) -> Result<BindAddress, Failed> {
    let Some(host) = &listen.host else {
        let (ip, family, dual_stack): (IpAddr, _, _) = match only {
            Some(Family::V4) => (Ipv4Addr::UNSPECIFIED.into(), Family::V4, false),
            Some(Family::V6) => (Ipv6Addr::UNSPECIFIED.into(), Family::V6, false),
            None => (Ipv6Addr::UNSPECIFIED.into(), Family::V6, true),
        };
        return Ok(BindAddress { address: SocketAddr::new(ip, listen.port).into(), family, dual_stack });
    };
    let addresses = super::resolve_host(door, host, listen.port, only, bound).await?;
    let address = addresses[0].clone();
    let family = if address.ip().is_some_and(|ip| ip.is_ipv6()) { Family::V6 } else { Family::V4 };
    Ok(BindAddress { address, family, dual_stack: false })
}

/// Makes a TCP listener: socket, setsockopt, bind, listen. Where this machine has no IPv6, the
/// dual-stack wildcard falls back to IPv4's, and a warning says so.
///
/// # Errors
/// The step that failed, reported.
pub async fn listener(
    door: &Arc<Door>,
    at: &BindAddress,
    backlog: u32,
    words: &SocketOptions,
) -> Result<Listener, Failed> {
    match listen(door, at, backlog, words).await {
        Err(Failed { errno: Some(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL), .. }) if at.dual_stack => {
            door.warn("no-ipv6", "this machine has no IPv6: listening on IPv4 only");
            listen(door, &at.of_ipv4(), backlog, words).await
        }
        listening => listening,
    }
}

async fn listen(door: &Arc<Door>, at: &BindAddress, backlog: u32, words: &SocketOptions) -> Result<Listener, Failed> {
    let kind = SocketKind::tcp(at.family, words.mptcp);
    let made = open(door, kind)?;
    set_options(door, &made, kind, Role::Listener { dual_stack: at.dual_stack() }, words)?;
    if words.fast_open && fast_open::is_on(door, fast_open::Use::Server) {
        set(door, &made, &options::fast_open_queue(backlog))?;
    }
    let local = bind(door, &made, &at.address).await?;
    listening(door, made, Bound { kind, local, file: None }, backlog, words)
}

/// Makes a bound socket listen.
pub(super) fn listening(
    door: &Arc<Door>,
    made: Socket,
    bound: Bound,
    backlog: u32,
    words: &SocketOptions,
) -> Result<Listener, Failed> {
    socket::listen(&made, backlog).map_err(|error| {
        door.fail(&Error::of_io(Step::Listen, &error, &bound.local.to_string()).with_local(bound.local.clone()))
    })?;
    door.emit(event::Listen { backlog, effective_backlog: socket::effective_backlog(&made, bound.kind, backlog) });
    Listener::new(Arc::clone(door), made, bound, words)
}
