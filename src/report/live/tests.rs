//! Frames as people see them, and that none is ever larger than the screen.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

const TITLE: &str = "sockeye raw-ping: 5 targets, 12 s";

fn check(live: &Live, columns: usize, rows: usize, screen: Expect) {
    let frame = live.frame(columns, rows, TITLE);
    let lines: Vec<&str> = frame.lines().collect();
    assert!(lines.len() <= rows && lines.iter().all(|line| table::width(line) <= columns), "{frame}");
    screen.assert_eq(&(frame + "\n"));
}

/// Returns targets of each kind: near, far, silent, refused, and one not answered yet.
fn usual(glyphs: Glyphs) -> Live {
    let mut live = Live::new(glyphs, false);
    let names = ["127.0.0.1", "example.net", "2001:db8:1234:5678:9abc:def0:1234:5678", "192.0.2.77", "a\x1b[2Jb"];
    (0..).zip(names).for_each(|(target, name)| live.name(target, name));
    for number in 0..40_u64 {
        (0..4).for_each(|target| live.sent(target));
        live.answered(0, Duration::from_nanos(38_000 + number * 7919 % 9000), false);
        match number {
            11 | 30 => live.lost(1),
            25 => live.answered(1, Duration::from_millis(84), false),
            _ => live.answered(1, Duration::from_micros(11_000 + number * 104_729 % 7000), false),
        }
        live.lost(2);
        live.refused(3);
    }
    live.sent(4);
    live
}

