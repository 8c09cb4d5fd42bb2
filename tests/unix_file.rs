//! The file of a unix socket: its name, its rights from the first moment, stale, live and foreign
//! files, its end; and words that cannot be.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::harness::events::{Bind, Close, Error, Listen, Unlink, UnlinkReason, Warning};
use crate::harness::net::{Net, TempDir};
use crate::harness::{Running, Sockeye};
use crate::unix::{CONNECTED, place, python, serve};

#[test]
fn the_file_has_its_rights_from_the_first_moment() {
    for (umask, mode) in [("000", "0600"), ("077", "0660"), ("022", "0777"), ("000", "0000")] {
        let (dir, path) = place();
        let trace = dir.path().join("trace");
        let script = format!("umask {umask}; exec \"$@\"");
        let trace_calls = ["strace", "-f", "-e", "trace=bind,fchmod,chmod,fchmodat,umask", "-o"];
        let prefix = ["sh", "-c", &script, "sh"].into_iter().chain(trace_calls).chain([trace.to_str().unwrap()]);
        let server = Sockeye::new(format!("unix-serve {path} --json --mode {mode}")).under(prefix).start();
        let bind = server.wait_for::<Bind>();
        assert_eq!(bind.mode.as_deref(), Some(mode));
        let found = fs::symlink_metadata(&path).unwrap();
        assert!(found.file_type().is_socket());
        assert_eq!(format!("{:04o}", found.permissions().mode() & 0o7777), mode, "umask {umask}");
        server.interrupt().exits(0);
        assert!(!Path::new(&path).exists());
        let calls = fs::read_to_string(trace).unwrap();
        let at = |what: &str| calls.find(what).unwrap_or_else(|| panic!("no {what} in\n{calls}"));
        assert!(at("fchmod(") < at("bind("), "the rights come before the name:\n{calls}");
        assert!(!calls.contains(" chmod("), "and are not changed after it:\n{calls}");
    }
}

#[test]
fn a_group_gets_its_rights_only_when_the_file_is_its_own() {
    let (dir, path) = place();
    let trace = dir.path().join("trace");
    if !nix::unistd::geteuid().is_root() {
        let run = Sockeye::new(format!("unix-serve {path} --json --mode 0660 --group 0")).run().exits(4);
        assert!(run.one::<Error>().message.contains("group"));
        return;
    }
    let prefix = ["strace", "-f", "-e", "trace=bind,fchmod,chmod,fchmodat,fchownat", "-o", trace.to_str().unwrap()];
    let server = Sockeye::new(format!("unix-serve {path} --json --mode 0660 --group 65534")).under(prefix).start();
    let bind = server.wait_for::<Bind>();
    assert_eq!((bind.mode.as_deref(), bind.gid), (Some("0660"), Some(65_534)));
    let found = fs::symlink_metadata(&path).unwrap();
    assert_eq!((found.gid(), found.mode() & 0o777), (65_534, 0o660));
    server.interrupt().exits(0);
    let calls = fs::read_to_string(&trace).unwrap();
    let at = |what: &str| calls.find(what).unwrap_or_else(|| panic!("no {what} in\n{calls}"));
    assert!(at(", 0600)") < at("bind(") && at("bind(") < at("fchownat(") && at("fchownat(") < at(", 0660"), "{calls}");
    // Of an ordinary user who is no member.
    let open = TempDir::new();
    fs::set_permissions(open.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let path = open.path().join("y.sock");
    let run = Sockeye::new(format!("unix-serve {} --json --group 0", path.display())).by_nobody().run().exits(4);
    assert!(run.one::<Error>().message.contains("group 0"), "{}", run.dump());
    assert!(!path.exists(), "nothing is left");
}

#[test]
fn the_file_goes_on_every_way_out() {
    let way = |rest: &str, end: &dyn Fn(&Running, &str)| {
        let (_dir, path) = place();
        let server = serve(&path, "stream", rest);
        assert!(Path::new(&path).exists());
        end(&server, &path);
        let run = server.finish_by_itself().exits(0);
        assert!(!Path::new(&path).exists(), "{rest}");
        let unlink = run.one::<Unlink>();
        assert_eq!((unlink.reason, unlink.local.clone()), (UnlinkReason::End, format!("unix:{path}")));
    };
    let touch = |_: &Running, path: &str| drop(python("reach('stream', sys.argv[1]).close()", &[path]));
    way("--count 1", &touch);
    way("--deadline 300ms", &|_, _| {});
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        way("", &|server, _| server.signal(signal));
    }
}

