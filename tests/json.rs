//! The JSON of whole runs, the schema, and the reader itself: that it refuses what it should.

use serde_json::{Value, json};

use crate::harness::check::{read, schema, schema_complaints};
use crate::harness::events::{Close, Connect, Event, Recv};
use crate::harness::net::{TempDir, dial, listener};
use crate::harness::{Family, Sockeye};

/// Makes an event with the fields that every event has.
fn event(name: &str, fields: Value) -> Value {
    let mut event = json!({ "event": name, "time": "2026-11-22T10:11:12.123456789Z", "elapsed_ns": 5 });
    for (key, value) in fields.as_object().unwrap() {
        event[key] = value.clone();
    }
    event
}

#[test]
fn the_schema_is_a_closed_one_of_by_event() {
    assert!(schema()["oneOf"].is_array(), "oneOf at the top:\n{:#}", schema());
    let listed = schema()["oneOf"].as_array().unwrap().len();
    assert_eq!(listed, Event::NAMES.len(), "as many alternatives as events");
    let good = event("eof", json!({ "conn": 1 }));
    assert_eq!(schema_complaints(&good), Vec::<String>::new());
    for (what, bad) in [
        ("an unknown field", event("eof", json!({ "conn": 1, "more": 2 }))),
        ("a missing field", event("eof", json!({}))),
        ("an unknown event", event("end", json!({ "conn": 1 }))),
        ("null", event("eof", json!({ "conn": null }))),
        ("a number as a string", event("eof", json!({ "conn": "1" }))),
        ("a fraction", event("eof", json!({ "conn": 1.5 }))),
        ("a negative count", event("eof", json!({ "conn": -1 }))),
        ("no envelope", json!({ "event": "eof", "conn": 1 })),
        ("null where a field does not apply", event("timeout", json!({ "step": "recv", "after_ns": 1, "conn": null }))),
        ("an unknown step", event("timeout", json!({ "step": "nap", "after_ns": 1 }))),
        (
            "an unknown reason",
            event(
                "close",
                json!({ "conn": 1, "reason": "boredom", "bytes_received": 0, "bytes_sent": 0, "duration_ns": 1 }),
            ),
        ),
        ("no object", json!([])),
    ] {
        assert!(!schema_complaints(&bad).is_empty(), "the schema takes {what}: {bad}");
    }
}

#[test]
fn the_schema_says_which_dialect_it_is_written_in() {
    assert!(schema()["$schema"].as_str().is_some_and(|dialect| dialect.contains("json-schema.org")));
}

