//! `--help` has examples, and they work: each is run by a shell in a network of its own.

use std::path::Path;
use std::time::Duration;

use crate::generated::subcommands;
use crate::harness::Sockeye;
use crate::harness::net::{Net, TempDir};
use crate::harness::peers::Peer;
use crate::harness::process::Stdin;

/// Returns the example lines of a subcommand's help.
fn examples(subcommand: &str) -> Vec<String> {
    let run = Sockeye::new(subcommand).arg("--help").run().exits(0);
    let help = String::from_utf8(run.stdout().to_vec()).unwrap();
    let (_, section) =
        help.split_once("Examples:\n").unwrap_or_else(|| panic!("no Examples in the help of {subcommand}:\n{help}"));
    let lines: Vec<&str> = section.lines().take_while(|line| line.is_empty() || line.starts_with(' ')).collect();
    // A line that ends in a backslash goes on in the next, as in a shell.
    let whole = lines.join("\n").replace("\\\n", " ");
    let lines = whole.lines().map(str::trim).map(|line| line.strip_prefix("$ ").unwrap_or(line));
    lines.filter(|line| line.contains("sockeye ")).map(str::to_owned).collect()
}

#[test]
fn every_subcommand_has_examples_that_begin_with_its_name() {
    for subcommand in subcommands() {
        let lines = examples(&subcommand);
        let own = lines.iter().filter(|line| line.contains(&format!("sockeye {subcommand}"))).count();
        assert!(own >= 1, "{subcommand}: {lines:?}");
    }
}

#[test]
fn every_example_is_a_command_line_that_sockeye_takes() {
    let bin = Path::new(env!("CARGO_BIN_EXE_sockeye")).parent().unwrap().to_str().unwrap();
    let mut wrong = Vec::new();
    for subcommand in subcommands() {
        for example in examples(&subcommand) {
            // What serves for ever is ended, unless the example itself says when.
            let bounded = ["serve", "connect", "unix-serve", "udp-send", "udp-listen", "raw-ping"]
                .contains(&subcommand.as_str())
                && !example.contains("--deadline");
            let line = if bounded {
                example.replace(&format!("sockeye {subcommand}"), &format!("sockeye {subcommand} --deadline 300ms"))
            } else {
                example.clone()
            };
            // A folder of its own: an example may read and write files.
            let dir = TempDir::new();
            std::fs::write(dir.path().join("request"), "GET / HTTP/1.0\r\n\r\n").unwrap();
            let script = format!("PATH={bin}:$PATH; cd {}; set -o pipefail; {line}", dir.path().display());
            let prefix: Vec<_> =
                Net::isolated().prefix().iter().map(|word| word.to_str().unwrap().to_owned()).collect();
            let words: Vec<&str> =
                prefix[1..].iter().map(String::as_str).chain(["bash", "-c", script.as_str()]).collect();
            let ended = Peer::program("unshare", &words, Stdin::Null, None).finish();
            let stderr = String::from_utf8_lossy(&ended.stderr);
            // In an empty network nobody answers; but each must be understood and end in time.
            let understood = ended.status.code().is_some_and(|code| code != 2 && code < 126);
            if !understood || stderr.contains("panicked") || ended.elapsed > Duration::from_secs(15) {
                wrong.push(format!("{example}\n{}\n{stderr}", ended.status));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn help_names_the_defaults_of_the_time_outs() {
    let run = Sockeye::new("connect --help").run().exits(0);
    let help = String::from_utf8(run.stdout().to_vec()).unwrap();
    for option in ["--timeout", "--connect-timeout", "--resolve-timeout"] {
        let (_, rest) = help.split_once(option).unwrap_or_else(|| panic!("no {option}"));
        let next = rest.find("\n  -").or_else(|| rest.find("\n      --")).unwrap_or(rest.len());
        assert!(rest[..next].contains("default"), "{option} has a finite, printed default:\n{}", &rest[..next]);
    }
}

#[test]
fn help_is_no_wider_than_a_page() {
    for subcommand in subcommands() {
        let run = Sockeye::new(&subcommand).arg("--help").env("COLUMNS", "100").run().exits(0);
        let help = String::from_utf8(run.stdout().to_vec()).unwrap();
        assert!(!help.contains('\x1b'), "no colour where stdout is no terminal");
    }
}
