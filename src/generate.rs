//! What sockeye prints about itself: completions, man pages, the schema. Each comes from the one
//! definition of what it tells: the clap structs, the events.

use clap::builder::PossibleValue;
use clap::{Command, CommandFactory, ValueEnum};
use clap_complete::{Shell, generate};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::args::Cli;
use crate::args::generate::{Page, Shell as Asked};
use crate::error::ExitCode;
use crate::report;

/// Returns the completion script of a shell.
pub(crate) fn completions(shell: Asked) -> Vec<u8> {
    let shell = match shell {
        Asked::Bash => Shell::Bash,
        Asked::Elvish => Shell::Elvish,
        Asked::Fish => Shell::Fish,
        Asked::PowerShell => Shell::PowerShell,
        Asked::Zsh => Shell::Zsh,
    };
    let mut script = Vec::new();
    generate(shell, &mut Cli::command(), "sockeye", &mut script);
    script
}

/// Returns the JSON Schema of the events.
pub(crate) fn schema() -> Vec<u8> {
    let mut text = format!("{:#}", report::schema()).into_bytes();
    text.push(b'\n');
    text
}

/// Returns a man page: of a subcommand, or of sockeye itself.
pub(crate) fn man(page: Option<Page>) -> Vec<u8> {
    let value = page.and_then(|page| page.to_possible_value());
    let subcommand = value.as_ref().map(PossibleValue::get_name);
    let mut command = Cli::command();
    command.build();
    let page = match subcommand.and_then(|name| command.find_subcommand(name)) {
        Some(found) => {
            let name = format!("sockeye-{}", found.get_name());
            found.clone().name(name.clone()).display_name(name)
        }
        None => command.clone(),
    };
    let mut text = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = render(page, subcommand.is_none(), &mut text);
    text
}

fn render(command: Command, is_main: bool, text: &mut Vec<u8>) -> std::io::Result<()> {
    let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    // Examples keep their lines, which the EXTRA section of clap_mangen would fill.
    let man = Man::new(command.clone().after_help("")).manual("sockeye");
    man.render_title(text)?;
    man.render_name_section(text)?;
    man.render_synopsis_section(text)?;
    man.render_description_section(text)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(text)?;
    }
    if is_main {
        man.render_subcommands_section(text)?;
        events(text)?;
        measures(text)?;
    } else if let Some((examples, rest)) = examples(&after) {
        verbatim("EXAMPLES", &examples, &rest, text)?;
    }
    exit_codes(text)?;
    surroundings(text)?;
    let mut see = Roff::new();
    see.control("SH", ["SEE ALSO"]);
    see.text([roman(if is_main {
        "socket(7), ip(7), ipv6(7), tcp(7), unix(7), ss(8)"
    } else {
        "sockeye(1), socket(7), tcp(7), ss(8)"
    })]);
    see.to_writer(text)
}

/// Splits a help text into the lines of its examples and the prose after them.
fn examples(after: &str) -> Option<(String, String)> {
    let body = after.strip_prefix("Examples:\n")?;
    Some(match body.split_once("\n\n") {
        Some((examples, rest)) => (examples.to_owned(), rest.to_owned()),
        None => (body.to_owned(), String::new()),
    })
}

fn verbatim(title: &str, lines: &str, rest: &str, text: &mut Vec<u8>) -> std::io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    roff.control("nf", []);
    for line in lines.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    for paragraph in rest.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        roff.control("PP", []);
        roff.text([roman(paragraph.replace('\n', " "))]);
    }
    roff.to_writer(text)
}

/// Writes the section that defines every event and field, from the schema.
fn events(text: &mut Vec<u8>) -> std::io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["EVENTS"]);
    roff.text([roman(
        "With --json, stdout is one JSON object a line, written as it happens. Each has event (one of the names \
         below), time (RFC 3339, UTC, nanoseconds) and elapsed_ns (monotonic, since the program started, never \
         less than on the line before). Durations are integers in nanoseconds, sizes integers in bytes. A field \
         that does not apply is absent. Distributions (resolve, connect, rtt and others) are objects: count, min_ns, \
         mean_ns, max_ns and stddev_ns (n - 1) over what was measured, percentiles by nearest rank over what was \
         sent, jitter_ns as RFC 3550, 6.4.1 defines it.",
    )]);
    for event in report::fields() {
        roff.control("TP", []);
        roff.text([bold(event.event.as_str())]);
        roff.text([roman(event.description.as_str())]);
        roff.control("RS", []);
        for field in &event.fields {
            roff.control("TP", []);
            let need = if field.required { "" } else { ", where it applies" };
            let head: [Inline; 2] = [bold(field.name.as_str()), roman(format!(" ({}{need})", field.kind))];
            roff.text(head);
            roff.text([roman(field.description.as_str())]);
            if !field.fields.is_empty() {
                let parts: Vec<String> = field.fields.iter().map(in_words).collect();
                roff.control("IP", []);
                let whose = if field.kind.starts_with("list") { "The fields of each" } else { "Its fields" };
                roff.text([roman(format!("{whose}: {}", parts.join("; ")))]);
            }
        }
        roff.control("RE", []);
    }
    roff.to_writer(text)
}

