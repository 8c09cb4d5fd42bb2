//! `connect --proxy` through proxies that others wrote: microsocks, Dante, OpenSSH, tinyproxy, Ncat, haproxy.

use std::time::Duration;

use crate::harness::events::{Close, Connect, Error, Proxy, Reason, Resolve, Round, Step, Warning};
use crate::harness::net::{Net, TempDir, over_both_families, refusing_port};
use crate::harness::peers::python;
use crate::harness::proxies::{dante, microsocks, ncat, ssh, tinyproxy};
use crate::harness::{Family, Finished, Peer, Sockeye};

/// A target that greets, and says what it was told.
const GREETER: &str = r#"
server = listen(sys.argv[1])
def serve(peer):
    peer.sendall(b"220 hello\r\n")
    told = peer.recv(100)
    peer.sendall(b"told " + told)
    peer.shutdown(socket.SHUT_WR)
    all_of(peer)
while True:
    peer, _ = server.accept()
    threading.Thread(target=serve, args=(peer,), daemon=True).start()
"#;

fn greeter(family: Family) -> Peer {
    Peer::python_server(GREETER, &[&family.host()])
}

/// Returns the address of a port as it stands in a URL or a target.
fn at(family: Family, port: u16) -> String {
    family.at(port).to_string()
}

/// Connects by way of proxies, says a word, and reads to the end.
fn through(proxies: &[String], target: &str) -> Sockeye {
    let words = proxies.iter().flat_map(|proxy| ["--proxy", proxy.as_str()]);
    Sockeye::new("connect --json --until-eof").args(words).arg(target).arg("x").args(["--expect", "told x"])
}

/// Checks that the greeting, the answer and nothing else came.
#[track_caller]
fn check_talk(run: &Finished) {
    assert_eq!(run.summary().bytes_received, Some("220 hello\r\ntold x".len() as u64), "{}", run.dump());
    assert_eq!(run.summary().bytes_sent, Some(1), "the dialogue is in no total");
}

