//! sockeye itself: a run from its arguments to its end, or in the background.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::check::{self, Asked};
use super::events::{Bind, Event, Fact, Line, Summary};
use super::process::{Ended, PATIENCE, Process, Stdin, shortened};
use super::{net, redact};

/// A run of sockeye that has not begun.
pub(crate) struct Sockeye {
    args: Vec<OsString>,
    prefix: Vec<OsString>,
    env: Vec<(String, String)>,
    nobody: bool,
    stdin: Stdin,
    stdout: Option<Stdio>,
    patience: Duration,
    unchecked: bool,
}

impl Sockeye {
    /// Takes the arguments from `line`, split at blanks; [`Self::arg`] adds one with blanks.
    pub(crate) fn new(line: impl AsRef<str>) -> Self {
        Self {
            args: line.as_ref().split_whitespace().map(OsString::from).collect(),
            prefix: Vec::new(),
            env: Vec::new(),
            nobody: false,
            stdin: Stdin::Null,
            stdout: None,
            patience: PATIENCE,
            unchecked: false,
        }
    }

    /// Adds one argument as it is.
    pub(crate) fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments as they are.
    pub(crate) fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Runs it by another program, to which sockeye and its arguments are given: `strace -o x`.
    pub(crate) fn under<A: Into<OsString>>(mut self, prefix: impl IntoIterator<Item = A>) -> Self {
        let mut words: Vec<OsString> = prefix.into_iter().map(Into::into).collect();
        words.append(&mut self.prefix);
        self.prefix = words;
        self
    }

    /// Runs it as an ordinary user: uid 65534, no group, no capability.
    pub(crate) fn by_nobody(mut self) -> Self {
        self.nobody = true;
        self
    }

    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Gives it these bytes as stdin, then the end.
    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// Holds its stdin open: a pipe that the test writes to and closes.
    pub(crate) fn stdin_piped(mut self) -> Self {
        self.stdin = Stdin::Piped;
        self
    }

    /// Gives it a file, a directory or a terminal as stdin.
    pub(crate) fn stdin_from(mut self, source: impl Into<Stdio>) -> Self {
        self.stdin = Stdin::From(source.into());
        self
    }

    /// Sends its stdout elsewhere; the JSON in it is then not checked.
    pub(crate) fn stdout_to(mut self, target: impl Into<Stdio>) -> Self {
        self.stdout = Some(target.into());
        self.unchecked = true;
        self
    }

    /// Allows it more time, or less, than [`PATIENCE`].
    pub(crate) fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> Finished {
        self.start().finish()
    }

    /// Runs it to its end, or until it has taken this long: then it is killed.
    pub(crate) fn run_or_kill_after(self, patience: Duration) -> Finished {
        let running = self.start();
        if !running.process.ends_within(patience) {
            // It may end by itself at the same moment.
            let _ = kill(running.process.pid(), Signal::SIGKILL);
            return Finished { ended: running.process.wait_for_end(), lines: Vec::new() };
        }
        running.finish_by_itself()
    }

    /// Starts it.
    pub(crate) fn start(self) -> Running {
        let args: Vec<String> = self.args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let has = |names: &[&str]| args.iter().any(|arg| names.contains(&arg.as_str()));
        let json = (has(&["--json", "-j"]) || (has(&["--format"]) && has(&["json"]))) && !self.unchecked;
        let asked = Asked { quiet: has(&["-q", "--quiet"]), verbose: has(&["-v", "--verbose"]) };
        let mut words = self.prefix;
        words.push(env!("CARGO_BIN_EXE_sockeye").into());
        words.extend(self.args);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]);
        // What a user's shell happens to hold must not change what the tests see.
        command.env_remove("SOCKEYE_PROXY_USER").env_remove("SOCKEYE_PROXY_PASSWORD");
        command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").env("LC_ALL", "C.UTF-8").envs(self.env);
        // Whoever is an ordinary user already stays who he is.
        if self.nobody && nix::unistd::geteuid().is_root() {
            command.uid(65_534).gid(65_534);
        }
        let began = SystemTime::now();
        let process = Process::spawn(command, self.stdin, self.stdout, self.patience);
        Running { process, json, asked, began, seen: RefCell::default() }
    }
}

/// A run of sockeye in the background; killed when dropped.
pub(crate) struct Running {
    process: Process,
    json: bool,
    asked: Asked,
    began: SystemTime,
    seen: RefCell<Seen>,
}

