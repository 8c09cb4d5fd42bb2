//! What `raw-ping` draws, what it says without drawing, and who may not.

use crate::harness::events::{Check, CheckOutcome};
use crate::harness::net::Net;
use crate::harness::peers::python;
use crate::harness::{Sockeye, require};

fn text(line: &str) -> String {
    let net = Net::isolated();
    let run = Sockeye::new(format!("raw-ping {line}")).under(net.prefix()).run().exits(0);
    String::from_utf8(run.stdout().to_vec()).expect("text is UTF-8")
}

#[test]
fn a_line_an_answer_and_statistics_at_the_end() {
    let told = text("127.0.0.1 --count 3 --interval 20ms");
    for sequence in 0..3 {
        let line = told.lines().nth(sequence).unwrap();
        assert!(line.starts_with(&format!("reply from 127.0.0.1 seq={sequence} ")), "{told}");
        let time = line.split("time=").nth(1).unwrap().split(" ms").next().unwrap();
        assert!(time.parse::<f64>().unwrap() > 0.0, "{line}");
    }
    assert!(told.contains("3 sent, 3 received, 0 % loss"), "{told}");
    let quiet = text("127.0.0.1 --count 3 --interval 20ms -q");
    assert!(!quiet.contains("seq=") && quiet.contains("3 sent, 3 received"), "{quiet}");
}

#[test]
fn where_nothing_was_sent_there_are_no_statistics() {
    let run = Sockeye::new("raw-ping 127.0.0.1 @no-such-file").under(Net::isolated().prefix()).run().exits(6);
    assert_eq!(String::from_utf8_lossy(run.stdout()), "nothing sent, 1 error\n");
}

#[test]
fn a_limit_is_told_to_the_nanosecond_and_no_further() {
    let run = Sockeye::new("raw-ping 127.0.0.1 --count 1 --max-rtt 1ns").under(Net::isolated().prefix()).run().exits(1);
    assert!(run.stderr().contains("--max-rtt 0.000001 ms is exceeded"), "{}", run.stderr());
}

#[test]
fn a_plot_fits_into_the_width_that_there_is() {
    let told = text("127.0.0.1 ::1 --count 20 --interval 5ms --plot -q");
    assert_eq!(told.matches("RTT by time").count(), 2, "one a target:\n{told}");
    assert_eq!(told.matches("RTT of 20 probes").count(), 2, "{told}");
    assert!(told.lines().filter(|line| line.contains('│')).count() > 10, "{told}");
    assert!(
        told.lines().filter(|line| line.contains(['│', '┤', '┬'])).all(|line| line.chars().count() <= 80),
        "{told}"
    );
    let ascii = Sockeye::new("raw-ping 127.0.0.1 --count 5 --interval 5ms --plot -q").env("LC_ALL", "C");
    let run = ascii.under(Net::isolated().prefix()).run().exits(0);
    assert!(run.stdout().is_ascii(), "{}", String::from_utf8_lossy(run.stdout()));
}

#[test]
fn what_is_drawn_needs_somewhere_to_draw() {
    for line in ["127.0.0.1 --live", "127.0.0.1 --plot --json", "127.0.0.1 --plot --format json", "127.0.0.1 --live -q"]
    {
        let run = Sockeye::new(format!("raw-ping {line}")).run().exits(2);
        assert!(run.stdout().is_empty() && !run.stderr().is_empty(), "{line}");
    }
}

/// Runs a program on a terminal of its own: what it draws, then what it is told, then how it ended and
/// whether the terminal is as it was.
const TERMINAL: &str = r"
import fcntl, os, pty, select, struct, sys, termios
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 20, 70, 0, 0))
before = termios.tcgetattr(fd)[3]
seen, told = b'', False
while True:
    try:
        more = os.read(fd, 65536)
    except OSError:
        break
    if not more:
        break
    seen += more
    if not told and b'127.0.0.1' in seen and b'::1' in seen:
        told = True
        assert not termios.tcgetattr(fd)[3] & termios.ICANON, 'keys are read one by one'
        os.write(fd, sys.argv[1].encode())
status = os.waitpid(pid, 0)[1]
after = termios.tcgetattr(fd)[3]
sys.stdout.buffer.write(seen)
print('STATUS', os.waitstatus_to_exitcode(status), 'RESTORED', before == after)
";

#[test]
fn a_screen_is_drawn_until_a_key_ends_it_and_the_terminal_is_as_it_was() {
    require(&["python3"]);
    for key in ["q", "\u{3}"] {
        let line = "raw-ping 127.0.0.1 ::1 --live --count 0 --interval 50ms";
        let mut words: Vec<std::ffi::OsString> = Net::isolated().prefix();
        words.extend([python().into(), "-c".into(), TERMINAL.into(), key.into()]);
        let run = Sockeye::new(line).under(words).run();
        let seen = String::from_utf8_lossy(run.stdout()).into_owned();
        assert!(seen.contains("STATUS 0 RESTORED True"), "{seen}\n{}", run.stderr());
        // The other screen of the terminal is entered and left, and then the totals are told.
        let (drawn, rest) = seen.split_once("\u{1b}[?1049l").expect("it is left");
        assert!(drawn.contains("\u{1b}[?1049h") && drawn.contains("q quits"), "{seen}");
        assert!(rest.contains("2 of 2 targets answered"), "{seen}");
    }
}

#[test]
fn doctor_tries_every_socket_of_icmp() {
    let outcomes = |is_open: bool, line: &str| {
        let net = Net::isolated();
        // A new namespace permits it to nobody.
        let net = if is_open { net.with("echo '0 0' >/proc/sys/net/ipv4/ping_group_range") } else { net };
        let run = Sockeye::new(line).under(net.prefix()).run().exits(0);
        let of =
            |name: &str| run.all::<Check>().into_iter().find(|check| check.name == name).map(|check| check.outcome);
        let names = ["icmp-raw-ipv4", "icmp-raw-ipv6", "icmp-dgram-ipv4", "icmp-dgram-ipv6"];
        names.map(of)
    };
    assert_eq!(outcomes(true, "doctor --json"), [Some(CheckOutcome::Ok); 4]);
    let [ok, denied] = [CheckOutcome::Ok, CheckOutcome::Denied].map(Some);
    assert_eq!(outcomes(false, "doctor --json"), [ok, ok, denied, denied]);
    assert_eq!(outcomes(true, "doctor --json -6"), [None, ok, None, ok]);
}

#[test]
fn nobody_has_rights_once_the_sockets_are_open() {
    let net = Net::isolated();
    let run = Sockeye::new("raw-ping 127.0.0.1 --count 0 --interval 20ms --json").under(net.prefix()).start();
    run.wait_until("an answer", |lines| lines.iter().find(|line| line.event.name() == "reply").map(|_| ()));
    let tasks = std::fs::read_dir(format!("/proc/{}/task", run.pid())).expect("it runs");
    for task in tasks {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap_or_default();
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            let value = status.lines().find_map(|line| line.strip_prefix(&format!("{set}:"))).unwrap_or("0").trim();
            assert!(value.trim_matches('0').is_empty(), "{set} {value}\n{status}");
        }
        assert!(status.is_empty() || status.contains("NoNewPrivs:\t1"), "{status}");
    }
    run.interrupt().exits(0);
}
