//! The machine around a run: addresses, ports, listeners that misbehave, namespaces, what the
//! kernel says of a process.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;
use socket2::{Domain, SockAddr, Socket, Type};

use super::peers::python;
use super::process::PATIENCE;

/// The two families that TCP runs over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Returns the loopback address.
    pub(crate) fn ip(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::LOCALHOST.into(),
            Self::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    /// Returns the loopback address as text, without brackets.
    pub(crate) fn host(self) -> String {
        self.ip().to_string()
    }

    /// Returns the loopback address with a port.
    pub(crate) fn at(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip(), port)
    }
}

/// Writes a table of tests, each run over IPv4 and over IPv6.
macro_rules! over_both_families {
    ($($(#[$meta:meta])* fn $name:ident($family:ident) $body:block)*) => {$(
        $(#[$meta])*
        mod $name {
            use super::*;

            fn walk($family: Family) $body

            #[test]
            fn over_ipv4() {
                walk(Family::V4);
            }

            #[test]
            fn over_ipv6() {
                walk(Family::V6);
            }
        }
    )*};
}
pub(crate) use over_both_families;

/// Fails, with the names, where programs that a test needs are missing.
#[track_caller]
pub(crate) fn require(programs: &[&str]) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = |program: &&&str| std::env::split_paths(&path).any(|dir| dir.join(program).is_file());
    let missing: Vec<_> = programs.iter().filter(|program| !is_there(program)).collect();
    assert!(missing.is_empty(), "missing: {missing:?} (run .ci/run, which installs them)");
}

/// Connects to a server, with bounded patience for everything that follows.
pub(crate) fn dial(family: Family, port: u16) -> TcpStream {
    let stream = TcpStream::connect_timeout(&family.at(port), PATIENCE).expect("the server is there");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    stream.set_write_timeout(Some(PATIENCE)).expect("a time-out can be set");
    stream
}

/// Connects to a server from another address of IPv4's loopback.
pub(crate) fn dial_from(source: &str, port: u16) -> TcpStream {
    let socket = stream_socket(Family::V4);
    let source = SocketAddr::new(source.parse().expect("an address"), 0);
    socket.bind(&source.into()).expect("all of 127.0.0.0/8 is ours");
    socket.connect(&Family::V4.at(port).into()).expect("the server is there");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    socket.into()
}

/// Closes a connection with a reset: SO_LINGER of 0 (socket(7)).
pub(crate) fn reset(stream: TcpStream) {
    let socket = Socket::from(stream);
    socket.set_linger(Some(Duration::ZERO)).expect("SO_LINGER can be set");
    drop(socket);
}

/// Listens on a free port of loopback.
pub(crate) fn listener(family: Family) -> (TcpListener, u16) {
    let listener = TcpListener::bind(family.at(0)).expect("loopback has a free port");
    let port = listener.local_addr().expect("a listener has an address").port();
    (listener, port)
}

/// A port that is bound, so that nobody else gets it, and that refuses every connection.
pub(crate) fn refusing_port(family: Family) -> (Socket, u16) {
    let socket = stream_socket(family);
    socket.bind(&family.at(0).into()).expect("loopback has a free port");
    let port = port_of(&socket);
    (socket, port)
}

/// A listener that drops every further SYN, because its accept queue is full.
pub(crate) struct Silent {
    _listener: Socket,
    _fill: Vec<TcpStream>,
    pub(crate) port: u16,
}

/// Listens on a free port without ever answering a connect.
pub(crate) fn silent_port(family: Family) -> Silent {
    let listener = stream_socket(family);
    listener.bind(&family.at(0).into()).expect("loopback has a free port");
    listener.listen(0).expect("a bound socket can listen");
    let port = port_of(&listener);
    let mut fill = Vec::new();
    // A backlog of 0 still takes one connection (listen(2)); try until one is not answered.
    while let Ok(stream) = TcpStream::connect_timeout(&family.at(port), Duration::from_millis(200)) {
        fill.push(stream);
        assert!(fill.len() < 16, "the queue of a listener never fills");
    }
    Silent { _listener: listener, _fill: fill, port }
}

fn stream_socket(family: Family) -> Socket {
    let domain = if family == Family::V4 { Domain::IPV4 } else { Domain::IPV6 };
    Socket::new(domain, Type::STREAM, None).expect("a socket can be made")
}

fn port_of(socket: &Socket) -> u16 {
    let address: SockAddr = socket.local_addr().expect("a socket has an address");
    address.as_socket().expect("an IP address").port()
}

/// Raises the limit of open descriptors as far as the machine allows, and returns it.
pub(crate) fn raise_descriptor_limit() -> u64 {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("the limit can be read");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("the soft limit may rise to the hard one");
    hard
}

/// Returns a port that was free a moment ago, for tools that cannot say which port they got.
///
/// It lies below the range of the ephemeral ports, so that no port 0 of another test takes it.
pub(crate) fn likely_free_port(family: Family) -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..10_000 {
        // Processes begin at different places; within one, no number comes twice in a round.
        let number = std::process::id().wrapping_mul(331).wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(12_000 + number % 20_000).expect("below 32,000");
        if TcpListener::bind(family.at(port)).is_ok() {
            return port;
        }
    }
    panic!("no free port");
}

