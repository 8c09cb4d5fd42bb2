//! Each row of the table of exit codes that `serve` and `connect` can reach, and what is said then.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use crate::harness::events::{Bind, Close, Connect, Error, Reason, Step, Timeout};
use crate::harness::net::{
    Net, TempDir, likely_free_port, listener, over_both_families, refusing_port, silent_port, with_name_server,
};
use crate::harness::sockeye::file_with;
use crate::harness::{Family, Finished, Peer, Sockeye};

/// Checks the one error of a run: its step and errno, and that it has a hint.
#[track_caller]
fn assert_error(run: &Finished, step: Step, errno: &str) {
    let error = run.one::<Error>();
    assert_eq!((error.step, error.errno.as_deref()), (step, Some(errno)), "{}", run.dump());
    assert!(error.hint.is_some(), "it says why: {error:?}");
    assert!(error.message.starts_with(char::is_lowercase), "lower case, step first: {error:?}");
}

/// A Python server that accepts one connection and goes on as `script` says.
fn server(script: &str) -> Peer {
    Peer::python_server(&format!("server = listen('127.0.0.1')\npeer, _ = server.accept()\n{script}"), &[])
}

fn connect(port: u16, rest: &str) -> Sockeye {
    Sockeye::new(format!("connect 127.0.0.1:{port} {rest} --json"))
}

// 0: it did what it was to do.

#[test]
fn exit_0_a_probe_of_an_open_port_sends_no_byte() {
    let peer = server("say(all_of(peer))");
    let run = connect(peer.port, "--probe").run().exits(0);
    assert_eq!(run.one::<Close>().bytes_sent, 0);
    assert_eq!(run.summary().connections, Some(1));
    assert_eq!(peer.lines(), ["b''"]);
}

#[test]
fn exit_0_an_answer_that_matches() {
    let peer = server("peer.recv(100)\npeer.sendall(b'HTTP/1.1 200 OK')\npeer.recv(1)");
    connect(peer.port, "GET --expect 200").run().exits(0);
}

#[test]
fn exit_0_an_answer_that_matches_only_with_its_second_recv() {
    let peer = server("peer.recv(100)\npeer.sendall(b'one ')\ntime.sleep(0.2)\npeer.sendall(b'two')\npeer.recv(1)");
    connect(peer.port, "go --expect two").run().exits(0);
}

// 1: it ran, and the answer is no.

#[test]
fn exit_1_an_answer_that_does_not_match_before_the_wait_ends() {
    let peer = server("peer.recv(100)\npeer.sendall(b'404')\npeer.recv(1)");
    connect(peer.port, "GET --expect 200 --timeout 300ms").run().exits(1);
}

#[test]
fn exit_1_an_answer_that_does_not_match_before_the_peer_closes() {
    let peer = server("peer.recv(100)\npeer.sendall(b'404')\npeer.close()");
    connect(peer.port, "GET --expect 200").run().exits(1);
}

// 2: usage.rs

// 3: a name did not resolve, or not in time.

#[test]
fn exit_3_a_name_that_does_not_exist() {
    let run = Sockeye::new("connect nowhere.invalid:80 hello --json").run().exits(3);
    let error = run.one::<Error>();
    assert_eq!(error.step, Step::Resolve);
    assert!(error.message.contains("nowhere.invalid"), "{error:?}");
    assert_eq!(run.summary().connections, Some(0));
}

#[test]
fn exit_3_a_name_that_does_not_resolve_in_time() {
    // What nobody answers the resolver waits for 5 s, by itself.
    let dir = TempDir::new();
    let run = Sockeye::new("connect somewhere.example:80 hello --resolve-timeout 300ms --json")
        .under(with_name_server(&dir, "{}"))
        .run()
        .exits(3);
    let hint = run.one::<Error>().hint.as_deref().unwrap_or_default();
    assert!(hint.contains("name server does not answer"), "{hint}");
    let timeout = run.one::<Timeout>();
    assert_eq!(timeout.step, Step::Resolve);
    assert!(timeout.after_ns >= 300_000_000, "{timeout:?}");
    assert!(
        run.elapsed() < Duration::from_secs(4),
        "the resolver's own patience is not waited for: {:?}",
        run.elapsed()
    );
}

// 4: not permitted.

