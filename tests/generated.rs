//! What is committed of sockeye's own output is fresh. `UPDATE_EXPECT=1 cargo test` renews it.

use expect_test::expect_file;

use crate::harness::Sockeye;

fn printed(line: &str) -> String {
    let run = Sockeye::new(line).run().exits(0);
    assert_eq!(run.stderr(), "");
    String::from_utf8(run.stdout().to_vec()).unwrap()
}

#[test]
fn the_completions_are_fresh() {
    expect_file!["../completions/sockeye.bash"].assert_eq(&printed("completions bash"));
    expect_file!["../completions/_sockeye"].assert_eq(&printed("completions zsh"));
    expect_file!["../completions/sockeye.fish"].assert_eq(&printed("completions fish"));
}

#[test]
fn the_man_pages_are_fresh() {
    expect_file!["../man/sockeye.1"].assert_eq(&printed("man"));
    for subcommand in subcommands() {
        let path = format!("../man/sockeye-{subcommand}.1");
        expect_file![path.as_str()].assert_eq(&printed(&format!("man {subcommand}")));
    }
}

#[test]
fn nothing_committed_belongs_to_a_subcommand_that_is_gone() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/man");
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = name == "sockeye.1" || subcommands().iter().any(|each| name == format!("sockeye-{each}.1"));
        assert!(known, "man/{name} is printed by nothing");
    }
}

#[test]
fn a_man_page_has_the_sections_that_people_look_for() {
    for subcommand in ["serve", "connect", "udp-send", "udp-listen", "doctor"] {
        let page = printed(&format!("man {subcommand}"));
        for section in ["NAME", "SYNOPSIS", "OPTIONS", "EXAMPLES"] {
            assert!(
                page.contains(&format!(".SH {section}")) || page.contains(&format!(".SH \"{section}\"")),
                "{subcommand}: {section}"
            );
        }
    }
    assert!(printed("man").contains("EXIT STATUS") || printed("man").contains("EXIT CODES"), "the table of exit codes");
}

#[test]
fn the_man_page_says_by_which_document_each_figure_is_measured() {
    let page = printed("man");
    let (_, measurements) = page.split_once(".SH MEASUREMENTS").expect("a section of its own");
    for (figure, rfc) in [
        ("Loss", "RFC 7680"),
        ("Duplication", "RFC 5560"),
        ("Reordering", "RFC 4737"),
        ("Round\\-trip time", "RFC 2681"),
        ("Delay variation", "RFC 3393"),
        ("Jitter", "RFC 3550"),
    ] {
        let (_, about) = measurements.split_once(&format!("\\fB{figure}\\fR")).expect(figure);
        let (about, _) = about.split_once(".TP").or_else(|| about.split_once(".SH")).expect(figure);
        assert!(about.contains(rfc), "{figure}: {about}");
    }
}

/// Returns the names of the subcommands, as the help lists them.
pub(crate) fn subcommands() -> Vec<String> {
    let help = printed("--help");
    let (_, list) = help.split_once("Commands:\n").expect("the help lists the subcommands");
    let names = list.lines().take_while(|line| line.starts_with("  ")).filter_map(|line| {
        // Names are indented by two; what is indented deeper goes on about the one before.
        let name = line.strip_prefix("  ")?.split_whitespace().next()?;
        (!line.starts_with("   ") && name != "help").then(|| name.to_owned())
    });
    let names: Vec<_> = names.collect();
    assert!(names.len() >= 6, "{names:?} in\n{help}");
    names
}