/// Waits until a process listens, and returns its port.
pub(crate) fn wait_for_listener(pid: Pid, still_runs: impl Fn() -> bool) -> u16 {
    try_wait_for_listener(pid, still_runs).unwrap_or_else(|| panic!("process {pid} does not listen"))
}

/// Waits until a process listens, and returns its port; nothing where it ends without.
pub(crate) fn try_wait_for_listener(pid: Pid, still_runs: impl Fn() -> bool) -> Option<u16> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if let Some(port) = listening_port(pid) {
            return Some(port);
        }
        if !still_runs() {
            return None;
        }
        // The kernel tells nobody when a foreign socket begins to listen: look again soon.
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Returns the port on which a process listens: its descriptors, looked up in /proc/net/tcp.
fn listening_port(pid: Pid) -> Option<u16> {
    let own: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    ["tcp", "tcp6"].iter().find_map(|table| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
        table.lines().skip(1).find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // proc_pid_net(5): local address, remote address, state (0A is LISTEN), …, inode.
            let (&local, &state, &inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
            let listens = state == "0A" && own.iter().any(|own| own == inode);
            listens.then(|| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()).flatten()
        })
    })
}

/// Returns the children of a process.
pub(crate) fn children_of(pid: Pid) -> Vec<Pid> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    text.split_whitespace().filter_map(|word| word.parse().ok()).map(Pid::from_raw).collect()
}

/// Returns the resident memory of a process, in bytes.
pub(crate) fn resident_memory(pid: Pid) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS is there");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("VmRSS is a number");
    kibibytes * 1024
}

/// Returns how many bytes the kernel holds for a UDP socket of this port of 127.0.0.1, and how many
/// datagrams it has dropped; nothing where there is none.
pub(crate) fn udp_queue(port: u16) -> Option<(u64, u64)> {
    udp_queue_of(nix::unistd::getpid(), port)
}

/// As [`udp_queue`], in the namespace of a process.
pub(crate) fn udp_queue_of(pid: Pid, port: u16) -> Option<(u64, u64)> {
    let table = fs::read_to_string(format!("/proc/{pid}/net/udp")).ok()?;
    let local = format!("0100007F:{port:04X}");
    // proc_pid_net(5): local address, remote address, state, tx_queue:rx_queue, …, drops.
    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find_map(|words| {
        let held = words.get(4).filter(|_| words.get(1) == Some(&local.as_str()))?.split_once(':')?.1;
        Some((u64::from_str_radix(held, 16).ok()?, words.last()?.parse().ok()?))
    })
}

