//! The PROXY protocol: sent by `connect`, read by `serve`; against haproxy, nginx, and octet for octet.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::harness::events::{Accept, Close, Connect, Error, ProxyProtocol, Reason, Recv, Step, Timeout};
use crate::harness::net::{TempDir, dial, over_both_families};
use crate::harness::proxies::{haproxy, microsocks};
use crate::harness::{Family, Peer, Running, Sockeye};
use crate::unix;

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Takes one connection and says in hexadecimal what came.
const RECORDER: &str = "server = listen(sys.argv[1])\npeer, at = server.accept()\ndata = b''\n\
                        while not data.endswith(b'x'): data += peer.recv(999)\n\
                        peer.sendall(b'y')\nsay(at[1], data.hex())";

fn serve(family: Family, words: &str) -> Running {
    Sockeye::new(format!("serve {} --proxy-protocol --json {words}", family.at(0))).start()
}

/// Sends bytes to a server and returns all that it sends back.
fn ask(family: Family, port: u16, bytes: &[u8]) -> Vec<u8> {
    let mut stream = dial(family, port);
    stream.write_all(bytes).unwrap();
    // A server that closes on what it has not read resets the connection.
    let _ = stream.shutdown(Shutdown::Write);
    rest(&mut stream)
}

fn rest(stream: &mut TcpStream) -> Vec<u8> {
    let mut answer = Vec::new();
    // A reset ends it too.
    let _ = stream.read_to_end(&mut answer);
    answer
}