#[test]
fn a_file_that_is_not_ours_any_more_is_left() {
    let (_dir, path) = place();
    let server = serve(&path, "stream", "");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "somebody else's").unwrap();
    let run = server.interrupt().exits(0);
    assert_eq!(run.one::<Warning>().name, "file-not-ours");
    assert!(run.all::<Unlink>().is_empty());
    assert_eq!(fs::read_to_string(&path).unwrap(), "somebody else's");
}

#[test]
fn what_a_killed_server_leaves_is_replaced_and_what_lives_is_not() {
    for kind in ["stream", "seqpacket", "dgram"] {
        let (_dir, path) = place();
        let killed = serve(&path, kind, "");
        killed.signal(Signal::SIGKILL);
        while killed.is_running() {
            std::thread::yield_now();
        }
        assert!(Path::new(&path).exists());
        let server = serve(&path, kind, "");
        assert_eq!(server.wait_for::<Unlink>().reason, UnlinkReason::Stale);
        for other in ["stream", "seqpacket", "dgram"] {
            let run = Sockeye::new(format!("unix-serve --json {path} --type {other}")).run().exits(5);
            let error = run.one::<Error>();
            assert_eq!(error.errno.as_deref(), Some("EADDRINUSE"));
            let hint = error.hint.as_deref().unwrap();
            assert!(hint.contains(&format!("pid {}", server.pid())) && hint.contains(kind), "{hint}");
        }
        let script = r#"
peer = reach(*sys.argv[1:])
peer.send(b"alive")
say(peer.recv(9).decode())
"#;
        assert_eq!(python(script, &[kind, &path]), ["alive"], "{kind}");
        server.interrupt().exits(0);
    }
}

#[test]
fn a_start_on_a_name_that_is_taken_costs_who_lives_there_no_connection() {
    for kind in CONNECTED {
        let (_dir, path) = place();
        let server = serve(&path, kind, "");
        Sockeye::new(format!("unix-serve --json {path}")).run().exits(5);
        python("reach(*sys.argv[1:]).close()", &[kind, &path]);
        server.wait_for::<Close>();
        assert_eq!(server.interrupt().exits(0).summary().connections, Some(1), "{kind}: only Python's");
    }
}

#[test]
fn of_two_that_start_at_once_one_gets_a_stale_name() {
    for _ in 0..10 {
        let (_dir, path) = place();
        python("made = make('stream')\nmade.bind(sys.argv[1])", &[&path]);
        let start = || Sockeye::new(format!("unix-serve --json {path}")).start();
        let (one, two) = (start(), start());
        let lost = |server: &Running| {
            server.wait_until("listen or an end", |lines| {
                let name =
                    lines.iter().map(|line| line.event.name()).find(|name| ["listen", "summary"].contains(name))?;
                Some(name == "summary")
            })
        };
        let (winner, loser) = match (lost(&one), lost(&two)) {
            (false, true) => (one, two),
            (true, false) => (two, one),
            both => panic!("one wins: {both:?}"),
        };
        loser.finish_by_itself().exits(5);
        assert_eq!(python("reach('stream', sys.argv[1])\nsay('in')", &[&path]), ["in"]);
        winner.interrupt().exits(0);
        assert!(!Path::new(&path).exists());
    }
}

