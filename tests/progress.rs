//! The bar of a run whose end is known: on the terminal that stderr is, below all else, and gone at the end.

use std::fs::File;

use regex::Regex;
use serde::Deserialize;

use crate::harness::net::{Net, TempDir, listener};
use crate::harness::peers::python;
use crate::harness::{Family, Sockeye, require, udp};

/// Runs a program whose streams are its terminal, or pipes: how wide it is, which they are, and the signal that
/// the program gets as soon as there is a bar. Tells what each gave.
const TERMINAL: &str = r"
import fcntl, json, os, pty, signal, struct, subprocess, sys, termios
columns, on, stop = sys.argv[1:4]
ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack('HHHH', 20, int(columns), 0, 0))
stream = lambda name: theirs if name in on else subprocess.PIPE
child = subprocess.Popen(
    sys.argv[4:], stdin=theirs if '0' in on else None, stdout=stream('1'), stderr=stream('2'),
    start_new_session=True, preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0))
os.close(theirs)
seen = b''
while True:
    try:
        more = os.read(ours, 65536)
    except OSError:
        break
    if not more:
        break
    seen += more
    if stop and b'#] ' in seen or stop and b'-] ' in seen:
        child.send_signal(getattr(signal, stop))
        stop = ''
stdout, stderr = (text or b'' for text in child.communicate())
told = {'terminal': seen, 'stdout': stdout, 'stderr': stderr}
print(json.dumps({'code': child.wait(), **{name: text.decode() for name, text in told.items()}}))
";

/// What a run gave.
#[derive(Deserialize)]
struct Seen {
    code: i32,
    terminal: String,
    stdout: String,
    stderr: String,
}

/// How a run is shown.
struct Shown {
    columns: usize,
    /// Which of its streams, by number, are the terminal.
    on: &'static str,
    /// The signal that it gets when it has a bar.
    stop: &'static str,
    /// The TERM of its environment.
    term: &'static str,
}

impl Shown {
    fn on(on: &'static str) -> Self {
        Self { columns: 80, on, stop: "", term: "xterm" }
    }

    fn run(&self, sockeye: Sockeye) -> Seen {
        require(&["python3"]);
        let columns = self.columns.to_string();
        // What is JSON here is not that of sockeye.
        let folder = TempDir::new();
        let told = folder.path().join("told");
        let under = [python(), "-c", TERMINAL, &columns, self.on, self.stop];
        let run = sockeye.env("TERM", self.term).under(under).stdout_to(File::create(&told).unwrap()).run();
        assert!(run.stderr().is_empty(), "{}", run.stderr());
        serde_json::from_str(&std::fs::read_to_string(told).unwrap()).unwrap()
    }
}

impl Seen {
    /// Returns each bar that was drawn.
    fn bars(&self) -> Vec<&str> {
        let bar = Regex::new(r"(\[#*-*\] [^\r\n]*)\r").unwrap();
        bar.captures_iter(&self.terminal).map(|found| found.get(1).unwrap().as_str()).collect()
    }

    /// Returns the lines that a terminal of any width holds at the end. Nothing may be written over what was not taken
    /// away before.
    fn screen(&self) -> Vec<String> {
        let colors = Regex::new("\x1b\\[[0-9;]*m").unwrap();
        let text = colors.replace_all(&self.terminal, "").replace("\x1b[K", "\0");
        let (mut lines, mut line, mut column) = (Vec::new(), Vec::<char>::new(), 0);
        for character in text.chars() {
            match character {
                '\r' => column = 0,
                '\n' => lines.push(std::mem::take(&mut line).into_iter().collect()),
                '\0' => line.truncate(column),
                _ => {
                    assert!(line.len() == column, "{character:?} is written over {line:?}");
                    line.push(character);
                    column += 1;
                }
            }
        }
        if !line.is_empty() {
            lines.push(line.into_iter().collect());
        }
        lines
    }

    /// Fails unless bars were drawn that fit, say so much, and are gone.
    #[track_caller]
    fn has_bars(&self, columns: usize, words: &str) -> Vec<&str> {
        let bars = self.bars();
        assert!(!bars.is_empty() && bars.iter().all(|bar| bar.len() < columns && bar.contains(words)), "{bars:?}");
        assert!(bars.len() < 40, "at most ten a second: {bars:?}");
        let screen = self.screen();
        assert!(!screen.iter().any(|line| line.contains("#] ") || line.contains("-] ")), "{screen:#?}");
        bars
    }
}

fn pinging(line: &str) -> Sockeye {
    Sockeye::new(format!("raw-ping {line}")).under(Net::isolated().prefix())
}

#[test]
fn a_bar_stays_below_the_lines_and_is_gone_at_the_end() {
    let seen = Shown::on("12").run(pinging("127.0.0.1 --count 20 --interval 100ms"));
    let bars = seen.has_bars(80, " of 20, ");
    assert!(bars.is_sorted_by_key(|bar| bar.matches('#').count()), "{bars:?}");
    assert!(bars.iter().any(|bar| bar.ends_with(" s left")), "{bars:?}");
    let screen = seen.screen();
    let replies: Vec<&String> = screen.iter().filter(|line| line.starts_with("reply from 127.0.0.1 seq=")).collect();
    assert!(replies.len() == 20 && replies.iter().all(|line| line.contains(" ttl=")), "{screen:#?}");
    let whole = |line: &String| ["reply", "20 sent", "round trip", "     "].iter().any(|begin| line.starts_with(begin));
    assert!(screen.iter().filter(|line| !line.contains(" socket ")).all(whole), "{screen:#?}");
    // The first second has none.
    let before = seen.terminal.split("] ").next().unwrap();
    assert!(before.matches("reply").count() >= 8, "{}", seen.terminal);
}