/// Returns the processor time that a process has used.
pub(crate) fn processor_time(pid: Pid) -> Duration {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // proc_pid_stat(5): the name may hold blanks, so count from its closing bracket.
    let (_, rest) = text.rsplit_once(") ").expect("stat has a name");
    let words: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| words[index].parse::<u64>().expect("ticks are a number");
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// A user, mount and network namespace of one's own, with loopback up: `unshare` needs no root.
pub(crate) struct Net {
    setup: String,
    without_capabilities: bool,
}

impl Net {
    /// A network with nothing but loopback.
    pub(crate) fn isolated() -> Self {
        require(&["unshare", "ip", "setpriv"]);
        Self { setup: "ip link set lo up".to_owned(), without_capabilities: false }
    }

    /// Runs a shell command before sockeye starts.
    pub(crate) fn with(mut self, command: impl AsRef<str>) -> Self {
        self.setup.push_str(" && ");
        self.setup.push_str(command.as_ref());
        self
    }

    /// Makes this file the namespace's /etc/hosts.
    pub(crate) fn with_hosts(self, hosts: &Path) -> Self {
        self.with(format!("mount --bind {} /etc/hosts", hosts.display()))
    }

    /// Takes every capability away before sockeye starts.
    pub(crate) fn without_capabilities(mut self) -> Self {
        self.without_capabilities = true;
        self
    }

    /// Returns the words that stand before the command.
    pub(crate) fn prefix(self) -> Vec<OsString> {
        let drop = if self.without_capabilities { "setpriv --bounding-set=-all " } else { "" };
        let script = format!("{} && exec {drop}\"$@\"", self.setup);
        ["unshare", "-Urnm", "sh", "-c", &script, "sh"].map(OsString::from).to_vec()
    }
}

/// Answers what it is asked for as a plan says, from a child, and then becomes the command.
const NAME_SERVER: &str = r#"
import json, os, signal, socket, struct, sys, threading
server = socket.socket(type=socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 53))
plan, parent = json.loads(sys.argv[1]), os.getpid()
if os.fork():
    os.execvp(sys.argv[2], sys.argv[2:])
for inherited in range(3):
    os.close(inherited)
server.settimeout(0.2)
while os.getppid() == parent:
    try:
        asked, whom = server.recvfrom(600)
    except TimeoutError:
        continue
    plan["lost"] = plan.get("lost", 0) - 1
    if plan["lost"] >= 0:
        continue
    end = 12
    while asked[end]:
        end += asked[end] + 1
    kind = struct.unpack(">H", asked[end + 1 : end + 3])[0]
    family = {1: socket.AF_INET, 28: socket.AF_INET6}.get(kind)
    after, addresses = plan.get("A" if kind == 1 else "AAAA", (None, None))
    if after is None:
        continue
    answer = asked[:2] + struct.pack(">HHHHH", 0x8180, 1, len(addresses), 0, 0) + asked[12 : end + 5]
    for address in addresses:
        raw = socket.inet_pton(family, address)
        answer += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 60, len(raw)) + raw
    threading.Timer(after, server.sendto, (answer, whom)).start()
"#;

/// Returns the words that run a command in a network of its own, whose name server answers as a plan says: for "A" and
/// "AAAA" after how many seconds, and with which addresses. What has no plan is never answered, nor are the
/// first of all questions, as many as are "lost".
pub(crate) fn with_name_server(dir: &TempDir, plan: &str) -> Vec<OsString> {
    let path = dir.path().join("resolv.conf");
    fs::write(&path, "nameserver 127.0.0.1\n").unwrap();
    let mut words = Net::isolated().with(format!("mount --bind {} /etc/resolv.conf", path.display())).prefix();
    words.extend([python(), "-c", NAME_SERVER, plan].map(OsString::from));
    words
}

/// Returns the words that run a command in the namespaces of a process.
pub(crate) fn inside(pid: Pid) -> Vec<OsString> {
    require(&["nsenter"]);
    ["nsenter", "-t", &pid.to_string(), "-U", "-n", "-m", "--preserve-credentials"].map(OsString::from).to_vec()
}

/// A folder of one's own, gone when dropped.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("sockeye-test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).expect("a folder can be made");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // What is left in the system's folder for temporary files harms nobody.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A terminal: the end that a program gets, and the end at which the user sits.
pub(crate) struct Terminal {
    pub(crate) user: fs::File,
    pub(crate) program: OwnedFd,
}

/// Opens a terminal that no process has as its controlling one.
pub(crate) fn terminal() -> Terminal {
    let pair = nix::pty::openpty(None, None).expect("a terminal can be opened");
    Terminal { user: pair.master.into(), program: pair.slave }
}

/// Returns `count` bytes that look random and are the same each time: a linear congruential
/// generator (Knuth, MMIX), of which the high bytes are taken.
pub(crate) fn random_bytes(count: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..count).map(|_| next()).collect()
}

/// Runs a command to its end and returns what it wrote to stdout; it must succeed.
pub(crate) fn output_of(command: &mut Command) -> io::Result<String> {
    let output = command.output()?;
    assert!(output.status.success(), "{command:?}: {output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
