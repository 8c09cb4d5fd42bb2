//! The socket options that every subcommand shares. `socket::options` has the call of each.

use clap::{Arg, Args};

use super::port::Port;
use super::target::{self, Host};
use super::value;

/// Our own address: `ADDR`, `ADDR:PORT`, `[V6]:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The address.
    pub host: Host,
    /// Its port; `None` leaves the choice to the kernel.
    pub port: Option<u16>,
}

impl Source {
    fn parse(word: &str) -> Result<Self, String> {
        let (host, port) = target::split(word)?;
        if let Host::Name(name) = host {
            return Err(format!("'{name}' is no address of this machine; --source takes ADDR or ADDR:PORT"));
        }
        Ok(Self { host, port: port.map(Port::parse).transpose()?.map(|port| port.0) })
    }
}

/// Options that are set on a socket before it is used.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Socket options")]
pub struct SocketOptions {
    /// Use this address of ours, and this port (serve: instead of ADDR)
    #[arg(short, long, value_name = "ADDR[:PORT]", value_parser = Source::parse)]
    pub source: Option<Source>,
    /// Keep to this interface (SO_BINDTODEVICE)
    #[arg(long, value_name = "NAME", value_parser = value::interface)]
    pub interface: Option<String>,
    /// Receive buffer in bytes (SO_RCVBUF; past the limit SO_RCVBUFFORCE where permitted)
    #[arg(long, value_name = "SIZE", value_parser = value::buffer_size, allow_negative_numbers = true)]
    pub recv_buffer: Option<u32>,
    /// Send buffer in bytes (SO_SNDBUF; past the limit SO_SNDBUFFORCE where permitted)
    #[arg(long, value_name = "SIZE", value_parser = value::buffer_size, allow_negative_numbers = true)]
    pub send_buffer: Option<u32>,
    /// Time to live, or hop limit, of what is sent
    #[arg(long, value_name = "HOPS", value_parser = clap::value_parser!(u8).range(1..), allow_negative_numbers = true)]
    pub ttl: Option<u8>,
    /// Mark what is sent with this DSCP, a name (ef, af41, cs5) or a number
    #[arg(long, value_name = "NAME|N", value_parser = value::dscp, allow_negative_numbers = true)]
    pub dscp: Option<u8>,
    /// Firewall mark (SO_MARK)
    #[arg(long, value_name = "N", value_parser = value::number, allow_negative_numbers = true)]
    pub mark: Option<u32>,
    /// Let other sockets share the port (SO_REUSEPORT)
    #[arg(long)]
    pub reuse_port: bool,
    /// Probe a silent connection after this long (SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL)
    #[arg(long, value_name = "D", value_parser = value::keepalive, allow_negative_numbers = true)]
    pub keepalive: Option<u32>,
    /// Send small segments at once (TCP_NODELAY)
    #[arg(long)]
    pub no_delay: bool,
    /// Maximum segment size in bytes (TCP_MAXSEG)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..), allow_negative_numbers = true)]
    pub mss: Option<u16>,
    /// Congestion algorithm (TCP_CONGESTION)
    #[arg(long, value_name = "NAME", value_parser = value::congestion)]
    pub congestion: Option<String>,
    /// Give a connection up when sent data stays unacknowledged this long (TCP_USER_TIMEOUT)
    #[arg(long, value_name = "D", value_parser = value::milliseconds, allow_negative_numbers = true)]
    pub user_timeout: Option<u32>,
    /// Send the first MESSAGE with the SYN, and take such (TCP_FASTOPEN_CONNECT, TCP_FASTOPEN;
    /// RFC 7413)
    #[arg(long)]
    pub fast_open: bool,
    /// Speak MPTCP, with a peer that does too (IPPROTO_MPTCP; RFC 8684)
    #[arg(long)]
    pub mptcp: bool,
    /// Forbid fragmentation (IP_MTU_DISCOVER)
    #[arg(long)]
    pub dont_fragment: bool,
    /// Poll the device this long before waiting (SO_BUSY_POLL)
    #[arg(long, value_name = "D", value_parser = value::microseconds, allow_negative_numbers = true)]
    pub busy_poll: Option<u32>,
}