over_both_families! {
    fn what_is_sent_is_what_the_specification_has(family) {
        for version in [1, 2] {
            let recorder = Peer::python_server(RECORDER, &[&family.host()]);
            let to = family.at(recorder.port);
            let run = Sockeye::new(format!("connect --json --proxy-protocol v{version} {to} x")).run().exits(0);
            let lines = recorder.lines();
            let (from, came) = lines[0].split_once(' ').unwrap();
            let from: u16 = from.parse().unwrap();
            let ip = match family.ip() {
                std::net::IpAddr::V4(v4) => v4.octets().to_vec(),
                std::net::IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            let expected = match version {
                1 => {
                    let (host, kind) = (family.host(), if family == Family::V4 { "TCP4" } else { "TCP6" });
                    format!("PROXY {kind} {host} {host} {from} {}\r\n", to.port()).into_bytes()
                }
                _ => {
                    let length = 2 * ip.len() + 4;
                    let family = if family == Family::V4 { 0x11 } else { 0x21 };
                    let fixed = [0x21, family, 0, u8::try_from(length).unwrap()];
                    [SIGNATURE, &fixed, &ip, &ip, &from.to_be_bytes(), &to.port().to_be_bytes()].concat()
                }
            };
            let hex: String = [expected.as_slice(), b"x"].concat().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(came, hex);
            let told = run.one::<ProxyProtocol>();
            assert_eq!((told.version, told.command.as_str(), told.bytes), (version, "proxy", expected.len() as u64));
            assert_eq!(told.proxied_peer.as_ref(), run.one::<Connect>().local.as_ref());
            assert_eq!(told.proxied_local.as_ref(), Some(&to.to_string()));
            assert_eq!(run.one::<Close>().bytes_sent, 1, "the header is no data");
        }
    }

    fn haproxy_takes_what_is_sent(family) {
        let dir = TempDir::new();
        // Behind it a server that reads a header of its own tells what haproxy has understood.
        for version in [1, 2] {
            let server = serve(family, "");
            let port = server.port();
            let section = format!(
                "  bind {}:PORT accept-proxy\n  server s {} send-proxy-v2",
                family.host(), family.at(port)
            );
            let proxy = haproxy(&dir, family, &section);
            let to = family.at(proxy.port);
            let run = Sockeye::new(format!("connect --json --proxy-protocol v{version} {to} hello")).run().exits(0);
            assert_eq!(run.one::<Recv>().data.as_deref(), Some("hello"));
            let sent = run.one::<ProxyProtocol>();
            let read = server.wait_for::<ProxyProtocol>();
            assert_eq!((&read.proxied_peer, &read.proxied_local), (&sent.proxied_peer, &sent.proxied_local));
            server.interrupt().exits(0);
        }
    }

    fn what_haproxy_sends_is_read(family) {
        let dir = TempDir::new();
        for (words, version) in [
            ("send-proxy", 1),
            ("send-proxy-v2", 2),
            ("send-proxy-v2 proxy-v2-options crc32c,unique-id", 2),
        ] {
            let server = serve(family, "");
            let section = format!(
                "  unique-id-format %[uuid]\n  bind {}:PORT\n  server s {} {words}",
                family.host(), family.at(server.port())
            );
            let proxy = haproxy(&dir, family, &section);
            let mut stream = dial(family, proxy.port);
            stream.write_all(b"hello").unwrap();
            let mut answer = [0; 5];
            stream.read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"hello");
            let read = server.wait_for::<ProxyProtocol>();
            assert_eq!((read.version, read.command.as_str()), (version, "proxy"));
            assert_eq!(read.proxied_peer, Some(stream.local_addr().unwrap().to_string()));
            assert_eq!(read.proxied_local, Some(stream.peer_addr().unwrap().to_string()));
            assert_ne!(Some(server.wait_for::<Accept>().peer), read.proxied_peer, "the socket's peer is haproxy");
            if words.contains("crc32c") {
                let names: Vec<_> = read.tlvs.iter().filter_map(|tlv| tlv.name.as_deref()).collect();
                assert!(names.contains(&"crc32c") && names.contains(&"unique-id"), "{read:?}");
            }
            drop(stream);
            let run = server.interrupt().exits(0);
            assert_eq!(run.summary().bytes_received, Some(5), "the header is no data");
        }
    }

    fn a_health_check_of_haproxy_is_local(family) {
        let dir = TempDir::new();
        let server = serve(family, "");
        let section = format!(
            "  bind {}:PORT\n  server s {} send-proxy-v2 check check-send-proxy inter 200ms",
            family.host(), family.at(server.port())
        );
        let _proxy = haproxy(&dir, family, &section);
        let read = server.wait_for::<ProxyProtocol>();
        assert_eq!((read.version, read.command.as_str(), read.proxied_peer), (2, "local", None));
        server.wait_for::<Close>();
        let run = server.interrupt().exits(0);
        // haproxy ends a check by a reset, which is no fault of its header.
        assert!(run.all::<Error>().iter().all(|error| error.step == Step::Recv), "{}", run.dump());
    }

    fn nginx_takes_what_is_sent(family) {
        let dir = TempDir::new();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let nginx = Peer::daemon("nginx", family, |port| {
            let config = format!(
                "daemon off; master_process off; pid {}; error_log stderr; events {{}}\n\
                 http {{ access_log off; client_body_temp_path {t}; proxy_temp_path {t}; fastcgi_temp_path {t};\n\
                 uwsgi_temp_path {t}; scgi_temp_path {t};\n\
                 server {{ listen {} proxy_protocol;\n\
                 return 200 '$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_port'; }} }}",
                path("pid"), family.at(port), t = path("t")
            );
            std::fs::write(dir.path().join("conf"), config).unwrap();
            ["-p", &path(""), "-e", "stderr", "-c", &path("conf")].map(str::to_owned).into()
        });
        for version in [1, 2] {
            let run = Sockeye::new(format!("connect --json --proxy-protocol v{version} {}", family.at(nginx.port)))
                .args(["--crlf", "GET / HTTP/1.0\r\n", "--until-eof"])
                .run()
                .exits(0);
            let body: Vec<u8> = run.all::<Recv>().iter().flat_map(|recv| recv.payload()).collect();
            let from = run.one::<Connect>().local.clone().unwrap();
            let port = from.rsplit_once(':').unwrap().1;
            let expected = format!("{} {port} {}", family.host(), nginx.port);
            assert!(body.ends_with(expected.as_bytes()), "{}", String::from_utf8_lossy(&body));
        }
    }

    fn a_broken_header_harms_nobody_else(family) {
        let server = serve(family, "");
        let port = server.port();
        let mut good = dial(family, port);
        good.write_all(b"PROXY UNKNOWN\r\nfirst").unwrap();
        let mut answer = [0; 5];
        good.read_exact(&mut answer).unwrap();
        let v2 = |rest: &[u8]| [SIGNATURE, rest].concat();
        let broken = [
            (b"GET / HTTP/1.0\r\n\r\n\x1b".to_vec(), "no header of the PROXY protocol: \"GET / HTTP/1.0\\r\\n\\r\\n\\x1b\""),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 12345678901\r\nx".to_vec(), "it: \"PROXY TCP4 1.2.3.4 5.6.7.8 12345678901\\r\\n\""),
            (v2(b"\x31\x11\0\x0c123456789012"), "version is 3"),
            (v2(b"\x21\x11\0\x02xx"), "need 12 bytes"),
            (v2(b"\x21\x11\0\x13\0\0\0\0\0\0\0\0\0\0\0\0\x03\0\x04\0\0\0\0"), "checksum"),
            (b"PROXY TCP4 1.2.3.4".to_vec(), "closed within the header: \"PROXY TCP4 1.2.3.4\""),
            (Vec::new(), "closed without a header"),
        ];
        for (bytes, _) in &broken {
            assert_eq!(ask(family, port, bytes), b"", "{bytes:?}");
        }
        // Nothing was shown of who had sent it, and the first is served on.
        good.write_all(b"again").unwrap();
        good.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"again");
        drop(good);
        server.wait_until("all closes", |lines| {
            (lines.iter().filter(|line| line.event.name() == "close").count() == broken.len() + 1).then_some(())
        });
        let run = server.interrupt().exits(0);
        let errors = run.all::<Error>();
        assert_eq!(errors.len(), broken.len());
        for (error, (_, words)) in errors.iter().zip(&broken) {
            assert!(error.step == Step::ProxyProtocol && error.message.contains(words), "{}: {words}", error.message);
            let close = run.all::<Close>().into_iter().find(|close| Some(close.conn) == error.conn).unwrap();
            let reason = if words.contains("closed") { Reason::Eof } else { Reason::Denied };
            assert_eq!((close.reason, close.bytes_received), (reason, 0));
        }
    }

    fn no_header_in_time_is_a_timeout(family) {
        let server = serve(family, "--timeout 200ms");
        let mut silent = dial(family, server.port());
        silent.write_all(b"PROXY TCP4 ").unwrap();
        assert_eq!(rest(&mut silent), b"");
        assert_eq!(server.wait_for::<Timeout>().step, Step::ProxyProtocol);
        let run = server.interrupt().exits(0);
        assert!(run.one::<Error>().message.ends_with(" s: \"PROXY TCP4 \""), "{}", run.dump());
        assert_eq!(run.one::<Close>().reason, Reason::Timeout);
    }

    fn a_header_of_single_bytes_is_read_and_what_follows_is_kept(family) {
        let server = serve(family, "--count 1");
        let mut stream = dial(family, server.port());
        stream.set_nodelay(true).unwrap();
        for byte in b"PROXY TCP6 2001:db8::1 2001:db8::2 4711 80\r\n" {
            stream.write_all(&[*byte]).unwrap();
        }
        stream.write_all(b"body").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(rest(&mut stream), b"body");
        let run = server.finish().exits(0);
        let read = run.one::<ProxyProtocol>();
        assert_eq!(read.proxied_peer.as_deref(), Some("[2001:db8::1]:4711"));
        assert_eq!((read.proxied_local.as_deref(), read.bytes), (Some("[2001:db8::2]:80"), 44));
        assert!(read.duration_ns.is_some());
    }
}

