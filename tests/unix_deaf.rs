//! Unix peers that take nothing, or no more: noticed, and told as what they are.

use std::fs;
use std::time::{Duration, Instant};

use crate::harness::events::{Close, Error, Listen, Reason, Step, Timeout};
use crate::harness::net::{TempDir, random_bytes};
use crate::harness::peers::Peer;
use crate::harness::{Finished, Sockeye};
use crate::unix::{CONNECTED, TYPES, place};

#[test]
fn a_peer_that_takes_no_more_is_noticed_though_there_is_no_room() {
    for (kind, words) in [("stream", "--source-bytes"), ("seqpacket", "--source-bytes"), ("stream", "--relay")] {
        let (dir, path) = place();
        let server = Sockeye::new(format!("unix-serve --type {kind} {words} --count 1 --json")).arg(&path);
        let full = dir.path().join("input");
        fs::write(&full, random_bytes(8 << 20, 5)).unwrap();
        let server = if words == "--relay" { server.stdin_from(fs::File::open(full).unwrap()) } else { server };
        let server = server.start();
        server.wait_for::<Listen>();
        // Room is told of by nobody once the buffers are full: then it takes no more.
        let script = format!(
            "{TYPES}import fcntl, termios\npeer = make(sys.argv[1])\npeer.connect(sys.argv[2])\nbefore = -1\n\
             def there():\n    return struct.unpack('i', fcntl.ioctl(peer, termios.FIONREAD, bytes(4)))[0]\n\
             while there() == 0 or there() != before:\n    before = there()\n    time.sleep(0.3)\n\
             peer.shutdown(socket.SHUT_RD)\nsay('shut')\ntold()"
        );
        let peer = Peer::python(&script, &[kind, &path]);
        let began = Instant::now();
        assert_eq!(server.wait_for::<Error>().errno.as_deref(), Some("EPIPE"), "{kind} {words}");
        assert!(began.elapsed() < Duration::from_secs(20), "{kind} {words}: {:?}", began.elapsed());
        // A relay waits for what it may still say.
        drop(peer);
        let _ended = server.finish_by_itself();
    }
}

/// Sends more to a unix peer than it has room for, with a time-out; returns what failed.
fn stuck(script: &str, bound: &str) -> Finished {
    let (_dir, path) = place();
    let script = format!(
        "server = socket.socket(socket.AF_UNIX)\nserver.bind(sys.argv[1])\nserver.listen()\nsay(1)\n\
                          peer, _ = server.accept()\n{script}"
    );
    let _peer = Peer::python_server(&script, &[&path]);
    let message = "x".repeat(100_000);
    let words = format!("connect unix:{path} --json --send-buffer 4096 --timeout {bound}");
    Sockeye::new(words).arg(message).run().exits(8)
}

#[test]
fn a_peer_that_takes_nothing_is_timed_out_though_sends_are_tried_meanwhile() {
    // Tries come every quarter of a second, and the looks at it every sixteenth of its time.
    for bound in ["1s", "4500ms"] {
        let run = stuck("signal.pause()", bound);
        assert_eq!(run.one::<Timeout>().step, Step::Send, "{}", run.dump());
        assert!(run.elapsed() < Duration::from_secs(15), "{:?}", run.elapsed());
    }
}

#[test]
fn a_peer_that_takes_no_more_is_noticed_within_a_short_time_out_too() {
    let (_dir, path) = place();
    let script = "server = socket.socket(socket.AF_UNIX)\nserver.bind(sys.argv[1])\nserver.listen()\nsay(1)\n\
                  peer, _ = server.accept()\ntime.sleep(0.3)\npeer.shutdown(socket.SHUT_RD)\nsignal.pause()";
    let _peer = Peer::python_server(script, &[&path]);
    let words = format!("connect unix:{path} --json --send-buffer 4096 --timeout 3s");
    let run = Sockeye::new(words).arg("x".repeat(100_000)).run();
    assert_eq!(run.all::<Error>()[0].errno.as_deref(), Some("EPIPE"), "{}", run.dump());
}

#[test]
fn a_peer_that_takes_no_more_has_reset_nothing() {
    let dir = TempDir::new();
    for kind in CONNECTED {
        let path = dir.path().join(kind).display().to_string();
        let server = Sockeye::new(format!("unix-serve {path} --type {kind} --source-bytes --count 1 --json")).start();
        server.wait_for::<Listen>();
        let script = format!(
            "{TYPES}peer = make(sys.argv[1])\npeer.connect(sys.argv[2])\npeer.recv(1000)\n\
                              peer.shutdown(socket.SHUT_RD)\nsay('shut')\ntold()"
        );
        let _peer = Peer::python(&script, &[kind, &path]);
        let run = server.finish_by_itself().exits(0);
        assert_eq!(run.one::<Error>().errno.as_deref(), Some("EPIPE"), "{}", run.dump());
        let close = run.one::<Close>();
        let told = (close.reason, close.closed_first, close.reset_by, close.clean);
        assert_eq!(told, (Reason::Local, None, None, Some(false)), "{kind}: {}", run.dump());
        assert_eq!(run.summary().resets, Some(0), "{}", run.dump());
    }
}
