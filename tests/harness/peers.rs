//! Programs that we did not write, at the other end of the socket: Python, nc, ncat, socat.

use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use nix::unistd::Pid;

use super::net::{self, Family, require};
use super::process::{Ended, PATIENCE, Process, Stdin};

/// What every Python script begins with. Nothing in it waits for ever: the alarm ends the process.
pub(crate) const PRELUDE: &str = r#"
import os, select, signal, socket, struct, sys, threading, time
signal.alarm(120)

def say(*words):
    print(*words, flush=True)

def listen(host, backlog=64):
    server = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    server.bind((host, 0))
    server.listen(backlog)
    say(server.getsockname()[1])
    return server

def dial(host, port):
    return socket.create_connection((host, int(port)), 60)

def all_of(peer):
    data = b""
    while chunk := peer.recv(65536):
        data += chunk
    return data

def exactly(peer, count):
    data = b""
    while len(data) < count:
        chunk = peer.recv(count - len(data))
        if not chunk:
            break
        data += chunk
    return data

def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()

def told():
    return sys.stdin.readline().strip()
"#;

/// A netcat of one kind or another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tool {
    Nc,
    Ncat,
    Socat,
}

impl Tool {
    pub(crate) const ALL: [Self; 3] = [Self::Nc, Self::Ncat, Self::Socat];

    fn program(self) -> &'static str {
        match self {
            Self::Nc => "nc",
            Self::Ncat => "ncat",
            Self::Socat => "socat",
        }
    }

    /// Returns the words that make it accept one connection.
    fn listen_words(self, family: Family, port: u16) -> Vec<String> {
        let words = match (self, family) {
            // -N: shut the sending side down at the end of stdin.
            (Self::Nc, Family::V4) => format!("-4 -N -l 127.0.0.1 {port}"),
            (Self::Nc, Family::V6) => format!("-6 -N -l ::1 {port}"),
            (Self::Ncat, Family::V4) => format!("-4 -l 127.0.0.1 {port}"),
            (Self::Ncat, Family::V6) => format!("-6 -l ::1 {port}"),
            // -t: how long the other direction may go on after one has ended; 0.5 s unless told.
            (Self::Socat, Family::V4) => format!("-t60 STDIO TCP4-LISTEN:{port},bind=127.0.0.1"),
            (Self::Socat, Family::V6) => format!("-t60 STDIO TCP6-LISTEN:{port},bind=[::1]"),
        };
        words.split_whitespace().map(str::to_owned).collect()
    }

    /// Returns the words that make it connect.
    fn connect_words(self, family: Family, port: u16) -> Vec<String> {
        let words = match (self, family) {
            (Self::Nc, _) => format!("-N {} {port}", family.host()),
            (Self::Ncat, _) => format!("{} {port}", family.host()),
            (Self::Socat, Family::V4) => format!("-t60 STDIO TCP4:127.0.0.1:{port}"),
            (Self::Socat, Family::V6) => format!("-t60 STDIO TCP6:[::1]:{port}"),
        };
        words.split_whitespace().map(str::to_owned).collect()
    }
}

/// A foreign program in the background; killed when dropped.
pub(crate) struct Peer {
    process: Process,
    /// The port on which it listens; 0 for a client.
    pub(crate) port: u16,
}

impl Peer {
    /// Starts a Python script, after the prelude above, with `args` in `sys.argv[1:]`. Its first
    /// line must be its port: `listen` prints it.
    pub(crate) fn python_server(script: &str, args: &[&str]) -> Self {
        let mut peer = Self::python(script, args);
        peer.port = peer.process.wait("a port", |output| {
            let line = output.stdout.split_inclusive(|byte| *byte == b'\n').next()?;
            std::str::from_utf8(line).ok()?.strip_suffix('\n')?.parse().ok()
        });
        peer
    }

    /// Waits for its first lines, each of which is a number.
    pub(crate) fn numbers<const N: usize>(&self) -> [i32; N] {
        self.process.wait("numbers", |output| {
            let lines = output.stdout.split_inclusive(|byte| *byte == b'\n').take(N);
            let numbers = lines.map(|line| std::str::from_utf8(line).ok()?.strip_suffix('\n')?.parse().ok());
            numbers.collect::<Option<Vec<_>>>()?.try_into().ok()
        })
    }

