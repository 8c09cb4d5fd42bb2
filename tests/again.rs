//! Until the port opens (`--retry-for`).

use std::time::Duration;

use crate::harness::events::{Connect, Error, Recv, Resolve, Step, Warning};
use crate::harness::net::{Net, TempDir, listener, refusing_port};
use crate::harness::peers::python;
use crate::harness::{Family, Finished, Peer, Sockeye};

/// A server that is bound, and so refuses, until it is told to listen; then it echoes to everyone.
const OPENS: &str = r#"
server = socket.socket()
server.bind(("127.0.0.1", 0))
say(server.getsockname()[1])
told()
server.listen()
while True:
    peer, _ = server.accept()
    if data := peer.recv(100):
        peer.sendall(b"you said " + data)
    peer.close()
"#;

/// Returns when each event of a name came, in nanoseconds since the start.
fn times_of(run: &Finished, name: &str) -> Vec<u64> {
    run.lines.iter().filter(|line| line.event.name() == name).map(|line| line.elapsed_ns).collect()
}

/// Returns how many warnings of a name there are.
fn warnings(run: &Finished, name: &str) -> usize {
    run.all::<Warning>().iter().filter(|warning| warning.name == name).count()
}

#[test]
fn a_connect_is_tried_again_until_the_port_opens() {
    for words in ["hello", "--probe", ""] {
        let mut server = Peer::python_server(OPENS, &[]);
        let client = Sockeye::new(format!("connect 127.0.0.1 {} --retry-for 60s --json", server.port));
        let client = client.args(words.split_whitespace()).stdin_piped().start();
        client.wait_for::<Error>();
        server.send(b"listen\n");
        let connect = client.wait_for::<Connect>();
        let run = client.finish().exits(0);
        let errors = run.all::<Error>();
        assert!(errors.iter().all(|error| error.errno.as_deref() == Some("ECONNREFUSED")), "{errors:?}");
        assert_eq!(connect.attempt as usize, errors.len() + 1, "{words}: attempts go on counting");
        assert_eq!(warnings(&run, "retry"), errors.len(), "{words}: each wait is told");
        if words == "hello" {
            assert_eq!(run.one::<Recv>().payload(), b"you said hello");
        }
    }
}

#[test]
fn a_retry_backs_off_and_ends_with_the_last_failure() {
    let (_held, port) = refusing_port(Family::V4);
    let run = Sockeye::new(format!("connect --probe 127.0.0.1 {port} --retry-for 1s --json")).run().exits(7);
    let times = times_of(&run, "error");
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // 100 ms, 200 ms, 400 ms, each less at most a tenth; the last is cut to what is left.
    for (gap, least) in gaps[..gaps.len() - 1].iter().zip([90, 180, 360, 720]) {
        assert!(*gap >= least * 1_000_000, "{gaps:?}");
    }
    assert!((3..=5).contains(&times.len()), "{gaps:?}");
    let last = times[times.len() - 1];
    assert!((1_000_000_000..2_500_000_000).contains(&last), "the last try is at the end: {times:?}");
    assert_eq!(warnings(&run, "retry"), times.len() - 1);
    for warning in run.all::<Warning>() {
        let seconds = |after: &str, before: &str| -> f64 {
            let (_, rest) = warning.message.split_once(after).unwrap();
            rest.split_once(before).unwrap().0.parse().unwrap()
        };
        let (wait, left) = (seconds("again in ", " s"), seconds(" s, ", " s are left"));
        assert!(0.0 < wait && wait <= left && left < 1.0, "{warning:?}");
    }
}

#[test]
fn a_silent_port_is_given_up_in_time_too() {
    let silent = crate::harness::net::silent_port(Family::V4);
    let line = format!("connect --probe 127.0.0.1 {} --retry-for 700ms --connect-timeout 300ms --json", silent.port);
    let run = Sockeye::new(line).run().exits(8);
    let errors = run.all::<Error>().len();
    assert!((2..=3).contains(&errors), "{}", run.dump());
    let took = run.elapsed_of("summary");
    assert!((Duration::from_millis(700)..Duration::from_millis(2500)).contains(&took), "{took:?}");
}

