//! Makes runs comparable: what differs from run to run is replaced, whitespace never.

use std::sync::OnceLock;

use regex::Regex;

/// Replaces times, durations, ports, process numbers and temporary paths by their kind.
pub(crate) fn redact(text: &str) -> String {
    static RULES: OnceLock<Vec<(Regex, &str)>> = OnceLock::new();
    let rules = RULES.get_or_init(|| {
        [
            (r"(?m)^  [0-9]+[.][0-9]{6} ", "  [ELAPSED] "),
            (r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[.][0-9]+Z", "[TIME]"),
            (r"(127[.][0-9]+[.][0-9]+[.][0-9]+|0[.]0[.]0[.]0|\[::1\]|\[::\]):[0-9]+", "$1:[PORT]"),
            (r"[0-9]+([.][0-9]+)? ?(ns|us|µs|ms|s)(?-u:\b)", "[DURATION]"),
            (r"pid [0-9]+", "pid [PID]"),
            (r"/tmp/sockeye-test-[0-9]+-[0-9]+", "[DIR]"),
        ]
        .map(|(pattern, by)| (Regex::new(pattern).expect("a valid pattern"), by))
        .into()
    });
    let once = |text: String, (pattern, by): &(Regex, &str)| pattern.replace_all(&text, *by).into_owned();
    rules.iter().fold(text.to_owned(), once)
}

#[test]
fn what_differs_from_run_to_run_is_replaced_and_whitespace_is_not() {
    let text = "2026-11-22T10:11:12.123456789Z  127.0.0.1:43210 → [::1]:8001   took 1.25 ms,  pid 77";
    assert_eq!(redact(text), "[TIME]  127.0.0.1:[PORT] → [::1]:[PORT]   took [DURATION],  pid [PID]");
}
