//! Peers that one task answers together: none is overlooked, whatever the others do, and none costs anything while it
//! says nothing.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use socket2::{Domain, SockAddr, SockRef, Socket, Type};

use crate::harness::events::{Close, Eof, Reason, Recv, Warning};
use crate::harness::net::{self, dial, refusing_port};
use crate::harness::{Family, Sockeye, require};
use crate::unix::{place, serve as unix_serve};

/// Peers that send and await their echoes without end.
struct Busy {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<u64>>,
}

impl Busy {
    /// Begins with so many threads of 16 peers each.
    fn start(threads: usize, port: u16) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let begin = |_| {
            let (is_over, mut peers) = (Arc::clone(&is_over), Vec::from_iter((0..16).map(|_| dial(Family::V4, port))));
            thread::spawn(move || {
                let mut answers = 0;
                // The server may be told to stop while they go on.
                while !is_over.load(Ordering::Relaxed) && round(&mut peers).is_ok() {
                    answers += 16;
                }
                answers
            })
        };
        let threads = (0..threads).map(begin).collect();
        Self { is_over, threads }
    }

    /// Ends them, and returns how many answers they had.
    fn end(self) -> u64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    }
}

/// Sends on all and awaits their echoes.
fn round(peers: &mut [TcpStream]) -> std::io::Result<()> {
    for peer in &mut *peers {
        peer.write_all(b"hello")?;
    }
    peers.iter_mut().try_for_each(|peer| peer.read_exact(&mut [0; 5]))
}

#[test]
fn a_server_that_tells_nothing_is_one_thread() {
    let (_dir, path) = place();
    let server = Sockeye::new("unix-serve -q").arg(&path).start();
    let mut peer = reached(|| {
        assert!(server.is_running());
        UnixStream::connect(&path)
    });
    let threads = || fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().count();
    for _ in 0..3 {
        peer.write_all(b"hello").unwrap();
        peer.read_exact(&mut [0; 5]).unwrap();
        assert_eq!(threads(), 1);
    }
    let run = server.interrupt().exits(0);
    assert!(run.stderr().is_empty(), "{}", run.dump());
    assert!(String::from_utf8_lossy(run.stdout()).contains("15 bytes in, 15 bytes out"), "{}", run.dump());
}

#[test]
fn what_comes_with_the_end_behind_it_is_answered_whole_however_many_send() {
    net::raise_descriptor_limit();
    // More than are told of at once, and each far more than one recv takes, so that nothing tells of the rest.
    let server = Sockeye::new("serve 127.0.0.1:0 --recv-size 100 -q --json").start();
    let port = net::wait_for_listener(server.pid(), || server.is_running());
    let sent = net::random_bytes(10_000, 3);
    let mut peers: Vec<_> = (0..600).map(|_| dial(Family::V4, port)).collect();
    server.signal(Signal::SIGSTOP);
    for peer in &mut peers {
        peer.write_all(&sent).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
    }
    server.signal(Signal::SIGCONT);
    for mut peer in peers {
        let mut got = Vec::new();
        peer.read_to_end(&mut got).unwrap();
        assert!(got == sent, "{} of {} bytes", got.len(), sent.len());
    }
    let run = server.interrupt().exits(0);
    assert_eq!(run.summary().bytes_sent, Some(6_000_000));
}

#[test]
fn among_peers_that_talk_without_end_a_silent_one_is_timed_out_and_a_new_one_is_answered() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json --timeout 300ms -q").start();
    let port = net::wait_for_listener(server.pid(), || server.is_running());
    let busy = Busy::start(4, port);
    let began = Instant::now();
    let mut silent = dial(Family::V4, port);
    assert_eq!(silent.read(&mut [0]).unwrap(), 0, "it is closed");
    let after = began.elapsed();
    assert!(after >= Duration::from_millis(300) && after < Duration::from_secs(3), "{after:?}");
    let began = Instant::now();
    for _ in 0..50 {
        let mut new = dial(Family::V4, port);
        new.write_all(b"hello").unwrap();
        new.read_exact(&mut [0; 5]).unwrap();
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?} for 50 that are new", began.elapsed());
    server.signal(Signal::SIGINT);
    let began = Instant::now();
    let run = server.finish().exits(0);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?} until it stopped", began.elapsed());
    let answers = busy.end();
    assert!(answers > 0, "{}", run.dump());
}

