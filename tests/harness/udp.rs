//! Peers that speak UDP: sockets of Python, the netcats, ports that nobody listens on.

use std::ffi::OsString;
use std::fs;
use std::net::UdpSocket;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::Pid;

use super::events::Bind;
use super::net::{Family, children_of, inside, require};
use super::peers::python;
use super::process::{PATIENCE, Process, Stdin};
use super::stamp::STAMP;
use super::{Peer, Running, Tool};

/// What every script below begins with.
const PRELUDE: &str = r#"
def datagrams(host):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.settimeout(60)
    return made

def bound(host, port=0):
    made = datagrams(host)
    made.bind((host, port))
    say(made.getsockname()[1])
    return made

def reach(host, port, source=None):
    made = datagrams(host)
    if source:
        made.bind((source, 0))
    made.connect((host, int(port)))
    return made
"#;

/// Starts a Python script with a socket `server` that is bound to a free port of loopback.
pub(crate) fn server(family: Family, script: &str) -> Peer {
    Peer::python_server(&format!("{PRELUDE}\nserver = bound({:?})\n{script}", family.host()), &[])
}

/// Starts a Python script with a socket `peer` that sends to a port of loopback; `host` and `port`
/// say where.
pub(crate) fn start_client(family: Family, port: u16, script: &str) -> Peer {
    let host = family.host();
    Peer::python(&format!("{PRELUDE}\nhost, port = {host:?}, {port}\npeer = reach(host, port)\n{script}"), &[])
}

/// Runs such a script to its end, and returns its lines.
pub(crate) fn client(family: Family, port: u16, script: &str) -> Vec<String> {
    start_client(family, port, script).lines()
}

/// Returns the whole of a script that some other program is to run.
pub(crate) fn script(rest: &str) -> String {
    format!("{}\n{PRELUDE}\n{rest}", super::peers::PRELUDE)
}

/// Returns a port that is held, so that nobody else gets it, and that refuses every datagram: its
/// socket takes them of one peer alone, which sends none.
pub(crate) fn refusing_port(family: Family) -> (UdpSocket, u16) {
    let socket = UdpSocket::bind(family.at(0)).expect("loopback has a free port");
    socket.connect(family.at(9)).expect("a connect of UDP sends nothing");
    let port = socket.local_addr().expect("a socket has an address").port();
    (socket, port)
}

