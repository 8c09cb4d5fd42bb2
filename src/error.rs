//! What went wrong: which step, which errno, on whom, what it usually means, and the exit code.
//!
//! Every failure of a run is an [`Error`]. [`Error::exit_code`] and [`ExitCode::of_targets`] are
//! the one place where a kind of failure becomes the exit code of the contract.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use nix::errno::Errno;
use schemars::JsonSchema;
use serde::Serialize;

use crate::address::Address;

/// One act in a socket's life, named after its system call, or after the work around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// Looking a name up: getaddrinfo(3).
    Resolve,
    /// socket(2).
    Socket,
    /// setsockopt(2).
    Setsockopt,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// accept(2).
    Accept,
    /// unlink(2) of the file of a unix socket.
    Unlink,
    /// connect(2), until the connection stands or has failed.
    Connect,
    /// The dialogue with a proxy.
    Proxy,
    /// The header of the PROXY protocol.
    #[serde(rename = "proxy-protocol")]
    ProxyProtocol,
    /// The TLS handshake.
    Tls,
    /// send(2).
    Send,
    /// recv(2).
    Recv,
    /// shutdown(2).
    Shutdown,
    /// close(2).
    Close,
    /// open(2) of a file.
    Open,
    /// read(2) from stdin or a file.
    Read,
    /// write(2) to stdout or a file.
    Write,
}

impl Step {
    /// Returns the name that events and messages use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Resolve => "resolve",
            Self::Socket => "socket",
            Self::Setsockopt => "setsockopt",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Accept => "accept",
            Self::Unlink => "unlink",
            Self::Connect => "connect",
            Self::Proxy => "proxy",
            Self::ProxyProtocol => "proxy-protocol",
            Self::Tls => "tls",
            Self::Send => "send",
            Self::Recv => "recv",
            Self::Shutdown => "shutdown",
            Self::Close => "close",
            Self::Open => "open",
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The exit codes of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ExitCode {
    /// It did what it was to do.
    Ok = 0,
    /// It ran, and the answer is no.
    No = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A name did not resolve, or not in time.
    Resolve = 3,
    /// Not permitted.
    Permission = 4,
    /// This machine's socket step failed.
    Local = 5,
    /// Reading or writing a file, stdin or stdout failed.
    File = 6,
    /// Refused: nobody listens there.
    Refused = 7,
    /// No answer in time.
    NoAnswer = 8,
    /// Unreachable.
    Unreachable = 9,
    /// Reset, or closed before the answer was whole.
    Reset = 10,
    /// TLS handshake or trust failed.
    Tls = 11,
}

impl ExitCode {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 12] = [
        Self::Ok,
        Self::No,
        Self::Usage,
        Self::Resolve,
        Self::Permission,
        Self::Local,
        Self::File,
        Self::Refused,
        Self::NoAnswer,
        Self::Unreachable,
        Self::Reset,
        Self::Tls,
    ];

    /// Returns what the code means to whoever reads the man page.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Ok => {
                "It did what it was to do. A server that ran until a signal, --count or --deadline exits so too."
            }
            Self::No => {
                "It ran, and the answer is no: --expect unmet, --max-loss or --max-rtt exceeded, or some of several targets, ports or rounds failed."
            }
            Self::Usage => "The command line is wrong. Nothing was done; the message is on stderr.",
            Self::Resolve => "A name did not resolve, or not in time.",
            Self::Permission => "Not permitted: a missing capability, a protected port, a local filter.",
            Self::Local => {
                "A socket step of this machine failed: address in use, no such address or interface, out of descriptors."
            }
            Self::File => "Reading or writing a file, stdin or stdout failed.",
            Self::Refused => "Refused: nobody listens there.",
            Self::NoAnswer => "No answer in time.",
            Self::Unreachable => "Unreachable: no route, or a router or host said so.",
            Self::Reset => "Reset, or closed before the answer was whole.",
            Self::Tls => "TLS: handshake or trust failed.",
        }
    }

    /// Returns the number that the process exits with.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Returns the code of a run over several targets: 0 if all succeeded, the common code if all
    /// failed alike, else 1; a failure on our own side (4, 5, 6) beats all others.
    #[must_use]
    pub fn of_targets(codes: impl IntoIterator<Item = Self>) -> Self {
        codes.into_iter().reduce(Self::and).unwrap_or(Self::Ok)
    }

    /// Returns the code of a run over all that came out as `self` and one more, as
    /// [`ExitCode::of_targets`] says.
    #[must_use]
    pub fn and(self, code: Self) -> Self {
        match (self.is_own_side(), code.is_own_side()) {
            (true, _) => self,
            (false, true) => code,
            (false, false) if self == code => self,
            (false, false) => Self::No,
        }
    }

    /// Returns whether this machine, not the network or the peer, is at fault.
    fn is_own_side(self) -> bool {
        matches!(self, Self::Permission | Self::Local | Self::File)
    }

    /// Returns how far a connect to one address came, to choose among the addresses of one name:
    /// the furthest step reached decides.
    #[must_use]
    pub fn reach(self) -> u8 {
        match self {
            Self::Usage => 0,
            Self::Resolve => 1,
            Self::Local | Self::File => 2,
            Self::Permission => 3,
            Self::Unreachable => 4,
            Self::NoAnswer => 5,
            Self::Refused => 6,
            Self::Reset => 7,
            Self::Tls => 8,
            Self::No => 9,
            Self::Ok => 10,
        }
    }
}