over_both_families! {
    fn socks5_without_a_password(family) {
        let (proxy, target) = (microsocks(family, None), greeter(family));
        let (url, to) = (format!("socks5://{}", at(family, proxy.port)), at(family, target.port));
        let run = through(&[url], &to).run().exits(0);
        check_talk(&run);
        let told = run.one::<Proxy>();
        assert_eq!((told.conn, &told.proxy, told.protocol.as_str()), (1, &at(family, proxy.port), "socks5"));
        assert_eq!((&told.target, told.code, told.reply.as_str()), (&to, 0, "succeeded"));
        assert_eq!((told.resolved_by.as_deref(), told.authentication.as_deref()), (None, None));
        assert!(told.duration_ns > 0 && told.bytes_sent > 0 && told.bytes_received >= 12);
        assert_eq!(told.steps(), ["greeting", "request"]);
        assert_eq!(run.one::<Connect>().peer, at(family, proxy.port), "the connection is to the proxy");
        let names = run.names();
        let place = |name| names.iter().position(|given| *given == name);
        assert!(place("connect") < place("proxy") && place("proxy") < place("send"), "{names:?}");
    }

    fn socks5_with_a_password_from_the_environment(family) {
        let (proxy, target) = (microsocks(family, Some("joe:geheim")), greeter(family));
        let (url, to) = (format!("socks5://{}", at(family, proxy.port)), at(family, target.port));
        let asked = || through(std::slice::from_ref(&url), &to);
        let run = asked().env("SOCKEYE_PROXY_USER", "joe").env("SOCKEYE_PROXY_PASSWORD", "geheim").run().exits(0);
        check_talk(&run);
        assert_eq!(run.one::<Proxy>().authentication.as_deref(), Some("password"));
        assert_eq!(run.one::<Proxy>().steps(), ["greeting", "authentication", "request"]);
        let run = asked().env("SOCKEYE_PROXY_USER", "joe").env("SOCKEYE_PROXY_PASSWORD", "falsch").run().exits(4);
        let error = run.one::<Error>();
        assert_eq!((error.step, error.conn, error.target.as_deref()), (Step::Proxy, Some(1), Some(to.as_str())));
        assert!(error.message.contains("does not take this user and password"), "{}", error.message);
        let run = asked().run().exits(4);
        let error = run.one::<Error>();
        assert!(error.message.contains("no user was given"), "{}", error.message);
        let hint = error.hint.as_deref().unwrap();
        assert!(hint.contains("--proxy-user-file") && hint.contains("SOCKEYE_PROXY_PASSWORD"), "{hint}");
    }

    fn http_connect(family) {
        let dir = TempDir::new();
        let (proxy, target) = (tinyproxy(&dir, family, None), greeter(family));
        let (url, to) = (format!("http://{}", at(family, proxy.port)), at(family, target.port));
        let run = through(&[url], &to).run().exits(0);
        check_talk(&run);
        let told = run.one::<Proxy>();
        assert_eq!((told.protocol.as_str(), told.code, told.authentication.as_deref()), ("http", 200, None));
        assert!(told.reply.starts_with("200 "), "{}", told.reply);
        assert_eq!(told.steps(), ["request"]);
    }

    fn basic_where_the_proxy_closes_after_it_has_asked(family) {
        let dir = TempDir::new();
        let (proxy, target) = (tinyproxy(&dir, family, Some("joe geheim")), greeter(family));
        let (url, to) = (format!("http://joe@{}", at(family, proxy.port)), at(family, target.port));
        let asked = || through(std::slice::from_ref(&url), &to);
        let run = asked().env("SOCKEYE_PROXY_PASSWORD", "geheim").run().exits(0);
        check_talk(&run);
        let told = run.one::<Proxy>();
        assert_eq!((told.conn, told.authentication.as_deref()), (2, Some("basic")), "{}", run.dump());
        // Why there are two connections is told.
        let warning = run.one::<Warning>();
        assert_eq!(warning.name, "proxy-authentication");
        assert!(warning.message.contains("407"), "{}", warning.message);
        let proxy_at = at(family, proxy.port);
        assert_eq!((warning.conn, warning.peer.as_ref(), warning.target.as_ref()), (Some(1), Some(&proxy_at), Some(&to)));
        assert_eq!(run.all::<Connect>().iter().map(|connect| connect.attempt).collect::<Vec<_>>(), [1, 2]);
        let run = asked().env("SOCKEYE_PROXY_PASSWORD", "falsch").run().exits(4);
        assert_eq!(run.all::<Connect>().len(), 2, "it is tried once");
        let error = run.one::<Error>();
        // tinyproxy then says so.
        assert!(error.message.ends_with("it answers 401 Unauthorized"), "{}", error.message);
    }

    fn ncat_asks_for_digest_and_gets_it(family) {
        let dir = TempDir::new();
        let (proxy, target) = (ncat(family, Some("joe:geheim")), greeter(family));
        let (url, to) = (format!("http://{}", at(family, proxy.port)), at(family, target.port));
        let users = dir.path().join("users");
        std::fs::write(&users, "joe:geheim\n").unwrap();
        let run = through(std::slice::from_ref(&url), &to).arg("--proxy-user-file").arg(&users).run().exits(0);
        check_talk(&run);
        assert_eq!(run.one::<Proxy>().authentication.as_deref(), Some("digest"), "{}", run.dump());
        std::fs::write(&users, "joe:falsch\n").unwrap();
        let run = through(&[url], &to).arg("--proxy-user-file").arg(&users).run().exits(4);
        assert!(run.one::<Error>().message.contains("407"), "{}", run.dump());
    }

    fn what_the_proxy_says_becomes_the_exit_code(family) {
        let dir = TempDir::new();
        let (_held, closed) = refusing_port(family);
        let to = at(family, closed);
        let socks = microsocks(family, None);
        let run = through(&[format!("socks5://{}", at(family, socks.port))], &to).run().exits(7);
        let (error, name) = (run.one::<Error>(), at(family, socks.port));
        assert_eq!(error.message, format!("proxy {name}: connection refused by the target (SOCKS5 reply 5)"));
        assert_eq!((error.step, error.peer.as_ref(), error.target.as_ref()), (Step::Proxy, Some(&name), Some(&to)));
        assert!(error.duration_ns.is_some() && run.all::<Proxy>().is_empty());
        // HTTP does not say why.
        let http = tinyproxy(&dir, family, None);
        let run = through(&[format!("http://{}", at(family, http.port))], &to).run().exits(9);
        assert!(run.one::<Error>().message.contains(" it answers 500"), "{}", run.dump());
        // The proxy itself refuses the connection: as any connect.
        let run = through(&[format!("socks5h://{to}")], "target.example:80").run().exits(7);
        assert_eq!(run.one::<Error>().step, Step::Connect);
    }

    fn a_chain_of_two(family) {
        let dir = TempDir::new();
        let (near, far) = (microsocks(family, Some("joe:geheim")), tinyproxy(&dir, family, Some("ann heimlich")));
        let target = greeter(family);
        let users = dir.path().join("users");
        std::fs::write(&users, "joe:geheim\nann:heimlich\n").unwrap();
        let socks = format!("socks5://joe@{}", at(family, near.port));
        let http = format!("http://ann@{}", at(family, far.port));
        let to = at(family, target.port);
        let run = through(&[socks.clone(), http.clone()], &to).arg("--proxy-user-file").arg(&users).run().exits(0);
        check_talk(&run);
        let told = run.all::<Proxy>();
        let seen: Vec<_> = told.iter().map(|told| (told.conn, told.protocol.as_str(), told.target.as_str())).collect();
        let further = at(family, far.port);
        // tinyproxy closes after it has asked, so that the way is made anew.
        let expected = [(1, "socks5", further.as_str()), (2, "socks5", further.as_str()), (2, "http", to.as_str())];
        assert_eq!(seen, expected);
        let ways: Vec<_> = told.iter().map(|told| told.authentication.as_deref()).collect();
        assert_eq!(ways, [Some("password"), Some("password"), Some("basic")]);
        // The other way round, and one of them twice.
        let run = through(&[http, socks.clone()], &to).arg("--proxy-user-file").arg(&users).run().exits(0);
        check_talk(&run);
        let run = through(&[socks.clone(), socks], &to).arg("--proxy-user-file").arg(&users).run().exits(0);
        check_talk(&run);
    }

    fn openssh_looks_names_up_at_its_far_end(family) {
        let dir = TempDir::new();
        let (proxy, target) = (ssh(&dir, family), greeter(Family::V4));
        let to = format!("localhost:{}", target.port);
        for (scheme, steps) in [("socks4a", &["request"][..]), ("socks5h", &["greeting", "request"])] {
            let url = [format!("{scheme}://{}", at(family, proxy.port))];
            let run = through(&url, &to).run().exits(0);
            check_talk(&run);
            let told = run.one::<Proxy>();
            assert_eq!((told.target.as_str(), told.resolved_by.as_deref()), (&*to, Some("proxy")), "{}", run.dump());
            assert_eq!((told.steps(), run.all::<Resolve>().len()), (steps.to_vec(), 0), "{}", run.dump());
            // It closes where the name does not resolve, or nobody listens.
            let run = through(&url, "no-such-host.invalid:80").run().exits(10);
            let error = run.one::<Error>();
            assert!(error.hint.as_deref().is_some_and(|hint| hint.contains("ssh -D")), "{}", run.dump());
            assert_eq!(error.steps.len(), steps.len());
        }
    }

    fn eight_mebibytes_pass_both_ways(family) {
        // One that passes the end of one side on, and goes on with the other.
        let dir = TempDir::new();
        let proxy = dante(&dir, family, if family == Family::V4 { "127.0.0.9/32" } else { "::9/128" });
        let echo = Peer::python_server(
            "server = listen(sys.argv[1])\npeer, _ = server.accept()\nwhile data := peer.recv(65536): peer.sendall(data)",
            &[&family.host()],
        );
        let sent = crate::harness::net::random_bytes(8 << 20, 7);
        let url = format!("socks5://{}", at(family, proxy.port));
        // As text nothing is shown of the bytes, and the kernel moves them.
        let run = Sockeye::new(format!("connect -q --proxy {url} {}", at(family, echo.port))).stdin(sent.clone()).run();
        assert!(run.exits(0).stdout() == sent, "the bytes are the same");
    }
}

