//! The ways a run is ended from outside: signals, the deadline, a closed pipe. Each prints the
//! summary last and exits by the results.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::check;
use crate::harness::events::{Accept, Bind, Close, Connect, Event, Interim, Listen, Reason, Recv, Side, Warning};
use crate::harness::net::{TempDir, dial};
use crate::harness::{Family, Peer, Sockeye};

fn deaf_server() -> Peer {
    Peer::python_server("server = listen('127.0.0.1')\npeer, _ = server.accept()\nall_of(peer)", &[])
}

#[test]
fn sigint_and_sigterm_end_a_server_with_its_summary_and_exit_0() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let server = Sockeye::new("serve 0 --json").start();
        let mut client = dial(Family::V4, server.port());
        client.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        server.signal(signal);
        let run = server.finish().exits(0);
        assert_eq!(run.one::<Close>().reason, Reason::Signal, "{signal}");
        assert_eq!(run.summary().bytes_received, Some(5));
    }
}

#[test]
fn every_other_signal_that_ends_a_program_ends_a_run_with_its_summary() {
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    for signal in [
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGALRM,
        Signal::SIGVTALRM,
        Signal::SIGPROF,
        Signal::SIGXCPU,
        Signal::SIGIO,
        Signal::SIGPWR,
        Signal::SIGSTKFLT,
    ] {
        let server = Sockeye::new("unix-serve --json").arg(&path).start();
        server.wait_for::<Listen>();
        server.signal(signal);
        let run = server.finish().exits(0);
        assert_eq!(run.summary().connections, Some(0), "{signal}");
        assert!(!path.exists(), "{signal}");
    }
}

#[test]
fn a_limit_of_the_size_of_files_is_an_error_and_kills_nobody() {
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let full = ["sh", "-c", "ulimit -f 0; exec \"$@\"", "sh"];
    for line in [format!("unix-serve {} --json --deadline 10s", path.display()), "schema".to_owned()] {
        let file = File::create(dir.path().join("file")).unwrap();
        Sockeye::new(line).under(full).stdout_to(file).run().exits(6);
        assert!(!path.exists());
    }
}

#[test]
fn a_server_that_nobody_came_to_exits_0_too() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let server = Sockeye::new("serve 0 --json").start();
        server.port();
        server.signal(signal);
        let run = server.finish().exits(0);
        assert_eq!(run.summary().connections, Some(0));
    }
}

#[test]
fn a_deadline_ends_a_server_with_exit_0_in_time() {
    let server = Sockeye::new("serve 0 --json --deadline 500ms").start();
    let _client = dial(Family::V4, server.port());
    server.wait_for::<Accept>();
    let run = server.finish().exits(0);
    assert_eq!(run.one::<Close>().reason, Reason::Signal);
    let took = run.elapsed_of("summary");
    assert!((Duration::from_millis(500)..Duration::from_millis(1500)).contains(&took), "{took:?}");
}

#[test]
fn what_the_end_of_a_run_leaves_unread_is_told() {
    for deadline in ["", "--deadline 1s"] {
        let server = Sockeye::new(format!("serve 127.0.0.1:0 --fault hang --json {deadline}")).start();
        let mut client = dial(Family::V4, server.port());
        server.wait_for::<Accept>();
        client.write_all(b"hello").unwrap();
        let run = if deadline.is_empty() { server.interrupt() } else { server.finish_by_itself() }.exits(0);
        let close = run.one::<Close>();
        let told = (close.reason, close.reset_by, close.bytes_unread);
        assert_eq!(told, (Reason::Signal, Some(Side::Local), Some(5)), "{}", run.dump());
        let warning = run.one::<Warning>();
        assert_eq!((warning.name.as_str(), warning.conn), ("unread-at-close", Some(1)), "{}", run.dump());
    }
}

#[test]
fn a_signal_ends_a_relay_by_its_results() {
    let peer = Peer::python_server(
        "server = listen('127.0.0.1')\npeer, _ = server.accept()\npeer.sendall(b'banner')\nall_of(peer)",
        &[],
    );
    let client = Sockeye::new(format!("connect 127.0.0.1 {} --json", peer.port)).stdin_piped().start();
    client.wait_for::<Recv>();
    client.signal(Signal::SIGINT);
    let run = client.finish_by_itself().exits(0);
    assert_eq!(run.one::<Close>().reason, Reason::Signal);
}