#[test]
fn on_a_terminal_that_is_stderr_alone_it_is_as_narrow_as_that() {
    let (_listener, port) = listener(Family::V4);
    let line = format!("connect --probe 127.0.0.1 {port} --count 20 --interval 100ms");
    let seen = Shown { columns: 40, ..Shown::on("2") }.run(Sockeye::new(line));
    seen.has_bars(40, " of 20, ");
    assert_eq!((seen.code, seen.stdout.matches("open").count()), (0, 20), "{}", seen.stdout);
    assert!(seen.screen().iter().any(|line| line.contains("#20 close")), "{}", seen.terminal);
}

#[test]
fn targets_time_and_bytes_are_ways_to_an_end() {
    let sweep = Shown::on("12").run(pinging("127.0.0.0/27 --sweep --rate 20/s"));
    sweep.has_bars(80, " of 30, ");
    let serve = Shown::on("2").run(Sockeye::new("serve 127.0.0.1:0 --deadline 2s"));
    serve.has_bars(80, " s of 2 s, ");
    // A file is relayed; the relay's own stdout is elsewhere.
    let server = Sockeye::new("serve 127.0.0.1:0 --fault slow=100k/s --discard --recv-buffer 4096 --json").start();
    let folder = TempDir::new();
    let path = folder.path().join("file");
    std::fs::write(&path, vec![b'x'; 300_000]).unwrap();
    let line = format!("connect 127.0.0.1 {} --send-buffer 4096", server.port());
    let relay = Sockeye::new(&line).stdin_from(File::open(&path).unwrap());
    let seen = Shown::on("2").run(relay);
    seen.has_bars(80, " kB of 300.0 kB, ");
    assert_eq!((seen.code, &*seen.stdout), (0, ""));
    // On one terminal with what the peer sends there is none.
    let relay = Sockeye::new(&line).stdin_from(File::open(&path).unwrap());
    assert_eq!(Shown::on("12").run(relay).bars(), [""; 0]);
    server.interrupt().exits(0);
}

#[test]
fn a_signal_takes_it_away() {
    let (_socket, port) = udp::socket(Family::V4);
    for stop in ["SIGINT", "SIGTERM"] {
        let line = format!("udp-send 127.0.0.1 {port} --size 10 --count 500 --interval 50ms");
        let seen = Shown { stop, ..Shown::on("12") }.run(Sockeye::new(line));
        seen.has_bars(80, " of 500, ");
        assert_eq!(seen.code, 0);
        assert!(seen.screen().last().unwrap().starts_with("sent "), "{}", seen.terminal);
    }
}

#[test]
fn a_job_in_the_background_leaves_the_terminal_alone() {
    let (_socket, port) = udp::socket(Family::V4);
    let bars_of = |job: &str| {
        let script = format!("set -m; \"$@\" {job}");
        let line = format!("udp-send 127.0.0.1 {port} --size 10 --count 16 --interval 100ms");
        let seen = Shown::on("12").run(Sockeye::new(line).under(["sh", "-c", &script, "sh"]));
        assert!(seen.terminal.contains("sent 16 datagrams"), "{}", seen.terminal);
        seen.bars().len()
    };
    assert!(bars_of("& wait") == 0 && bars_of("; true") > 0);
}

#[test]
fn there_is_none_for_a_short_run_nor_where_nobody_wants_it() {
    let (_socket, port) = udp::socket(Family::V4);
    let long =
        |more: &str| Sockeye::new(format!("udp-send 127.0.0.1 {port} --size 10 --count 16 --interval 100ms {more}"));
    let short = Sockeye::new(format!("udp-send 127.0.0.1 {port} --size 10 --count 6 --interval 100ms"));
    let typed = Sockeye::new(format!("udp-send 127.0.0.1 {port} --deadline 1500ms"));
    let runs = [
        ("12", short),
        ("12", long("-q")),
        ("12", long("--json")),
        ("1", long("")),
        ("02", typed),
        ("12", pinging("127.0.0.1 --count 0 --interval 100ms --deadline 1500ms -q")),
        ("012", pinging("127.0.0.1 --live --count 16 --interval 100ms")),
        // What is found decides how many probes it takes.
        ("12", pinging("127.0.0.1 --until-reply --count 3")),
        ("12", pinging("127.0.0.1 --trace --count 3 --interval 700ms")),
    ];
    let dumb = Shown { term: "dumb", ..Shown::on("12") }.run(long(""));
    assert!(dumb.terminal.contains("sent 16") && !dumb.terminal.contains('['), "{}", dumb.terminal);
    std::thread::scope(|scope| {
        for (on, run) in runs {
            scope.spawn(move || {
                let seen = Shown::on(on).run(run);
                assert_eq!(seen.bars(), [""; 0], "{}", seen.terminal);
                assert!(!seen.stderr.contains("#] ") && !seen.stdout.contains("#] "), "{}", seen.stderr);
                assert!(on.contains("0") || !seen.terminal.contains("\x1b[K"), "{:?}", seen.terminal);
            });
        }
    });
}
