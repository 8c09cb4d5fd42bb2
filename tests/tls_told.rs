//! TLS as people are told of it: the table of a probe, reasons, hints; and files that are none.

use crate::harness::events::{Connect, Error, Probe, Tls, Warning};
use crate::harness::net::{Family, Net, TempDir, refusing_port};
use crate::harness::tls::{Authority, NOW, Pair, Terms, openssl_x509, python_server};
use crate::harness::{Finished, Peer, Sockeye};

fn stdout(run: &Finished) -> String {
    String::from_utf8(run.stdout().to_vec()).unwrap()
}

/// Replaces numbers of days: they are whole ones, and a moment may have passed or not.
fn days(text: &str) -> String {
    regex::Regex::new("[0-9]+ days? (left|ago)").unwrap().replace_all(text, "[DAYS] $1").into_owned()
}

/// A server that greets each peer in plain text, and waits for its end.
fn greeter(greeting: &str) -> Peer {
    let script = "server = listen('127.0.0.1')\nwhile True:\n    peer, _ = server.accept()\n    \
                  peer.sendall(sys.argv[1].encode().decode('unicode_escape').encode())\n    all_of(peer)";
    Peer::python_server(script, &[greeting])
}

#[test]
fn a_probe_over_tls_has_a_line_of_what_it_came_to() {
    let authority = Authority::new();
    let ca = authority.cert();
    let good = python_server(&authority.issue("good", &["127.0.0.1"], NOW), &Terms::default());
    let expired = python_server(&authority.issue("old", &["127.0.0.1"], (-9, -2)), &Terms::default());
    let plain = greeter("SSH-2.0-x\\r\\n");
    let (_held, closed) = refusing_port(Family::V4);
    let at = |port: u16| format!("127.0.0.1:{port}");
    let ports = [good.port, expired.port, plain.port, closed].map(at);
    let line = format!("connect -z {} --tls --ca {}", ports.join(" "), ca.display());
    let run = Sockeye::new(&line).run().exits(1);
    let table = stdout(&run);
    let row = |address: &str| table.lines().find(|row| row.contains(address)).unwrap_or_default().to_owned();
    let open = row(&ports[0]);
    assert!(open.starts_with("open ") && days(&open).ends_with(", TLSv1.3, [DAYS] left"), "{table}");
    let failed = row(&ports[1]);
    assert!(failed.starts_with("failed ") && failed.contains(" tls: ") && failed.contains("expired"), "{table}");
    let other = row(&ports[2]);
    assert!(other.starts_with("failed ") && other.contains("does not speak TLS"), "{table}");
    assert_eq!(row(&ports[3]), format!("refused     {}", ports[3]), "{table}");
    assert_eq!(table.lines().count(), 5, "{table}");
    assert!(table.lines().last().is_some_and(|last| last.starts_with("1 open, 3 failures in ")), "{table}");
    // The events say the same.
    let run = Sockeye::new(format!("{line} --json")).run().exits(1);
    let of = |target: &str| run.all::<Probe>().into_iter().find(|probe| probe.target == target).unwrap().exit_code;
    assert_eq!(ports.each_ref().map(|port| of(port)), [0, 11, 11, 7], "{}", run.dump());
    assert_eq!((run.summary().targets, run.summary().targets_open), (Some(4), Some(1)), "{}", run.dump());
    // Of one target the same line, and the error with its hint.
    let run = Sockeye::new(format!("connect -z {} --tls --ca {}", ports[1], ca.display())).run().exits(11);
    assert!(stdout(&run).starts_with("failed ") && run.stderr().contains("error: tls"), "{}", run.dump());
    let run = Sockeye::new(format!("connect -z {} --tls --insecure --ca {}", ports[1], ca.display())).run().exits(0);
    let told = days(&stdout(&run));
    assert!(told.contains(", TLSv1.3, expired [DAYS] ago, not verified: expired"), "{}", run.dump());
}

#[test]
fn a_proxy_that_is_down_is_told_with_its_targets() {
    let (_held, closed) = refusing_port(Family::V4);
    let proxied = format!("connect -z --proxy http://127.0.0.1:{closed} localhost");
    let run = Sockeye::new(format!("{proxied} 7590,7591")).run().exits(7);
    let table = stdout(&run);
    for port in [7590, 7591] {
        let row = format!("failed      localhost:{port} proxy 127.0.0.1:{closed}: connection refused\n");
        assert!(table.contains(&row), "{table}");
    }
    assert!(table.lines().last().is_some_and(|last| last.starts_with("0 open, 2 failures in ")), "{table}");
    let run = Sockeye::new(format!("{proxied} 7590 --json")).run().exits(7);
    let error = run.one::<Error>();
    assert_eq!(error.target.as_deref(), Some("localhost:7590"), "{}", run.dump());
    assert!(error.proxy.as_deref().is_some_and(|proxy| proxy.ends_with(&format!("127.0.0.1:{closed}"))));
    assert!(error.message.contains("proxy") && error.message.contains("localhost:7590"), "{}", error.message);
    // In rounds each has its line.
    let run = Sockeye::new(format!("{proxied} 7590 --count 2 --interval 0")).run().exits(7);
    assert_eq!(stdout(&run).matches("failed      localhost:7590 ").count(), 2, "{}", run.dump());
}