#[test]
fn the_reader_takes_what_the_contract_has_and_nothing_else() {
    let line =
        |fields: &str| format!(r#"{{"event":"recv","time":"2026-11-22T10:11:12.123456789Z","elapsed_ns":5{fields}}}"#);
    let good = line(r#","conn":1,"bytes":2,"data":"ab""#);
    assert!(read(&good).is_ok(), "{:?}", read(&good));
    for (what, bad) in [
        ("a field that comes twice", line(r#","conn":1,"conn":1,"bytes":2,"data":"ab""#)),
        ("an unknown field", line(r#","conn":1,"bytes":2,"data":"ab","size":2"#)),
        ("null", line(r#","conn":1,"bytes":2,"data":"ab","data_base64":null"#)),
        ("an empty string", line(r#","conn":1,"bytes":0,"data":"""#)),
        ("a wrong count", line(r#","conn":1,"bytes":3,"data":"ab""#)),
        ("two objects", good.repeat(2)),
        ("a time without nanoseconds", good.replace(".123456789", "")),
        ("a time that is not UTC", good.replace('Z', "+00:00")),
    ] {
        assert!(read(&bad).is_err(), "the reader takes {what}: {bad}");
    }
}

#[test]
fn a_server_walks_its_steps_in_order() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json --count 1").start();
    let client = dial(Family::V4, server.port());
    drop(client);
    let run = server.finish().exits(0);
    assert_eq!(run.names(), ["start", "socket", "bind", "listen", "accept", "queue", "eof", "close", "summary"]);
}

#[test]
fn a_client_walks_its_steps_in_order() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json --messages 1").start();
    let run = Sockeye::new(format!("connect localhost {} hello --json", server.port())).run().exits(0);
    assert_eq!(run.names()[..6], ["start", "resolve", "socket", "connect", "send", "recv"]);
    assert_eq!(run.names()[run.names().len() - 2..], ["close", "summary"]);
    let connect = run.one::<Connect>();
    assert_eq!((connect.conn, connect.attempt), (1, 1));
    let tcp = run.one::<Close>().tcp.as_ref().expect("a TCP connection has TCP_INFO");
    assert!(tcp.rtt_ns > 0 && tcp.mss > 0 && tcp.cwnd > 0, "{tcp:?}");
    let summary = run.summary();
    for (name, times) in
        [("resolve", &summary.resolve), ("connect", &summary.connect), ("first_byte", &summary.first_byte)]
    {
        let times = times.as_ref().unwrap_or_else(|| panic!("no {name}: {summary:?}"));
        assert_eq!((times.count, times.min_ns, times.mean_ns), (1, times.max_ns, times.max_ns), "{name}");
        assert!(times.stddev_ns.is_none() && times.jitter_ns.is_none(), "{name} of one sample");
    }
    assert_eq!(summary.connect.as_ref().unwrap().max_ns, connect.duration_ns);
    server.interrupt().exits(0);
}

#[test]
fn quiet_json_has_only_start_errors_warnings_and_summaries() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json -q").start();
    let port = crate::harness::net::wait_for_listener(server.pid(), || server.is_running());
    let run = Sockeye::new(format!("connect 127.0.0.1 {port} hello --json -q")).run().exits(0);
    assert_eq!(run.names(), ["start", "summary"]);
    assert_eq!(run.summary().bytes_received, Some(5));
    let run = server.interrupt().exits(0);
    assert_eq!(run.names(), ["start", "summary"]);
    assert_eq!(run.summary().bytes_sent, Some(5));
}

#[test]
fn format_json_and_j_are_the_same_as_json() {
    let (_listener, port) = listener(Family::V4);
    for words in ["--json", "-j", "--format json", "--format=json"] {
        let run = Sockeye::new(format!("connect 127.0.0.1 {port} --probe {words}")).run().exits(0);
        assert!(run.stdout().starts_with(b"{"), "{words}: {}", run.dump());
        assert_eq!(run.stderr(), "", "{words}");
    }
    let run = Sockeye::new(format!("connect 127.0.0.1 {port} --probe --format text")).run().exits(0);
    assert!(!run.stdout().starts_with(b"{"));
}

#[test]
fn events_go_to_a_file_as_well_whatever_stdout_shows() {
    let (dir, (_listener, port)) = (TempDir::new(), listener(Family::V4));
    let path = dir.path().join("events");
    Sockeye::new(format!("connect 127.0.0.1 {port} --probe --events {}", path.display())).run().exits(0);
    let lines: Vec<_> = std::fs::read_to_string(&path).unwrap().lines().map(|line| read(line).unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|line| line.event.name()).collect();
    assert_eq!(names.first(), Some(&"start"));
    assert!(names.contains(&"connect") && names.contains(&"close"), "{names:?}");
    assert_eq!(names.last(), Some(&"summary"));

    let run =
        Sockeye::new(format!("connect 127.0.0.1 {port} --probe --json --events {}", path.display())).run().exits(0);
    assert_eq!(std::fs::read(&path).unwrap(), run.stdout(), "the same lines in both places");
}

#[test]
fn payload_is_data_or_base64_and_neither_where_it_is_empty() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json").start();
    let port = server.port();
    for (message, plain) in [("61c3a9", true), ("61c3", false), ("00", true), ("0a0d", true), ("ff", false)] {
        let run = Sockeye::new(format!("connect 127.0.0.1 {port} --json --hex {message}")).run().exits(0);
        let recv = run.one::<Recv>();
        assert_eq!((recv.data.is_some(), recv.data_base64.is_some()), (plain, !plain), "{message}");
        assert_eq!(recv.payload(), data_encoding::HEXLOWER.decode(message.as_bytes()).unwrap());
    }
    server.interrupt().exits(0);
}

#[test]
fn every_line_is_written_as_it_happens() {
    // Each wait below would fail, were lines held back until the end.
    let server = Sockeye::new("serve 127.0.0.1:0 --json").start();
    let mut client = dial(Family::V4, server.port());
    server.wait_for::<crate::harness::events::Accept>();
    std::io::Write::write_all(&mut client, b"hello").unwrap();
    server.wait_for::<Recv>();
    server.wait_for::<crate::harness::events::Send>();
    drop(client);
    server.wait_for::<Close>();
    server.interrupt().exits(0);
}

#[test]
fn elapsed_never_goes_back_however_many_report_at_once() {
    let server = Sockeye::new("serve 127.0.0.1:0 --json").start();
    let port = server.port();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            std::thread::spawn(move || {
                for _ in 0..50 {
                    let mut client = dial(Family::V4, port);
                    std::io::Write::write_all(&mut client, b"x").unwrap();
                    std::io::Read::read_exact(&mut client, &mut [0]).unwrap();
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    // The harness checks the order of the stamps of every run.
    let run = server.interrupt().exits(0);
    assert_eq!(run.summary().connections, Some(400));
}
