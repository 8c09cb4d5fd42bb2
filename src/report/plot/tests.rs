//! Pictures as people see them, and that none is ever too wide.

use expect_test::{Expect, expect};
use proptest::prelude::*;

use super::*;

fn check(plot: &Plot, columns: usize, glyphs: Glyphs, picture: Expect) {
    let drawn = plot.render(columns, glyphs);
    assert!(drawn.lines().all(|line| line.chars().count() <= columns && line.trim_end() == line), "{drawn}");
    picture.assert_eq(&drawn);
}

/// Returns the next of numbers that look random.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// Returns 250 probes, one a second, to about 12 ms; some are lost, some slow.
fn usual() -> Plot {
    let (mut plot, mut state) = (Plot::default(), 7);
    for second in 0..250 {
        let at = Duration::from_millis(second * 1000 + next(&mut state) % 20);
        match next(&mut state) % 100 {
            0..3 => plot.lost(at),
            3..6 => plot.answered(at, Duration::from_micros(18_000 + next(&mut state) % 9000)),
            _ => plot.answered(at, Duration::from_micros(11_000 + next(&mut state) % 1000 + next(&mut state) % 1500)),
        }
    }
    plot
}

#[test]
fn a_run_at_80_columns() {
    check(
        &usual(),
        80,
        Glyphs::Unicode,
        expect![[r#"
        RTT by time: • mean, │ least to greatest
        30 ms ┤
              │                                        │
        25 ms ┤                                        │
              │ │                     │                │       │       │
        20 ms ┤ │                     │                •    │  │       │          │
              │ │                     │                │    │  │       │          │
        15 ms ┤ •                     •                │    •  •       •          •
              │•│•••••••••••••••••••••│••••••••••••••••│••••│••│•••••••│••••••••••│•••••
        10 ms ┤            │││       │              │            │       │   ││ │
         lost │                         x  x     x       x x          x     x xx    x
              └┬────────────────┬────────────────┬─────────────────┬────────────────┬───
               0              1 min            2 min             3 min            4 min

        RTT of 250 probes
        11.0–11.2 ms │██████████▉                                               7   2.8%
        11.2–11.4 ms │██████████████                                            9   3.6%
        11.4–11.6 ms │█████████████████████████████▌                           19   7.6%
        11.6–11.8 ms │████████████████████████████                             18   7.2%
        11.8–12.0 ms │█████████████████████████████▌                           19   7.6%
        12.0–12.2 ms │████████████████████████████████████████████████████████ 36  14.4%
        12.2–12.4 ms │██████████████████████████████████████████               27  10.8%
        12.4–12.6 ms │████████████████████████████████████████████████▎        31  12.4%
        12.6–12.8 ms │████████████████████████████████████████▌                26  10.4%
        12.8–13.0 ms │█████████████████████████████████████▍                   24   9.6%
        13.0–13.2 ms │██████████████                                            9   3.6%
        13.2–13.4 ms │███████▊                                                  5   2.0%
           ≥ 13.4 ms │███████████████▌                                         10   4.0%
                lost │xxxxxxxxxxxxxxxx                                         10   4.0%
    "#]],
    );
}

#[test]
fn a_run_at_40_columns() {
    check(
        &usual(),
        40,
        Glyphs::Unicode,
        expect![[r#"
        RTT by time: • mean, │ least to greatest
        30 ms ┤
              │                 │
        25 ms ┤                 │
              ││         │      │   │  │
        20 ms ┤│         │      │  ││  │     │
              ││         │      │  ││  │     │
        15 ms ┤│         │      •  ││  │     │
              │•••••••••••••••••│•••••••••••••••
        10 ms ┤     ││   │     │     │  │ │││
         lost │           xx  x   x    x  xx x
              └┬──────────────┬──────────────┬──
               0            2 min          4 min

        RTT of 250 probes
        11.0–11.2 ms │███▏              7   2.8%
        11.2–11.4 ms │████              9   3.6%
        11.4–11.6 ms │████████▌        19   7.6%
        11.6–11.8 ms │████████         18   7.2%
        11.8–12.0 ms │████████▌        19   7.6%
        12.0–12.2 ms │████████████████ 36  14.4%
        12.2–12.4 ms │████████████     27  10.8%
        12.4–12.6 ms │█████████████▊   31  12.4%
        12.6–12.8 ms │███████████▌     26  10.4%
        12.8–13.0 ms │██████████▋      24   9.6%
        13.0–13.2 ms │████              9   3.6%
        13.2–13.4 ms │██▎               5   2.0%
           ≥ 13.4 ms │████▌            10   4.0%
                lost │xxxx             10   4.0%
    "#]],
    );
}

#[test]
fn a_run_in_ascii() {
    check(
        &usual(),
        80,
        Glyphs::Ascii,
        expect![[r#"
        RTT by time: * mean, | least to greatest
        30 ms +
              |                                        |
        25 ms +                                        |
              | |                     |                |       |       |
        20 ms + |                     |                *    |  |       |          |
              | |                     |                |    |  |       |          |
        15 ms + *                     *                |    *  *       *          *
              |*|*********************|****************|****|**|*******|**********|*****
        10 ms +            |||       |              |            |       |   || |
         lost |                         x  x     x       x x          x     x xx    x
              ++----------------+----------------+-----------------+----------------+---
               0              1 min            2 min             3 min            4 min

        RTT of 250 probes
        11.0-11.2 ms |###########                                               7   2.8%
        11.2-11.4 ms |##############                                            9   3.6%
        11.4-11.6 ms |##############################                           19   7.6%
        11.6-11.8 ms |############################                             18   7.2%
        11.8-12.0 ms |##############################                           19   7.6%
        12.0-12.2 ms |######################################################## 36  14.4%
        12.2-12.4 ms |##########################################               27  10.8%
        12.4-12.6 ms |################################################         31  12.4%
        12.6-12.8 ms |########################################                 26  10.4%
        12.8-13.0 ms |#####################################                    24   9.6%
        13.0-13.2 ms |##############                                            9   3.6%
        13.2-13.4 ms |########                                                  5   2.0%
          >= 13.4 ms |################                                         10   4.0%
                lost |xxxxxxxxxxxxxxxx                                         10   4.0%
    "#]],
    );
}

#[test]
fn four_probes() {
    let mut plot = Plot::default();
    for (second, micros) in [41, 38, 52, 44].into_iter().enumerate() {
        plot.answered(Duration::from_secs(second as u64), Duration::from_micros(micros));
    }
    check(
        &plot,
        80,
        Glyphs::Unicode,
        expect![[r#"
        RTT by time
        55 µs ┤
              │                                                •
        50 µs ┤
              │
        45 µs ┤                                                                        •
              │
        40 µs ┤•
              │                        •
        35 µs ┤
              └┬───────────┬───────────┬───────────┬───────────┬───────────┬───────────┬
               0         0.5 s       1.0 s       1.5 s       2.0 s       2.5 s     3.0 s

        RTT of 4 probes
        38–40 µs │█████████████████████████████████████████████████████████████ 1  25.0%
        40–42 µs │█████████████████████████████████████████████████████████████ 1  25.0%
        42–44 µs │                                                              0     0%
        44–46 µs │█████████████████████████████████████████████████████████████ 1  25.0%
        46–48 µs │                                                              0     0%
        48–50 µs │                                                              0     0%
        50–52 µs │                                                              0     0%
        52–54 µs │█████████████████████████████████████████████████████████████ 1  25.0%
    "#]],
    );
}

#[test]
fn one_probe() {
    let mut plot = Plot::default();
    plot.answered(Duration::from_secs(5), Duration::from_millis(10));
    check(
        &plot,
        40,
        Glyphs::Unicode,
        expect![[r#"
        RTT by time
        10.01 ms ┤
                 │
                 │
                 │
                 │
                 │
                 │
                 │
                 │
                 │
        10.00 ms ┤•
                 └┬─────────────────────────────
                  0

        RTT of 1 probe
        10.00–10.01 ms │███████████████ 1   100%
    "#]],
    );
}

#[test]
fn round_trips_of_many_magnitudes() {
    let (mut plot, mut state) = (Plot::default(), 1);
    for minute in 0..300 {
        let magnitude = [1_000, 30_000, 1_000_000][next(&mut state) as usize % 3];
        let rtt = Duration::from_nanos(50_000 + next(&mut state) % 1000 * magnitude / 10);
        plot.answered(Duration::from_secs(minute * 60), rtt);
    }
    check(
        &plot,
        80,
        Glyphs::Unicode,
        expect![[r#"
        RTT by time: • mean, │ least to greatest
        100 ms ┤││    │ │ │││  │││││ ││    •│ ││ ││││   │ │  ││││ │ │ │  ││ │ ││  │ │
               │••││ │• • ••• │•│•••│••│  ││• •• •••• │ • • ││••• •│•│••│•• • ••│••│•  •
         10 ms ┤││••••│ │ │││ ││•│││•││•│││││ │││││││ • │ │ │•│││ │•│•│││││ │ ││•││•││
               ││││││││││││││ •│││││││││•••││││ • │││││ ││││•│││││││││││•││││││││││││•│
          1 ms ┤│││││││•│•││││││││││││ ││││││•│ │ │││•│ │•│•│││││•│││││ │││•│•││││││││•
               ││││││││││││││•│ ││││││ ││││ │││ │ │││││ ││││││││ ││││││ │││││││ │││││││
        100 µs ┤│││││││││││││││ │││││  ││││ │││ │ │││││•││││││││ ││││││ │││││││ │││ │││
               │      │    │ │  ││       │      │
         10 µs ┤
               └┬─────────────┬─────────────┬─────────────┬─────────────┬───────────────
                0            1 h           2 h           3 h           4 h

        RTT of 300 probes
          50–100 µs │████████████████████████████████████████████████████████▏ 64  21.3%
         100–200 µs │██████████████████████████████████████████████████        57  19.0%
         200–500 µs │███████                                                    8   2.7%
        500 µs–1 ms │████████▊                                                 10   3.3%
             1–2 ms │████████████████████████▌                                 28   9.3%
             2–5 ms │█████████████████████▉                                    25   8.3%
            5–10 ms │█████▎                                                     6   2.0%
           10–20 ms │███████████▍                                              13   4.3%
           20–50 ms │█████████████████████                                     24   8.0%
          50–100 ms │█████████████████████████████████████████████████████████ 65  21.7%
    "#]],
    );
}

#[test]
fn a_few_that_are_far_beyond_do_not_hide_the_others() {
    let (mut plot, mut state) = (Plot::default(), 3);
    for number in 0..1000 {
        let far = if number % 100 == 50 { 900_000 } else { 0 };
        plot.answered(Duration::from_millis(number), Duration::from_nanos(95_000 + next(&mut state) % 20_000 + far));
    }
    let drawn = plot.render(60, Glyphs::Unicode);
    let histogram = drawn.split_once("\n\n").unwrap().1;
    expect![[r#"
        RTT of 1000 probes
          94–96 µs │█████████████████▏                     54   5.4%
          96–98 µs │████████████████████████████████      101  10.1%
         98–100 µs │█████████████████████████████████▌    106  10.6%
        100–102 µs │█████████████████████████████████████ 117  11.7%
        102–104 µs │███████████████████████████▉           88   8.8%
        104–106 µs │█████████████████████████████▊         94   9.4%
        106–108 µs │█████████████████████████████▊         94   9.4%
        108–110 µs │███████████████████████████▉           88   8.8%
        110–112 µs │██████████████████████████████▋        97   9.7%
        112–114 µs │████████████████████████████████      101  10.1%
        114–116 µs │███████████████▊                       50   5.0%
          ≥ 116 µs │███▏                                   10   1.0%
    "#]]
    .assert_eq(histogram);
}

#[test]
fn without_an_answer_a_line_says_so() {
    let mut plot = Plot::default();
    check(
        &plot,
        80,
        Glyphs::Unicode,
        expect![[r#"
        nothing to plot: no probe
    "#]],
    );
    (0..4).for_each(|second| plot.lost(Duration::from_secs(second)));
    check(
        &plot,
        40,
        Glyphs::Unicode,
        expect![[r#"
        nothing to plot: 4 probes lost
    "#]],
    );
}

#[test]
fn what_comes_late_was_not_lost() {
    let (mut late, mut timely) = (Plot::default(), Plot::default());
    for plot in [&mut late, &mut timely] {
        plot.answered(Duration::ZERO, Duration::from_millis(1));
    }
    late.lost(Duration::from_secs(1));
    late.late(Duration::from_secs(1), Duration::from_millis(3));
    timely.answered(Duration::from_secs(1), Duration::from_millis(3));
    assert_eq!(late.render(80, Glyphs::Unicode), timely.render(80, Glyphs::Unicode));
}

#[test]
fn a_long_run_stays_in_its_memory_and_loses_no_extreme() {
    let mut plot = Plot::default();
    for number in 0..200_000_u64 {
        let at = Duration::from_millis(number);
        match number {
            77_777 => plot.lost(at),
            123_456 => plot.answered(at, Duration::from_millis(500)),
            _ => plot.answered(at, Duration::from_micros(10_000 + number % 97)),
        }
    }
    assert!(plot.cells.len() <= MOST_CELLS);
    let sum = plot.cells().fold(Cell::default(), |mut sum, (_, cell)| {
        sum.add(cell);
        sum
    });
    assert_eq!((sum.answered, sum.lost, sum.min, sum.max), (199_999, 1, 10_000_000, 500_000_000));
    // What is halfway through the run is halfway through the picture.
    let middle = plot.cells().find(|(_, cell)| cell.max == 500_000_000).unwrap().0;
    assert!(middle.abs_diff(123_456_000_000) < 200_000_000, "{middle}");
}

/// Any duration, those at the ends often.
fn durations() -> impl Strategy<Value = Duration> {
    prop_oneof![
        Just(Duration::ZERO),
        Just(Duration::MAX),
        (0..64_u32, any::<u64>()).prop_map(|(shift, nanos)| Duration::from_nanos(nanos >> shift)),
        (0..20_000_000_u64).prop_map(Duration::from_nanos),
    ]
}

proptest! {
    #[test]
    fn no_line_is_too_wide(
        probes in prop::collection::vec((durations(), prop::option::of(durations())), 0..50),
        columns in 0..200_usize,
        is_ascii: bool,
    ) {
        let mut plot = Plot::default();
        for (at, rtt) in probes {
            match rtt {
                Some(rtt) => plot.answered(at, rtt),
                None => plot.lost(at),
            }
        }
        let glyphs = if is_ascii { Glyphs::Ascii } else { Glyphs::Unicode };
        let drawn = plot.render(columns, glyphs);
        for line in drawn.lines() {
            prop_assert!(line.chars().count() <= columns.max(FEWEST_COLUMNS), "{}", drawn);
            prop_assert_eq!(line, line.trim_end());
        }
        prop_assert!(!is_ascii || drawn.is_ascii());
        prop_assert!(drawn.ends_with('\n') && !drawn.contains("\n\n\n"));
        let widest = drawn.lines().map(|line| line.chars().count()).max();
        prop_assert!(plot.rtts.count() == 0 || widest == Some(columns.max(FEWEST_COLUMNS)), "{}", drawn);
    }

    #[test]
    fn every_probe_is_in_the_histogram(rtts in prop::collection::vec(durations(), 1..300), lost in 0..9_u64) {
        let mut plot = Plot::default();
        rtts.iter().for_each(|rtt| plot.answered(Duration::ZERO, *rtt));
        (0..lost).for_each(|_| plot.lost(Duration::ZERO));
        let drawn = plot.render(80, Glyphs::Ascii);
        let (_, histogram) = drawn.split_once("\n\n").unwrap();
        let numbers = histogram.lines().skip(1).map(|line| {
            line.split_whitespace().rev().nth(1).unwrap().parse::<u64>().unwrap()
        });
        prop_assert_eq!(numbers.sum::<u64>(), rtts.len() as u64 + lost);
    }
}