#[test]
fn who_looks_the_name_up_is_told() {
    let (proxy, target) = (microsocks(Family::V4, None), greeter(Family::V4));
    let to = format!("localhost:{}", target.port);
    let run = through(&[format!("socks5h://127.0.0.1:{}", proxy.port)], &to).run().exits(0);
    let told = run.one::<Proxy>();
    assert_eq!((told.target.as_str(), told.resolved_by.as_deref()), (to.as_str(), Some("proxy")));
    assert!(run.all::<Resolve>().is_empty(), "nothing is looked up here");
    let run = through(&[format!("socks5://127.0.0.1:{}", proxy.port)], &to).run().exits(0);
    let told = run.all::<Proxy>();
    let last = told.last().unwrap();
    assert_eq!(
        (last.target.as_str(), last.resolved_by.as_deref()),
        (at(Family::V4, target.port).as_str(), Some("local"))
    );
    assert_eq!(run.one::<Resolve>().name, "localhost");
    // -n looks no name up, and lets a proxy do it.
    through(&[format!("socks5h://127.0.0.1:{}", proxy.port)], &to).arg("-n").run().exits(0);
}

#[test]
fn dante_speaks_socks4_and_has_rules() {
    let dir = TempDir::new();
    let target = greeter(Family::V4);
    let proxy = dante(&dir, Family::V4, "127.0.0.9/32");
    let socks4 = format!("socks4a://127.0.0.1:{}", proxy.port);
    // It takes addresses, and no names: those of SOCKS4A are looked at octet by octet elsewhere.
    let run = through(std::slice::from_ref(&socks4), &at(Family::V4, target.port)).run().exits(0);
    check_talk(&run);
    let told = run.one::<Proxy>();
    assert_eq!((told.protocol.as_str(), told.code, told.reply.as_str()), ("socks4a", 90, "request granted"));
    assert_eq!((told.resolved_by.as_ref(), told.authentication.as_ref()), (None, None));
    assert_eq!(told.steps(), ["request"]);
    // SOCKS4 does not say why it says no.
    let run = through(&[socks4], "127.0.0.9:80").run().exits(9);
    assert!(run.one::<Error>().message.ends_with("(SOCKS4 reply 91)"), "{}", run.dump());
    let socks5 = format!("socks5://127.0.0.1:{}", proxy.port);
    let run = through(&[socks5], "127.0.0.9:80").run().exits(4);
    assert!(run.one::<Error>().message.ends_with("(SOCKS5 reply 2)"), "{}", run.dump());
}