#[test]
fn who_is_not_said_is_served() {
    let server = serve(Family::V4, "");
    let port = server.port();
    for (header, command) in [
        (&b"PROXY UNKNOWN\r\n"[..], "unknown"),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "unknown"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "local"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c123456789012", "local"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\0", "unknown"),
        // What looks like a wrong checksum is none where nothing of the block counts.
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\x07\x03\0\x04abcd", "local"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x07\x03\0\x04abcd", "unknown"),
    ] {
        assert_eq!(ask(Family::V4, port, &[header, b"hi"].concat()), b"hi");
        let read = server.wait_for_one::<ProxyProtocol>(command, |read| read.command == command);
        assert_eq!((read.proxied_peer, read.proxied_local), (None, None));
    }
    server.interrupt().exits(0);
}

#[test]
fn addresses_that_are_let_in_are_those_of_the_socket() {
    let header = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nhi";
    let server = serve(Family::V4, "--deny 192.0.2.0/24");
    assert_eq!(ask(Family::V4, server.port(), header), b"hi");
    server.interrupt().exits(0);
    let server = serve(Family::V4, "--allow 192.0.2.0/24");
    assert_eq!(ask(Family::V4, server.port(), header), b"");
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Close>().reason, Reason::Denied);
    assert!(run.all::<Error>().is_empty(), "it was not asked for a header");
}