#[test]
fn exit_4_a_protected_port_with_the_lowest_unprivileged_one_in_the_hint() {
    let net = Net::isolated().with("echo 1500 >/proc/sys/net/ipv4/ip_unprivileged_port_start").without_capabilities();
    let run = Sockeye::new("serve 127.0.0.1:1499 --json").under(net.prefix()).run().exits(4);
    assert_error(&run, Step::Bind, "EACCES");
    assert_eq!(run.one::<Error>().local.as_deref(), Some("127.0.0.1:1499"));
    assert!(run.one::<Error>().hint.as_ref().unwrap().contains("1500"), "{}", run.dump());
}

#[test]
fn exit_4_a_protected_source_port_of_a_client() {
    let (_listener, port) = listener(Family::V4);
    let _ = port;
    let net = Net::isolated().without_capabilities();
    let run =
        Sockeye::new("connect 127.0.0.1:9 --probe --source 127.0.0.1:7 --json").under(net.prefix()).run().exits(4);
    assert_error(&run, Step::Bind, "EACCES");
}

#[test]
fn exit_4_a_mark_without_the_capability() {
    let run = Sockeye::new("serve 127.0.0.1:0 --mark 7 --json").by_nobody().run().exits(4);
    assert_error(&run, Step::Setsockopt, "EPERM");
    assert!(run.one::<Error>().hint.as_ref().unwrap().to_lowercase().contains("cap_net_admin"), "{}", run.dump());
}

#[test]
fn exit_4_a_route_that_this_machine_prohibits() {
    let net = Net::isolated().with("ip route add prohibit 192.0.2.0/24");
    let run = Sockeye::new("connect 192.0.2.1:80 --probe --json").under(net.prefix()).run().exits(4);
    assert_error(&run, Step::Connect, "EACCES");
}

// 5: this machine's socket step failed.

over_both_families! {
    fn exit_5_an_address_in_use_and_who_holds_it(family) {
        let (_listener, port) = listener(family);
        let run = Sockeye::new(format!("serve {} --json", family.at(port))).run().exits(5);
        assert_error(&run, Step::Bind, "EADDRINUSE");
        let error = run.one::<Error>();
        assert_eq!(error.local.as_deref(), Some(family.at(port).to_string().as_str()));
        let hint = error.hint.as_ref().unwrap();
        assert!(hint.contains(&std::process::id().to_string()), "our own process holds it: {hint}");
        assert!(run.all::<Bind>().is_empty(), "nothing is reported that did not happen");
    }
}

#[test]
fn exit_5_a_port_of_udp_in_use_and_who_holds_it() {
    let holder = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    // A port of TCP is another one.
    let _other = TcpListener::bind(("127.0.0.1", port));
    for line in [format!("udp-listen 127.0.0.1:{port}"), format!("udp-send 127.0.0.1:9 x -s 127.0.0.1:{port}")] {
        let run = Sockeye::new(format!("{line} --json")).run().exits(5);
        assert_error(&run, Step::Bind, "EADDRINUSE");
        let hint = run.one::<Error>().hint.clone().unwrap();
        assert!(hint.contains(&format!("(pid {}) on 127.0.0.1:{port}", std::process::id())), "{hint}");
    }
}

#[test]
fn exit_5_a_wildcard_port_of_which_one_address_is_in_use() {
    let (_listener, port) = listener(Family::V4);
    let run = Sockeye::new(format!("serve {port} --json")).run().exits(5);
    assert_error(&run, Step::Bind, "EADDRINUSE");
}

#[test]
fn exit_5_an_address_that_is_not_ours() {
    let run = Sockeye::new("serve 192.0.2.1:0 --json").run().exits(5);
    assert_error(&run, Step::Bind, "EADDRNOTAVAIL");
    let run = Sockeye::new("connect 127.0.0.1:9 --probe --source 192.0.2.1 --json").run().exits(5);
    assert_error(&run, Step::Bind, "EADDRNOTAVAIL");
}

#[test]
fn exit_5_an_interface_that_does_not_exist() {
    for line in ["serve 127.0.0.1:0", "connect 127.0.0.1:9 --probe"] {
        let run = Sockeye::new(format!("{line} --interface nosuch0 --json")).run().exits(5);
        assert_error(&run, Step::Setsockopt, "ENODEV");
        assert!(run.one::<Error>().message.contains("nosuch0"), "{}", run.dump());
    }
}