    /// Starts a Python script that says no port.
    pub(crate) fn python(script: &str, args: &[&str]) -> Self {
        let mut command = Command::new(python());
        // -I -S: nothing of the user's, and a quicker start.
        command.args(["-I", "-S", "-c", &format!("{PRELUDE}\n{script}")]).args(args);
        Self { process: Process::spawn(command, Stdin::Piped, None, PATIENCE), port: 0 }
    }

    /// Starts a tool that listens for one connection, its stdin held open.
    pub(crate) fn listen(tool: Tool, family: Family) -> Self {
        Self::listen_with(tool, family, || Stdin::Piped)
    }

    /// Starts a tool that listens for one connection and has this stdin.
    pub(crate) fn listen_with(tool: Tool, family: Family, stdin: impl Fn() -> Stdin) -> Self {
        Self::listening(tool.program(), family, stdin, |port| tool.listen_words(family, port))
    }

    /// Starts a server that others wrote, with the words that make it listen on a port.
    pub(crate) fn daemon(program: &str, family: Family, words: impl Fn(u16) -> Vec<String>) -> Self {
        Self::listening(program, family, || Stdin::Null, words)
    }

    fn listening(program: &str, family: Family, stdin: impl Fn() -> Stdin, words: impl Fn(u16) -> Vec<String>) -> Self {
        require(&[program]);
        // The port was free a moment ago: should someone have taken it since, take another.
        for _ in 0..5 {
            let port = net::likely_free_port(family);
            let mut command = Command::new(program);
            command.args(words(port));
            let process = Process::spawn(command, stdin(), None, PATIENCE);
            if net::try_wait_for_listener(process.pid(), || process.is_running()) == Some(port) {
                return Self { process, port };
            }
        }
        panic!("{program} does not listen");
    }

    /// Starts a tool that connects, its stdin held open.
    pub(crate) fn connect(tool: Tool, family: Family, port: u16) -> Self {
        Self::connect_with(tool, family, port, Stdin::Piped)
    }

    /// Starts a tool that connects and has this stdin.
    pub(crate) fn connect_with(tool: Tool, family: Family, port: u16, stdin: Stdin) -> Self {
        require(&[tool.program()]);
        let mut command = Command::new(tool.program());
        command.args(tool.connect_words(family, port));
        Self { process: Process::spawn(command, stdin, None, PATIENCE), port: 0 }
    }

    /// Starts any other program.
    pub(crate) fn program(program: &str, args: &[&str], stdin: Stdin, stdout: Option<Stdio>) -> Self {
        require(&[program]);
        let mut command = Command::new(program);
        command.args(args);
        Self { process: Process::spawn(command, stdin, stdout, PATIENCE), port: 0 }
    }

    /// Returns its process's number.
    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    /// Writes to its stdin.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.process.send(bytes);
    }

    /// Ends its stdin.
    pub(crate) fn close_stdin(&mut self) {
        self.process.close_stdin();
    }

    /// Waits until its stdout contains `text`.
    pub(crate) fn wait_for(&self, text: &str) {
        self.process.wait_for_stdout(text.as_bytes());
    }

    /// Waits for its end, stdin closed.
    pub(crate) fn finish(self) -> Ended {
        self.process.finish()
    }

    /// Waits for the end of a script, which must succeed, and returns its lines after the port.
    pub(crate) fn lines(self) -> Vec<String> {
        let is_server = self.port != 0;
        let ended = self.process.finish();
        let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
        assert!(ended.status.success(), "the peer failed: {}\n{stdout}\n{stderr}", ended.status);
        stdout.lines().skip(usize::from(is_server)).map(str::to_owned).collect()
    }
}

/// Returns the interpreter itself: what is first in PATH may be a slow wrapper around it.
pub(crate) fn python() -> &'static str {
    static PYTHON: OnceLock<String> = OnceLock::new();
    PYTHON.get_or_init(|| {
        require(&["python3"]);
        let mut command = Command::new("python3");
        let path = net::output_of(command.args(["-c", "import sys; print(sys.executable)"])).expect("python3 starts");
        path.trim().to_owned()
    })
}

/// How long a test holds something that nobody announces: only to show that nothing happens.
pub(crate) const A_WHILE: Duration = Duration::from_millis(300);