/// The lines read so far.
#[derive(Default)]
struct Seen {
    read: usize,
    lines: Vec<Line>,
}

impl Seen {
    /// Reads the whole lines that have come since the last call.
    fn catch_up(&mut self, stdout: &[u8]) {
        while let Some(length) = stdout[self.read..].iter().position(|byte| *byte == b'\n') {
            let text = std::str::from_utf8(&stdout[self.read..self.read + length]).expect("JSON is UTF-8");
            self.lines.push(check::read(text).unwrap_or_else(|complaint| panic!("{complaint}")));
            self.read += length + 1;
        }
    }
}

impl Running {
    /// Returns sockeye's own process, also where another program runs it.
    pub(crate) fn pid(&self) -> Pid {
        let pid = self.process.pid();
        net::children_of(pid).first().copied().unwrap_or(pid)
    }

    /// Sends sockeye a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("sockeye takes a signal");
    }

    /// Writes to its stdin, which stays open.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.process.send(bytes);
    }

    /// Waits for text on stdout.
    pub(crate) fn wait_for_stdout(&self, text: &[u8]) {
        self.process.wait_for_stdout(text);
    }

    /// Waits until stdout has at least `count` bytes.
    pub(crate) fn wait_for_stdout_bytes(&self, count: usize) {
        self.process.wait(&format!("{count} bytes"), |output| (output.stdout.len() >= count).then_some(()));
    }

    /// Returns whether it still runs.
    pub(crate) fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Waits for the first event for which `pick` returns something.
    pub(crate) fn wait_until<T>(&self, what: &str, mut pick: impl FnMut(&[Line]) -> Option<T>) -> T {
        self.process.wait(what, |output| {
            let mut seen = self.seen.borrow_mut();
            seen.catch_up(&output.stdout);
            pick(&seen.lines)
        })
    }

    /// Waits for the first event of a kind.
    pub(crate) fn wait_for<F: Fact>(&self) -> F {
        self.wait_for_nth(1)
    }

    /// Waits for the `nth` event of a kind, from 1.
    pub(crate) fn wait_for_nth<F: Fact>(&self, nth: usize) -> F {
        let (mut looked_at, mut found) = (0, 0);
        self.wait_until(&format!("{} number {nth}", F::NAME), |lines| {
            // Each line is looked at once, however many there are.
            let fact = lines[looked_at..].iter().filter_map(|line| F::of(&line.event)).nth(nth - 1 - found);
            found += lines[looked_at..].iter().filter(|line| F::of(&line.event).is_some()).count();
            looked_at = lines.len();
            fact.cloned()
        })
    }

    /// Waits for an event of a kind that `test` accepts.
    pub(crate) fn wait_for_one<F: Fact>(&self, what: &str, test: impl Fn(&F) -> bool) -> F {
        self.wait_until(what, |lines| {
            lines.iter().filter_map(|line| F::of(&line.event)).find(|fact| test(fact)).cloned()
        })
    }

    /// Returns how many events of a kind have come so far.
    pub(crate) fn count<F: Fact>(&self) -> usize {
        self.wait_until("lines", |lines| Some(lines.iter().filter(|line| F::of(&line.event).is_some()).count()))
    }

    /// Waits until a server listens and returns its port: the `bind` event says it, or, where there
    /// is only text, the kernel.
    pub(crate) fn port(&self) -> u16 {
        if !self.json {
            return net::wait_for_listener(self.process.pid(), || self.is_running());
        }
        let port = self.wait_for::<Bind>().port();
        self.wait_for::<super::events::Listen>();
        port
    }

    /// Waits for the end, stdin closed, and checks what every run must keep.
    pub(crate) fn finish(mut self) -> Finished {
        if self.process.stdin_is_open() {
            self.process.close_stdin();
        }
        self.finish_by_itself()
    }

    /// Waits for the end, stdin left open, and checks what every run must keep.
    pub(crate) fn finish_by_itself(self) -> Finished {
        let ended = self.process.wait_for_end();
        let mut finished = Finished { ended, lines: Vec::new() };
        let code = finished.ended.status.code();
        let text = finished.stderr();
        assert!(!text.contains("panicked at"), "sockeye panicked:\n{text}");
        if !self.json {
            return finished;
        }
        if code == Some(2) {
            assert!(finished.ended.stdout.is_empty(), "a wrong command line leaves stdout empty:\n{}", finished.dump());
            assert!(!text.is_empty(), "a wrong command line is explained on stderr");
            return finished;
        }
        assert_eq!(text, "", "stderr stays empty with --json");
        assert!(
            finished.ended.stdout.ends_with(b"\n"),
            "the last line is whole:\n{}",
            shortened(&finished.ended.stdout)
        );
        let mut seen = self.seen.into_inner();
        seen.catch_up(&finished.ended.stdout);
        finished.lines = seen.lines;
        let code = code.unwrap_or_else(|| panic!("ended by a signal:\n{}", finished.dump()));
        let checked =
            catch_unwind(AssertUnwindSafe(|| check::check_run(&finished.lines, code, self.asked, self.began)));
        if let Err(payload) = checked {
            let complaint = payload.downcast_ref::<String>().map_or("a check failed", String::as_str);
            panic!("{complaint}\nin the run\n{}", finished.dump());
        }
        finished
    }

    /// Sends SIGINT and waits for the end.
    pub(crate) fn interrupt(self) -> Finished {
        self.signal(Signal::SIGINT);
        self.finish()
    }
}