#[test]
fn exit_5_a_congestion_algorithm_that_does_not_exist() {
    let run = Sockeye::new("serve 127.0.0.1:0 --congestion nosuch --json").run().exits(5);
    assert_error(&run, Step::Setsockopt, "ENOENT");
}

#[test]
fn exit_5_out_of_descriptors_however_few_there_are() {
    crate::harness::require(&["prlimit"]);
    let (_held, port) = refusing_port(Family::V4);
    let connect = format!("connect 127.0.0.1:{port} hello");
    for (line, else_) in [(connect.as_str(), 7), ("serve 127.0.0.1:0 --deadline 50ms", 0)] {
        // With 3 not even the C library can be loaded.
        for limit in 4..=20 {
            let run = Sockeye::new(format!("{line} --json")).under(["prlimit", &format!("--nofile={limit}")]).run();
            if run.code() != else_ {
                let run = run.exits(5);
                let error = run.one::<Error>();
                assert_eq!(error.errno.as_deref(), Some("EMFILE"), "with {limit}: {}", run.dump());
                assert!(error.hint.as_ref().is_some_and(|hint| hint.contains(&limit.to_string())), "{error:?}");
            }
        }
    }
}

#[test]
fn exit_5_out_of_threads_however_few_there_are() {
    // It was told as a stdout that fails, or, with one or two left, by a panic.
    crate::harness::require(&["prlimit"]);
    let (_held, port) = refusing_port(Family::V4);
    let connect = format!("connect 127.0.0.1:{port} --probe");
    for (line, else_) in [(connect.as_str(), 7), ("serve 127.0.0.1:0 --deadline 50ms", 0)] {
        for limit in 1..=6 {
            let prlimit = ["prlimit".to_owned(), format!("--nproc={limit}")];
            let run = Sockeye::new(line).under(prlimit).by_nobody().run();
            if limit == 1 || run.code() != else_ {
                let run = run.exits(5);
                assert!(run.stderr().contains("thread"), "with {limit}: {}", run.dump());
            }
        }
    }
}

#[test]
fn exit_5_a_zone_that_is_no_interface_of_this_machine() {
    for zone in ["nosuch0", "99", "0", "4294967296"] {
        for words in [
            format!("connect fe80::1%{zone} 80 hello"),
            format!("serve [fe80::1%{zone}]:0"),
            format!("udp-send fe80::1%{zone} 9 hello"),
            format!("raw-ping fe80::1%{zone} --count 1"),
        ] {
            let run = Sockeye::new(&words).arg("--json").under(Net::isolated().prefix()).run().exits(5);
            let error = run.one::<Error>();
            let names = (error.step, error.message.contains(&format!("zone %{zone}")));
            assert_eq!(names, (Step::Resolve, true), "{}", run.dump());
            let hint = error.hint.as_deref().unwrap_or_default();
            assert!(hint.ends_with("(lo)"), "{}", run.dump());
        }
    }
}

#[test]
fn a_link_local_address_without_its_zone_says_that_the_zone_is_missing() {
    let run = Sockeye::new("connect fe80::1 80 hello --json").run();
    assert_ne!(run.code(), 0);
    let hint = run.one::<Error>().hint.clone().unwrap_or_default();
    assert!(hint.contains("zone") || hint.contains('%'), "{}", run.dump());
}

// 6: reading or writing a file, stdin or stdout failed.

#[test]
fn exit_6_an_answer_that_stdout_does_not_take() {
    let peer = server("peer.recv(100)\npeer.sendall(b'answer')\npeer.recv(1)");
    let full = File::options().write(true).open("/dev/full").unwrap();
    let run = Sockeye::new(format!("connect 127.0.0.1:{} hello", peer.port)).stdout_to(full).run().exits(6);
    assert!(run.stderr().contains("stdout"), "{}", run.dump());
}

#[test]
fn exit_6_a_relay_whose_stdout_is_full() {
    let peer = server("peer.sendall(b'answer')\nall_of(peer)");
    let full = File::options().write(true).open("/dev/full").unwrap();
    Sockeye::new(format!("connect 127.0.0.1:{}", peer.port))
        .stdin_piped()
        .stdout_to(full)
        .start()
        .finish_by_itself()
        .exits(6);
}

#[test]
fn exit_6_a_stdout_that_was_opened_to_be_read_is_not_the_peers_fault() {
    let peer = server("peer.sendall(b'answer')\nall_of(peer)");
    let (reader, _writer) = std::io::pipe().unwrap();
    let run = Sockeye::new(format!("connect 127.0.0.1:{}", peer.port)).stdout_to(reader).run().exits(6);
    assert!(run.stderr().contains("error: write stdout: bad file number"), "{}", run.dump());
}