#[test]
fn a_signal_while_the_answer_is_awaited_is_no_success() {
    let peer = deaf_server();
    let client = Sockeye::new(format!("connect 127.0.0.1 {} hello --timeout 10s --json", peer.port)).start();
    client.wait_for::<crate::harness::events::Send>();
    client.signal(Signal::SIGTERM);
    let run = client.finish();
    assert_ne!(run.code(), 0, "{}", run.dump());
    assert_eq!(run.one::<Close>().reason, Reason::Signal);
    assert!(run.elapsed() < Duration::from_secs(5), "it ends at once: {:?}", run.elapsed());
}

#[test]
fn a_signal_while_the_connect_is_awaited_is_no_success() {
    let silent = crate::harness::net::silent_port(Family::V4);
    let client = Sockeye::new(format!("connect 127.0.0.1 {} --probe --timeout 10s --json", silent.port)).start();
    client.wait_for::<crate::harness::events::Socket>();
    client.signal(Signal::SIGINT);
    let run = client.finish();
    assert_ne!(run.code(), 0, "{}", run.dump());
    assert!(run.elapsed() < Duration::from_secs(5), "it ends at once: {:?}", run.elapsed());
}

#[test]
fn sigquit_prints_an_interim_and_goes_on() {
    let server = Sockeye::new("serve 0 --json").start();
    let port = server.port();
    let mut client = dial(Family::V4, port);
    client.write_all(b"one").unwrap();
    client.read_exact(&mut [0; 3]).unwrap();
    server.signal(Signal::SIGQUIT);
    let interim = server.wait_for::<Interim>();
    assert_eq!((interim.connections, interim.bytes_received, interim.bytes_sent), (Some(1), Some(3), Some(3)));
    client.write_all(b"four").unwrap();
    client.read_exact(&mut [0; 4]).unwrap();
    server.signal(Signal::SIGQUIT);
    assert_eq!(server.wait_for_nth::<Interim>(2).bytes_received, Some(7));
    drop(client);
    server.wait_for::<Close>();
    let run = server.interrupt().exits(0);
    assert_eq!(run.summary().bytes_received, Some(7));
}

#[test]
fn the_time_of_a_server_goes_on_to_its_end() {
    // It ended with the last event, which may be that it listens: less than an interim had said.
    let name = format!("@sockeye-duration-{}", std::process::id());
    for line in ["serve 127.0.0.1:0".to_owned(), format!("unix-serve {name} --type dgram --discard")] {
        let server = Sockeye::new(format!("{line} --json")).start();
        server.wait_for::<Bind>();
        std::thread::sleep(crate::harness::peers::A_WHILE);
        server.signal(Signal::SIGQUIT);
        let interim = server.wait_for::<Interim>();
        let run = server.interrupt().exits(0);
        assert!(run.summary().duration_ns >= interim.duration_ns, "{}", run.dump());
        assert!(u128::from(interim.duration_ns) >= crate::harness::peers::A_WHILE.as_nanos(), "{interim:?}");
    }
}

#[test]
fn sigquit_prints_an_interim_of_a_client_and_in_text_too() {
    let peer = deaf_server();
    let client = Sockeye::new(format!("connect 127.0.0.1 {} --json", peer.port)).stdin_piped().start();
    client.wait_for::<Connect>();
    client.signal(Signal::SIGQUIT);
    assert_eq!(client.wait_for::<Interim>().connections, Some(1));
    client.finish().exits(0);

    let server = Sockeye::new("serve 0").start();
    let port = server.port();
    server.signal(Signal::SIGQUIT);
    let mut client = dial(Family::V4, port);
    client.write_all(b"still there").unwrap();
    client.read_exact(&mut [0; 11]).unwrap();
    server.interrupt().exits(0);
}

/// Reads events from a pipe until one of this name, which is returned.
fn read_until(lines: &mut impl Iterator<Item = std::io::Result<String>>, name: &str) -> Event {
    let read = |text: std::io::Result<String>| check::read(&text.unwrap()).unwrap().event;
    lines.map(read).find(|event| event.name() == name).unwrap()
}