#[test]
fn a_peer_that_takes_its_answers_late_has_them_all_and_goes_on() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json").start();
    let port = server.port();
    let mut late = dial(Family::V4, port);
    // As much as goes in, then a second of it while it takes nothing: it waits alone.
    late.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
    let (chunk, mut sent) = (net::random_bytes(1000, 5), Vec::new());
    while let Ok(count) = late.write(&chunk) {
        sent.extend_from_slice(&chunk[..count]);
    }
    late.set_write_timeout(None).unwrap();
    let mut other = dial(Family::V4, port);
    other.write_all(b"hello").unwrap();
    other.read_exact(&mut [0; 5]).unwrap();
    let mut got = vec![0; sent.len()];
    late.read_exact(&mut got).unwrap();
    assert!(got == sent);
    late.write_all(b"hello").unwrap();
    late.read_exact(&mut got[..5]).unwrap();
    assert_eq!(&got[..5], b"hello");
    drop((late, other));
    server.wait_for_nth::<Close>(2);
    let run = server.interrupt().exits(0);
    assert!(run.all::<Close>().iter().all(|close| close.reason == Reason::Eof), "{}", run.dump());
}

#[test]
fn an_empty_record_is_no_end_whether_or_not_the_end_has_come_by_then() {
    let (_dir, path) = place();
    let server = unix_serve(&path, "seqpacket", "--discard");
    let open = seqpacket(&path);
    for (sent, record) in [&b"a"[..], b"", b"", b"b"].into_iter().enumerate() {
        open.send(record).unwrap();
        server.wait_for_nth::<Recv>(sent + 1);
    }
    drop(open);
    server.wait_for_nth::<Close>(1);
    // Here the end is there before anything is read.
    server.signal(Signal::SIGSTOP);
    let closed = seqpacket(&path);
    for record in [&b"a"[..], b"", b"", b"b", b""] {
        closed.send(record).unwrap();
    }
    drop(closed);
    server.signal(Signal::SIGCONT);
    server.wait_for_nth::<Close>(2);
    let run = server.interrupt().exits(0);
    let received =
        |conn| Vec::from_iter(run.all::<Recv>().iter().filter(|recv| recv.conn == Some(conn)).map(|recv| recv.bytes));
    assert_eq!((received(1), received(2)), (vec![1, 0, 0, 1], vec![1, 0, 0, 1, 0]));
    assert_eq!(run.all::<Eof>().len(), 2, "{}", run.dump());
    assert!(run.all::<Close>().iter().all(|close| close.reason == Reason::Eof && close.clean == Some(true)));
}

#[test]
fn what_follows_urgent_data_is_answered_and_who_sent_it_is_timed_out() {
    // A recv ends before an urgent byte, and nothing tells of what is behind it.
    let server = Sockeye::new("serve 127.0.0.1:0 --json --timeout 400ms").start();
    let mut peer = dial(Family::V4, server.port());
    peer.write_all(b"x").unwrap();
    peer.read_exact(&mut [0]).unwrap();
    server.signal(Signal::SIGSTOP);
    let socket = SockRef::from(&peer);
    socket.send(b"abc").unwrap();
    socket.send_out_of_band(b"!").unwrap();
    socket.send(b"def").unwrap();
    server.signal(Signal::SIGCONT);
    let mut got = Vec::new();
    peer.read_to_end(&mut got).unwrap();
    assert_eq!(String::from_utf8_lossy(&got), "abcdef");
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Close>().reason, Reason::Timeout, "{}", run.dump());
}