#[test]
fn too_few_days_are_told_with_the_host_and_also_where_little_is() {
    let authority = Authority::new();
    let ca = authority.cert();
    let server = python_server(&authority.issue("server", &["localhost"], (-1, 10)), &Terms::default());
    let line = format!("connect localhost:{} hi --tls --ca {} --min-days 100", server.port, ca.display());
    let run = Sockeye::new(format!("{line} --json")).run().exits(1);
    let (warning, target) = (run.one::<Warning>(), format!("localhost:{}", server.port));
    assert_eq!((warning.conn, warning.target.as_deref()), (Some(1), Some(&*target)), "{}", run.dump());
    assert!(warning.peer.is_some());
    assert_eq!(run.one::<Tls>().target.as_deref(), Some(&*target));
    assert_eq!(run.one::<Connect>().target.as_deref(), Some(&*target));
    let told = format!("tls {target}: [DAYS] left of the server's certificate, fewer than --min-days 100");
    assert_eq!(days(&warning.message), told);
    let run = Sockeye::new(format!("{line} -q")).run().exits(1);
    assert_eq!(days(&run.stderr()), format!("warning: {told}\n"));
    let (_held, closed) = refusing_port(Family::V4);
    let words = format!("--tls --ca {} --min-days 100", ca.display());
    let run = Sockeye::new(format!("connect -z {target} 127.0.0.1:{closed} {words}")).run().exits(1);
    assert!(days(&run.stderr()).contains(&told), "{}", run.dump());
    // One that has expired has no days left.
    let old = python_server(&authority.issue("old", &["localhost"], (-9, -2)), &Terms::default());
    let run = Sockeye::new(format!("connect localhost:{} hi --insecure {words} -q", old.port)).run().exits(1);
    assert!(days(&run.stderr()).contains("the server's certificate expired [DAYS] ago"), "{}", run.dump());
}

#[test]
fn days_are_numbers() {
    for (word, says) in [("21d", "a number of days"), ("-1", "a number of days"), ("x", "a number of days")] {
        let run = Sockeye::new(format!("connect h 1 x --tls --min-days {word}")).run().exits(2);
        assert!(run.stderr().contains(says), "{}", run.dump());
    }
}

#[test]
fn a_certificate_is_told_with_the_day_of_its_end_and_each_on_a_line() {
    let authority = Authority::new();
    let ca = authority.cert();
    let pair = authority.issue_by_another("server", &["localhost"], true);
    let end = openssl_x509(&pair.cert, &["-enddate", "-dateopt", "iso_8601"]);
    let day = end.trim().rsplit_once('=').unwrap().1.split(' ').next().unwrap().to_owned();
    let server = python_server(&pair, &Terms::default());
    let line = format!("connect localhost {} hi --tls --ca {}", server.port, ca.display());
    let run = Sockeye::new(&line).run().exits(0);
    assert!(days(&run.stderr()).contains(&format!("[DAYS] left (until {day})")), "{}", run.dump());
    let run = Sockeye::new(format!("{line} -v")).run().exits(0);
    let lines = run.stderr().lines().filter(|line| line.trim_start().starts_with("certificate CN=")).count();
    assert_eq!(lines, 2, "{}", run.dump());
}

#[test]
fn who_is_not_known_is_named() {
    let (authority, other) = (Authority::new(), Authority::new());
    let pair = authority.issue_by_another("server", &["localhost"], true);
    let server = python_server(&pair, &Terms::default());
    let line = format!("connect localhost {} hi --tls --ca {} --json", server.port, other.cert().display());
    let run = Sockeye::new(line).run().exits(11);
    let hint = run.one::<Error>().hint.clone().unwrap_or_default();
    assert!(hint.contains("2 certificates") && hint.contains("CN=Test Authority"), "{hint}");
}

#[test]
fn a_file_without_a_key_says_which_word_names_it() {
    let authority = Authority::new();
    let cert = authority.issue("server", &["localhost"], NOW).cert.display().to_string();
    let run = Sockeye::new(format!("connect localhost 1 x --tls --client-cert {cert}")).run().exits(6);
    assert!(run.stderr().contains("--client-key"), "{}", run.dump());
    let run = Sockeye::new(format!("serve 127.0.0.1:0 --tls-cert {cert}")).run().exits(6);
    assert!(run.stderr().contains("--tls-key"), "{}", run.dump());
}

