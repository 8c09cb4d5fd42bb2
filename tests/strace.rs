//! What the kernel was asked, as strace saw it, and what the events say: the same, both ways.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;

use crate::harness::events::{Accept, Bind, Connect, Error, Listen, Setsockopt, Socket, Step, Value};
use crate::harness::net::{TempDir, dial, listener, refusing_port};
use crate::harness::{Family, Finished, Sockeye, require};

/// One system call: its name, its arguments as strace writes them, and what it returned.
#[derive(Clone, Debug)]
struct Call {
    name: String,
    args: Vec<String>,
    result: String,
}

impl Call {
    /// Returns the descriptor or number that it returned, nothing where it failed.
    fn returned(&self) -> Option<i64> {
        self.result.split_whitespace().next()?.parse().ok().filter(|number| *number >= 0)
    }

    /// Returns whether it succeeded, or goes on in the background.
    fn took_effect(&self) -> bool {
        self.returned().is_some() || self.result.contains("EINPROGRESS")
    }

    fn descriptor(&self) -> i64 {
        self.args[0].parse().unwrap_or_else(|_| panic!("no descriptor: {self:?}"))
    }
}

/// The calls of a run on its own sockets.
struct Trace {
    /// What each socket of ours was made with.
    sockets: Vec<Call>,
    /// The other calls on them, and on what they accepted.
    calls: Vec<Call>,
}

impl Trace {
    /// Returns the calls of this name that took effect.
    fn effective(&self, name: &str) -> Vec<&Call> {
        self.calls.iter().filter(|call| call.name == name && call.took_effect()).collect()
    }
}

/// Splits arguments at the commas that are outside brackets and strings.
fn split(args: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted, mut escaped) = (vec![String::new()], 0, false, false);
    for letter in args.chars() {
        match letter {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '[' | '{' if !quoted => depth += 1,
            ')' | ']' | '}' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        parts.last_mut().unwrap().push(letter);
    }
    parts.iter().map(|part| part.trim().to_owned()).collect()
}

/// Reads strace's log: each call in the order of its end, those that were interrupted put together.
fn read_log(path: &Path) -> Vec<Call> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut begun: BTreeMap<String, String> = BTreeMap::new();
    let mut calls = Vec::new();
    for line in text.lines() {
        let (pid, rest) = line.split_once(char::is_whitespace).unwrap();
        let rest = rest.trim_start();
        if let Some(head) = rest.strip_suffix(" <unfinished ...>") {
            begun.insert(pid.to_owned(), head.to_owned());
            continue;
        }
        let whole = match rest.strip_prefix("<... ").and_then(|rest| rest.split_once(" resumed>")) {
            Some((_, tail)) => begun.remove(pid).unwrap() + tail,
            None => rest.to_owned(),
        };
        let Some((head, result)) = whole.rsplit_once(" = ") else {
            continue;
        };
        let Some((name, args)) = head.trim_end().strip_suffix(')').and_then(|head| head.split_once('(')) else {
            continue;
        };
        calls.push(Call { name: name.to_owned(), args: split(args), result: result.to_owned() });
    }
    calls
}

/// Picks the calls on sockets of a type: the resolver's (AF_UNIX, AF_NETLINK) stay apart, and its
/// datagrams where no name is looked up.
fn on_sockets(log: Vec<Call>, kind: &str) -> Trace {
    let mut trace = Trace { sockets: Vec::new(), calls: Vec::new() };
    let mut ours: Vec<i64> = Vec::new();
    for call in log {
        match call.name.as_str() {
            "socket" => {
                let descriptor = call.returned();
                // A number that comes again, after a close, is another socket.
                ours.retain(|number| Some(*number) != descriptor);
                if call.args[0].starts_with("AF_INET") && call.args[1].starts_with(kind) {
                    ours.extend(descriptor);
                    trace.sockets.push(call);
                }
            }
            "accept" | "accept4" if ours.contains(&call.descriptor()) => {
                ours.extend(call.returned());
                trace.calls.push(Call { name: "accept".to_owned(), ..call });
            }
            "bind" | "listen" | "connect" | "setsockopt" if ours.contains(&call.descriptor()) => trace.calls.push(call),
            _ => {}
        }
    }
    trace
}