#[test]
fn exit_6_events_that_stdout_does_not_take() {
    let (_listener, port) = listener(Family::V4);
    for line in [format!("connect 127.0.0.1:{port} --probe --json"), "serve 127.0.0.1:0 --json".to_owned()] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        Sockeye::new(line).stdout_to(full).run().exits(6);
    }
}

#[test]
fn exit_6_whatever_is_printed_is_printed_whole_or_fails() {
    for line in ["schema", "man", "man serve", "completions bash", "doctor", "--help", "--version"] {
        let full = File::options().write(true).open("/dev/full").unwrap();
        Sockeye::new(line).stdout_to(full).run().exits(6);
    }
}

#[test]
fn exit_6_a_stdin_that_cannot_be_read() {
    let peer = server("all_of(peer)");
    let directory = File::open("/").unwrap();
    let run = connect(peer.port, "").stdin_from(directory).run().exits(6);
    assert_eq!((run.one::<Error>().step, run.one::<Error>().errno.as_deref()), (Step::Read, Some("EISDIR")));
}

#[test]
fn exit_6_a_stdin_that_cannot_be_read_is_not_the_peers_fault() {
    // Where the kernel moved it, sendfile(2)'s EBADF was told as of a send, and the peer's end awaited.
    let dir = TempDir::new();
    std::fs::write(dir.path().join("file"), b"hello").unwrap();
    nix::unistd::mkfifo(&dir.path().join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let secret = "/proc/sys/net/ipv6/conf/lo/stable_secret";
    for (redirection, errno) in [
        (format!("0>>{}/file", dir.path().display()), "bad file number"),
        // Opened to read first, for else the open to write would wait for a reader.
        (format!("3<>{0}/fifo 0>{0}/fifo", dir.path().display()), "bad file number"),
        // Regular to look at, it gives no byte as long as it has not been set. Only root may open it.
        (format!("<{secret}"), "i/O error"),
    ] {
        if redirection.contains(secret) && File::open(secret).is_err() {
            continue;
        }
        let peer = server("all_of(peer)");
        let run = Sockeye::new(format!("connect 127.0.0.1 {}", peer.port))
            .under(["sh".to_owned(), "-c".to_owned(), format!("exec \"$@\" {redirection}"), "sh".to_owned()])
            .run()
            .exits(6);
        let stderr = run.stderr();
        assert!(stderr.contains(&format!("error: read stdin: {errno}")) && !stderr.contains("error: send"), "{stderr}");
        peer.lines();
    }
}

#[test]
fn exit_6_a_file_for_events_that_cannot_be_made() {
    let (_listener, port) = listener(Family::V4);
    let run = connect(port, "--probe --events /nosuch/folder/events").run().exits(6);
    assert_error_without_hint(&run, Step::Open, "ENOENT");
    assert!(run.one::<Error>().message.contains("/nosuch/folder/events"), "{}", run.dump());
}

#[test]
fn exit_6_a_file_for_events_that_nobody_reads_any_more() {
    let dir = TempDir::new();
    let path = dir.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let reader = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(&path).unwrap();
    let server = Sockeye::new("serve 127.0.0.1:0 --json --events").arg(&path).start();
    let port = server.port();
    drop(reader);
    // Where another test has just forked, the reader is gone only when that child runs its program: so more than one
    // event may go by.
    while server.is_running() {
        let _refused_at_the_end = std::net::TcpStream::connect(("127.0.0.1", port));
    }
    let run = server.finish_by_itself().exits(6);
    let error = run.one::<Error>();
    assert_eq!((error.step, error.errno.as_deref()), (Step::Write, Some("EPIPE")), "{}", run.dump());
    assert!(error.message.contains("the events file"), "{}", run.dump());
}

#[test]
fn exit_6_a_stdout_that_is_closed() {
    let peer = server(
        "peer.recv(9)\npeer.sendall(b'answer')\nall_of(peer)\npeer, _ = server.accept()\npeer.recv(9)\n\
                       peer.sendall(b'answer')\npeer.close()",
    );
    for line in [
        "schema".to_owned(),
        "man".to_owned(),
        "--version".to_owned(),
        format!("connect 127.0.0.1:{} hello", peer.port),
        format!("connect 127.0.0.1:{}", peer.port),
    ] {
        // What was opened to be written is written, /dev/null too, whatever else it was opened for.
        for (redirection, code) in [(">&-", 6), ("1<>/dev/null", 0)] {
            if code == 0 && line.starts_with("connect") {
                continue;
            }
            let run = Sockeye::new(&line)
                .under(["sh", "-c", &format!("exec \"$@\" {redirection}"), "sh"])
                .stdin("hello")
                .run()
                .exits(code);
            assert_eq!(run.stderr().contains("write stdout: bad file number"), code == 6, "{line}: {}", run.dump());
        }
    }
}

#[test]
fn exit_9_a_route_of_type_blackhole() {
    let net = || Net::isolated().with("ip route add blackhole 192.0.2.0/24 && ip -6 route add blackhole 2001:db8::/32");
    for target in ["192.0.2.1:80", "[2001:db8::1]:80"] {
        let run = Sockeye::new(format!("connect --probe {target} --json")).under(net().prefix()).run().exits(9);
        let error = run.one::<Error>();
        assert_eq!((error.step, error.errno.as_deref()), (Step::Connect, Some("EINVAL")), "{}", run.dump());
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("blackhole")), "{}", run.dump());
    }
}