/// What forges ICMP errors: destination unreachable, of a code, about a datagram that came from a port.
const REFUSER: &str = r"
server = serve_udp()
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
def refuse(packet, port, code=3):
    own = server.getsockname()[1]
    quoted = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 28 + len(packet), 1, 0x4000, 64, 17, 0, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1]))
    quoted += struct.pack('!HHHH', port, own, 8 + len(packet), 0) + packet
    padded = quoted + b'\0' * (len(quoted) % 2)
    total = 0x0300 + code + sum(struct.unpack('!%dH' % (len(padded) // 2), padded))
    while total >> 16: total = (total >> 16) + (total & 0xffff)
    raw.sendto(struct.pack('!BBHI', 3, code, total ^ 0xffff, 0) + quoted, ('127.0.0.1', 0))
say(os.getpid())
";

/// Starts a Python script in a network of its own, which has a socket `server` of loopback, speaks STAMP, and
/// can `refuse`; returns it with its port, and what runs a program in that network, for as long as it is held.
pub(crate) fn refuser(script: &str) -> (Peer, u16, Vec<OsString>) {
    let script = format!("{}\n{STAMP}\n{REFUSER}\n{script}\ntold()", super::peers::PRELUDE);
    let mut args = vec!["-Urnm", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"];
    args.extend([python(), "-I", "-S", "-c", &script]);
    let peer = Peer::program("unshare", &args, Stdin::Piped, None);
    let [port, pid] = peer.numbers();
    let port = port.try_into().expect("a port has 16 bits");
    (peer, port, inside(Pid::from_raw(pid)))
}

/// Binds a socket to a free port of loopback, with bounded patience.
pub(crate) fn socket(family: Family) -> (UdpSocket, u16) {
    let socket = UdpSocket::bind(family.at(0)).expect("loopback has a free port");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
    let port = socket.local_addr().expect("a socket has an address").port();
    (socket, port)
}

/// Makes a socket that sends to a port of loopback, and hears its answers with bounded patience.
pub(crate) fn dial(family: Family, port: u16) -> UdpSocket {
    let (socket, _) = socket(family);
    socket.connect(family.at(port)).expect("a connect of UDP sends nothing");
    socket
}

/// Sends a datagram and returns the answer.
pub(crate) fn ask(socket: &UdpSocket, data: &[u8]) -> Vec<u8> {
    socket.send(data).expect("a datagram can be sent");
    hear(socket)
}

/// Returns the next datagram.
pub(crate) fn hear(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 70_000];
    let count = socket.recv(&mut buffer).expect("an answer comes");
    buffer.truncate(count);
    buffer
}

/// Waits until a receiver with `--json` is bound, and returns its port.
pub(crate) fn port_of(running: &Running) -> u16 {
    running.wait_for::<Bind>().port()
}

/// Waits until a program has a UDP socket bound, and returns its port, as /proc shows it.
pub(crate) fn wait_for_port(pid: Pid, still_runs: impl Fn() -> bool) -> Option<u16> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && still_runs() {
        let all = std::iter::once(pid).chain(children_of(pid));
        if let Some(port) = all.filter_map(bound_port).next() {
            return Some(port);
        }
        // The kernel tells nobody when a foreign socket is bound: look again soon.
        thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Returns the port of a process's UDP socket that is connected to nobody.
fn bound_port(pid: Pid) -> Option<u16> {
    let own: Vec<String> = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    ["udp", "udp6"].iter().find_map(|table| {
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
        table.lines().skip(1).find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            // proc_pid_net(5): local address, remote address, state (07: bound), …, inode.
            let (&local, &state, &inode) = (words.get(1)?, words.get(3)?, words.get(9)?);
            let is_bound = state == "07" && own.iter().any(|own| own == inode);
            is_bound.then(|| u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()).flatten()
        })
    })
}

/// Starts a tool that takes datagrams on a port of loopback, its stdin held open.
pub(crate) fn listen(tool: Tool, family: Family) -> (Process, u16) {
    // The port was free a moment ago: should someone have taken it since, take another.
    for _ in 0..5 {
        let (held, port) = socket(family);
        drop(held);
        let words = match (tool, family) {
            (Tool::Nc, Family::V4) => format!("nc -4 -u -l 127.0.0.1 {port}"),
            (Tool::Nc, Family::V6) => format!("nc -6 -u -l ::1 {port}"),
            (Tool::Ncat, Family::V4) => format!("ncat -4 -u -l 127.0.0.1 {port}"),
            (Tool::Ncat, Family::V6) => format!("ncat -6 -u -l ::1 {port}"),
            (Tool::Socat, Family::V4) => format!("socat -b70000 STDIO UDP4-LISTEN:{port},bind=127.0.0.1"),
            (Tool::Socat, Family::V6) => format!("socat -b70000 STDIO UDP6-LISTEN:{port},bind=[::1]"),
        };
        let process = spawn(&words);
        if wait_for_port(process.pid(), || process.is_running()) == Some(port) {
            return (process, port);
        }
    }
    panic!("{tool:?} does not listen");
}

/// Starts a tool that sends its stdin to a port of loopback.
pub(crate) fn connect(tool: Tool, family: Family, port: u16) -> Process {
    let host = family.host();
    spawn(&match (tool, family) {
        (Tool::Nc, _) => format!("nc -u {host} {port}"),
        (Tool::Ncat, _) => format!("ncat -u {host} {port}"),
        (Tool::Socat, Family::V4) => format!("socat -b70000 STDIO UDP4:127.0.0.1:{port}"),
        (Tool::Socat, Family::V6) => format!("socat -b70000 STDIO UDP6:[::1]:{port}"),
    })
}

fn spawn(words: &str) -> Process {
    let words: Vec<&str> = words.split_whitespace().collect();
    require(&[words[0]]);
    let mut command = Command::new(words[0]);
    command.args(&words[1..]);
    Process::spawn(command, Stdin::Piped, None, PATIENCE)
}