/// Returns a socket address as events write it, from strace's struct.
fn address(text: &str) -> String {
    let between = |from: &str, to: &str| {
        let (_, rest) = text.split_once(from).unwrap_or_else(|| panic!("no {from} in {text}"));
        rest.split_once(to).unwrap_or_else(|| panic!("no {to} in {text}")).0.to_owned()
    };
    let port = between("_port=htons(", ")");
    if text.contains("AF_INET6") {
        let ip: std::net::Ipv6Addr = between("inet_pton(AF_INET6, \"", "\"").parse().unwrap();
        return match ip.to_ipv4_mapped() {
            Some(v4) => format!("{v4}:{port}"),
            None => format!("[{ip}]:{port}"),
        };
    }
    format!("{}:{port}", between("inet_addr(\"", "\""))
}

/// Returns an option's name and value, from strace's `[1]`, `"cubic"` or `"lo\0"`.
fn option(call: &Call) -> (String, Value) {
    // strace tells by the name which time_t it is of.
    let name = call.args[2].strip_suffix("_OLD").unwrap_or(&call.args[2]).to_owned();
    let text = call.args[3].as_str();
    let value = match text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) {
        // strace 6.1 shows the four letters of `reno` as a number.
        Some(number) if name == "TCP_CONGESTION" => {
            let bytes = u32::try_from(constant(number)).unwrap().to_ne_bytes();
            Value::Name(String::from_utf8(bytes.to_vec()).unwrap())
        }
        Some(number) => Value::Number(constant(number)),
        None if name == "SO_RCVTIMEO" => Value::Number(microseconds(text)),
        None => {
            let text = text.trim_matches('"');
            Value::Name(text.strip_suffix("\\0").unwrap_or(text).to_owned())
        }
    };
    (name, value)
}

/// Returns the microseconds of a struct timeval, which strace prints as a string of 16 bytes.
fn microseconds(text: &str) -> i64 {
    let mut bytes = Vec::new();
    let mut rest = text.trim_matches('"').bytes().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let mut octal = String::new();
        while octal.len() < 3
            && let Some(digit) = rest.next_if(|next| (b'0'..=b'7').contains(next))
        {
            octal.push(char::from(digit));
        }
        bytes.push(match u8::from_str_radix(&octal, 8) {
            Ok(byte) => byte,
            Err(_) => match rest.next().unwrap() {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'f' => 12,
                b'v' => 11,
                other => other,
            },
        });
    }
    let words: Vec<i64> = bytes.chunks(8).map(|word| i64::from_ne_bytes(word.try_into().unwrap())).collect();
    words[0] * 1_000_000 + words[1]
}

/// Returns the number behind what strace prints, where it prints a name.
fn constant(text: &str) -> i64 {
    match text {
        "IP_PMTUDISC_DO" | "IPV6_PMTUDISC_DO" => 2,
        // SO_TIMESTAMPING (linux/net_tstamp.h).
        _ if text.contains("SOF_TIMESTAMPING") => text.split('|').map(stamp).sum(),
        _ => match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).unwrap(),
            None => text.parse().unwrap_or_else(|_| panic!("no number: {text}")),
        },
    }
}

/// Returns a bit of SO_TIMESTAMPING.
fn stamp(name: &str) -> i64 {
    match name {
        "SOF_TIMESTAMPING_TX_SOFTWARE" => 1 << 1,
        "SOF_TIMESTAMPING_RX_SOFTWARE" => 1 << 3,
        "SOF_TIMESTAMPING_SOFTWARE" => 1 << 4,
        "SOF_TIMESTAMPING_OPT_ID" => 1 << 7,
        "SOF_TIMESTAMPING_OPT_TSONLY" => 1 << 11,
        _ => panic!("no stamp: {name}"),
    }
}

/// Runs sockeye under strace and returns the run with what strace saw.
fn traced(line: &str, during: impl FnOnce(&crate::harness::Running)) -> (Finished, Trace) {
    require(&["strace"]);
    let dir = TempDir::new();
    let log = dir.path().join("log");
    let strace =
        format!("strace -f -e trace=socket,bind,listen,connect,accept,accept4,setsockopt -o {}", log.display());
    let running = Sockeye::new(format!("{line} -v --json")).under(strace.split(' ')).start();
    during(&running);
    let run = running.finish_by_itself();
    let kind = if line.starts_with("udp") { "SOCK_DGRAM" } else { "SOCK_STREAM" };
    (run, on_sockets(read_log(&log), kind))
}

