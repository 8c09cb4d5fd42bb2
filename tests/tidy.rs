//! The house rules that a reader relies on: headers, sizes, who may import whom, where unsafe lives.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// The "May import" column of ARCHITECTURE.md. `address`, the bottom room, is open to everyone;
/// `lib` and `main` import all; `build` is a program of its own.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("build", &[]),
    ("address", &[]),
    ("error", &[]),
    ("event", &["error"]),
    ("sys", &["error"]),
    ("packet", &["error"]),
    ("args", &["error", "packet"]),
    ("behaviour", &["args"]),
    ("socket", &["sys", "args", "error"]),
    ("cause", &["sys", "error"]),
    ("step", &["socket", "sys", "packet", "event", "cause", "args", "error"]),
    ("command", &["step", "args", "behaviour", "packet", "event", "error"]),
    ("stats", &["event", "error"]),
    ("report", &["event", "stats", "error"]),
];

/// The most lines that a file may have.
const MOST_LINES: usize = 700;

/// A source file: where it lies below its folder, and what it says.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Returns the room that it belongs to: the first word of its path.
    fn room(&self) -> String {
        let first = self.path.components().next().unwrap().as_os_str().to_str().unwrap();
        first.trim_end_matches(".rs").to_owned()
    }

    /// Returns its lines with their numbers, comments left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text
            .lines()
            .enumerate()
            .map(|(index, line)| (index + 1, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

/// Returns every Rust file below a folder of the project.
fn sources(folder: &str) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (mut folders, mut found) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(&root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(!found.is_empty(), "nothing in {folder}");
    found
}

/// Fails with the list, where it is not empty.
#[track_caller]
fn assert_none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_opens_with_its_header() {
    let all = sources("src").into_iter().chain(sources("tests"));
    let without = all.filter(|source| !source.text.starts_with("//! "));
    assert_none(&without.map(|source| source.path.display().to_string()).collect::<Vec<_>>());
}

#[test]
fn no_file_is_too_long() {
    let all = sources("src").into_iter().chain(sources("tests"));
    let long = all.filter(|source| source.text.lines().count() > MOST_LINES);
    assert_none(
        &long
            .map(|source| format!("{}: {} lines", source.path.display(), source.text.lines().count()))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn every_room_imports_only_what_it_may() {
    let whole = Regex::new(r"crate::(?:\{([^}]*)\}|([a-z_]+))").unwrap();
    let mut wrong = Vec::new();
    for source in sources("src") {
        let room = source.room();
        if ["lib", "stage", "generate", "main"].contains(&room.as_str()) {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{}: {room} is no room of ARCHITECTURE.md", source.path.display()));
            continue;
        };
        // Read as one text: a list of imports may go over several lines.
        let code: String = source.code().map(|(_, line)| line).collect::<Vec<_>>().join("\n");
        let mut imported = BTreeSet::new();
        for found in whole.captures_iter(&code) {
            let list = found.get(1).or_else(|| found.get(2)).unwrap().as_str();
            imported.extend(
                list.split(',')
                    .map(|path| path.trim().split("::").next().unwrap().to_owned())
                    .filter(|name| !name.is_empty()),
            );
        }
        for name in imported {
            let is_room = MAY_IMPORT.iter().any(|(room, _)| *room == name);
            if is_room && name != room && name != "address" && !allowed.contains(&name.as_str()) {
                wrong.push(format!("{}: {room} may not import {name}", source.path.display()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn unsafe_lives_in_sys_alone_each_with_its_reason() {
    let word = Regex::new(r"(?-u:\b)unsafe(?-u:\b)").unwrap();
    let mut wrong = Vec::new();
    for source in sources("src").into_iter().chain(sources("tests")) {
        let in_sys = source.room() == "sys";
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.code().filter(|(_, line)| word.is_match(line) && !line.contains('"')) {
            // The reason stands above, with at most an attribute or the head of a statement between.
            let reasoned = lines[number.saturating_sub(6)..number].iter().any(|line| line.contains("SAFETY:"));
            if !in_sys || !reasoned {
                wrong.push(format!("{}:{number}: {}", source.path.display(), line.trim()));
            }
        }
    }
    assert_none(&wrong);
}

#[test]
fn nothing_is_left_for_later() {
    // Put together here, so that this file does not find itself.
    let marks = Regex::new(&["TO", "DO|FIX", "ME|XX", "X"].concat()).unwrap();
    let all = sources("src").into_iter().chain(sources("tests"));
    let left = all.flat_map(|source| {
        let found: Vec<_> = source
            .text
            .lines()
            .enumerate()
            .filter(|(_, line)| marks.is_match(line))
            .map(|(index, _)| index + 1)
            .collect();
        found.into_iter().map(move |number| format!("{}:{number}", source.path.display()))
    });
    assert_none(&left.collect::<Vec<_>>());
}