#[test]
fn a_screen_of_80_columns() {
    check(
        &usual(Glyphs::Unicode),
        80,
        24,
        expect![[r#"
            sockeye raw-ping: 5 targets, 12 s                       q quits with the summary
            target                        loss sent     now     min     p50     p99 latest
            127.0.0.1                       0%   40 40.8 µs 38.0 µs 42.7 µs 47.0 µs ▁▁▂▂▂▁▁▁
            example.net                   5.0%   40 14.4 ms 11.0 ms 15.5 ms       ∞ ▂▁▁▁▁▁▁▁
            2001:db8:1234…ef0:1234:5678   100%   40    lost       -       ∞       ∞ xxxxxxxx
            192.0.2.77                      0%   40 refused       -       ∞       ∞ !!!!!!!!
            a\x1b[2Jb                        -    1       -       -       -       -
        "#]],
    );
}

#[test]
fn a_screen_of_120_columns() {
    check(
        &usual(Glyphs::Unicode),
        120,
        24,
        expect![[r#"
            sockeye raw-ping: 5 targets, 12 s                                                               q quits with the summary
            target                                   loss sent     now     min     p50     p99 latest
            127.0.0.1                                  0%   40 40.8 µs 38.0 µs 42.7 µs 47.0 µs ▂▁▁▁▁▁▂▂▂▁▁▁▁▁▂▂▂▂▁▁▁▁▂▂▂▂▁▁▁▁▁▂▂▂▁▁▁
            example.net                              5.0%   40 14.4 ms 11.0 ms 15.5 ms       ∞ ▁▁▁▁▁▁▁▁x▁▁▁▁▁▁▁▁▁▁▁▁▁█▁▁▁▁x▁▁▁▁▁▁▁▁▁
            2001:db8:1234:5678:9abc:def0:1234:5678   100%   40    lost       -       ∞       ∞ xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx
            192.0.2.77                                 0%   40 refused       -       ∞       ∞ !!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!
            a\x1b[2Jb                                   -    1       -       -       -       -
        "#]],
    );
}

#[test]
fn a_screen_of_40_columns() {
    check(
        &usual(Glyphs::Unicode),
        40,
        24,
        expect![[r#"
        sockeye raw-ping: 5 targets, 12 s
        target             loss     now latest
        127.0.0.1            0% 40.8 µs ▁▁▂▂▂▁▁▁
        example.net        5.0% 14.4 ms ▂▁▁▁▁▁▁▁
        2001:db8…34:5678   100%    lost xxxxxxxx
        192.0.2.77           0% refused !!!!!!!!
        a\x1b[2Jb             -       -
    "#]],
    );
}

#[test]
fn a_screen_in_ascii() {
    check(
        &usual(Glyphs::Ascii),
        80,
        24,
        expect![[r#"
            sockeye raw-ping: 5 targets, 12 s                       q quits with the summary
            target                        loss sent     now     min     p50     p99 latest
            127.0.0.1                       0%   40 40.8 us 38.0 us 42.7 us 47.0 us __...___
            example.net                   5.0%   40 14.4 ms 11.0 ms 15.5 ms     inf ._______
            2001:db8:1234..f0:1234:5678   100%   40    lost       -     inf     inf xxxxxxxx
            192.0.2.77                      0%   40 refused       -     inf     inf !!!!!!!!
            a\x1b[2Jb                        -    1       -       -       -       -
        "#]],
    );
}

#[test]
fn colours_mark_what_is_not_well() {
    let mut live = Live::new(Glyphs::Unicode, true);
    live.name(1, "192.0.2.1");
    live.answered(1, Duration::from_millis(2), false);
    live.lost(1);
    live.refused(1);
    let frame = live.frame(60, 9, "t");
    assert!(frame.lines().all(|line| table::width(line) <= 60), "{frame}");
    expect![[r#"
        t                                   ESC[2mq quits with the summaryESC[0m
        ESC[2mtarget      loss     now     min     p50     p99 latestESC[0m
        192.0.2.1ESC[33m  33.3%ESC[0mESC[33m refusedESC[0m 2.00 ms       ∞       ∞ ▁ESC[1mESC[31mxESC[0mESC[33m!ESC[0m"#]].assert_eq(&frame.replace('\x1b', "ESC"));
}

#[test]
fn of_too_many_targets_the_worst_are_shown() {
    let mut live = Live::new(Glyphs::Unicode, false);
    for target in 0..40 {
        live.name(target, &format!("192.0.2.{target}"));
        live.answered(target, Duration::from_millis(1 + u64::from(target) * 7 % 40), false);
    }
    live.lost(33);
    live.refused(12);
    live.refused(12);
    check(
        &live,
        80,
        8,
        expect![[r#"
            sockeye raw-ping: 5 targets, 12 s                       q quits with the summary
            target       loss sent     now     min     p50     p99 latest
            192.0.2.12     0%    0 refused 5.00 ms       ∞       ∞ ▁!!
            192.0.2.33  50.0%    0    lost 32.0 ms 32.0 ms       ∞ ▁x
            192.0.2.17     0%    0 40.0 ms 40.0 ms 40.0 ms 40.0 ms ▁
            192.0.2.34     0%    0 39.0 ms 39.0 ms 39.0 ms 39.0 ms ▁
            192.0.2.11     0%    0 38.0 ms 38.0 ms 38.0 ms 38.0 ms ▁
            … and 35 more
        "#]],
    );
    check(
        &live,
        80,
        3,
        expect![[r#"
        sockeye raw-ping: 5 targets, 12 s                       q quits with the summary
        target       loss sent     now     min     p50     p99 latest
        … and 40 more
    "#]],
    );
}

#[test]
fn what_comes_late_stays_in_the_loss_and_has_its_round_trip_time() {
    let mut live = Live::default();
    live.sent(1);
    live.lost(1);
    live.late(1, Duration::from_secs(2), false);
    check(
        &live,
        70,
        5,
        expect![[r#"
        sockeye raw-ping: 5 targets, 12 s             q quits with the summary
        target     loss sent     now     min     p50     p99 latest
        target 1   100%    1    lost  2.00 s  2.00 s  2.00 s x
    "#]],
    );
}

#[test]
fn wide_characters_keep_the_columns_in_line() {
    let mut live = Live::default();
    live.name(1, "例え.テスト.例え.テスト.例え.テスト");
    live.name(2, "bücher.example");
    check(
        &live,
        50,
        5,
        expect![[r#"
        sockeye raw-ping: 5 targets, 12 s          q quits
        target               loss     now     p99 latest
        例え.テス….テスト       -       -       -
        bücher.example          -       -       -
    "#]],
    );
}

#[test]
fn a_frame_is_drawn_over_the_last() {
    assert_eq!(draw("ab\ncde", 3, 3), "\x1b[Hab\x1b[K\r\ncde\r\n\x1b[J");
    assert_eq!(draw("ab\n\x1b[2mcde\x1b[0m", 3, 2), "\x1b[Hab\x1b[K\r\n\x1b[2mcde\x1b[0m");
    assert_eq!(draw("", 80, 24), "\x1b[H\x1b[J");
}

#[test]
fn memory_does_not_grow_with_the_run() {
    let mut live = Live::default();
    (0..100_000_u64).for_each(|number| live.answered(1, Duration::from_nanos(number * number), false));
    let row = &live.rows[&1];
    assert_eq!((row.latest.len(), row.rtts.count()), (LATEST, 100_000));
    assert!(row.latest.capacity() <= 2 * LATEST);
}

proptest! {
    #[test]
    fn no_frame_is_larger_than_the_screen(
        events in prop::collection::vec((0..30_u32, 0..6_u8, any::<u64>(), 0..64_u32), 0..200),
        names in prop::collection::vec(".{0,60}", 0..20),
        title in ".{0,100}",
        columns in 0..200_usize,
        rows in 0..40_usize,
        is_ascii: bool,
        color: bool,
    ) {
        let mut live = Live::new(if is_ascii { Glyphs::Ascii } else { Glyphs::Unicode }, color);
        (0..).zip(&names).for_each(|(target, name)| live.name(target, name));
        for (target, kind, nanos, shift) in events {
            match kind {
                0 => live.sent(target),
                1 => live.lost(target),
                2 => live.refused(target),
                3 => live.late(target, Duration::from_nanos(nanos >> shift), false),
                4 => live.answered(target, Duration::MAX, false),
                _ => live.answered(target, Duration::from_nanos(nanos >> shift), false),
            }
        }
        let frame = live.frame(columns, rows, &title);
        prop_assert!(frame.split('\n').count() <= rows.max(1));
        for line in frame.split('\n') {
            prop_assert!(table::width(line) <= columns, "{:?}", line);
            prop_assert!(line.trim_end() == line, "{:?}", line);
            prop_assert!(color || !line.chars().any(char::is_control), "{:?}", line);
        }
    }
}