#[test]
fn every_behaviour_comes_after_the_header() {
    for (words, answer) in [
        ("--source-bytes 20", &b" !\"#$%&'()*+,-./0123"[..]),
        ("--fault close-after=2", b"hi"),
        ("--fault half-close", b""),
        ("--broker", b""),
        ("--discard", b""),
    ] {
        let server = serve(Family::V4, &format!("{words} --count 1"));
        assert_eq!(ask(Family::V4, server.port(), b"PROXY UNKNOWN\r\nhi there"), answer, "{words}");
        let run = server.finish().exits(0);
        assert_eq!(run.one::<ProxyProtocol>().command, "unknown", "{words}");
    }
    // A relay: what follows the header is what stdout gets.
    let server = Sockeye::new("serve 127.0.0.1:0 --proxy-protocol --relay -q").stdin("answer").start();
    assert_eq!(ask(Family::V4, server.port(), b"PROXY UNKNOWN\r\nquestion"), b"answer");
    assert_eq!(server.finish().exits(0).stdout(), b"question");
    let server = Sockeye::new("serve 127.0.0.1:0 --proxy-protocol --relay --json").stdin("answer").start();
    assert_eq!(ask(Family::V4, server.port(), b"question"), b"");
    server.finish().exits(10);
}

#[test]
fn tlvs_are_told_by_name() {
    let server = serve(Family::V4, "--count 1");
    let rest = b"\x01\0\x02h2\x02\0\x09a.example\x04\0\x01p\x20\0\x0f\x01\0\0\0\0\x21\0\x07TLSv1.3\xea\0\x01\xff";
    let length = u8::try_from(12 + rest.len()).unwrap();
    let header = [SIGNATURE, &[0x21, 0x11, 0, length], b"\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a", rest].concat();
    assert_eq!(ask(Family::V4, server.port(), &[header.as_slice(), b"hi"].concat()), b"hi");
    let run = server.finish().exits(0);
    let read = run.one::<ProxyProtocol>();
    assert_eq!(read.proxied_peer.as_deref(), Some("1.2.3.4:9"));
    let told: Vec<_> = read.tlvs.iter().map(|tlv| (tlv.kind, tlv.name.as_deref(), tlv.data.as_deref())).collect();
    assert_eq!(
        told,
        [
            (1, Some("alpn"), Some("h2")),
            (2, Some("authority"), Some("a.example")),
            (32, Some("ssl"), Some("\u{1}\0\0\0\0")),
            (33, Some("ssl-version"), Some("TLSv1.3")),
            (0xEA, None, None),
        ]
    );
}

#[test]
fn through_a_proxy_the_header_names_the_target() {
    let proxy = microsocks(Family::V4, None);
    for (scheme, host, command) in [("socks5", "127.0.0.1", "proxy"), ("socks5h", "localhost", "unknown")] {
        let server = serve(Family::V4, "--count 1");
        let to = format!("{host}:{}", server.port());
        let run = Sockeye::new(format!("connect --json --proxy {scheme}://127.0.0.1:{} {to} hi", proxy.port))
            .args(["--proxy-protocol", "v2"])
            .run()
            .exits(0);
        let (sent, server) = (run.one::<ProxyProtocol>().clone(), server.finish().exits(0));
        let read = server.one::<ProxyProtocol>();
        assert_eq!((&read.command, &read.proxied_local), (&sent.command, &sent.proxied_local));
        assert_eq!((read.command.as_str(), read.proxied_local.is_some()), (command, command == "proxy"));
        assert_eq!(read.proxied_peer, sent.proxied_peer);
    }
}

/// Sends the bytes of argument 2, in hexadecimal, to a unix socket and says what comes back, in hexadecimal.
const UNIX_CLIENT: &str = r#"
peer = reach("stream", sys.argv[1])
peer.sendall(bytes.fromhex(sys.argv[2]))
try:
    peer.shutdown(socket.SHUT_WR)
    say("got " + all_of(peer).hex())
except OSError:
    say("got ")
"#;