/// Lets a peer send to a server of whose events nobody reads one, until it takes no more, and leave. Then the events
/// are read, and have all that was sent, and the end.
fn slowly_read(kind: &str, part: usize) {
    let (_dir, path) = place();
    let (reader, writer) = std::io::pipe().unwrap();
    let words = format!("unix-serve --json --discard --type {kind} --recv-size {part}");
    let server = Sockeye::new(words).arg(&path).stdout_to(writer).start();
    let kind = if kind == "stream" { Type::STREAM } else { Type::SEQPACKET };
    let other = reached(|| {
        assert!(server.is_running());
        connected(kind, &path)
    });
    other.send(b"x").unwrap();
    let peer = connected(kind, &path).unwrap();
    peer.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    while let Ok(bytes) = peer.send(&vec![7; part]) {
        sent += bytes;
        assert!(sent < 400_000_000, "it takes all, though nobody reads its events");
    }
    // All that there is of this one is waiting when its end comes.
    other.send(b"y").unwrap();
    let mut peers = Some((peer, other));
    for is_over in [false, true] {
        if is_over {
            peers = None;
        }
        // A measure of time, so it takes time.
        let (used, began) = (net::processor_time(server.pid()), Instant::now());
        thread::sleep(Duration::from_millis(300));
        let used = net::processor_time(server.pid()) - used;
        assert!(used < began.elapsed() / 5, "{used:?} of processor time in {:?} with nothing to do", began.elapsed());
    }
    assert!(peers.is_none());
    let mut lines = BufReader::new(File::from(OwnedFd::from(reader))).lines().map(Result::unwrap);
    let closed: Vec<_> = lines.by_ref().filter(|line| line.contains(r#""event":"close""#)).take(2).collect();
    for (conn, bytes) in [(1, 2), (2, sent)] {
        let told =
            [format!(r#""conn":{conn},"#), r#""reason":"eof""#.to_owned(), format!(r#""bytes_received":{bytes},"#)];
        assert!(closed.iter().any(|line| told.iter().all(|word| line.contains(word))), "{told:?} not in {closed:?}");
    }
    server.signal(Signal::SIGINT);
    // The rest has to be read too, or the server could not end.
    assert!(lines.any(|line| line.contains(r#""event":"summary""#)));
    server.finish().exits(0);
}

#[test]
fn records_that_wait_for_a_slow_reader_of_the_events_cost_nothing_and_are_not_lost() {
    slowly_read("seqpacket", 4000);
}

#[test]
fn bytes_that_wait_for_a_slow_reader_of_the_events_cost_nothing_and_have_their_end() {
    slowly_read("stream", 4000);
}

/// Connects as soon as that works.
fn reached<T>(connect: impl Fn() -> std::io::Result<T>) -> T {
    let began = Instant::now();
    loop {
        match connect() {
            Ok(made) => return made,
            Err(error) => assert!(began.elapsed() < Duration::from_secs(60), "{error}"),
        }
        thread::yield_now();
    }
}

pub(crate) fn connected(kind: Type, path: &str) -> std::io::Result<Socket> {
    let peer = Socket::new(Domain::UNIX, kind, None)?;
    peer.connect(&SockAddr::unix(path)?)?;
    Ok(peer)
}

fn seqpacket(path: &str) -> Socket {
    connected(Type::SEQPACKET, path).unwrap()
}

#[test]
fn who_tells_of_nothing_but_the_end_needs_no_thread_for_it() {
    require(&["prlimit"]);
    let (_held, port) = refusing_port(Family::V4);
    let connect = format!("connect 127.0.0.1:{port} --probe -q");
    for (line, code) in [(connect.as_str(), 7), ("serve 127.0.0.1:0 --deadline 50ms -q", 0)] {
        let run = Sockeye::new(line).under(["prlimit", "--nproc=1"]).by_nobody().run().exits(code);
        let told = String::from_utf8_lossy(run.stdout()).into_owned();
        assert!(told.contains("refused") || told.contains("served 0 connections"), "{}", run.dump());
    }
    // Where the work itself needs one, that is told.
    for line in ["udp-send 127.0.0.1:9 x -q", "raw-ping 127.0.0.1 --count 1 -q"] {
        let run = Sockeye::new(line).under(["prlimit", "--nproc=1"]).by_nobody().run().exits(5);
        assert!(run.stderr().contains("thread"), "{}", run.dump());
    }
}

#[test]
fn peers_that_come_one_after_another_are_never_too_many() {
    for words in ["--fault close-after=1", "--messages 1"] {
        let server = Sockeye::new(format!("serve 127.0.0.1:0 --json --max-connections 2 {words}")).start();
        let port = server.port();
        for _ in 0..300 {
            let mut peer = dial(Family::V4, port);
            peer.write_all(b"x").unwrap();
            // Its bytes are answered, or left unread.
            let _ended = peer.read_to_end(&mut Vec::new());
        }
        let run = server.interrupt().exits(0);
        assert!(run.all::<Warning>().iter().all(|warning| warning.name != "max-connections"), "{words}");
    }
}

#[test]
fn records_without_a_byte_wait_for_a_slow_reader_of_the_events_too() {
    let (_dir, path) = place();
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Sockeye::new("unix-serve --json --discard --type seqpacket").arg(&path).stdout_to(writer).start();
    let peer = reached(|| {
        assert!(server.is_running());
        connected(Type::SEQPACKET, &path)
    });
    peer.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let mut sent = 0;
    while peer.send(&[]).is_ok() {
        sent += 1;
        assert!(sent < 200_000, "it takes all, though nobody reads its events");
    }
    drop(peer);
    let lines = BufReader::new(reader).lines().map(Result::unwrap);
    let told = lines.take_while(|line| !line.contains(r#""event":"close""#)).filter(|line| line.contains(r#""recv""#));
    assert_eq!(told.count(), sent);
    server.signal(Signal::SIGINT);
    assert_eq!(server.finish().code(), 0);
}

#[test]
fn a_connection_that_is_gone_is_forgotten_long_before_its_time_out() {
    let server = Sockeye::new("serve 127.0.0.1:0 -q --timeout 600s").start();
    let port = net::wait_for_listener(server.pid(), || server.is_running());
    let come_and_go = |count: usize| {
        for _ in 0..count {
            net::reset(dial(Family::V4, port));
        }
        // Who is answered came after all of them.
        let mut last = dial(Family::V4, port);
        last.write_all(b"x").unwrap();
        last.read_exact(&mut [0]).unwrap();
    };
    come_and_go(5_000);
    let before = net::resident_memory(server.pid());
    come_and_go(25_000);
    let grown = net::resident_memory(server.pid()).saturating_sub(before);
    assert!(grown < 16 * 25_000, "{grown} bytes");
    server.signal(Signal::SIGINT);
    assert_eq!(server.finish().code(), 0);
}