#[test]
fn no_secret_is_told_anywhere() {
    let dir = TempDir::new();
    let (near, far) = (microsocks(Family::V4, Some("joe:geheim")), ncat(Family::V4, Some("ann:heimlich")));
    let target = greeter(Family::V4);
    let users = dir.path().join("users");
    for (passwords, code) in [(["geheim", "heimlich"], 0), (["geheim", "heimtueck"], 4), (["geheimnis", "heimlich"], 4)]
    {
        std::fs::write(&users, format!("joe:{}\nann:{}\n", passwords[0], passwords[1])).unwrap();
        for words in ["--json -v", "-v", "--hex-dump -v"] {
            let events = dir.path().join("events");
            let run = Sockeye::new(format!("connect {words} 127.0.0.1:{} x --timeout 10s", target.port))
                .arg(format!("--proxy=socks5://joe@127.0.0.1:{}", near.port))
                .arg(format!("--proxy=http://ann@127.0.0.1:{}", far.port))
                .arg("--proxy-user-file")
                .arg(&users)
                .arg("--events")
                .arg(&events)
                .run()
                .exits(code);
            let told = [run.stdout(), run.stderr().as_bytes(), &std::fs::read(&events).unwrap()].concat();
            let told = String::from_utf8_lossy(&told);
            for secret in passwords {
                assert!(!told.contains(secret), "{secret} in {told}");
            }
        }
    }
}

