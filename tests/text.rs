//! Whole runs as people see them: stdout, stderr and exit code in one block each.
//!
//! `UPDATE_EXPECT=1 cargo test` rewrites the blocks; the difference is reviewed as code.

use std::io::{Read, Write};

use expect_test::expect;

use crate::harness::net::{dial, refusing_port, terminal};
use crate::harness::{Family, Peer, Sockeye, udp};
use crate::regressions::{shown_on, with_stderr_on};

/// Lets a client say a word to a server, hear it back, and leave.
fn visit(port: u16) {
    let mut client = dial(Family::V4, port);
    client.write_all(b"hello").unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    client.read_to_string(&mut String::new()).unwrap();
}

#[test]
fn a_server_with_one_visitor() {
    let server = Sockeye::new("serve 127.0.0.1:0 --count 1 --backlog 5").start();
    visit(server.port());
    let run = server.finish().exits(0);
    expect![[r#"
        served 1 connection in [DURATION]: 5 bytes in, 5 bytes out
        -- stderr
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
          [ELAPSED] bind 127.0.0.1:[PORT]
          [ELAPSED] listen backlog 5
          [ELAPSED] #1 accept 127.0.0.1:[PORT]
          [ELAPSED] #1 recv 5 bytes "hello"
          [ELAPSED] #1 send 5 bytes "hello"
          [ELAPSED] #1 eof
          [ELAPSED] #1 close (eof) 5 B in, 5 B out, [DURATION]
        -- exit 0
    "#]]
    .assert_eq(&run.block());
}

#[test]
fn a_server_that_says_every_step() {
    let server = Sockeye::new("serve 127.0.0.1:0 --count 1 --backlog 5 -v --no-delay").start();
    visit(server.port());
    let run = server.finish().exits(0);
    expect![[r#"
        served 1 connection in [DURATION]: 5 bytes in, 5 bytes out
        -- stderr
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
          [ELAPSED] setsockopt SO_REUSEADDR 1
          [ELAPSED] setsockopt TCP_NODELAY 1
          [ELAPSED] bind 127.0.0.1:[PORT]
          [ELAPSED] listen backlog 5
          [ELAPSED] #1 accept 127.0.0.1:[PORT] on 127.0.0.1:[PORT]
          [ELAPSED] queue 127.0.0.1:[PORT] depth 0, limit 5
          [ELAPSED] #1 recv 5 bytes "hello"
          [ELAPSED] #1 send 5 bytes "hello"
          [ELAPSED] #1 eof
          [ELAPSED] #1 close (eof) 5 B in, 5 B out, [DURATION], closed first by the peer, clean, rtt [DURATION], 0 retransmits
        -- exit 0
    "#]]
    .assert_eq(&run.block());
}

#[test]
fn a_quiet_server() {
    let server = Sockeye::new("serve 127.0.0.1:0 --count 1 -q").start();
    visit(server.port());
    let run = server.finish().exits(0);
    expect![[r#"
        served 1 connection in [DURATION]: 5 bytes in, 5 bytes out
        -- stderr
        -- exit 0
    "#]]
    .assert_eq(&run.block());
}

#[test]
fn a_client_with_one_message() {
    let server = Sockeye::new("serve 127.0.0.1:0 --prefix Echo=>").start();
    let run = Sockeye::new(format!("connect localhost {} hello", server.port())).run().exits(0);
    expect![[r#"
        Echo=>hello-- stderr
          [ELAPSED] resolve localhost: 127.0.0.1 ([DURATION])
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
          [ELAPSED] #1 connect 127.0.0.1:[PORT] from 127.0.0.1:[PORT] ([DURATION])
          [ELAPSED] #1 send 5 bytes "hello"
          [ELAPSED] #1 recv 11 bytes "Echo=>hello"
          [ELAPSED] #1 close (local) 11 B in, 5 B out, [DURATION]
        connected in [DURATION], first byte after [DURATION]: 11 bytes in, 5 bytes out, [DURATION]
        -- exit 0
    "#]]
    .assert_eq(&run.block());
}

#[test]
fn a_quiet_client_prints_the_answer_alone() {
    let server = Sockeye::new("serve 127.0.0.1:0").start();
    let run = Sockeye::new(format!("connect 127.0.0.1 {} hello -q", server.port())).run().exits(0);
    assert_eq!((run.stdout(), run.stderr().as_str()), (&b"hello"[..], ""));
}

#[test]
fn a_client_that_dumps_in_hex() {
    let server = Sockeye::new("serve 127.0.0.1:0 --prefix Echo=>").start();
    let run = Sockeye::new(format!("connect 127.0.0.1 {} --hex-dump", server.port()))
        .arg("sixteen and more \x01")
        .run()
        .exits(0);
    expect![[r#"
        Echo=>sixteen and more -- stderr
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
          [ELAPSED] #1 connect 127.0.0.1:[PORT] from 127.0.0.1:[PORT] ([DURATION])
          [ELAPSED] #1 send 18 bytes
        > 00000000  73 69 78 74 65 65 6e 20  61 6e 64 20 6d 6f 72 65  |sixteen and more|
        > 00000010  20 01                                             | .|
          [ELAPSED] #1 recv 24 bytes
        < 00000000  45 63 68 6f 3d 3e 73 69  78 74 65 65 6e 20 61 6e  |Echo=>sixteen an|
        < 00000010  64 20 6d 6f 72 65 20 01                           |d more .|
          [ELAPSED] #1 close (local) 24 B in, 18 B out, [DURATION]
        connected in [DURATION], first byte after [DURATION]: 24 bytes in, 18 bytes out, [DURATION]
        -- exit 0
    "#]]
    .assert_eq(&run.block());
}

#[test]
fn a_client_that_is_refused() {
    let (_held, port) = refusing_port(Family::V4);
    let run = Sockeye::new(format!("connect 127.0.0.1 {port} hello")).run().exits(7);
    expect![[r#"
        -- stderr
          [ELAPSED] socket AF_INET SOCK_STREAM IPPROTO_TCP
        error: connect 127.0.0.1:[PORT]: connection refused
        hint: the host answered that nobody listens there: is the server up, on this port and this address?
        not connected, [DURATION], 1 error
        -- exit 7
    "#]]
    .assert_eq(&run.block());
}

#[test]
fn a_port_that_is_missing() {
    let run = Sockeye::new("connect localhost").run().exits(2);
    expect![[r#"
        -- stderr
        error: the port is missing: write localhost:PORT or localhost PORT

        Usage: sockeye connect [OPTIONS] TARGET [MESSAGE]...
               sockeye connect [OPTIONS] --probe TARGET...
               sockeye connect [OPTIONS] --probe HOST PORTS

        For more information, try '--help'.
        -- exit 2
    "#]]
    .assert_eq(&run.block());
}

/// Runs a client whose stdout is a terminal, and returns what the terminal was given.
fn shown_on_a_terminal(port: u16, rest: &str) -> String {
    let ends = terminal();
    let client = Sockeye::new(format!("connect 127.0.0.1 {port} {rest}")).stdout_to(ends.program).start();
    client.finish().exits(0);
    let (mut shown, mut screen) = (Vec::new(), ends.user);
    // With the last holder of the other end gone, reading fails (EIO) once all is read.
    let _ = screen.read_to_end(&mut shown);
    String::from_utf8(shown).unwrap()
}

#[test]
fn control_bytes_of_a_peer_never_reach_a_terminal_raw() {
    let script = r#"
server = listen("127.0.0.1")
for _ in range(2):
    peer, _ = server.accept()
    peer.recv(100)
    peer.sendall(b"\x1b]0;title\x07red \x1b[31m\x9b31m \x00\x7f caf\xc3\xa9 \xe2\x80\xaegnp.exe \xe2\x81\xa6")
    peer.close()
"#;
    let peer = Peer::python_server(script, &[]);
    let shown = shown_on_a_terminal(peer.port, "hello --color never");
    assert!(!shown.contains(|letter: char| letter.is_control() && !"\r\n\t".contains(letter)), "{shown:?}");
    assert!(shown.contains("title") && shown.contains("café"), "{shown:?}");
    let turns = |text: &str| text.contains(['\u{202e}', '\u{2066}']);
    assert!(!turns(&shown), "what follows would be shown from right to left: {shown:?}");
    // The same bytes go into a pipe as they are.
    let run = Sockeye::new(format!("connect 127.0.0.1 {} hello", peer.port)).run().exits(0);
    assert_eq!(
        run.stdout(),
        b"\x1b]0;title\x07red \x1b[31m\x9b31m \x00\x7f caf\xc3\xa9 \xe2\x80\xaegnp.exe \xe2\x81\xa6"
    );
    assert!(!turns(&run.stderr()), "nor stderr: {:?}", run.stderr());
    assert!(
        !run.stderr().contains(|letter: char| letter.is_control() && letter != '\n'),
        "nor stderr: {:?}",
        run.stderr()
    );
}

#[test]
fn colour_is_on_a_terminal_alone_and_obeys_no_color() {
    let server = Sockeye::new("serve 127.0.0.1:0").start();
    let port = server.port();
    let stderr = |words: &str, name: &str| {
        Sockeye::new(format!("connect 127.0.0.1 {port} hello {words}")).env(name, "1").run().exits(0).stderr()
    };
    assert!(!stderr("", "NONE").contains('\x1b'), "stderr is no terminal");
    assert!(stderr("--color always", "NONE").contains('\x1b'), "asked for");
    assert!(stderr("--color always", "NO_COLOR").contains('\x1b'), "what is typed beats the environment");
    assert!(!stderr("--color auto", "CLICOLOR_FORCE_NOT").contains('\x1b'));
    let on_terminal = |words: &str, name: &str| {
        let ends = terminal();
        let run = Sockeye::new(format!("connect 127.0.0.1 {port} hello {words}")).env("TERM", "xterm").env(name, "1");
        with_stderr_on(run, &ends).run().exits(0);
        shown_on(ends)
    };
    assert!(on_terminal("", "NONE").contains("\x1b["), "a terminal");
    assert!(!on_terminal("", "NO_COLOR").contains("\x1b["), "a terminal of a user who wants no colour");
    assert!(!on_terminal("--color never", "NONE").contains("\x1b["));
}

#[test]
fn a_sender_of_datagrams_and_who_answers() {
    let listener = Sockeye::new("udp-listen 127.0.0.1:0 --prefix Echo=> --count 1").start();
    let port = udp::wait_for_port(listener.pid(), || listener.is_running()).unwrap();
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} hello --wait 30s")).run().exits(0);
    expect![[r#"
        Echo=>hello-- stderr
          [ELAPSED] socket AF_INET SOCK_DGRAM IPPROTO_UDP
          [ELAPSED] #1 connect 127.0.0.1:[PORT] from 127.0.0.1:[PORT] ([DURATION])
          [ELAPSED] #1 send 5 bytes "hello"
          [ELAPSED] #1 recv 11 bytes "Echo=>hello"
          [ELAPSED] #1 close (local) 11 B in, 5 B out, [DURATION]
        sent 1 datagram (5 bytes) in [DURATION], received 1
        -- exit 0
    "#]]
    .assert_eq(&run.block());
    let run = listener.finish().exits(0);
    expect![[r#"
        received 1 datagram (5 bytes) in [DURATION], sent 1
        -- stderr
          [ELAPSED] socket AF_INET SOCK_DGRAM IPPROTO_UDP
          [ELAPSED] bind 127.0.0.1:[PORT]
          [ELAPSED] recv 5 bytes from 127.0.0.1:[PORT] "hello"
          [ELAPSED] send 11 bytes to 127.0.0.1:[PORT] "Echo=>hello"
        -- exit 0
    "#]]
    .assert_eq(&run.block());
}

#[test]
fn a_receiver_of_datagrams_prints_them() {
    let listener = Sockeye::new("udp-listen 127.0.0.1:0 --count 2 --recv-size 10").start();
    let port = udp::wait_for_port(listener.pid(), || listener.is_running()).unwrap();
    let peer = udp::dial(Family::V4, port);
    peer.send(b"one\n").unwrap();
    peer.send(b"longer than ten").unwrap();
    let run = listener.finish().exits(0);
    expect![[r#"
        one
        longer tha-- stderr
          [ELAPSED] socket AF_INET SOCK_DGRAM IPPROTO_UDP
          [ELAPSED] bind 127.0.0.1:[PORT]
          [ELAPSED] recv 4 bytes from 127.0.0.1:[PORT] "one\n"
          [ELAPSED] recv 10 bytes of 15, truncated from 127.0.0.1:[PORT] "longer tha"
        received 2 datagrams (14 bytes) in [DURATION], 1 truncated
        -- exit 0
    "#]]
    .assert_eq(&run.block());
}

#[test]
fn a_datagram_to_nobody() {
    let (_held, port) = udp::refusing_port(Family::V4);
    let run = Sockeye::new(format!("udp-send 127.0.0.1 {port} hello")).run().exits(7);
    expect![[r#"
        -- stderr
          [ELAPSED] socket AF_INET SOCK_DGRAM IPPROTO_UDP
          [ELAPSED] #1 connect 127.0.0.1:[PORT] from 127.0.0.1:[PORT] ([DURATION])
          [ELAPSED] #1 send 5 bytes "hello"
          [ELAPSED] icmp-error port-unreachable (3/3) from 127.0.0.1 about 127.0.0.1:[PORT], seq=0 after [DURATION]
          [ELAPSED] #1 close (local) 0 B in, 5 B out, [DURATION]
        sent 1 datagram (5 bytes) in [DURATION], 1 refused, 1 ICMP error
        -- exit 7
    "#]]
    .assert_eq(&run.block());
}