#[test]
fn what_is_wrong_with_this_machine_is_not_tried_again() {
    let (_listener, port) = listener(Family::V4);
    let run = Sockeye::new(format!("connect --probe 127.0.0.1 {port} --source 192.0.2.1 --retry-for 60s --json"));
    let run = run.run().exits(5);
    assert_eq!((run.one::<Error>().step, warnings(&run, "retry")), (Step::Bind, 0));
}

#[test]
fn a_name_is_looked_up_again_for_each_try() {
    const LISTENER: &str = "
import os, socket, sys
server = socket.create_server(('127.0.0.1', 7000))
os.set_inheritable(server.fileno(), True)
os.execv(sys.argv[1], sys.argv[1:])
";
    let dir = TempDir::new();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").unwrap();
    let client = Sockeye::new("connect --probe later 7000 --retry-for 60s --json")
        .under([python(), "-I", "-S", "-c", LISTENER])
        .under(Net::isolated().with_hosts(&hosts).prefix())
        .start();
    assert_eq!(client.wait_for::<Error>().step, Step::Resolve);
    std::fs::write(&hosts, "127.0.0.1 localhost\n127.0.0.1 later\n").unwrap();
    let run = client.finish().exits(0);
    assert_eq!((run.one::<Resolve>().name.as_str(), run.one::<Connect>().attempt), ("later", 1));
    assert_eq!(warnings(&run, "retry"), run.all::<Error>().len());
}

#[test]
fn a_unix_path_may_appear_later() {
    let script = r#"
told()
server = socket.socket(socket.AF_UNIX)
server.bind(sys.argv[1])
server.listen()
peer, _ = server.accept()
peer.sendall(peer.recv(100).upper())
peer.close()
"#;
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let mut server = Peer::python(script, &[path.to_str().unwrap()]);
    let client = Sockeye::new(format!("connect unix:{} hello --retry-for 60s --json", path.display())).start();
    assert_eq!(client.wait_for::<Error>().errno.as_deref(), Some("ENOENT"));
    server.send(b"listen\n");
    let run = client.finish().exits(0);
    assert_eq!(run.one::<Recv>().payload(), b"HELLO");
    assert!(run.one::<Connect>().attempt >= 2);
}

#[test]
fn of_many_targets_each_is_tried_for_itself() {
    let mut server = Peer::python_server(OPENS, &[]);
    let (_held, refused) = refusing_port(Family::V4);
    let (_listener, open) = listener(Family::V4);
    let line = format!("connect --probe 127.0.0.1:{open} 127.0.0.1:{} 127.0.0.1:{refused}", server.port);
    let client = Sockeye::new(format!("{line} --retry-for 1500ms --json")).start();
    client.wait_for_nth::<Error>(2);
    server.send(b"listen\n");
    let run = client.finish().exits(1);
    let attempt = |port| run.all::<Connect>().iter().find(|it| it.peer == format!("127.0.0.1:{port}")).unwrap().attempt;
    assert!(attempt(open) == 1 && attempt(server.port) >= 2, "{}", run.dump());
}

#[test]
fn a_signal_ends_the_wait_for_the_next_try_at_once() {
    let (_held, port) = refusing_port(Family::V4);
    let client = Sockeye::new(format!("connect 127.0.0.1 {port} hello --retry-for 1h --json")).start();
    // The pause after the fifth is longer than a second.
    client.wait_for_nth::<Warning>(5);
    let run = client.interrupt().exits(8);
    assert_eq!((run.all::<Error>().len(), warnings(&run, "stopped")), (5, 1), "{}", run.dump());
}

#[test]
fn a_deadline_ends_the_wait_for_the_next_try() {
    let (_held, port) = refusing_port(Family::V4);
    for words in ["hello", "--probe"] {
        let line = format!("connect 127.0.0.1 {port} {words} --retry-for 1h --deadline 500ms --json");
        let run = Sockeye::new(line).run().exits(8);
        assert_eq!(warnings(&run, "stopped"), 1, "{}", run.dump());
        assert!(run.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn a_retry_of_no_time_is_refused() {
    for (line, needle) in [("--retry-for 0", "0"), ("--retry-for soon", "soon")] {
        let run = Sockeye::new(format!("connect localhost:80 hi {line}")).run_or_kill_after(Duration::from_secs(2));
        assert_eq!((run.status().code(), run.stdout()), (Some(2), &b""[..]), "{line}: {}", run.dump());
        assert!(run.stderr().contains("--retry-for") && run.stderr().contains(needle), "{line}: {}", run.stderr());
    }
}
