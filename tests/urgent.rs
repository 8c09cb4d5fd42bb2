//! Urgent data (tcp(7), "Out-of-band data"): a recv ends before it, and so does a splice; what follows it is lost on
//! nobody, and that its byte is missing is told.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::SockRef;

use crate::harness::events::{Accept, Close, Fact, Listen, Recv, Warning};
use crate::harness::net::{TempDir, dial, listener, over_both_families};
use crate::harness::{Family, Finished, Running, Sockeye};

/// Sends bytes with an urgent one among them.
fn send_urgently(peer: &impl AsFd) {
    let socket = SockRef::from(peer);
    socket.send(b"before").unwrap();
    socket.send_out_of_band(b"!").unwrap();
    socket.send(b"after").unwrap();
}

/// Sends a client urgent data and the peer's end while it is stopped, so that it meets both at once; ends its run.
fn ended_urgently(client: Running, peer: impl AsFd) -> Finished {
    client.signal(Signal::SIGSTOP);
    send_urgently(&peer);
    drop(peer);
    client.signal(Signal::SIGCONT);
    let run = client.finish().exits(0);
    assert_eq!(String::from_utf8_lossy(run.stdout()), "beforeafter", "{}", run.dump());
    run
}

/// That a byte is out of band is told once a connection.
#[track_caller]
fn assert_told(run: &Finished, conns: &[u64]) {
    let told: Vec<_> = run.all::<Warning>().into_iter().filter(|warning| warning.name == "urgent-data").collect();
    let mut whose: Vec<_> = told.iter().map(|warning| warning.conn.unwrap()).collect();
    whose.sort_unstable();
    assert_eq!(whose, conns, "{}", run.dump());
}

/// Runs a relay to stdout of a kind, with a peer that sends urgent data, and later once more before its end.
fn relayed(family: Family, is_file: bool) {
    let (listener, port) = listener(family);
    let dir = TempDir::new();
    let path = dir.path().join("out");
    let client = Sockeye::new(format!("connect {} {port}", family.host())).stdin_piped();
    let client = if is_file { client.stdout_to(fs::File::create(&path).unwrap()) } else { client }.start();
    let (mut peer, _) = listener.accept().unwrap();
    let stopped = |act: &dyn Fn()| {
        client.signal(Signal::SIGSTOP);
        act();
        client.signal(Signal::SIGCONT);
    };
    stopped(&|| send_urgently(&peer));
    // It is not the peer's end that brings it.
    let began = Instant::now();
    while is_file && fs::read(&path).unwrap() != b"beforeafter" {
        assert!(began.elapsed() < Duration::from_secs(20), "{:?}", fs::read(&path));
        thread::yield_now();
    }
    if !is_file {
        client.wait_for_stdout(b"beforeafter");
    }
    stopped(&|| {
        send_urgently(&peer);
        peer.shutdown(Shutdown::Write).unwrap();
    });
    let run = client.finish().exits(0);
    let got = if is_file { fs::read(&path).unwrap() } else { run.stdout().to_vec() };
    assert_eq!(String::from_utf8_lossy(&got), "beforeafterbeforeafter", "{}", run.dump());
    assert_eq!(peer.read(&mut [0]).unwrap(), 0);
    assert!(run.stderr().contains("22 bytes in"), "{}", run.dump());
    assert_eq!(run.stderr().matches("urgent data").count(), 1, "{}", run.dump());
}

over_both_families! {
    fn a_relay_to_a_pipe_loses_nothing_of_what_follows(family) { relayed(family, false); }
    fn a_relay_to_a_file_loses_nothing_of_what_follows(family) { relayed(family, true); }

    fn a_relay_loses_nothing_that_came_with_the_peer_s_end(family) {
        let (listener, port) = listener(family);
        let client = Sockeye::new(format!("connect {} {port}", family.host())).stdin_piped().start();
        let (peer, _) = listener.accept().unwrap();
        ended_urgently(client, peer);
    }
}

#[test]
fn a_client_hears_the_answer_behind_it() {
    let (listener, port) = listener(Family::V4);
    let words = format!("connect 127.0.0.1:{port} hello --expect after --json --timeout 20s");
    let client = Sockeye::new(words).start();
    let (mut peer, _) = listener.accept().unwrap();
    peer.read_exact(&mut [0; 5]).unwrap();
    client.signal(Signal::SIGSTOP);
    send_urgently(&peer);
    client.signal(Signal::SIGCONT);
    let run = client.finish_by_itself().exits(0);
    let got: Vec<_> = run.all::<Recv>().iter().map(|recv| recv.bytes).collect();
    assert_eq!(got, [6, 5], "{}", run.dump());
    assert_told(&run, &[1]);
}

#[test]
fn a_server_hears_what_is_behind_it_in_each_kind_of_session() {
    // The first is answered by the task of all, the others have one of their own.
    for words in ["--echo", "--broker", "--discard", "--fault delay=1ms", "--echo --proxy-protocol"] {
        let server = Sockeye::new(format!("serve 127.0.0.1:0 --json {words}")).start();
        let (mut peer, mut calm) = (dial(Family::V4, server.port()), dial(Family::V4, server.port()));
        if words.contains("proxy") {
            peer.write_all(b"PROXY UNKNOWN\r\n").unwrap();
            calm.write_all(b"PROXY UNKNOWN\r\n").unwrap();
        }
        calm.write_all(b"calm").unwrap();
        server.wait_for_nth::<Accept>(2);
        server.signal(Signal::SIGSTOP);
        send_urgently(&peer);
        server.signal(Signal::SIGCONT);
        server.wait_until("all that was sent", |lines| {
            let recvs = lines.iter().filter_map(|line| Recv::of(&line.event)).filter(|recv| recv.conn == Some(1));
            (recvs.map(|recv| recv.bytes).sum::<u64>() == 11).then_some(())
        });
        drop((peer, calm));
        // An end is nothing urgent.
        server.wait_for_nth::<Close>(2);
        let run = server.interrupt().exits(0);
        assert_told(&run, &[1]);
    }
}

#[test]
fn so_it_is_of_unix_streams() {
    let (dir, words) = (TempDir::new(), ["--echo", "--broker"]);
    for words in words {
        let path = dir.path().join("socket");
        let server = Sockeye::new(format!("unix-serve --json {words}")).arg(&path).start();
        server.wait_for::<Listen>();
        let peer = UnixStream::connect(&path).unwrap();
        server.wait_for::<Accept>();
        server.signal(Signal::SIGSTOP);
        send_urgently(&peer);
        server.signal(Signal::SIGCONT);
        server.wait_until("all that was sent", |lines| {
            let recvs = lines.iter().filter_map(|line| Recv::of(&line.event));
            (recvs.map(|recv| recv.bytes).sum::<u64>() == 11).then_some(())
        });
        let run = server.interrupt().exits(0);
        assert_told(&run, &[1]);
    }
    let path = dir.path().join("ours");
    let listener = UnixListener::bind(&path).unwrap();
    let client = Sockeye::new(format!("connect unix:{}", path.display())).stdin_piped().start();
    let (peer, _) = listener.accept().unwrap();
    let run = ended_urgently(client, peer);
    assert_eq!(run.stderr().matches("urgent data").count(), 1, "{}", run.dump());
}