#[track_caller]
fn assert_error_without_hint(run: &Finished, step: Step, errno: &str) {
    let error = run.one::<Error>();
    assert_eq!((error.step, error.errno.as_deref()), (step, Some(errno)), "{}", run.dump());
}

// 7: refused.

over_both_families! {
    fn exit_7_nobody_listens(family) {
        let (_held, port) = refusing_port(family);
        for rest in ["--probe", "hello", ""] {
            let run = Sockeye::new(format!("connect {} {port} {rest} --json", family.host())).run().exits(7);
            assert_error(&run, Step::Connect, "ECONNREFUSED");
            assert_eq!(run.one::<Error>().peer.as_deref(), Some(family.at(port).to_string().as_str()));
            assert_eq!(run.summary().connections, Some(0));
            let local = run.one::<Error>().local.clone().unwrap();
            assert_eq!(local.parse::<std::net::SocketAddr>().unwrap().ip(), family.ip(), "from where it was tried");
        }
    }

    fn exit_7_where_the_same_port_is_open_at_an_address_of_the_other_family(family) {
        let other = if family == Family::V4 { Family::V6 } else { Family::V4 };
        // The port is taken in one family, and open in the other, where nobody else has it there.
        let (_held, port, _open) = std::iter::repeat_with(|| refusing_port(family))
            .find_map(|(held, port)| Some((held, port, TcpListener::bind(other.at(port)).ok()?)))
            .unwrap();
        let run = Sockeye::new(format!("connect {} {port} hello --json", family.host())).run().exits(7);
        let hint = run.one::<Error>().hint.as_deref().unwrap_or_default();
        assert!(hint.contains("nobody listens at this address, but the same port has "), "{hint}");
        assert!(hint.ends_with(&format!("(pid {}) on {}", std::process::id(), other.at(port))), "{hint}");
    }

    fn a_failed_connect_says_from_which_port_it_was_tried(family) {
        let (_held, refusing) = refusing_port(family);
        let silent = silent_port(family);
        for (port, code) in [(refusing, 7), (silent.port, 8)] {
            let own = family.at(likely_free_port(family)).to_string();
            let words = format!("connect {} {port} x --source {own} --timeout 300ms --json", family.host());
            let run = Sockeye::new(words).run().exits(code);
            assert_eq!(run.one::<Error>().local.as_deref(), Some(own.as_str()));
        }
    }
}