/// What an option is of: others refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Ip,
    Tcp,
}

/// Leaves out of the help what only TCP has: it is refused, and why is said.
pub(super) fn without_tcp(arg: Arg) -> Arg {
    without(arg, |of| of == Of::Tcp)
}

/// Leaves out of the help what only IP has, likewise.
pub(super) fn without_ip(arg: Arg) -> Arg {
    without(arg, |_| true)
}

fn without(arg: Arg, is_refused: impl Fn(Of) -> bool) -> Arg {
    let options = SocketOptions::default().of();
    let is_hidden = options.iter().any(|(_, name, of)| arg.get_long() == name.strip_prefix("--") && is_refused(*of));
    if is_hidden { arg.hide(true) } else { arg }
}

impl SocketOptions {
    /// Refuses the options that UDP does not have.
    pub(super) fn check_udp(&self) -> Result<(), String> {
        self.tcp_only().map_or(Ok(()), |option| Err(format!("{option} is for TCP, and this is UDP")))
    }

    /// Refuses the options that a probe does not have.
    pub(super) fn check_raw(&self) -> Result<(), String> {
        match self.tcp_only().or(self.reuse_port.then_some("--reuse-port")) {
            Some(option) => Err(format!("{option} is for connections and ports, and a probe has neither")),
            None => Ok(()),
        }
    }

    /// Returns an option that was given and that only TCP has, by its name.
    fn tcp_only(&self) -> Option<&'static str> {
        self.of().into_iter().find_map(|(is_given, name, of)| (is_given && of == Of::Tcp).then_some(name))
    }

    /// Returns an option that was given and that only IP has, by its name.
    pub(super) fn inet_only(&self) -> Option<&'static str> {
        self.of().into_iter().find_map(|(is_given, name, _)| is_given.then_some(name))
    }

    /// Returns the options that not every socket has: whether each was given, its name, what it is of.
    fn of(&self) -> [(bool, &'static str, Of); 15] {
        [
            (self.source.is_some(), "--source", Of::Ip),
            (self.interface.is_some(), "--interface", Of::Ip),
            (self.ttl.is_some(), "--ttl", Of::Ip),
            (self.dscp.is_some(), "--dscp", Of::Ip),
            (self.mark.is_some(), "--mark", Of::Ip),
            (self.reuse_port, "--reuse-port", Of::Ip),
            (self.keepalive.is_some(), "--keepalive", Of::Tcp),
            (self.no_delay, "--no-delay", Of::Tcp),
            (self.mss.is_some(), "--mss", Of::Tcp),
            (self.congestion.is_some(), "--congestion", Of::Tcp),
            (self.user_timeout.is_some(), "--user-timeout", Of::Tcp),
            (self.fast_open, "--fast-open", Of::Tcp),
            (self.mptcp, "--mptcp", Of::Tcp),
            (self.dont_fragment, "--dont-fragment", Of::Ip),
            (self.busy_poll.is_some(), "--busy-poll", Of::Ip),
        ]
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::builder::Styles;

    use crate::args::{Cli, Command};

    /// The help leaves out what is refused, and nothing else.
    #[test]
    fn what_is_refused_is_not_in_the_help() {
        let commands =
            [("udp-send", "localhost:9"), ("udp-listen", "9"), ("unix-serve", "@x"), ("raw-ping", "127.0.0.1")];
        for (name, target) in commands {
            let clap = Cli::command();
            let options = clap.find_subcommand(name).unwrap().get_arguments();
            let options = options.filter(|arg| arg.get_help_heading() == Some("Socket options"));
            for arg in options {
                let long = arg.get_long().unwrap();
                let value = match long {
                    "source" => Some("127.0.0.1"),
                    "interface" => Some("lo"),
                    "congestion" => Some("cubic"),
                    _ => arg.get_action().takes_values().then_some("60"),
                };
                let words = ["sockeye", name, target, &format!("--{long}")].map(str::to_owned);
                let words = words.into_iter().chain(value.map(str::to_owned)).map(Into::into);
                let refused = Command::parse(words, &Styles::plain());
                assert_eq!(refused.is_err(), arg.is_hide_set(), "{name} --{long}: {refused:?}");
            }
        }
    }
}