/// Checks that events and calls say the same.
#[track_caller]
fn assert_agree(run: &Finished, trace: &Trace) {
    let calls: Vec<_> = trace.sockets.iter().chain(&trace.calls).map(|call| format!("{call:?}")).collect();
    let says = format!("\n{}\n{}", run.dump(), calls.join("\n"));
    let made: Vec<_> =
        trace.sockets.iter().filter(|call| call.took_effect()).map(|call| call.args[0].clone()).collect();
    let told: Vec<_> = run.all::<Socket>().iter().map(|socket| socket.family.clone()).collect();
    assert_eq!(made, told, "sockets{says}");
    for (call, socket) in trace.sockets.iter().zip(run.all::<Socket>()) {
        assert!(call.args[1].starts_with(&socket.kind), "{socket:?}{says}");
        assert_eq!(Some(&call.args[2]), socket.protocol.as_ref(), "{socket:?}{says}");
    }

    // Options: the same ones with the same values; between sockets of one run their order may differ.
    let mut set: Vec<_> = trace.effective("setsockopt").into_iter().map(option).collect();
    let mut told: Vec<_> = run.all::<Setsockopt>().iter().map(|it| (it.option.clone(), it.requested.clone())).collect();
    set.sort();
    told.sort();
    assert_eq!(set, told, "options{says}");

    let bound: Vec<_> = trace.effective("bind").iter().map(|call| address(&call.args[1])).collect();
    let told: Vec<_> = run.all::<Bind>().iter().map(|bind| bind.local.clone()).collect();
    assert_eq!(bound.len(), told.len(), "binds{says}");
    for (asked, got) in bound.iter().zip(&told) {
        // Port 0 asks for any; the event says which it became.
        let same = asked == got || (asked.ends_with(":0") && without_port(asked) == without_port(got));
        assert!(same, "bind {asked} became {got}{says}");
    }

    let backlogs: Vec<_> = trace.effective("listen").iter().map(|call| call.args[1].clone()).collect();
    let told: Vec<_> = run.all::<Listen>().iter().map(|listen| listen.backlog.to_string()).collect();
    assert_eq!(backlogs, told, "listens{says}");

    let accepted: Vec<_> = trace.effective("accept").iter().map(|call| address(&call.args[1])).collect();
    let told: Vec<_> = run.all::<Accept>().iter().map(|accept| accept.peer.clone()).collect();
    assert_eq!(accepted, told, "accepts{says}");

    // A connect that was begun ends as a connect or as an error of that step.
    let mut connected: Vec<_> =
        trace.calls.iter().filter(|call| call.name == "connect").map(|call| address(&call.args[1])).collect();
    let mut told: Vec<_> = run.all::<Connect>().iter().map(|connect| connect.peer.clone()).collect();
    let failed = run.all::<Error>();
    told.extend(failed.iter().filter(|error| error.step == Step::Connect).map(|error| error.peer.clone().unwrap()));
    connected.sort();
    told.sort();
    assert_eq!(connected, told, "connects{says}");
}

fn without_port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().0
}

/// Says something to a server and waits for its answer and end.
fn talk(family: Family, port: u16) {
    let mut client = dial(family, port);
    client.write_all(b"hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "hello");
}

/// Returns the option that only a privileged user may set, where that is who we are.
fn mark() -> &'static str {
    if nix::unistd::geteuid().is_root() { "--mark 9" } else { "" }
}

#[test]
fn a_server_and_its_trace_agree() {
    let (run, trace) = traced("serve 0 --count 2 --backlog 7", |server| {
        let port = server.port();
        talk(Family::V4, port);
        talk(Family::V6, port);
    });
    let run = run.exits(0);
    assert_agree(&run, &trace);
    assert_eq!(run.all::<Accept>().len(), 2);
}

#[test]
fn a_server_with_many_options_and_its_trace_agree() {
    for (family, address) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0"), (Family::V4, "0")] {
        let mark = mark();
        let line = format!(
            "serve {address} --count 1 --recv-buffer 64KiB --send-buffer 32KiB --ttl 7 --dscp EF {mark} --reuse-port \
             --keepalive 30s --no-delay --mss 1000 --congestion reno --user-timeout 3s --dont-fragment --busy-poll 50us"
        );
        let (run, trace) = traced(&line, |server| talk(family, server.port()));
        let run = run.exits(0);
        assert_agree(&run, &trace);
        assert!(run.all::<Setsockopt>().len() >= 12, "{}", run.dump());
    }
}