over_both_families! {
    fn exit_7_a_connection_of_a_socket_to_itself_is_none(family) {
        // Where nobody listens, and the kernel takes the very port that is asked for as ours, a SYN answers itself.
        let net = || Net::isolated().with("echo 50004 50005 >/proc/sys/net/ipv4/ip_local_port_range").prefix();
        let run = |port: u16, words: &str| {
            let line = format!("connect {} {port} {words} --json", family.host());
            Sockeye::new(line).under(net()).run().exits(7)
        };
        let itself = family.at(50_004).to_string();
        for (port, words) in [
            (50_004, "hello".to_owned()),
            (50_004, "--probe".to_owned()),
            // The port is free again for the server that is awaited.
            (50_004, "hello --retry-for 1s".to_owned()),
            (41_999, format!("hello --source {}", family.at(41_999))),
            (50_004, "hello --mptcp".to_owned()),
        ] {
            let itself = if port == 50_004 { itself.clone() } else { family.at(port).to_string() };
            let run = run(port, &words);
            assert!(run.all::<Connect>().is_empty() && run.summary().connections == Some(0), "{}", run.dump());
            assert_eq!(run.all::<Error>().len() > 1, words.contains("retry"), "{}", run.dump());
            for error in run.all::<Error>() {
                assert_eq!((error.step, error.errno.as_ref()), (Step::Connect, None), "{}", run.dump());
                assert_eq!((error.peer.as_ref(), error.local.as_ref()), (Some(&itself), Some(&itself)));
                assert!(error.hint.is_some() && error.message.contains("to itself"), "{error:?}");
            }
        }
    }
}

#[test]
fn exit_7_a_probe_that_met_itself_is_refused() {
    let net = Net::isolated().with("echo 50004 50005 >/proc/sys/net/ipv4/ip_local_port_range").prefix();
    let run = Sockeye::new("connect --probe 127.0.0.1 50004").under(net).run().exits(7);
    assert_eq!(run.stdout(), b"refused     127.0.0.1:50004\n", "{}", run.dump());
}

#[test]
fn exit_7_all_addresses_of_a_name_refuse() {
    let (_held, port) = refusing_port(Family::V4);
    let run = Sockeye::new(format!("connect localhost:{port} hello --json")).run().exits(7);
    assert!(run.all::<Error>().iter().all(|error| error.errno.as_deref() == Some("ECONNREFUSED")), "{}", run.dump());
}

#[test]
fn exit_7_a_unix_path_that_does_not_exist_or_that_nobody_listens_on() {
    let dir = TempDir::new();
    let path = dir.path().join("socket");
    let run = Sockeye::new(format!("connect unix:{} hello --json", path.display())).run().exits(7);
    assert_error(&run, Step::Connect, "ENOENT");
    assert_eq!(run.one::<Error>().peer, Some(format!("unix:{}", path.display())));
    // A listener that is gone leaves its file behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let run = Sockeye::new(format!("connect unix:{} hello --json", path.display())).run().exits(7);
    assert_error(&run, Step::Connect, "ECONNREFUSED");
}

// 8: no answer in time.

#[test]
fn exit_8_no_answer_to_a_message() {
    let peer = server("say(all_of(peer))");
    let run = connect(peer.port, "hello --timeout 200ms").run().exits(8);
    let timeout = run.one::<Timeout>();
    assert_eq!((timeout.step, timeout.conn), (Step::Recv, Some(1)));
    assert!((200_000_000..2_000_000_000).contains(&timeout.after_ns), "{timeout:?}");
    assert_eq!(run.one::<Close>().reason, Reason::Timeout);
    assert_eq!(run.summary().timeouts, Some(1));
    assert_eq!(peer.lines(), ["b'hello'"]);
}

#[test]
fn exit_8_nothing_at_all_where_a_match_was_expected() {
    let peer = server("all_of(peer)");
    connect(peer.port, "hello --expect yes --timeout 200ms").run().exits(8);
}

over_both_families! {
    fn exit_8_a_host_that_does_not_answer_the_connect(family) {
        let silent = silent_port(family);
        for patience in ["--timeout", "--connect-timeout"] {
            let run =
                Sockeye::new(format!("connect {} {} --probe {patience} 300ms --json", family.host(), silent.port))
                .run()
                .exits(8);
            let timeout = run.one::<Timeout>();
            assert_eq!(timeout.step, Step::Connect);
            // The patience is that of all attempts, and begins before the call of the first.
            let waited = run.elapsed_of("timeout") - run.elapsed_of("start");
            assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&waited), "{waited:?}");
            assert!((1..=waited.as_nanos()).contains(&timeout.after_ns.into()), "{timeout:?} of {waited:?}");
            let error = run.one::<Error>();
            assert_eq!((error.step, error.errno.as_deref()), (Step::Connect, None), "our own timer, no errno");
            assert_eq!(error.peer.as_deref(), Some(family.at(silent.port).to_string().as_str()));
        }
    }
}