/// Writes the section that says how each figure of a measurement is defined, and where.
fn measures(text: &mut Vec<u8>) -> std::io::Result<()> {
    const MEASURES: [(&str, &str); 9] = [
        (
            "Loss",
            "A datagram that does not come (RFC 7680); of a round trip, one that is not answered within --wait or \
            --timeout (RFC 6673). A late answer makes it late, in loss_ratio all the same; an ICMP error makes it \
            refused, which is no loss. A stateful reflector (RFC 8762, 4) numbers its answers: their gaps are what was \
            lost on the way back (lost_back), the rest was on the way out (lost_out); what was lost after the last \
            answer is in neither. A stateless one gives each answer the number of its test packet: then all is in \
            lost_back, and the warning loss-way-unknown says so. The receiver knows of no loss after the highest number \
            that came.",
        ),
        (
            "Loss runs",
            "Rows of probes to one target, by their numbers, of which none was answered in time (loss periods of RFC \
            3357).",
        ),
        (
            "Percentiles",
            "By nearest rank over all probes that were sent: one that was lost or refused is infinite, and of raw-ping \
            one that was late, which udp-send --measure takes at its time; a percentile that falls on an infinite one \
            is absent. To three digits, exact up to 64 samples; of raw-ping's targets \
            beyond the 64th to about two digits.",
        ),
        (
            "Kernel drops",
            "What this host's kernel dropped because a receive buffer was full (SO_MEMINFO). The network \
            did not lose it: the program was too slow, or the buffer too small. In loss it is contained.",
        ),
        ("Duplication", "A further copy of what had come (RFC 5560), counted as duplicates and nowhere else."),
        (
            "Reordering",
            "A datagram that comes after one with a greater number (RFC 4737, 3.3). The extent (4.2) is how many \
            arrivals before it the first such one came.",
        ),
        (
            "Round-trip time",
            "From the first bit of the datagram out to the last bit of its answer in (RFC 2681), here from the \
            kernel's time stamp of its departure to that of the answer's arrival, without the time that it was at the \
            reflector. clock says where a stamp of this program stands in for one of the kernel.",
        ),
        (
            "Delay variation",
            "By how much the one-way delay of a datagram differs from that of the one that came before it (RFC 3393), \
            its amount. The clocks of both ends need not agree, for their difference falls out.",
        ),
        (
            "Jitter",
            "The same, smoothed: J + (|D| - J) / 16 with each arrival (RFC 3550, 6.4.1). Of rtt it is taken from one \
            round-trip time to the next.",
        ),
    ];
    let mut roff = Roff::new();
    roff.control("SH", ["MEASUREMENTS"]);
    for (name, meaning) in MEASURES {
        roff.control("TP", []);
        roff.text([bold(name)]);
        roff.text([roman(meaning)]);
    }
    roff.to_writer(text)
}

/// Returns a field of an object in words.
fn in_words(field: &report::Field) -> String {
    format!("{} ({}): {}", field.name, field.kind, field.description.trim_end_matches('.'))
}

/// Writes what signals and the environment do.
fn surroundings(text: &mut Vec<u8>) -> std::io::Result<()> {
    const SIGNALS: [(&str, &str); 3] = [
        (
            "SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM and other signals that end a program",
            "End the run: open connections report their close, and the summary is the last \
            line. But for SIGINT and SIGTERM one that was ignored at the start (SIGHUP by nohup) stays so. A run that is over and waits for the \
            reader of its output ends at once by one that comes a second or more after its end.",
        ),
        ("SIGQUIT (Ctrl-\\)", "Prints the totals so far, and the run goes on."),
        ("SIGPIPE", "Ignored: a reader that has left ends the run quietly."),
    ];
    const ENVIRONMENT: [(&str, &str); 3] = [
        (
            "SOCKEYE_PROXY_USER, SOCKEYE_PROXY_PASSWORD",
            "Who we are to the proxy of connect --proxy, where no --proxy-user-file says it. Where the URL names the \
            user, the password alone is enough.",
        ),
        ("NO_COLOR", "Not empty: no colour, unless --color always."),
        ("TERM", "dumb: no colour, unless --color always; no bar."),
    ];
    let mut roff = Roff::new();
    for (title, entries) in [("SIGNALS", &SIGNALS[..]), ("ENVIRONMENT", &ENVIRONMENT[..])] {
        roff.control("SH", [title]);
        for (name, meaning) in entries {
            roff.control("TP", []);
            roff.text([bold(*name)]);
            roff.text([roman(*meaning)]);
        }
    }
    roff.to_writer(text)
}

/// Writes the section of exit codes.
fn exit_codes(text: &mut Vec<u8>) -> std::io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for code in ExitCode::ALL {
        roff.control("TP", []);
        roff.text([bold(code.number().to_string())]);
        roff.text([roman(code.meaning())]);
    }
    roff.control("PP", []);
    roff.text([roman(
        "One target: its own code. Several: 0 if all succeeded, the common code if all failed alike, else 1. Several \
         addresses of one name: that of the furthest step reached. 4, 5 and 6 on our own side beat all others.",
    )]);
    roff.to_writer(text)
}
