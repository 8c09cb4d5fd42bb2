//! `unix-serve`: the words of a server of a unix socket.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use nix::unistd::{Group, User};

use super::fault::Fault;
use super::output::Output;
use super::series::Series;
use super::service::Service;
use super::socket_options::{self, SocketOptions};
use super::target::{self, UnixType};
use crate::address::Address;

/// Serve a unix socket: all that serve does, on this machine, with the peer's credentials
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  sockeye unix-serve /run/x.sock --echo --prefix 'Echo=>'
  sockeye unix-serve @name --when 1 'welcome to server!' --otherwise 'please go out!' --messages 1
  sockeye unix-serve /run/x.sock --mode 0660 --group adm --allow-uid root --allow-gid adm
  sockeye unix-serve /run/log.sock --type dgram --discard --json
  sockeye unix-serve ./x.sock --relay >received
  sockeye unix-serve /run/x.sock --proxy-protocol --json

A socket file that nobody listens on (a connect to it is refused) is replaced; a live one, and any other kind of \
file, is never touched. At the end, by a signal too, the file is removed if it is still ours. Credentials are those \
of connect(2), of a datagram those of its sender. Descriptors that a peer passes are reported and closed. The run ends \
by Ctrl-C, --count or --deadline, with exit code 0; Ctrl-\\ (SIGQUIT) prints the totals so far.")]
#[command(mut_args(socket_options::without_ip))]
#[command(override_usage = "sockeye unix-serve [OPTIONS] PATH
       sockeye unix-serve [OPTIONS] @NAME")]
pub struct UnixServe {
    /// The path of the socket's file, or @NAME for an abstract name
    #[arg(value_name = "PATH|@NAME", value_parser = OsStringValueParser::new().try_map(|word| place(&word)))]
    pub listen: Address,
    /// The type of the socket
    #[arg(long = "type", value_enum, value_name = "TYPE", default_value = "stream", help_heading = "Socket file")]
    pub kind: UnixType,
    /// The rights of the socket's file, in octal; there is no moment of wider ones [default: 0600]
    #[arg(long, value_name = "MODE", value_parser = mode, help_heading = "Socket file")]
    mode: Option<u32>,
    /// Give the socket's file to this group, a name or a number
    #[arg(long, value_name = "GROUP", value_parser = group, help_heading = "Socket file")]
    pub group: Option<u32>,
    /// What it does with its peers, and its limits.
    #[command(flatten)]
    pub service: Service,
    /// Let only peers of this user in, a name or a number (repeatable; with --allow-gid either is
    /// enough)
    #[arg(long, value_name = "USER", value_parser = user, help_heading = "Limits")]
    pub allow_uid: Vec<u32>,
    /// Let only peers of this group in, a name or a number; supplementary groups count (repeatable)
    #[arg(long, value_name = "GROUP", value_parser = group, help_heading = "Limits")]
    pub allow_gid: Vec<u32>,
    /// Take a header of the PROXY protocol, version 1 or 2, from each peer first, within --timeout
    /// [default: 5s]; who sends none, or a broken one, is closed. Only with --type stream; --allow-uid and
    /// --allow-gid are of the socket's peer
    #[arg(long, help_heading = "Answers")]
    pub proxy_protocol: bool,
    /// Reports at times.
    #[command(flatten)]
    pub series: Series,
    /// Options of the socket.
    #[command(flatten)]
    pub options: SocketOptions,
    /// How to report.
    #[command(flatten)]
    pub output: Output,
}