#[test]
fn exit_8_says_how_many_syns_were_sent_again() {
    let silent = silent_port(Family::V4);
    // The kernel sends the first SYN again after 1 s (tcp_syn_linear_timeouts, ip-sysctl).
    let run = connect(silent.port, "--probe --connect-timeout 1500ms").run().exits(8);
    let error = run.one::<Error>();
    let said = format!("{} {}", error.message, error.hint.clone().unwrap_or_default());
    assert!(said.contains("SYN") && said.contains('1'), "{error:?}");
}

#[test]
fn exit_8_the_deadline_comes_before_the_answer() {
    let peer = server("all_of(peer)");
    let run = connect(peer.port, "hello --timeout 10s --deadline 300ms").run().exits(8);
    assert!(run.elapsed() < Duration::from_secs(5), "{:?}", run.elapsed());
}

// 9: unreachable.

#[test]
fn exit_9_no_route() {
    for target in ["192.0.2.1:80", "[2001:db8::1]:80"] {
        let run =
            Sockeye::new(format!("connect {target} --probe --json")).under(Net::isolated().prefix()).run().exits(9);
        assert_error(&run, Step::Connect, "ENETUNREACH");
        assert!(run.one::<Error>().hint.as_ref().unwrap().contains("route"), "{}", run.dump());
    }
}

#[test]
fn exit_9_a_route_that_says_unreachable() {
    let net = Net::isolated().with("ip route add unreachable 192.0.2.0/24");
    let run = Sockeye::new("connect 192.0.2.1 80 hello --json").under(net.prefix()).run().exits(9);
    assert_error(&run, Step::Connect, "EHOSTUNREACH");
}

// 10: reset, or closed before the answer was whole.

#[test]
fn exit_10_closed_before_an_answer() {
    let peer = server("peer.recv(100)\npeer.close()");
    let run = connect(peer.port, "hello").run().exits(10);
    assert_eq!(run.one::<Close>().reason, Reason::Eof);
    assert_eq!(run.summary().resets, Some(0));
}

#[test]
fn exit_10_closed_before_the_second_answer() {
    let peer = server("peer.recv(100)\npeer.sendall(b'one')\npeer.shutdown(socket.SHUT_WR)\nall_of(peer)");
    connect(peer.port, "hello again").run().exits(10);
}

#[test]
fn exit_10_closed_before_anything_where_a_match_was_expected() {
    let peer = server("peer.recv(100)\npeer.close()");
    connect(peer.port, "hello --expect yes").run().exits(10);
}

#[test]
fn exit_10_reset_before_an_answer() {
    let peer = server("peer.recv(100)\nreset(peer)");
    let run = connect(peer.port, "hello").run().exits(10);
    assert_error(&run, Step::Recv, "ECONNRESET");
    assert_eq!(run.one::<Close>().reason, Reason::Reset);
    assert_eq!(run.summary().resets, Some(1));
}

#[test]
fn a_reset_after_the_answer_while_reading_to_the_end_is_exit_10() {
    let mut peer = server("peer.recv(100)\npeer.sendall(b'answer')\ntold()\nreset(peer)");
    let client = connect(peer.port, "hello --until-eof").start();
    client.wait_for::<crate::harness::events::Recv>();
    peer.send(b"go\n");
    client.finish().exits(10);
}

// What was measured before a failure is still reported.

#[test]
fn what_was_measured_before_a_failure_is_in_the_summary() {
    let peer = server("all_of(peer)");
    let run = Sockeye::new(format!("connect localhost {} hello --timeout 200ms --json", peer.port)).run().exits(8);
    let summary = run.summary();
    assert_eq!(summary.resolve.as_ref().map(|times| times.count), Some(1));
    assert_eq!(summary.connect.as_ref().map(|times| times.count), Some(1));
    assert!(summary.first_byte.is_none(), "what was not measured is absent");
}

// The same failures as text: one line on stderr, stdout empty.

#[test]
fn a_failure_as_text_is_on_stderr_with_its_hint() {
    let dir = TempDir::new();
    let (_held, port) = refusing_port(Family::V4);
    let run =
        Sockeye::new(format!("connect 127.0.0.1 {port}")).stdin_from(file_with(&dir, "input", b"hello")).run().exits(7);
    assert_eq!(run.stdout(), b"");
    assert!(run.stderr().contains("refused"), "{}", run.dump());
    assert!(run.stderr().contains(&format!("127.0.0.1:{port}")), "{}", run.dump());
}