/// Sends bytes to a unix socket, and returns what comes back.
fn ask_unix(place: &str, bytes: &[u8]) -> Vec<u8> {
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines = unix::python(UNIX_CLIENT, &[place, &hex]);
    let got = lines[0].strip_prefix("got ").unwrap();
    (0..got.len() / 2).map(|at| u8::from_str_radix(&got[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[test]
fn unix_serve_reads_it_on_streams() {
    let mut names = [0; 216];
    names[..4].copy_from_slice(b"/run");
    names[109..111].copy_from_slice(b"ab");
    let place = unix::abstract_name();
    for (header, version, command, ends) in [
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 4711 80\r\n".to_vec(), 1, "proxy", Some(("192.0.2.1:4711", "192.0.2.2:80"))),
        (b"PROXY UNKNOWN\r\n".to_vec(), 1, "unknown", None),
        ([SIGNATURE, b"\x21\x31\0\xd8", &names].concat(), 2, "proxy", Some(("unix:/run", "unix:@ab"))),
        (
            [SIGNATURE, b"\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a"].concat(),
            2,
            "proxy",
            Some(("1.2.3.4:9", "5.6.7.8:10")),
        ),
        ([SIGNATURE, b"\x20\0\0\0"].concat(), 2, "local", None),
    ] {
        let server = unix::serve(&place, "stream", "--proxy-protocol --count 1");
        assert_eq!(ask_unix(&place, &[header.as_slice(), b"hi"].concat()), b"hi");
        let run = server.finish().exits(0);
        let read = run.one::<ProxyProtocol>();
        assert_eq!((read.version, read.command.as_str(), read.bytes), (version, command, header.len() as u64));
        assert_eq!(read.proxied_peer.as_deref().zip(read.proxied_local.as_deref()), ends);
        assert_eq!(run.one::<Close>().bytes_received, 2, "the header is no data");
    }
    // Whoever sends none is closed, others are served on; a relay comes after it too.
    let server = unix::serve(&place, "stream", "--proxy-protocol");
    assert_eq!(ask_unix(&place, b"hello"), b"");
    assert_eq!(ask_unix(&place, b"PROXY UNKNOWN\r\nhello"), b"hello");
    let run = server.interrupt().exits(0);
    assert_eq!((run.one::<Error>().step, run.all::<Close>()[0].reason), (Step::ProxyProtocol, Reason::Denied));
    let server = Sockeye::new(format!("unix-serve {place} --proxy-protocol --relay --json")).stdin("answer").start();
    server.wait_for::<crate::harness::events::Listen>();
    assert_eq!(ask_unix(&place, b"PROXY UNKNOWN\r\nquestion"), b"answer");
    let run = server.finish().exits(0);
    assert_eq!(run.one::<ProxyProtocol>().command, "unknown");
    let server = unix::serve(&place, "stream", "--proxy-protocol --timeout 200ms --count 1");
    let silent = Peer::python(&format!("{}\nsay(all_of(reach('stream', sys.argv[1])))", unix::TYPES), &[&place]);
    assert_eq!(server.finish().exits(0).one::<Timeout>().step, Step::ProxyProtocol);
    assert_eq!(silent.lines(), ["b''"]);
}

#[test]
fn what_haproxy_sends_to_a_unix_socket_is_read() {
    let dir = TempDir::new();
    let path = dir.path().join("x.sock").display().to_string();
    for (words, version) in [("send-proxy", 1), ("send-proxy-v2", 2)] {
        let server = unix::serve(&path, "stream", "--proxy-protocol --count 1");
        let proxy = haproxy(&dir, Family::V4, &format!("  bind 127.0.0.1:PORT\n  server s unix@{path} {words}"));
        assert_eq!(ask(Family::V4, proxy.port, b"hello"), b"hello");
        let run = server.finish().exits(0);
        let read = run.one::<ProxyProtocol>();
        assert_eq!((read.version, read.command.as_str()), (version, "proxy"));
        assert_eq!(read.proxied_local, Some(Family::V4.at(proxy.port).to_string()), "{}", run.dump());
    }
}

#[test]
fn an_address_that_stands_for_another_is_told_as_that() {
    // Of IPv6 they were, with an end of IPv4: v1 UNKNOWN; and whom the kernel connects to instead of the wildcard
    // was not said.
    for (to, family) in [("[::ffff:127.0.0.1]", Family::V4), ("0.0.0.0", Family::V4), ("[::]", Family::V6)] {
        let recorder = Peer::python_server(RECORDER, &[&family.host()]);
        let run = Sockeye::new(format!("connect --json --proxy-protocol v1 {to}:{} x", recorder.port)).run().exits(0);
        let told = run.one::<ProxyProtocol>();
        assert_eq!(told.command, "proxy", "{}", run.dump());
        assert_eq!(told.proxied_local, Some(family.at(recorder.port).to_string()), "{}", run.dump());
        let connect = run.one::<Connect>();
        assert_eq!(connect.peer, family.at(recorder.port).to_string(), "{}", run.dump());
        assert_eq!(told.proxied_peer, connect.local, "{}", run.dump());
    }
}