/// A failed step.
#[derive(Clone, Debug)]
pub struct Error {
    /// The step that failed.
    pub step: Step,
    /// The errno that the kernel gave; `None` where no system call failed (a timer, a name).
    pub errno: Option<Errno>,
    /// A stable name of what happened, where neither step nor errno says it.
    pub name: Option<&'static str>,
    /// One line, lower case: step, subject, what happened.
    pub message: String,
    /// What that usually means here, and what to try next.
    pub hint: Option<String>,
    /// Who is at the other end, as known.
    pub peer: Option<Address>,
    /// Our own address, as known.
    pub local: Option<Address>,
    /// The connection, as known.
    pub conn: Option<u64>,
    /// What was asked for, as known.
    pub target: Option<String>,
    /// The number of that among the targets, where a connect failed.
    pub number: usize,
    /// The proxy that was to lead there, as typed.
    pub proxy: Option<String>,
    /// How long the step took until it failed, where that was measured.
    pub took: Option<Duration>,
    /// How long it took after that to find out why; not part of the step.
    pub explained: Duration,
    /// Whether the socket is one of UDP: its ports are others than those of TCP.
    pub is_udp: bool,
    code: Option<ExitCode>,
}

impl Error {
    /// Makes an error of a failed system call on `subject` (an address, a path, an option).
    #[must_use]
    pub fn of_call(step: Step, errno: Errno, subject: &str) -> Self {
        let space = if subject.is_empty() { "" } else { " " };
        Self::new(step, Some(errno), format!("{step}{space}{subject}: {}", meaning(errno)))
    }