#[test]
fn names_may_be_relative_and_any_bytes_and_as_long_as_the_kernel_takes() {
    let (dir, _) = place();
    let base = dir.path().to_str().unwrap().len();
    let long = dir.path().join("l".repeat(107 - base - 1));
    let odd = PathBuf::from(std::ffi::OsStr::from_bytes(&[dir.path().as_os_str().as_bytes(), b"/\xff\x1b"].concat()));
    for path in [long, odd] {
        let server = Sockeye::new("unix-serve --json").arg(&path).start();
        let bind = server.wait_for::<Bind>();
        assert!(!bind.local.contains('\x1b') || bind.local.starts_with("unix:"));
        assert!(path.exists());
        server.wait_for::<Listen>();
        let mut target = std::ffi::OsString::from("unix:");
        target.push(&path);
        Sockeye::new("connect --json").arg(target).arg("x").run().exits(0);
        server.interrupt().exits(0);
        assert!(!path.exists());
    }
    let script = format!("cd {} && exec \"$@\"", dir.path().display());
    let server = Sockeye::new("unix-serve --json r.sock").under(["sh", "-c", &script, "sh"]).start();
    assert_eq!(server.wait_for::<Bind>().local, "unix:r.sock");
    server.interrupt().exits(0);
    assert!(!dir.path().join("r.sock").exists());
    let name = format!("@{}", "n".repeat(107));
    serve(&name, "stream", "").interrupt().exits(0);
    for word in ["p".repeat(108), format!("@{}", "n".repeat(108)), String::new(), "@".to_owned()] {
        let run = Sockeye::new("unix-serve --json").arg(&word).run().exits(2);
        assert!(word.len() < 100 || run.stderr().contains("107"), "{}", run.stderr());
    }
}

#[test]
fn an_ordinary_user_serves_in_a_namespace_of_their_own() {
    let (_dir, path) = place();
    let prefix = Net::isolated().without_capabilities().prefix();
    let server = Sockeye::new(format!("unix-serve {path} --json")).under(prefix).start();
    server.wait_for::<Listen>();
    let mut command = Command::new("stat");
    let mode = crate::harness::net::output_of(command.args(["-c", "%a", &path])).unwrap();
    assert_eq!(mode.trim(), "600");
    server.interrupt().exits(0);
}

#[test]
fn combinations_that_cannot_be_are_refused() {
    for line in [
        "unix-serve @x --mode 0600",
        "unix-serve @x --group 0",
        "unix-serve /x --mode 0800",
        "unix-serve /x --mode rw",
        "unix-serve /x --group no-such-group-here",
        "unix-serve /x --allow-uid no-such-user-here",
        "unix-serve /x --type raw",
        "unix-serve /x --source 127.0.0.1",
        "unix-serve /x --ttl 3",
        "unix-serve /x --no-delay",
        "unix-serve /x --fast-open",
        "unix-serve /x --mptcp",
        "unix-serve /x -4",
        "unix-serve /x -6",
        "unix-serve /x --allow 127.0.0.1",
        "unix-serve /x --relay --echo",
        "unix-serve /x --broker --echo",
        "unix-serve /x --fault never-accept --allow-uid 0",
        "unix-serve /x --type dgram --backlog 1",
        "unix-serve /x --type dgram --messages 1",
        "unix-serve /x --type dgram --max-connections 1",
        "unix-serve /x --type dgram --source-bytes",
        "unix-serve /x --type dgram --fault reset",
        "unix-serve /x --type dgram --fault hang --count 1",
        "unix-serve /x --type dgram --relay --on-peer-close exit",
        "connect localhost 80 --type stream x",
        "connect --probe localhost:80 unix:/x --type dgram",
        "connect unix:/x --type dgram x --until-eof",
        "connect unix:/x --type dgram --on-peer-close exit",
        "connect unix:/x --type raw x",
        "connect unix:/x --fast-open x",
        "connect unix:/x --mptcp x",
    ] {
        let run = Sockeye::new(format!("{line} --json")).run().exits(2);
        assert!(run.stderr().contains("error:"), "{line}: {}", run.stderr());
    }
}
