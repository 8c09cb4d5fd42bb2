//! What goes to which stream, and how a terminal gets it.

use super::*;

#[test]
fn errors_are_told_when_all_else_is_hidden() {
    let hint = Some("the lowest unprivileged port is 1024");
    let events = [
        error("bind 127.0.0.1:80: permission denied", hint),
        event::Warning::of("x", "not told").into(),
        error("open a\x1b[2J\nb: no such file", None),
        recv(b"data"),
    ];
    let hidden = Settings { steps: Steps::Hidden, ..settings() };
    check(
        hidden,
        &events,
        expect![""],
        expect![[r#"
        error: bind 127.0.0.1:80: permission denied
        hint: the lowest unprivileged port is 1024
        error: open a\x1b[2J\x0ab: no such file
    "#]],
    );
    let text = Text::new(hidden, Kept::default().output(), None);
    assert!(Kind::ALL.iter().all(|kind| text.wants(*kind) == (*kind == Kind::Error)));
}

#[test]
fn colours_are_for_a_stream_that_wants_them() {
    let screen = Screen { terminal: true, color: true };
    let color = Settings { stderr: screen, ..settings() };
    let events = [error("x", Some("y")), event::Warning::of("x", "z").into(), event::Eof { conn: 1 }.into()];
    let (_, stderr) = shown(color, &events);
    expect![[r#"
        ^[1m^[31merror:^[0m x
        ^[2mhint:^[0m y
        ^[33mwarning:^[0m z
        ^[2m  0.003000^[0m #1 eof
    "#]]
    .assert_eq(&stderr.replace('\x1b', "^"));
}

#[test]
fn a_hex_dump_follows_its_step() {
    let events = [send(b"hi\n"), recv(b"welcome to server!"), recv(b"\xff")];
    let dump = Settings { steps: Steps::Hidden, in_relay: true, hex_dump: true, ..settings() };
    check(
        dump,
        &events,
        expect![""],
        expect![[r#"
          0.001000 #1 send 3 bytes
        > 00000000  68 69 0a                                          |hi.|
          0.002000 #1 recv 18 bytes
        < 00000000  77 65 6c 63 6f 6d 65 20  74 6f 20 73 65 72 76 65  |welcome to serve|
        < 00000010  72 21                                             |r!|
          0.003000 #1 recv 1 byte
        < 00000012  ff                                                |.|
    "#]],
    );
}

#[test]
fn a_relay_tells_data_steps_only_where_verbose() {
    let events = [send(b"a"), recv(b"b"), event::Eof { conn: 1 }.into()];
    let relay = Settings { in_relay: true, results: Results::Peer, ..settings() };
    assert_eq!(shown(relay, &events), ("b".to_owned(), "  0.003000 #1 eof\n".to_owned()));
    let (_, verbose) = shown(Settings { steps: Steps::Verbose, ..relay }, &events);
    assert_eq!(verbose.lines().count(), 3);
}

#[test]
fn an_answer_on_a_terminal_ends_its_line() {
    let client = Settings { steps: Steps::Hidden, results: Results::Peer, answers: true, ..settings() };
    let screen = Screen { terminal: true, color: false };
    let events = [recv(b"one "), recv(b"answer"), send(b"x"), recv(b"two\n"), event::Eof { conn: 1 }.into()];
    let (stdout, _) = shown(Settings { stdout: screen, ..client }, &events);
    assert_eq!(stdout, "one answer\ntwo\n");
    assert_eq!(shown(client, &events).0, "one answertwo\n");
}

#[test]
fn one_terminal_keeps_lines_apart() {
    let relay = Settings { in_relay: true, results: Results::Peer, ..settings() };
    let events = [recv(b"login: "), send(b"me\n"), recv(b"bye\x1b"), recv(b"\xc3"), event::Eof { conn: 1 }.into()];
    expect![[r#"
        login: bye\x1b\xc3
          0.005000 #1 eof
    "#]]
    .assert_eq(&on_one_terminal(relay, &events));
    assert_eq!(on_one_terminal(relay, &[recv(b"end\r")]), "end\\x0d");
    // What two recvs split is whole, though a line tells of each.
    let told = on_one_terminal(Settings { in_relay: false, ..relay }, &[recv(b"\xc3"), recv(b"\xbc\n")]);
    assert!(told.ends_with("\nü\n"), "{told}");
}

#[test]
fn doctor_is_a_table_with_a_verdict() {
    use event::CheckOutcome as C;
    let check_of = |name, outcome, value, hint| -> Event<'_> {
        event::Check { name, outcome, value, hint, duration: Some(Duration::from_micros(41)) }.into()
    };
    let totals = Totals {
        checks_ok: Some(2),
        checks_absent: Some(0),
        checks_denied: Some(1),
        checks_failed: Some(1),
        ..Totals::default()
    };
    let duration = Duration::from_millis(9);
    let good = Totals { checks_failed: Some(0), ..totals.clone() };
    let events = [
        check_of("tcp over ipv4", C::Ok, Some("127.0.0.1"), None),
        check_of("raw icmp", C::Denied, None, Some("grant cap_net_raw")),
        check_of("udp", C::Failed, None, None),
        event::Summary { outcome: Outcome::Negative, exit_code: 1, duration, totals: &totals }.into(),
        event::Summary { outcome: Outcome::Ok, exit_code: 0, duration, totals: &good }.into(),
    ];
    let doctor = Settings { tally: Tally::Doctor, results: Results::Lines, steps: Steps::Hidden, ..settings() };
    check(
        doctor,
        &events,
        expect![[r#"
        tcp over ipv4        ok     127.0.0.1 (0.041 ms)
        raw icmp             denied (0.041 ms)
            hint: grant cap_net_raw
        udp                  failed (0.041 ms)
        1 check failed: 2 ok, 0 absent, 1 denied, 1 failed
        all that this machine has and permits works: 2 ok, 0 absent, 1 denied, 0 failed
    "#]],
        expect![""],
    );
}