    /// Makes an error of an [`io::Error`], whether or not it carries an errno.
    #[must_use]
    pub fn of_io(step: Step, error: &io::Error, subject: &str) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::of_call(step, Errno::from_raw(number), subject),
            None => Self::new(step, None, format!("{step} {subject}: {error}")),
        }
    }

    /// Makes an error that no system call gave, with the exit code that the contract has for it.
    #[must_use]
    pub fn of_kind(step: Step, code: ExitCode, message: String) -> Self {
        Self { code: Some(code), ..Self::new(step, None, message) }
    }

    fn new(step: Step, errno: Option<Errno>, message: String) -> Self {
        Self {
            step,
            errno,
            name: None,
            message,
            hint: None,
            peer: None,
            local: None,
            conn: None,
            target: None,
            number: 0,
            proxy: None,
            took: None,
            explained: Duration::ZERO,
            is_udp: false,
            code: None,
        }
    }

    /// Adds the name of what happened.
    #[must_use]
    pub fn with_name(self, name: &'static str) -> Self {
        Self { name: Some(name), ..self }
    }

    /// Adds who is at the other end.
    #[must_use]
    pub fn with_peer(self, peer: Address) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// Adds our own address.
    #[must_use]
    pub fn with_local(self, local: Address) -> Self {
        Self { local: Some(local), ..self }
    }

    /// Adds the connection's number.
    #[must_use]
    pub fn with_conn(self, conn: u64) -> Self {
        Self { conn: Some(conn), ..self }
    }

    /// Adds what was asked for.
    #[must_use]
    pub fn with_target(self, target: &str) -> Self {
        Self { target: Some(target.to_owned()), ..self }
    }

    /// Adds how long the step took until it failed.
    #[must_use]
    pub fn with_took(self, took: Duration) -> Self {
        Self { took: Some(took), ..self }
    }

    /// Adds whether the socket is one of UDP.
    #[must_use]
    pub fn with_is_udp(self, is_udp: bool) -> Self {
        Self { is_udp, ..self }
    }

    /// Adds what that usually means and what to try next.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Overrides the exit code that step and errno would give.
    #[must_use]
    pub fn with_exit_code(self, code: ExitCode) -> Self {
        Self { code: Some(code), ..self }
    }

    /// Returns the exit code of a run that this error ended.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        self.code.unwrap_or_else(|| match self.met_blackhole() {
            true => ExitCode::Unreachable,
            false => exit_code(self.step, self.errno),
        })
    }

    /// Returns whether a connect met a route of type blackhole: it gives EINVAL (ip-route(8)), as a link-local address
    /// without its zone does.
    #[must_use]
    pub fn met_blackhole(&self) -> bool {
        let is_whole = |ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
        (self.step, self.errno) == (Step::Connect, Some(Errno::EINVAL))
            && self.peer.as_ref().and_then(Address::ip).is_some_and(is_whole)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

/// Returns the exit code of a failed step: the table of the contract.
fn exit_code(step: Step, errno: Option<Errno>) -> ExitCode {
    match (step, errno) {
        (Step::Open | Step::Read | Step::Write, _) => ExitCode::File,
        (Step::Resolve, _) => ExitCode::Resolve,
        (Step::Tls, None) => ExitCode::Tls,
        (_, Some(Errno::EPERM | Errno::EACCES)) => ExitCode::Permission,
        (Step::Socket | Step::Setsockopt | Step::Bind | Step::Listen | Step::Accept, _) => ExitCode::Local,
        (Step::Connect, Some(Errno::ENOENT | Errno::ENOTDIR)) | (_, Some(Errno::ECONNREFUSED)) => ExitCode::Refused,
        // A unix socket whose accept queue is full says so at once (connect(2)).
        (Step::Connect, Some(Errno::EAGAIN)) | (_, Some(Errno::ETIMEDOUT)) => ExitCode::NoAnswer,
        (
            _,
            Some(
                Errno::ENETUNREACH
                | Errno::EHOSTUNREACH
                | Errno::ENETDOWN
                | Errno::EHOSTDOWN
                | Errno::ENONET
                | Errno::ENOPROTOOPT
                | Errno::EPROTO,
            ),
        ) => ExitCode::Unreachable,
        (_, Some(Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED | Errno::ENOTCONN)) => ExitCode::Reset,
        _ => ExitCode::Local,
    }
}

/// Returns the name of an errno (`EADDRINUSE`).
#[must_use]
pub fn errno_name(errno: Errno) -> String {
    format!("{errno:?}")
}

/// Returns errno's meaning as the C library words it, in lower case.
fn meaning(errno: Errno) -> String {
    let text = errno.desc();
    let mut chars = text.chars();
    match (chars.next(), chars.clone().next()) {
        // "No such file" → "no such file", but "RPC …" stays.
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().collect::<String>() + chars.as_str()
        }
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_target_keeps_its_own_code_and_several_share_or_mix() {
        use ExitCode as E;
        assert_eq!(E::of_targets([]), E::Ok);
        assert_eq!(E::of_targets([E::Refused]), E::Refused);
        assert_eq!(E::of_targets([E::Ok, E::Ok]), E::Ok);
        assert_eq!(E::of_targets([E::Refused, E::Refused]), E::Refused);
        assert_eq!(E::of_targets([E::Ok, E::Refused]), E::No);
        assert_eq!(E::of_targets([E::NoAnswer, E::Refused]), E::No);
        assert_eq!(E::of_targets([E::NoAnswer, E::Local, E::Refused]), E::Local);
    }

    #[test]
    fn kinds_of_failure_have_the_codes_of_the_contract() {
        let code = |step, errno| Error::of_call(step, errno, "x").exit_code().number();
        assert_eq!(code(Step::Bind, Errno::EACCES), 4);
        assert_eq!(code(Step::Bind, Errno::EADDRINUSE), 5);
        assert_eq!(code(Step::Write, Errno::ENOSPC), 6);
        assert_eq!(code(Step::Connect, Errno::ECONNREFUSED), 7);
        assert_eq!(code(Step::Connect, Errno::ETIMEDOUT), 8);
        assert_eq!(code(Step::Connect, Errno::EHOSTUNREACH), 9);
        assert_eq!(code(Step::Recv, Errno::ECONNRESET), 10);
        assert_eq!(code(Step::Send, Errno::EPIPE), 10);
        assert_eq!(code(Step::Connect, Errno::EMFILE), 5);
    }

    #[test]
    fn messages_are_lower_case_with_step_and_subject() {
        let error = Error::of_call(Step::Bind, Errno::EACCES, "127.0.0.1:80");
        assert_eq!(error.to_string(), "bind 127.0.0.1:80: permission denied");
    }
}
