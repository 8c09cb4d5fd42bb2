//! What may stand at a unix path: 35 targets, each with `connect` and with `unix-serve`; errno and
//! exit code, and that what stands there is untouched unless it is a stale socket.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::harness::events::{Error, Unlink, UnlinkReason};
use crate::harness::net::{Net, TempDir};
use crate::harness::peers::Peer;
use crate::harness::{Finished, Sockeye};
use crate::unix::{TYPES, abstract_name};

/// Makes the targets in a folder, holds the live ones, and answers whoever asks on a stream.
const MAKE: &str = r#"
os.umask(0o022)
os.chdir(sys.argv[1])
held = []

def bind(kind, path, listen=None):
    made = socket.socket(socket.AF_UNIX, kinds[kind])
    made.bind(name(path))
    if listen is not None:
        made.listen(listen)
    held.append(made)
    return made

open("file", "w").write("text")
os.mkdir("folder")
os.symlink("file", "link-to-file")
os.symlink("nowhere", "dangling")
os.symlink("loop-b", "loop-a")
os.symlink("loop-a", "loop-b")
os.mkfifo("fifo")
os.symlink("/dev/null", "link-to-device")
open("empty", "w").close()
os.symlink("folder", "link-to-folder")
for kind in kinds:
    bind(kind, "orphan-" + kind)
    held.pop().close()
    bind(kind, "live-" + kind, None if kind == "dgram" else 64)
for kind in ("stream", "seqpacket"):
    bind(kind, "deaf-" + kind)
os.symlink("live-stream", "link-to-live")
os.symlink("orphan-stream", "link-to-orphan")
bind("stream", "shut", 64)
os.chmod("shut", 0o600)
bind("stream", "orphan-shut")
held.pop().close()
os.chmod("orphan-shut", 0o600)
os.mkdir("locked")
bind("stream", "locked/live", 64)
os.chmod("locked", 0o600)
os.mkdir("readable")
os.chmod("readable", 0o555)
os.mkdir("open")
os.chmod("open", 0o777)
full = bind("stream", "full", 0)
for _ in range(1):
    fill = socket.socket(socket.AF_UNIX)
    fill.connect("full")
    held.append(fill)
bind("stream", sys.argv[2], 64)
bind("dgram", sys.argv[2] + "-dgram")
bind("seqpacket", sys.argv[2] + "-deaf")
say(1)

def answer(server):
    while True:
        peer = server.accept()[0]
        threading.Thread(target=serve, args=(peer,), daemon=True).start()

def serve(peer):
    while data := peer.recv(99):
        peer.send(data)

for made in held:
    if made.type != socket.SOCK_DGRAM and made is not full:
        try:
            if made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                threading.Thread(target=answer, args=(made,), daemon=True).start()
        except OSError:
            pass
told()
"#;