impl UnixServe {
    /// Checks what clap cannot, and makes the rule of the words.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.output.check()?;
        self.service.check()?;
        if let Some(option) = self.options.inet_only() {
            return Err(format!("{option} is for IP, and {} is a unix socket", self.listen));
        }
        if self.output.family().is_some() {
            return Err(format!("-4 and -6 are for IP, and {} is a unix socket", self.listen));
        }
        let is_file = matches!(self.listen, Address::UnixPath(_));
        if !is_file && (self.mode.is_some() || self.group.is_some()) {
            return Err("--mode and --group are of a file, and an abstract name has none".to_owned());
        }
        if self.service.fault == Some(Fault::NeverAccept) && !(self.allow_uid.is_empty() && self.allow_gid.is_empty()) {
            return Err("--allow-uid and --allow-gid would do nothing: --fault never-accept lets nobody in".to_owned());
        }
        if self.kind != UnixType::Stream && self.service.tls.is_on() {
            return Err("TLS needs a stream of bytes: not with --type dgram or seqpacket".to_owned());
        }
        if self.proxy_protocol && self.service.fault == Some(Fault::NeverAccept) {
            return Err("--proxy-protocol would do nothing: --fault never-accept lets nobody in".to_owned());
        }
        if self.proxy_protocol && self.kind != UnixType::Stream {
            return Err("--proxy-protocol needs a stream of bytes: not with --type dgram or seqpacket".to_owned());
        }
        if self.kind == UnixType::Dgram {
            self.service.check_datagrams()?;
        }
        Ok(())
    }

    /// Returns the rights of the socket's file.
    #[must_use]
    pub fn mode(&self) -> u32 {
        self.mode.unwrap_or(0o600)
    }

    /// Returns whether a peer is let in: by its user, or by any of its groups.
    #[must_use]
    pub fn admits(&self, uid: u32, gid: u32, groups: &[u32]) -> bool {
        let is_free = self.allow_uid.is_empty() && self.allow_gid.is_empty();
        let is_member = |gid: &u32| self.allow_gid.contains(gid);
        is_free || self.allow_uid.contains(&uid) || is_member(&gid) || groups.iter().any(is_member)
    }
}

/// Parses a path or an abstract name, with or without `unix:` before it.
fn place(word: &OsStr) -> Result<Address, String> {
    let bytes = word.as_bytes();
    target::unix_name(bytes.strip_prefix(b"unix:").unwrap_or(bytes))
}

/// Parses rights in octal: 0600, 660.
fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) => Ok(mode),
        _ => Err("rights are octal, 0000 to 0777, such as 0660".to_owned()),
    }
}

/// Parses a user by number or name.
fn user(text: &str) -> Result<u32, String> {
    by_number_or(text, "user", |name| User::from_name(name).ok().flatten().map(|user| user.uid.as_raw()))
}

/// Parses a group by number or name.
fn group(text: &str) -> Result<u32, String> {
    by_number_or(text, "group", |name| Group::from_name(name).ok().flatten().map(|group| group.gid.as_raw()))
}

fn by_number_or(text: &str, what: &str, find: impl Fn(&str) -> Option<u32>) -> Result<u32, String> {
    match text.parse() {
        // The last number says "unchanged" to chown(2).
        Ok(u32::MAX) => Err(format!("{text} is no number of a {what}")),
        Ok(number) => Ok(number),
        Err(_) => find(text).ok_or_else(|| format!("there is no {what} '{}'", target::printable(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_paths_or_abstract_names() {
        assert_eq!(place(OsStr::new("/run/x")), Ok(Address::UnixPath("/run/x".into())));
        assert_eq!(place(OsStr::new("x")), Ok(Address::UnixPath("x".into())));
        assert_eq!(place(OsStr::new("@x")), Ok(Address::UnixAbstract(b"x".to_vec())));
        assert_eq!(place(OsStr::new("unix:@x")), Ok(Address::UnixAbstract(b"x".to_vec())));
        assert!(place(OsStr::new("")).is_err() && place(OsStr::new("@")).is_err());
        assert!(place(OsStr::new(&"x".repeat(107))).is_ok() && place(OsStr::new(&"x".repeat(108))).is_err());
    }

    #[test]
    fn rights_are_octal_and_people_have_names() {
        assert_eq!((mode("0600"), mode("660"), mode("0")), (Ok(0o600), Ok(0o660), Ok(0)));
        assert!(mode("0800").is_err() && mode("1777").is_err() && mode("-1").is_err() && mode("rw").is_err());
        assert_eq!((user("root"), user("7")), (Ok(0), Ok(7)));
        assert!(user("no-such-user-here").is_err() && group("4294967295").is_err());
    }
}