#[test]
fn every_address_that_was_looked_up_here_is_asked_for() {
    // The first address of the name refuses: only a hosts file gives that, in a mount namespace.
    let dir = TempDir::new();
    let hosts = dir.path().join("hosts");
    std::fs::write(&hosts, "127.0.0.1 two\n127.0.0.2 two\n").unwrap();
    let (proxy, target) = (microsocks(Family::V4, None), Peer::python_server(GREETER, &["127.0.0.2"]));
    let mount = format!("mount --bind {} /etc/hosts && exec \"$@\"", hosts.display());
    let run = through(&[format!("socks5://127.0.0.1:{}", proxy.port)], &format!("two:{}", target.port))
        .under(["unshare", "-Urm", "sh", "-c", mount.as_str(), "sh"])
        .run()
        .exits(0);
    let error = run.one::<Error>();
    let refused = format!("127.0.0.1:{}", target.port);
    assert_eq!((error.step, error.target.as_ref()), (Step::Proxy, Some(&refused)), "{}", run.dump());
    let told = run.one::<Proxy>();
    assert_eq!((told.conn, &told.target), (2, &format!("127.0.0.2:{}", target.port)), "{}", run.dump());
    assert_eq!(run.all::<Resolve>().len(), 1);
}

#[test]
fn the_name_of_a_further_proxy_is_looked_up_within_the_time_of_the_way() {
    // The server of names hears and never answers: what it is asked for ends with the way, not later.
    let dir = TempDir::new();
    let path = dir.path().join("resolv.conf");
    std::fs::write(&path, "nameserver 127.0.0.1\n").unwrap();
    let deaf = Net::isolated().with(format!("mount --bind {} /etc/resolv.conf", path.display())).prefix();
    let script = "import socket,sys,os,signal\n\
                  u = socket.socket(type=socket.SOCK_DGRAM); u.bind(('127.0.0.1', 53))\n\
                  s = socket.socket(); s.bind(('127.0.0.1', 1080)); s.listen()\n\
                  if os.fork() == 0:\n signal.alarm(60); peer, _ = s.accept(); peer.recv(9); os._exit(0)\n\
                  os.set_inheritable(u.fileno(), True); os.execvp(sys.argv[1], sys.argv[1:])";
    let run =
        Sockeye::new("connect --json --proxy socks5://127.0.0.1 --proxy socks5://somewhere.example 127.0.0.1:1 x")
            .args(["--connect-timeout", "400ms", "--resolve-timeout", "30s"])
            .under(["-c", script])
            .under([python()])
            .under(deaf)
            .run()
            .exits(3);
    // The resolver's own patience is longer.
    assert!(run.elapsed() < Duration::from_secs(4), "{}", run.dump());
    assert_eq!(run.one::<Error>().step, Step::Resolve, "{}", run.dump());
    assert_eq!(run.one::<Close>().reason, Reason::Local, "{}", run.dump());
}

#[test]
fn a_probe_of_many_targets_has_their_lines() {
    let (proxy, target) = (microsocks(Family::V4, None), greeter(Family::V4));
    let (_held, closed) = refusing_port(Family::V4);
    let url = format!("socks5h://127.0.0.1:{}", proxy.port);
    let line = format!("connect --probe --proxy {url} localhost {},{closed}", target.port);
    let run = Sockeye::new(format!("{line} --json")).run().exits(1);
    assert_eq!((run.all::<Proxy>().len(), run.all::<Error>().len()), (1, 1));
    let run = Sockeye::new(&line).run().exits(1);
    let told = String::from_utf8_lossy(run.stdout()).into_owned();
    for (word, port) in [("open", target.port), ("refused", closed)] {
        let row = told.lines().find(|row| row.contains(&format!("localhost:{port}")));
        assert!(row.is_some_and(|row| row.starts_with(word)), "{told}");
    }
    assert!(!told.contains(&proxy.port.to_string()), "the proxy is no target: {told}");
    assert!(told.lines().last().is_some_and(|last| last.starts_with("1 open, 1 failure in ")), "{told}");
    // One target: the line is the same.
    let run = Sockeye::new(format!("connect -z --proxy {url} localhost {}", target.port)).run().exits(0);
    assert!(run.stdout().starts_with(b"open        localhost:"), "{}", run.dump());
}