#[test]
fn a_client_and_its_trace_agree() {
    let server = Sockeye::new("serve 0 --json").start();
    let port = server.port();
    for target in [format!("127.0.0.1 {port}"), format!("::1 {port}"), format!("localhost {port}")] {
        let (run, trace) = traced(&format!("connect {target} hello"), |_| ());
        assert_agree(&run.exits(0), &trace);
    }
    server.interrupt().exits(0);
}

#[test]
fn a_client_with_many_options_and_its_trace_agree() {
    for family in Family::BOTH {
        let (_listener, port) = listener(family);
        let mark = mark();
        let line = format!(
            "connect {} {port} --probe --source {} --interface lo --recv-buffer 64KiB --send-buffer 32KiB --ttl 7 --dscp 10 \
             {mark} --keepalive 30s --no-delay --mss 1000 --congestion reno --user-timeout 3s --dont-fragment --busy-poll 50us",
            family.host(),
            family.host()
        );
        let (run, trace) = traced(&line, |_| ());
        let run = run.exits(0);
        assert_agree(&run, &trace);
        assert_eq!(run.all::<Bind>().len(), 1);
        assert!(run.all::<Setsockopt>().len() >= 12, "{}", run.dump());
    }
}

#[test]
fn a_refused_client_and_its_trace_agree() {
    let (_held, port) = refusing_port(Family::V4);
    let (run, trace) = traced(&format!("connect localhost {port} hello"), |_| ());
    assert_agree(&run.exits(7), &trace);
}

#[test]
fn a_server_that_cannot_bind_and_its_trace_agree() {
    let (_listener, port) = listener(Family::V4);
    let (run, trace) = traced(&format!("serve 127.0.0.1:{port}"), |_| ());
    assert_agree(&run.exits(5), &trace);
}

#[test]
fn a_sender_of_datagrams_and_its_trace_agree() {
    for family in Family::BOTH {
        let (_deaf, port) = crate::harness::udp::socket(family);
        let (host, mark) = (family.host(), mark());
        let line = format!(
            "udp-send {host} {port} hello --source {host} --interface lo --recv-buffer 64KiB --send-buffer 32KiB --ttl 7 \
             --dscp 10 {mark} --dont-fragment --busy-poll 50us"
        );
        let (run, trace) = traced(&line, |_| ());
        let run = run.exits(0);
        assert_agree(&run, &trace);
        assert!(run.all::<Setsockopt>().len() >= 8, "{}", run.dump());
        let (run, trace) = traced(&format!("udp-send {host} {port} --flood --count 100"), |_| ());
        assert_agree(&run.exits(0), &trace);
    }
}

#[test]
fn a_receiver_of_datagrams_and_its_trace_agree() {
    for (family, place) in [(Family::V4, "127.0.0.1:0"), (Family::V6, "[::1]:0"), (Family::V4, "0")] {
        for (rest, merges) in
            [("--count 1", false), ("--discard --deadline 300ms", true), ("--discard --deadline 300ms --no-gro", false)]
        {
            let line = format!("udp-listen {place} {rest} --recv-buffer 64KiB --ttl 7 --dscp EF --reuse-port");
            let (run, trace) = traced(&line, |listener| {
                crate::harness::udp::dial(family, crate::harness::udp::port_of(listener)).send(b"x").unwrap();
            });
            let run = run.exits(0);
            assert_agree(&run, &trace);
            let set: Vec<_> = run.all::<Setsockopt>().iter().map(|it| it.option.clone()).collect();
            assert_eq!(set.contains(&"UDP_GRO".to_owned()), merges, "{rest}: {set:?}");
        }
    }
}

/// What it would cost each start to look for, map and relocate it.
#[test]
fn the_unwinder_is_no_library_where_the_compiler_can_put_it_into_the_program() {
    require(&["strace"]);
    let compiler = Command::new("cc").arg("-print-file-name=libgcc_eh.a").output().expect("what links runs");
    let is_in_program = compiler.stdout.starts_with(b"/");
    let dir = TempDir::new();
    let log = dir.path().join("log");
    let strace = format!("strace -e trace=openat -o {}", log.display());
    Sockeye::new("--version").under(strace.split(' ')).run().exits(0);
    let calls = std::fs::read_to_string(log).unwrap();
    assert!(calls.contains("libc.so.6"), "{calls}");
    assert_ne!(calls.contains("libgcc_s.so"), is_in_program, "{calls}");
}