#[test]
fn starttls_with_the_wrong_port_is_guessed() {
    for (greeting, protocol, guess) in [
        ("220 mail ESMTP\\r\\n", "imap", "--starttls smtp"),
        ("+OK ready\\r\\n", "imap", "--starttls pop3"),
        ("* OK ready\\r\\n", "smtp", "--starttls imap"),
        // A server of TLS that was spoken to in plain text: an alert.
        ("\\x15\\x03\\x01\\x00\\x02\\x02\\x46", "postgres", "without --starttls"),
    ] {
        let server = greeter(greeting);
        let line = format!("connect localhost {} x --tls --starttls {protocol} --json", server.port);
        let run = Sockeye::new(line).run().exits(11);
        let error = run.one::<Error>();
        assert_eq!(error.name.as_deref(), Some("starttls-refused"));
        assert!(error.hint.as_deref().is_some_and(|hint| hint.contains(guess)), "{}", run.dump());
    }
    let silent = Peer::python_server("server = listen('127.0.0.1')\ntime.sleep(60)", &[]);
    let line = format!("connect localhost {} x --tls --starttls smtp --tls-timeout 300ms --json", silent.port);
    let run = Sockeye::new(line).run().exits(8);
    assert!(
        run.one::<Error>().hint.as_deref().is_some_and(|hint| hint.contains("without --starttls")),
        "{}",
        run.dump()
    );
}

#[test]
fn files_of_certificates_are_read_whole_or_not_at_all_and_never_for_ever() {
    let dir = TempDir::new();
    let huge = dir.path().join("huge.pem");
    std::fs::File::create(&huge).unwrap().set_len((16 << 20) + 1).unwrap();
    let pipe = dir.path().join("pipe.pem");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (huge, pipe) = (huge.display(), pipe.display());
    for line in
        ["connect localhost 1 x --tls --ca", "serve 127.0.0.1:0 --tls-cert", "serve 127.0.0.1:0 --relay --tls-cert"]
    {
        let run = Sockeye::new(format!("{line} {huge} --json")).run().exits(6);
        assert_eq!(run.one::<Error>().errno.as_deref(), Some("EFBIG"), "{}", run.dump());
        let code = if line.starts_with("serve") { 0 } else { 8 };
        let run = Sockeye::new(format!("{line} {pipe} --deadline 300ms --json")).run().exits(code);
        assert_eq!(run.all::<Error>().len(), 0, "{}", run.dump());
    }
}

#[test]
fn each_target_of_a_table_has_its_line() {
    // One address, two names: the certificate is for one of them.
    let authority = Authority::new();
    let Pair { cert, key } = authority.issue("server", &["localhost"], NOW);
    let files = format!("--tls-cert {} --tls-key {}", cert.display(), key.display());
    let server = Sockeye::new(format!("serve 127.0.0.1:0 -q {files}")).start();
    let (port, ca) = (server.port(), authority.cert());
    for retry in ["", "--retry-for 200ms"] {
        let words = format!("connect --probe -4 --tls --ca {} localhost:{port} 127.0.0.1:{port} {retry}", ca.display());
        let run = Sockeye::new(words).run().exits(1);
        let table = String::from_utf8_lossy(run.stdout());
        for line in ["open        127.0.0.1:", "failed      127.0.0.1:", "1 open, 1 failure"] {
            assert_eq!(table.matches(line).count(), 1, "{line}: {}", run.dump());
        }
    }
    server.interrupt().exits(0);
    // What has no address to fail with has a line too, and is counted once.
    let dir = TempDir::new();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 one two\n").unwrap();
    for retry in ["", "--retry-for 200ms"] {
        let probe = |rest: &str| {
            let line = format!("connect --probe --source ::1 one:1 two:1 two:2 {retry} {rest}");
            Sockeye::new(line).under(Net::isolated().with_hosts(&hosts).prefix()).run().exits(9)
        };
        let run = probe("");
        let table = String::from_utf8_lossy(run.stdout());
        for line in ["failed      one:1 connect: no address", "failed      two:1 ", "0 open, 3 failures"] {
            assert_eq!(table.matches(line).count(), 1, "{line}: {}", run.dump());
        }
        let run = probe("--json");
        assert!(run.all::<Error>().iter().all(|error| error.target.is_some()), "{}", run.dump());
    }
}

#[test]
fn the_same_target_twice_has_two_lines() {
    let (_held, closed) = refusing_port(Family::V4);
    let refused = format!("127.0.0.1:{closed}");
    let listening = Peer::python_server("server = listen('127.0.0.1')\ntime.sleep(60)", &[]);
    let open = format!("127.0.0.1:{}", listening.port);
    for retry in ["", "--retry-for 200ms"] {
        let line = format!("connect --probe {refused} {open} {refused} {open} {retry}");
        let run = Sockeye::new(&line).run().exits(1);
        let table = stdout(&run);
        for (begin, address, count) in [("refused ", &refused, 2), ("open ", &open, 2)] {
            let of = |row: &&str| row.starts_with(begin) && row.contains(&**address);
            assert_eq!(table.lines().filter(of).count(), count, "{}", run.dump());
        }
        assert!(table.lines().last().is_some_and(|last| last.starts_with("2 open, 2 failures in ")), "{table}");
        let run = Sockeye::new(format!("{line} --json")).run().exits(1);
        let codes = run.all::<Probe>().into_iter().map(|probe| probe.exit_code);
        assert_eq!(codes.sum::<i32>(), 14, "{}", run.dump());
        assert_eq!((run.all::<Probe>().len(), run.summary().targets), (4, Some(4)), "{}", run.dump());
    }
}
