//! A child process whose output is collected as it comes and whose end is bounded in time.
//!
//! Everybody waits on a condition over the output so far, never by sleeping; a wait that lasts too
//! long kills the child and fails with all that it wrote.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// The longest that anything may take, unless the test says otherwise: far more than it does take,
/// also for megabytes through a debug build beside the other tests of a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Where a child's stdin comes from.
pub(crate) enum Stdin {
    Null,
    /// A pipe that holds these bytes and then ends.
    Bytes(Vec<u8>),
    /// A pipe that stays open until the test closes it.
    Piped,
    /// Anything else: a file, a directory, a terminal.
    From(Stdio),
}

/// What a child has written, and how it ended.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    streams_open: usize,
    status: Option<ExitStatus>,
}

#[derive(Default)]
struct Shared {
    output: Mutex<Output>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Output> {
        // A test that panics while it looks at the output does not damage it.
        self.output.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Output)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

/// A child process; killed, with all that it started, when dropped.
pub(crate) struct Process {
    what: String,
    pid: Pid,
    patience: Duration,
    started: Instant,
    stdin: Option<ChildStdin>,
    shared: Arc<Shared>,
}

/// A child process that has ended.
pub(crate) struct Ended {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) status: ExitStatus,
    pub(crate) elapsed: Duration,
}

impl Process {
    /// Starts `command` with collected stderr, and collected stdout unless `stdout` goes elsewhere.
    pub(crate) fn spawn(mut command: Command, stdin: Stdin, stdout: Option<Stdio>, patience: Duration) -> Self {
        let what = format!("{command:?}");
        let (source, bytes) = match stdin {
            Stdin::Null => (Stdio::null(), None),
            Stdin::Bytes(bytes) => (Stdio::piped(), Some(bytes)),
            Stdin::Piped => (Stdio::piped(), None),
            Stdin::From(source) => (source, None),
        };
        command.stdin(source).stdout(stdout.unwrap_or_else(Stdio::piped)).stderr(Stdio::piped());
        // A group of its own, so that dropping it also ends what it started.
        let mut child = command.process_group(0).spawn().unwrap_or_else(|error| panic!("start {what}: {error}"));
        // The command keeps its ends of a pipe or terminal open until it is dropped.
        drop(command);
        let shared = Arc::new(Shared::default());
        let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is an i32"));
        let mut stdin = child.stdin.take();
        if let (Some(mut pipe), Some(bytes)) = (bytes.is_some().then(|| stdin.take()).flatten(), bytes) {
            // The child may end without reading all of it, as `head` does: not our failure.
            thread::spawn(move || drop(pipe.write_all(&bytes)));
        }
        if let Some(stream) = child.stdout.take() {
            collect(stream, &shared, |output| &mut output.stdout);
        }
        if let Some(stream) = child.stderr.take() {
            collect(stream, &shared, |output| &mut output.stderr);
        }
        let waiter = Arc::clone(&shared);
        thread::spawn(move || {
            let status = child.wait().expect("a child can be waited for");
            waiter.change(|output| output.status = Some(status));
        });
        Self { what, pid, patience, started: Instant::now(), stdin, shared }
    }

    /// Returns the process's number.
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Returns whether it still runs.
    pub(crate) fn is_running(&self) -> bool {
        self.shared.lock().status.is_none()
    }

    /// Writes to its stdin, which stays open.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let pipe = self.stdin.as_mut().expect("stdin is piped and open");
        pipe.write_all(bytes)
            .and_then(|()| pipe.flush())
            .unwrap_or_else(|error| panic!("write to {}: {error}", self.what));
    }

    /// Ends its stdin.
    pub(crate) fn close_stdin(&mut self) {
        drop(self.stdin.take().expect("stdin is piped and open"));
    }

    /// Waits until `look` finds what it looks for in the output so far.
    pub(crate) fn wait<T>(&self, for_what: &str, mut look: impl FnMut(&Output) -> Option<T>) -> T {
        let end = Instant::now() + self.patience;
        let mut output = self.shared.lock();
        loop {
            if let Some(found) = look(&output) {
                return found;
            }
            let why = if output.status.is_some() && output.streams_open == 0 {
                "ended without"
            } else if Instant::now() >= end {
                "took too long for"
            } else {
                let left = end.saturating_duration_since(Instant::now());
                output = self
                    .shared
                    .changed
                    .wait_timeout(output, left)
                    .map_or_else(|poison| poison.into_inner().0, |(guard, _)| guard);
                continue;
            };
            let dump = self.dump(&output);
            drop(output);
            panic!("{} {why} {for_what}\n{dump}", self.what);
        }
    }

    /// Returns whether the test still holds its stdin.
    pub(crate) fn stdin_is_open(&self) -> bool {
        self.stdin.is_some()
    }

    /// Waits for its end at most this long, and returns whether it came.
    pub(crate) fn ends_within(&self, patience: Duration) -> bool {
        let output = self.shared.lock();
        let still_runs = |output: &mut Output| output.status.is_none();
        let waited = self.shared.changed.wait_timeout_while(output, patience, still_runs);
        waited.map_or_else(|poison| !poison.into_inner().1.timed_out(), |(_, result)| !result.timed_out())
    }

    /// Waits until its stdout contains `text`.
    pub(crate) fn wait_for_stdout(&self, text: &[u8]) {
        let name = format!("stdout with {:?}", String::from_utf8_lossy(text));
        self.wait(&name, |output| contains(&output.stdout, text).then_some(()));
    }

    /// Waits until it has ended and all its output is read.
    pub(crate) fn finish(mut self) -> Ended {
        drop(self.stdin.take());
        self.wait_for_end()
    }

    /// Waits until it has ended, stdin left as it is.
    pub(crate) fn wait_for_end(&self) -> Ended {
        self.wait("an end", |output| {
            let status = output.status.filter(|_| output.streams_open == 0)?;
            let (stdout, stderr) = (output.stdout.clone(), output.stderr.clone());
            Some(Ended { stdout, stderr, status, elapsed: self.started.elapsed() })
        })
    }

    fn dump(&self, output: &Output) -> String {
        let status = output.status.map_or_else(|| "still running".to_owned(), |status| status.to_string());
        format!(
            "after {:?}, {status}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.started.elapsed(),
            shortened(&output.stdout),
            shortened(&output.stderr)
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() || self.shared.lock().streams_open > 0 {
            // It may have ended in the meantime: then there is nobody left to kill.
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
    }
}

/// Reads a stream to its end in a thread of its own.
fn collect<R: Read + Send + 'static>(mut stream: R, shared: &Arc<Shared>, into: fn(&mut Output) -> &mut Vec<u8>) {
    shared.lock().streams_open += 1;
    let shared = Arc::clone(shared);
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            shared.change(|output| into(output).extend_from_slice(&buffer[..count]));
        }
        shared.change(|output| output.streams_open -= 1);
    });
}

/// Returns whether `text` occurs in `bytes`.
pub(crate) fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len().max(1)).any(|window| window == text)
}

/// Returns output for a failure message: its ends, where it is long.
pub(crate) fn shortened(bytes: &[u8]) -> String {
    const MOST: usize = 6_000;
    if bytes.len() <= 2 * MOST {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let (head, tail) = (&bytes[..MOST], &bytes[bytes.len() - MOST..]);
    format!(
        "{}\n… {} bytes …\n{}",
        String::from_utf8_lossy(head),
        bytes.len() - 2 * MOST,
        String::from_utf8_lossy(tail)
    )
}
