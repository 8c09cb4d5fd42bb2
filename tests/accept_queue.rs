//! A server that falls behind: how full its accept queue is, and what did not get in, against
//! ss(8) and the kernel's own counters.

use std::process::Command;

use crate::harness::events::{Accept, Close, Queue, Warning};
use crate::harness::net::{Net, TempDir, dial, output_of, over_both_families};
use crate::harness::peers::{Peer, python};
use crate::harness::{Family, Sockeye, require};

/// Opens eight connections to port 9000 and holds them; writes each new value of ListenOverflows
/// of its own network namespace to a file, until the server has ended.
const CROWD: &str = r#"
import os, socket, sys, time
def overflows():
    with open("/proc/net/netstat") as netstat:
        names, numbers = [line.split() for line in netstat if line.startswith("TcpExt:")]
    return int(numbers[names.index("ListenOverflows")])
while True:
    try:
        first = socket.create_connection(("127.0.0.1", 9000), 9)
        break
    except ConnectionRefusedError:
        time.sleep(0.01)
crowd = []
for _ in range(7):
    each = socket.socket()
    each.setblocking(False)
    each.connect_ex(("127.0.0.1", 9000))
    crowd.append(each)
seen, server = None, os.getppid()
with open(sys.argv[1], "w") as told:
    while os.getppid() == server:
        time.sleep(0.001)
        now = overflows()
        if now != seen:
            print(now, file=told, flush=True)
            seen = now
"#;

over_both_families! {
    fn depth_and_limit_are_those_of_ss(family) {
        require(&["ss"]);
        let words = "--json --max-connections 1 --backlog 5 --report-every 50ms";
        let server = Sockeye::new(format!("serve {} {words}", family.at(0))).start();
        let crowd: Vec<_> = (0..4).map(|_| dial(family, server.port())).collect();
        server.wait_for::<Accept>();
        let queue = server.wait_for_one::<Queue>("a depth of 3", |queue| queue.depth == 3);
        let filter = format!("sport = :{}", server.port());
        let seen = output_of(Command::new("ss").args(["-Hltn", &filter])).unwrap();
        let words: Vec<&str> = seen.split_whitespace().collect();
        assert_eq!((words[1], words[2]), ("3", "5"), "Recv-Q and Send-Q of {seen}");
        assert_eq!((queue.limit, queue.drops), (5, Some(0)), "{queue:?}");
        assert_eq!(queue.local, family.at(server.port()).to_string());
        drop(crowd);
        let run = server.interrupt().exits(0);
        assert_eq!(run.summary().accept_queue_max, Some(3));
        assert_eq!(run.summary().listen_drops, Some(0));
        assert!(run.all::<Warning>().iter().all(|warning| warning.name != "accept-queue-full"), "{}", run.dump());
    }
}

#[test]
fn a_queue_that_overflows_is_told_and_counted_as_the_kernel_counts() {
    let dir = TempDir::new();
    let (script, counts) = (dir.path().join("crowd.py"), dir.path().join("overflows"));
    std::fs::write(&script, CROWD).unwrap();
    let crowd = format!("{{ {} -I -S {} {} & }}", python(), script.display(), counts.display());
    let run = Sockeye::new("serve 127.0.0.1:9000 --json --max-connections 1 --backlog 1 --deadline 4s")
        .under(Net::isolated().with(crowd).prefix())
        .run()
        .exits(0);
    let queues = run.all::<Queue>();
    let full = queues.iter().find(|queue| queue.depth > queue.limit);
    let full = full.unwrap_or_else(|| panic!("never full in\n{}", run.dump()));
    assert_eq!((full.depth, full.limit), (2, 1));
    let warnings: Vec<_> = run.all::<Warning>().into_iter().filter(|each| each.name == "accept-queue-full").collect();
    assert_eq!(warnings.len(), 1, "once while it is full:\n{}", run.dump());
    let summary = run.summary();
    assert_eq!(summary.accept_queue_max, Some(2));
    let overflows = summary.listen_overflows.unwrap();
    let counted = std::fs::read_to_string(&counts).unwrap();
    assert!(counted.lines().any(|line| line == overflows.to_string()), "{overflows} is not among\n{counted}");
    assert!(overflows > 0 && summary.listen_drops >= Some(overflows), "{summary:?}");
    assert!(queues.is_sorted_by_key(|queue| (queue.drops, queue.overflows)), "{queues:?}");
}

#[test]
fn a_server_that_keeps_up_tells_its_queue_once_at_the_end() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json --count 3").start();
    for _ in 0..3 {
        drop(dial(Family::V4, server.port()));
    }
    let run = server.finish().exits(0);
    let queue = run.one::<Queue>();
    assert_eq!((queue.depth, queue.drops), (0, Some(0)));
    assert_eq!(run.summary().listen_drops, Some(0));
}

#[test]
fn text_is_silent_of_a_queue_that_is_well_and_tells_one_that_is_not() {
    let well = Sockeye::new("serve 127.0.0.1:0 --report-every 20ms --deadline 300ms").run().exits(0);
    assert!(!well.stderr().contains("queue"), "{}", well.stderr());
    let server = Sockeye::new("serve 127.0.0.1:0 --max-connections 1 --backlog 0 --deadline 3s").start();
    let port = server.port().to_string();
    let script = "held = [dial('127.0.0.1', sys.argv[1])]\nfor _ in range(4):\n    each = socket.socket()\n    each.setblocking(False)\n    each.connect_ex(('127.0.0.1', int(sys.argv[1])))\n    held.append(each)\nsay('there')\ntold()";
    let crowd = Peer::python(script, &[&port]);
    crowd.wait_for("there");
    let text = server.finish().exits(0).stderr();
    assert!(text.contains(" depth 1, limit 0, "), "{text}");
    assert_eq!(text.matches("warning: listen 127.0.0.1:").count(), 1, "{text}");
    crowd.finish();
}

#[test]
fn a_figure_that_is_not_to_be_had_is_absent_and_with_v_a_warning_says_so() {
    require(&["strace"]);
    // What a kernel or a container may hide.
    let hidden = "exec strace -f -qq -o /dev/null -P /proc/net/netstat -e trace=openat \
                  -e inject=openat:error=EACCES \"$@\" 2>/dev/null";
    for (words, told) in [("-v", 1), ("", 0)] {
        let server =
            Sockeye::new(format!("serve 127.0.0.1:0 --json {words}")).under(["sh", "-c", hidden, "sh"]).start();
        drop(dial(Family::V4, server.port()));
        server.wait_for::<Close>();
        let run = server.interrupt().exits(0);
        let warnings: Vec<_> =
            run.all::<Warning>().into_iter().filter(|warning| warning.name == "queue-figures-missing").collect();
        assert_eq!(warnings.len(), told, "{}", run.dump());
        assert!(warnings.iter().all(|warning| warning.message.contains("ListenOverflows")), "{}", run.dump());
        assert_eq!(run.one::<Queue>().overflows, None, "{}", run.dump());
    }
}