/// One target, and what becomes of both: an exit code, and the errno where there is one.
struct Case {
    name: &'static str,
    connect: (i32, &'static str),
    serve: (i32, &'static str),
    /// Asked by an ordinary user, where this test is not one.
    by_nobody: bool,
}

const fn case(name: &'static str, connect: (i32, &'static str), serve: (i32, &'static str)) -> Case {
    Case { name, connect, serve, by_nobody: false }
}

const fn nobody(name: &'static str, connect: (i32, &'static str), serve: (i32, &'static str)) -> Case {
    Case { name, connect, serve, by_nobody: true }
}

const REFUSED: (i32, &str) = (7, "ECONNREFUSED");
const MISSING: (i32, &str) = (7, "ENOENT");
const DENIED: (i32, &str) = (4, "EACCES");
const OTHER: (i32, &str) = (5, "EPROTOTYPE");
const IN_USE: (i32, &str) = (5, "EADDRINUSE");
/// It works: no error.
const FINE: (i32, &str) = (0, "");

/// `@` is the abstract name of the run.
const CASES: [Case; 35] = [
    case("missing", MISSING, FINE),
    case("no-folder/x", MISSING, (5, "ENOENT")),
    case("file/x", (7, "ENOTDIR"), (5, "ENOTDIR")),
    case("folder", REFUSED, IN_USE),
    case("file", REFUSED, IN_USE),
    case("empty", REFUSED, IN_USE),
    case("link-to-file", REFUSED, IN_USE),
    case("link-to-folder", REFUSED, IN_USE),
    case("link-to-live", FINE, IN_USE),
    case("link-to-orphan", REFUSED, IN_USE),
    case("link-to-device", REFUSED, IN_USE),
    case("dangling", MISSING, IN_USE),
    case("loop-a", (5, "ELOOP"), IN_USE),
    case("loop-a/x", (5, "ELOOP"), (5, "ELOOP")),
    case("fifo", REFUSED, IN_USE),
    case("/dev/null", REFUSED, IN_USE),
    case("orphan-stream", REFUSED, FINE),
    case("orphan-seqpacket", REFUSED, FINE),
    case("orphan-dgram", REFUSED, FINE),
    case("live-stream", FINE, IN_USE),
    case("live-seqpacket", OTHER, IN_USE),
    case("live-dgram", OTHER, IN_USE),
    case("deaf-stream", REFUSED, FINE),
    case("deaf-seqpacket", OTHER, FINE),
    case("full", (8, ""), IN_USE),
    case("shut", FINE, IN_USE),
    nobody("shut", DENIED, IN_USE),
    nobody("orphan-shut", DENIED, IN_USE),
    nobody("locked/live", DENIED, DENIED),
    nobody("readable/x", MISSING, DENIED),
    nobody("open/x", MISSING, FINE),
    case("@", FINE, IN_USE),
    // Each type has abstract names of its own.
    case("@-dgram", REFUSED, FINE),
    case("@-deaf", REFUSED, FINE),
    case("@-missing", REFUSED, FINE),
];

/// Returns kind, rights, inode and contents of all that is in a folder.
fn inventory(folder: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        use std::os::unix::fs::MetadataExt;
        let path = entry.unwrap().path();
        let stat = fs::symlink_metadata(&path).unwrap();
        // A folder's time is that of what was made in it.
        let time = if stat.is_dir() { 0 } else { stat.mtime_nsec() };
        let mut line = format!("{:o} {} {time}", stat.mode(), stat.ino());
        if stat.is_file() {
            write!(line, " {}", fs::read_to_string(&path).unwrap()).unwrap();
        }
        found.insert(path.file_name().unwrap().to_string_lossy().into_owned(), line);
    }
    found
}

fn check(case: &Case, what: &str, run: &Finished, expected: (i32, &str)) {
    let (code, errno) = expected;
    assert_eq!(run.code(), code, "{what} {}:\n{}", case.name, run.dump());
    let told: Vec<_> = run.all::<Error>().iter().filter_map(|error| error.errno.clone()).collect();
    assert_eq!(told.first().map_or("", String::as_str), errno, "{what} {}:\n{}", case.name, run.dump());
    assert!(
        run.all::<Error>().iter().all(|error| error.hint.is_some()),
        "{what} {} has no hint: {}",
        case.name,
        run.dump()
    );
}

#[test]
fn each_target_has_its_errno_and_exit_code_and_is_left_as_it_is() {
    let dir = TempDir::new();
    let (folder, name) = (dir.path().to_str().unwrap(), abstract_name());
    // Everybody may look into the folder; what is in it has rights of its own.
    fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let peer = Peer::python_server(&format!("{TYPES}{MAKE}"), &[folder, &name]);
    let is_root = nix::unistd::geteuid().is_root();
    for case in &CASES {
        if case.by_nobody && !is_root && ["shut", "orphan-shut", "locked/live"].contains(&case.name) {
            // Their owner is who runs this test.
            continue;
        }
        let place = match case.name {
            absolute if absolute.starts_with('/') => absolute.to_owned(),
            abstract_one if abstract_one.starts_with('@') => format!("{name}{}", &abstract_one[1..]),
            relative => format!("{folder}/{relative}"),
        };
        let run = |sockeye: Sockeye| if case.by_nobody { sockeye.by_nobody() } else { sockeye };
        let before = inventory(dir.path());
        let connect = Sockeye::new("connect --json --timeout 300ms").arg(format!("unix:{place}")).arg("x");
        check(case, "connect", &run(connect).run(), case.connect);
        assert_eq!(inventory(dir.path()), before, "connect {}", case.name);
        let serve = run(Sockeye::new("unix-serve --json --deadline 100ms").arg(&place)).run();
        check(case, "unix-serve", &serve, case.serve);
        let mut after = inventory(dir.path());
        let unlinked: Vec<UnlinkReason> = serve.all::<Unlink>().iter().map(|unlink| unlink.reason).collect();
        let is_stale = before.contains_key(case.name) && case.serve == FINE;
        if is_stale {
            assert_eq!(unlinked, [UnlinkReason::Stale, UnlinkReason::End], "{}", case.name);
            assert!(!after.contains_key(case.name), "the stale one was replaced by ours, and ours is gone");
            after.insert(case.name.to_owned(), before[case.name].clone());
        } else {
            assert!(!unlinked.contains(&UnlinkReason::Stale), "{}", case.name);
        }
        assert_eq!(after, before, "unix-serve {}", case.name);
    }
    // Whoever lived lives on, and still answers.
    for kind in ["stream", "seqpacket"] {
        let target = format!("unix:{folder}/live-{kind}");
        Sockeye::new(format!("connect --json --type {kind} {target} still --expect ^still$")).run().exits(0);
    }
    peer.finish();
}

#[test]
fn a_file_system_that_may_not_be_written_is_told() {
    let dir = TempDir::new();
    let prefix = Net::isolated().with(format!("mount -t tmpfs -o ro none {}", dir.path().display())).prefix();
    let run = Sockeye::new(format!("unix-serve --json {}/x", dir.path().display())).under(prefix).run().exits(5);
    assert_eq!(run.one::<Error>().errno.as_deref(), Some("EROFS"));
    let long = dir.path().join("n".repeat(80)).join("x");
    assert!(long.as_os_str().len() > 90);
    let run = Sockeye::new("connect --json").arg(format!("unix:{}", long.display())).run();
    assert!([2, 7].contains(&run.code()), "{}", run.dump());
}