/// A run of sockeye that has ended.
pub(crate) struct Finished {
    ended: Ended,
    /// The events, where it ran with `--json`.
    pub(crate) lines: Vec<Line>,
}

impl Finished {
    /// Returns the exit code.
    pub(crate) fn code(&self) -> i32 {
        self.ended.status.code().unwrap_or_else(|| panic!("ended by a signal:\n{}", self.dump()))
    }

    /// Returns how it ended.
    pub(crate) fn status(&self) -> ExitStatus {
        self.ended.status
    }

    /// Returns how long it took.
    pub(crate) fn elapsed(&self) -> Duration {
        self.ended.elapsed
    }

    /// Returns what it wrote to stdout.
    pub(crate) fn stdout(&self) -> &[u8] {
        &self.ended.stdout
    }

    /// Returns what it wrote to stderr.
    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.ended.stderr).into_owned()
    }

    /// Checks the exit code, showing the whole run where it is another.
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.ended.status.code(), Some(code), "exit code, of\n{}", self.dump());
        self
    }

    /// Returns all events of a kind.
    pub(crate) fn all<F: Fact>(&self) -> Vec<&F> {
        self.lines.iter().filter_map(|line| F::of(&line.event)).collect()
    }

    /// Returns the only event of a kind.
    #[track_caller]
    pub(crate) fn one<F: Fact>(&self) -> &F {
        let all = self.all::<F>();
        assert_eq!(all.len(), 1, "{} comes once in\n{}", F::NAME, self.dump());
        all[0]
    }

    /// Returns when the first event of this name came, counted from the start of the run.
    #[track_caller]
    pub(crate) fn elapsed_of(&self, name: &str) -> Duration {
        let line = self.lines.iter().find(|line| line.event.name() == name);
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{}", self.dump()));
        Duration::from_nanos(line.elapsed_ns)
    }

    /// Returns the names of the events, in their order.
    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.lines.iter().map(|line| line.event.name()).collect()
    }

    /// Returns the summary.
    pub(crate) fn summary(&self) -> &Summary {
        match self.lines.last().map(|line| &line.event) {
            Some(Event::Summary(summary)) => summary,
            _ => panic!("no summary at the end of\n{}", self.dump()),
        }
    }

    /// Returns the whole run as one block: stdout, then stderr, then the exit code; times, ports
    /// and paths made equal.
    pub(crate) fn block(&self) -> String {
        redact::redact(&self.dump())
    }

    /// Returns the whole run as it was, for failure messages.
    pub(crate) fn dump(&self) -> String {
        let end = self.ended.status.code().map_or_else(|| self.ended.status.to_string(), |code| format!("exit {code}"));
        let (stdout, stderr) = (shortened(&self.ended.stdout), shortened(&self.ended.stderr));
        format!("{stdout}-- stderr\n{stderr}-- {end}\n")
    }
}

/// Makes a file in `dir` with these contents and opens it for reading.
pub(crate) fn file_with(dir: &net::TempDir, name: &str, contents: &[u8]) -> File {
    let path = dir.path().join(name);
    std::fs::write(&path, contents).expect("a file can be written");
    File::open(path).expect("a file can be read")
}