#[test]
fn a_closed_pipe_on_stdout_ends_a_server_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    let server = Sockeye::new("serve 127.0.0.1:0 --json").stdout_to(writer).start();
    let mut lines = BufReader::new(reader).lines();
    let Event::Bind(bind) = read_until(&mut lines, "bind") else { unreachable!() };
    read_until(&mut lines, "listen");
    drop(lines);
    // The next event finds the pipe closed, unless the server has noticed by itself.
    let _client = TcpStream::connect(Family::V4.at(bind.port()));
    let run = server.finish().exits(0);
    assert_eq!(run.stderr(), "");
}

#[test]
fn a_closed_pipe_on_stdout_ends_a_client_quietly_by_its_results() {
    let (listener, port) = crate::harness::net::listener(Family::V4);
    let (reader, writer) = std::io::pipe().unwrap();
    let client = Sockeye::new(format!("connect 127.0.0.1 {port} --json")).stdin_piped().stdout_to(writer).start();
    let mut lines = BufReader::new(reader).lines();
    read_until(&mut lines, "connect");
    let (mut peer, _) = listener.accept().unwrap();
    drop(lines);
    // The next event finds the pipe closed, unless the client has noticed by itself; the
    // connection stood and nothing failed.
    let _ = peer.write_all(b"banner");
    let run = client.finish_by_itself().exits(0);
    assert_eq!(run.stderr(), "");
}

#[test]
fn a_closed_pipe_on_stdout_is_no_failure_of_what_is_only_printed() {
    for line in ["schema", "man", "completions bash", "doctor", "doctor --json", "--help"] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = Sockeye::new(line).stdout_to(writer).run().exits(0);
        assert!(!run.stderr().to_lowercase().contains("pipe"), "quietly: {}", run.dump());
    }
}

#[test]
fn a_second_signal_does_not_lose_the_summary() {
    let server = Sockeye::new("serve 0 --json").start();
    server.port();
    server.signal(Signal::SIGINT);
    // The first may have ended it already.
    let _ = nix::sys::signal::kill(server.pid(), Signal::SIGTERM);
    server.finish().exits(0);
}

#[test]
fn a_deadline_bounds_a_relay_and_says_so() {
    // Nothing came, and that is no answer; what came without the peer's end may not be all.
    for (says, code, told) in [("", 8, "an answer came"), ("part", 0, "the peer had closed")] {
        let peer = Peer::python_server(
            "server = listen('127.0.0.1')\npeer, _ = server.accept()\npeer.sendall(sys.argv[1].encode())\nall_of(peer)",
            &[says],
        );
        let words = format!("connect 127.0.0.1 {} --json --deadline 300ms", peer.port);
        let run = Sockeye::new(words).stdin_piped().start().finish_by_itself().exits(code);
        assert_eq!(run.one::<Close>().reason, Reason::Signal);
        let warning = run.one::<Warning>();
        assert_eq!(warning.name, "stopped");
        assert!(warning.message.contains(told), "{}", run.dump());
        assert!(run.elapsed() < Duration::from_secs(5));
    }
}

#[test]
fn an_answer_that_the_deadline_cuts_off_before_the_peers_end_is_not_whole() {
    let peer = Peer::python_server(
        "server = listen('127.0.0.1')\npeer, _ = server.accept()\npeer.sendall(b'part')\nall_of(peer)\nsignal.pause()",
        &[],
    );
    let words = format!("connect 127.0.0.1 {} hello --until-eof --deadline 300ms --timeout 20s -q", peer.port);
    let run = Sockeye::new(words).run().exits(8);
    assert_eq!(run.stdout(), b"part", "{}", run.dump());
    assert_eq!(run.stderr(), "warning: told to stop before the peer had closed\n");
}

#[test]
fn a_server_that_relays_until_its_deadline_has_run_as_long_as_it_should() {
    let server = Sockeye::new("serve 127.0.0.1:0 --relay --json --deadline 1s").stdin_piped().start();
    let _silent = dial(Family::V4, server.port());
    server.wait_for::<Accept>();
    server.finish_by_itself().exits(0);
}