#[test]
fn rounds_and_retries_go_through_the_proxy() {
    let (proxy, target) = (microsocks(Family::V4, None), greeter(Family::V4));
    let url = format!("socks5://127.0.0.1:{}", proxy.port);
    let to = at(Family::V4, target.port);
    let run = Sockeye::new(format!("connect --json -z --proxy {url} {to} --count 3 --interval 0")).run().exits(0);
    assert_eq!((run.all::<Round>().len(), run.all::<Proxy>().len()), (3, 3));
    // A target that begins to listen while it is tried.
    let late = Peer::python_server(
        "server = socket.socket()\nserver.bind(('127.0.0.1', 0))\nsay(server.getsockname()[1])\ntold()\nserver.listen()\n\
         peer, _ = server.accept()\npeer.sendall(b'told ' + peer.recv(9))",
        &[],
    );
    let mut late = late;
    let running = through(&[url], &at(Family::V4, late.port)).args(["--retry-for", "60s"]).start();
    let error = running.wait_for::<Error>();
    assert_eq!(error.step, Step::Proxy);
    late.send(b"now\n");
    let run = running.finish().exits(0);
    assert_eq!(run.all::<Proxy>().len(), 1);
}

#[test]
fn a_round_whose_way_did_not_open_has_no_connection() {
    let proxy = microsocks(Family::V4, None);
    let (_held, closed) = refusing_port(Family::V4);
    let url = format!("socks5://127.0.0.1:{}", proxy.port);
    let run = Sockeye::new(format!("connect --json -z --proxy {url} 127.0.0.1:{closed} --count 2 --interval 10ms"));
    let run = run.patience(Duration::from_secs(30)).run().exits(7);
    assert!(run.all::<Round>().iter().all(|round| round.conn.is_none() && round.exit_code == 7), "{}", run.dump());
}

#[test]
fn a_file_of_users_that_is_none_is_told_without_what_it_has() {
    let dir = TempDir::new();
    let file = dir.path().join("users");
    for (contents, step, words) in [
        (None, Step::Open, "no such file"),
        (Some(&b"geheim\n"[..]), Step::Read, "line 1 is not USER:PASSWORD"),
        (Some(b"\n"), Step::Read, "no line USER:PASSWORD"),
        (Some(b"joe:geheim\n"), Step::Read, "password of its user is missing"),
    ] {
        if let Some(contents) = contents {
            std::fs::write(&file, contents).unwrap();
        }
        let run = Sockeye::new("connect --json --proxy socks5://ann@127.0.0.1:1 127.0.0.1:1 x --proxy-user-file");
        let run = run.arg(&file).run().exits(6);
        let error = run.one::<Error>();
        assert!(error.step == step && error.message.contains(words), "{}", error.message);
        assert!(!run.dump().contains("geheim"), "{}", run.dump());
    }
}

#[test]
fn the_users_may_come_through_a_pipe_that_holds_nobody_up() {
    let dir = TempDir::new();
    let pipe = dir.path().join("users");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let (proxy, target) = (microsocks(Family::V4, Some("joe:geheim")), greeter(Family::V4));
    let url = format!("socks5://127.0.0.1:{}", proxy.port);
    let asked =
        || through(std::slice::from_ref(&url), &at(Family::V4, target.port)).arg("--proxy-user-file").arg(&pipe);
    let running = asked().start();
    std::fs::write(&pipe, "joe:geheim\n").unwrap();
    check_talk(&running.finish().exits(0));
    // Nobody writes, and a signal is heard. The pipe opens when it is opened to be read, too.
    let running = asked().start();
    let held = std::fs::OpenOptions::new().write(true).open(&pipe).unwrap();
    running.interrupt().exits(8);
    drop(held);
}
