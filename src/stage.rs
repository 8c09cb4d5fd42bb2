//! The stage of a run: streams, report, totals and stop, wired together around one walk.

use std::fs::{File, OpenOptions};
use std::future::Future;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use clap::builder::Styles;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};
use nix::unistd::{Whence, getpgrp, lseek, tcgetpgrp};
use tokio::sync::Notify;

use crate::args::{
    self, Connect, Doctor, Load, Output, Pacing, Quest, RawPing, Reception, Serve, Tempo, UdpListen, UdpSend,
    UnixServe, UnixType,
};
use crate::command::Run;
use crate::error::{Error, ExitCode, Step, errno_name};
use crate::event::{self, Audience, Event, Kind, SCHEMA, Stamp, Totals};
use crate::report::{
    self, Canvas, Chart, Detail, Format, Glyphs, OutputEvent, Probing, Report, Results, Screen, Settings, Steps,
};
use crate::stats::{Each, Extent, Stats, Tally};
use crate::step::{Cause, Door, Privileged, Stdin, Stop, give_up_rights};
use crate::sys::is_stdout_closed;

/// The three standard streams. They are used as they are: a copy of a descriptor would be one
/// more, which counts where they have run out.
#[derive(Debug)]
pub struct Streams {
    /// What a relay reads.
    pub stdin: io::Stdin,
    /// Results, or JSON.
    pub stdout: io::Stdout,
    /// Steps, warnings and errors.
    pub stderr: io::Stderr,
}

impl Streams {
    /// Prints what clap has to tell: help and version on stdout, all else on stderr.
    pub(crate) fn tell(self, told: &clap::Error) -> ExitCode {
        let styled = told.render();
        let is_styled = self.has_styles();
        let text = |is_terminal| match is_styled && !has_color(args::Color::Auto, is_terminal) {
            true => styled.to_string(),
            // Nothing need be taken out where nothing was put in.
            false => styled.ansi().to_string(),
        };
        if told.use_stderr() {
            // Where stderr fails too, the exit code says it all.
            drop(Unbuffered(&self.stderr).write_all(text(self.stderr.is_terminal()).as_bytes()));
            return ExitCode::Usage;
        }
        let text = text(self.stdout.is_terminal());
        self.print(text.as_bytes())
    }

    /// Returns whether what clap has to tell may be told in colour.
    fn has_styles(&self) -> bool {
        has_color(args::Color::Auto, self.stdout.is_terminal() || self.stderr.is_terminal())
    }

    /// Returns the styles of what clap has to tell.
    pub(crate) fn styles(&self) -> Styles {
        if self.has_styles() { Styles::styled() } else { Styles::plain() }
    }

    /// Prints a text on stdout.
    pub(crate) fn print(self, text: &[u8]) -> ExitCode {
        match Unbuffered(&self.stdout).write_all(text) {
            Ok(()) => ExitCode::Ok,
            Err(error) => self.unwritten(&error),
        }
    }

    /// Returns whether stdin and stdout are terminals.
    pub(crate) fn is_on_terminal(&self) -> bool {
        self.stdin.is_terminal() && self.stdout.is_terminal()
    }

    /// Tells that words cannot be done with these streams.
    pub(crate) fn refuse(&self, what: &str) -> ExitCode {
        // Where stderr fails too, the exit code says it all.
        drop(Unbuffered(&self.stderr).write_all(format!("error: {what}\n").as_bytes()));
        ExitCode::Usage
    }

    /// Tells that stdout failed; a reader that has left is no failure.
    fn unwritten(&self, error: &io::Error) -> ExitCode {
        if error.kind() == ErrorKind::BrokenPipe {
            return ExitCode::Ok;
        }
        self.fail(&Error::of_io(Step::Write, error, "stdout"))
    }

    /// Tells that nothing can be done, or told, without a thread of its own.
    fn without_threads(&self, error: &io::Error) -> ExitCode {
        let error = Error::of_io(Step::Socket, error, "no thread can be made").with_exit_code(BROKEN);
        self.fail(&error.with_hint("this user may have no more: raise the limit with `ulimit -u` or prlimit(1)"))
    }

    fn fail(&self, error: &Error) -> ExitCode {
        let hint = error.hint.as_ref().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        // Where stderr fails too, the exit code says it all.
        drop(Unbuffered(&self.stderr).write_all(format!("error: {error}\n{hint}").as_bytes()));
        error.exit_code()
    }
}

/// A stream that is written to as it is, past the buffer that the standard library has for it. What stands in the place
/// of a stdout that was closed is none.
struct Unbuffered<T>(T);

impl<T: AsFd> Write for Unbuffered<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.as_fd().as_raw_fd() == libc::STDOUT_FILENO && is_stdout_closed() {
            return Err(Errno::EBADF.into());
        }
        Ok(nix::unistd::write(&self.0, bytes)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn has_color(wanted: args::Color, is_terminal: bool) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    match wanted {
        args::Color::Always => true,
        args::Color::Never => false,
        // https://no-color.org
        args::Color::Auto => is_terminal && !is_set("NO_COLOR") && !is_dumb(),
    }
}

/// Returns whether the terminal, if there is one, knows no control sequences.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Returns the room that there is to draw in: that of the terminal, else what fits anywhere.
fn canvas(stream: impl AsFd) -> Canvas {
    let size = terminal_size::terminal_size_of(stream);
    let (columns, rows) = size.map_or((80, 24), |(width, height)| (width.0.into(), height.0.into()));
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|is| !is.is_empty()));
    let is_utf8 = locale.is_none_or(|locale| locale.to_ascii_lowercase().replace('-', "").ends_with("utf8"));
    Canvas { columns, rows, glyphs: if is_utf8 { Glyphs::Unicode } else { Glyphs::Ascii } }
}

/// Opens the file that `--events` names. A named pipe that nobody reads is an error, not a wait
/// that no deadline ends.
fn events_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)
}

/// Returns whether stdout and stderr are one terminal.
fn is_same_terminal(streams: &Streams) -> bool {
    let device = |stream: BorrowedFd<'_>| fstat(stream).map(|stat| (stat.st_dev, stat.st_rdev)).ok();
    streams.stdout.is_terminal()
        && streams.stderr.is_terminal()
        && device(streams.stdout.as_fd()) == device(streams.stderr.as_fd())
}

/// Returns whether another job has the terminal that a stream is, as far as it is that of our own jobs.
fn is_in_background(stream: impl AsFd) -> bool {
    tcgetpgrp(stream).is_ok_and(|foreground| foreground != getpgrp())
}

/// Returns how many bytes of a file are still to be read, where stdin is one.
fn rest_of_file(stdin: &io::Stdin) -> Option<u64> {
    let stat =
        fstat(stdin).ok().filter(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG)?;
    let read = lseek(stdin, 0, Whence::SeekCur).ok()?;
    u64::try_from(stat.st_size - read).ok()
}

/// What a run needs around its walk.
pub(crate) struct Stage {
    command: &'static str,
    output: Output,
    tally: Tally,
    steps: Steps,
    results: Results,
    is_relay: bool,
    answers: bool,
    in_bulk: bool,
    rate_asked: Option<f64>,
    hex_dump: bool,
    report_every: Option<Duration>,
    /// How far the run goes, where that is known; of a relay stdin says it.
    extent: Option<Extent>,
    /// What is drawn.
    draws: Option<fn(Canvas) -> Chart>,
    /// Whether the walk opens sockets that need rights: one thread has them then, and no other.
    is_privileged: bool,
    /// Whether the walk reads stdin, though it is no relay.
    reads_stdin: bool,
}

/// The stage of `serve`.
pub(crate) fn of_serve(serve: &Serve) -> Stage {
    let results = if serve.service.relay { Results::Peer } else { Results::Lines };
    let report_every = serve.series.report_every;
    Stage { is_relay: serve.service.relay, report_every, ..Stage::new("serve", &serve.output, Tally::Server, results) }
}

/// The stage of `unix-serve`.
pub(crate) fn of_unix_serve(serve: &UnixServe) -> Stage {
    let results = if serve.service.relay { Results::Peer } else { Results::Lines };
    let tally = if serve.kind == UnixType::Dgram { Tally::Datagrams } else { Tally::Server };
    let report_every = serve.series.report_every;
    Stage { is_relay: serve.service.relay, report_every, ..Stage::new("unix-serve", &serve.output, tally, results) }
}

/// The stage of `connect`.
pub(crate) fn of_connect(connect: &Connect) -> Stage {
    let results = match connect.probe {
        true => Results::Probe(Probing {
            many: connect.targets.len() > 1,
            again: connect.repeat.retry_for.is_some(),
            proxied: !connect.proxies.chain.is_empty(),
            secured: connect.tls.tls,
        }),
        false => Results::Peer,
    };
    let tally = if connect.repeat.count.is_some() { Tally::Rounds } else { Tally::Client };
    let stage = Stage::new("connect", &connect.output, tally, results);
    // Of many targets the table on stdout tells enough.
    let is_table = connect.probe && connect.targets.len() > 1;
    let steps = if is_table && stage.steps == Steps::Shown { Steps::Hidden } else { stage.steps };
    let targets = connect.targets.len() as u64;
    let extent = match connect.repeat.count {
        Some(0) => None,
        Some(count) => Some(Extent::Count(count.saturating_mul(targets))),
        None => (connect.probe && targets > 1).then_some(Extent::Count(targets)),
    };
    Stage {
        steps,
        extent,
        is_relay: connect.is_relay(),
        answers: !connect.messages.is_empty(),
        hex_dump: connect.hex_dump,
        report_every: connect.series.report_every,
        ..stage
    }
}

/// The stage of `udp-send`.
pub(crate) fn of_udp_send(send: &UdpSend) -> Stage {
    let (tally, results) = match send.load {
        Load::Measure { reflects, .. } => (Tally::Sender { measures: true, reflects }, Results::Lines),
        Load::Pattern(_) => (Tally::Sender { measures: false, reflects: false }, Results::Lines),
        Load::Messages(_) | Load::Stdin => (Tally::Sender { measures: false, reflects: false }, Results::Peer),
    };
    let pacing = send.pacing();
    Stage {
        is_relay: send.is_relay(),
        extent: send.count().map(Extent::Count),
        answers: matches!(send.load, Load::Messages(_)),
        in_bulk: !matches!(pacing, Pacing::Interval(_)),
        rate_asked: match pacing {
            Pacing::Rate(rate) => Some(rate),
            Pacing::Interval(_) | Pacing::Flood => None,
        },
        report_every: send.series.report_every,
        ..Stage::new("udp-send", &send.output, tally, results)
    }
}

/// The stage of `udp-listen`.
pub(crate) fn of_udp_listen(listen: &UdpListen) -> Stage {
    let results = if matches!(listen.reception, Reception::Print) { Results::Peer } else { Results::Lines };
    let tally = Tally::Receiver { measures: listen.reception.measures() };
    let report_every = listen.series.report_every;
    Stage { report_every, ..Stage::new("udp-listen", &listen.output, tally, results) }
}

/// The stage of `raw-ping`.
pub(crate) fn of_raw_ping(ping: &RawPing) -> Stage {
    let is_sweep = matches!(ping.tempo(), Tempo::Sweep { .. });
    let is_read = ping.output.format() == args::Format::Json || ping.output.events.is_some();
    let each = match is_sweep {
        true if ping.output.quiet || !is_read => Each::Nothing,
        true => Each::Brief,
        false => Each::Whole,
    };
    let draws: Option<fn(Canvas) -> Chart> = match (ping.plot, ping.live) {
        (true, _) => Some(Chart::Plot),
        (_, true) => Some(Chart::Live),
        (false, false) => None,
    };
    let many = ping.has_many();
    let results = Results::Probes { many, sweep: is_sweep };
    Stage {
        in_bulk: ping.in_bulk(),
        rate_asked: ping.rate_asked(),
        report_every: ping.series.report_every,
        // Names and lists may be any number of targets.
        extent: (is_sweep || ping.probes_each().is_some()).then_some(Extent::Count(0)),
        is_privileged: true,
        reads_stdin: ping.reads_stdin() || ping.live,
        draws,
        ..Stage::new("raw-ping", &ping.output, Tally::Pinger { each, explores: ping.quest() != Quest::Ping }, results)
    }
}

/// The stage of `doctor`.
pub(crate) fn of_doctor(doctor: &Doctor) -> Stage {
    let steps = if doctor.output.is_verbose() { Steps::Verbose } else { Steps::Hidden };
    Stage { steps, ..Stage::new("doctor", &doctor.output, Tally::Doctor, Results::Lines) }
}

impl Stage {
    fn new(command: &'static str, output: &Output, tally: Tally, results: Results) -> Self {
        let steps = match (output.quiet, output.is_verbose()) {
            (true, _) => Steps::Hidden,
            (false, true) => Steps::Verbose,
            (false, false) => Steps::Shown,
        };
        let output = output.clone();
        Self {
            command,
            output,
            tally,
            steps,
            results,
            is_relay: false,
            answers: false,
            in_bulk: false,
            rate_asked: None,
            hex_dump: false,
            report_every: None,
            extent: None,
            draws: None,
            is_privileged: false,
            reads_stdin: false,
        }
    }

    /// Walks, and reports the walk from its `start` to its `summary`.
    pub(crate) fn run<W>(mut self, started: Instant, streams: Streams, walk: impl FnOnce(Run) -> W) -> u8
    where
        W: Future<Output = ExitCode>,
    {
        if self.is_relay {
            self.extent = rest_of_file(&streams.stdin).filter(|_| self.extent.is_none()).map(Extent::Bytes);
        }
        let has_bar = self.has_bar(&streams);
        let stop = Stop::default();
        let drained = Arc::new(Notify::new());
        let failure = Arc::new(Mutex::new(None));
        let privileged = match self.is_privileged.then(Privileged::start).transpose() {
            Ok(privileged) => privileged,
            Err(error) => return streams.without_threads(&error).number(),
        };
        let events = self.output.events.as_deref().map(|path| (path, events_file(path)));
        if privileged.is_some() {
            give_up_rights();
        }
        let (report, trouble) = match self.report(&streams, events, &stop, &drained, &failure) {
            Ok(opened) => opened,
            Err(error) => return streams.without_threads(&error).number(),
        };
        let is_probe = matches!(self.results, Results::Probe(_)) && self.tally == Tally::Client;
        let stats = Stats::new(self.tally).asking(self.rate_asked).probing(is_probe).reaching(self.extent);
        let wiring = Wiring { stats, report: Some(report), has_bar, failure };
        let door = Door::new(started, Box::new(wiring), drained).stopped_by(stop.clone());
        let door = Arc::new(if self.report_every.is_some() { door.watching() } else { door });
        door.emit(event::Start { schema: SCHEMA, version: env!("CARGO_PKG_VERSION"), command: self.command });
        if let Some(error) = trouble {
            let failed = door.fail(&error);
            return door.finish(failed.code).number();
        }
        let ran = crate::step::run(async {
            let walked = match stop.watch(&door, self.output.deadline) {
                Ok(()) => {
                    if let Some(every) = self.report_every {
                        crate::step::report_every(&door, every);
                    }
                    if has_bar {
                        crate::step::tick(&door);
                    }
                    if let Ok(stdout) = streams.stdout.as_fd().try_clone_to_owned() {
                        stop.watch_reader(stdout);
                    }
                    let is_terminal = streams.stdin.is_terminal();
                    let has_stdin = self.is_relay || self.reads_stdin;
                    let stdin = has_stdin.then_some(Stdin { stream: streams.stdin, is_terminal });
                    let stdout = self.is_plain_relay(&streams.stdout).then_some(streams.stdout);
                    walk(Run { door: Arc::clone(&door), stop, stdin, stdout, tls: None, privileged }).await
                }
                Err(error) => door.fail(&Error::of_io(Step::Socket, &error, "signals").with_exit_code(BROKEN)).code,
            };
            // What still waits is written by a thread, so that a second signal is heard even when
            // nobody reads.
            let closing = Arc::clone(&door);
            let Some(finish) = crate::step::aside("finish", move || closing.finish(walked)) else {
                return door.finish(walked).number();
            };
            tokio::select! {
                code = finish => code.map_or(BROKEN.number(), ExitCode::number),
                code = Stop::impatience() => code,
            }
        });
        match ran {
            Ok(code) => code,
            Err(error) => {
                let error = Error::of_io(Step::Socket, &error, "epoll").with_exit_code(BROKEN);
                door.finish(door.fail(&error).code).number()
            }
        }
    }

    /// Returns whether a bar is drawn where an end is known: on the terminal that stderr is, if nobody else writes
    /// there.
    fn has_bar(&self, streams: &Streams) -> bool {
        let is_typed = (self.is_relay || self.reads_stdin) && streams.stdin.is_terminal();
        let is_shared = self.results == Results::Peer && !self.answers && is_same_terminal(streams);
        let is_screen = self.draws.is_some_and(|draws| matches!(draws(canvas(&streams.stdout)), Chart::Live(_)));
        (self.extent.is_some() || self.output.deadline.is_some())
            && self.output.format() == args::Format::Text
            && !self.output.quiet
            && streams.stderr.is_terminal()
            && !(is_typed || is_shared || is_screen || is_dumb())
    }

    /// Returns whether what a relay receives is wanted on stdout alone, byte by byte.
    fn is_plain_relay(&self, stdout: &io::Stdout) -> bool {
        self.is_relay
            && self.output.format() == args::Format::Text
            && self.output.events.is_none()
            && self.steps != Steps::Verbose
            && !self.hex_dump
            && !stdout.is_terminal()
            && !is_stdout_closed()
    }

    /// Makes the report, and the error of an events file that cannot be written.
    ///
    /// # Errors
    /// No thread can be made for an output that has much to tell.
    fn report(
        &self,
        streams: &Streams,
        opened: Option<(&Path, io::Result<File>)>,
        stop: &Stop,
        drained: &Arc<Notify>,
        failure: &Failure,
    ) -> io::Result<(Report, Option<Error>)> {
        let (events, trouble) = match opened {
            Some((_, Ok(file))) => (Some(file), None),
            Some((path, Err(error))) => (None, Some(Error::of_io(Step::Open, &error, &path.display().to_string()))),
            None => (None, None),
        };
        let output = |name: &'static str, writer: Box<dyn Write + Send>| {
            let (stop, drained, failure) = (stop.clone(), Arc::clone(drained), Arc::clone(failure));
            report::Output::new(name, writer, move |told| {
                if let OutputEvent::Failed(error) = told
                    && name != STDERR
                {
                    // A reader of stdout that has left is no failure; either way nobody is told any more.
                    if error.kind() != ErrorKind::BrokenPipe || name == EVENTS {
                        *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some((name, error));
                    }
                    stop.set(Cause::Output);
                }
                drained.notify_waiters();
            })
        };
        let screen = |terminal| Screen { terminal, color: has_color(self.output.color, terminal) };
        let format = match self.output.format() {
            args::Format::Text => Format::Text,
            args::Format::Json => Format::Json,
        };
        let settings = Settings {
            format,
            detail: match (self.output.quiet, self.output.is_verbose()) {
                (true, _) => Detail::Quiet,
                (false, true) => Detail::Verbose,
                (false, false) => Detail::Normal,
            },
            steps: self.steps,
            results: self.results,
            tally: self.tally,
            in_relay: self.is_relay,
            in_bulk: self.in_bulk,
            answers: self.answers,
            hex_dump: self.hex_dump,
            chart: self.draws.map(|draws| draws(canvas(&streams.stdout))),
            deadline: self.output.deadline,
            stdout: screen(streams.stdout.is_terminal()),
            stderr: screen(streams.stderr.is_terminal()),
        };
        let outputs = report::Outputs {
            stdout: output(STDOUT, Box::new(Unbuffered(io::stdout()))),
            // On one terminal one writer keeps the order of both.
            stderr: (format == Format::Text && !is_same_terminal(streams))
                .then(|| output(STDERR, Box::new(Unbuffered(io::stderr())))),
            events: events.map(|file| output(EVENTS, Box::new(file))),
        };
        // A run that tells of nothing but its end, and of what goes wrong, has no other thread till then.
        let is_silent = format == Format::Text && self.output.quiet;
        if !is_silent {
            [Some(&outputs.stdout), outputs.stderr.as_ref(), outputs.events.as_ref()]
                .into_iter()
                .flatten()
                .try_for_each(report::Output::begin)?;
        }
        Ok((Report::new(settings, outputs), trouble))
    }
}

/// What a run that could not begin exits with.
const BROKEN: ExitCode = ExitCode::Local;

const STDOUT: &str = "stdout";
const STDERR: &str = "stderr";
const EVENTS: &str = "the events file";

/// The first output that failed, for another reason than that the reader of stdout has left.
type Failure = Arc<Mutex<Option<(&'static str, io::Error)>>>;

/// Who is told every event: first added up, then shown.
struct Wiring {
    stats: Stats,
    report: Option<Report>,
    /// What a tick draws is a bar, and no screen.
    has_bar: bool,
    failure: Failure,
}

impl Wiring {
    /// Returns the processor time of this program so far, where its walk spends it on exact times.
    fn cpu(&self) -> Option<Duration> {
        self.stats.has_pace().then(crate::step::processor_time).flatten()
    }

    /// Returns the failure of an output, if one has come since it was last asked.
    fn failed(&self) -> Option<Error> {
        let (name, error) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Error::of_io(Step::Write, &error, name))
    }
}

impl Audience for Wiring {
    fn wants(&self, kind: Kind) -> bool {
        self.report.as_ref().is_some_and(|report| report.wants(kind))
    }

    fn heeds(&self, kind: Kind) -> bool {
        self.report.as_ref().is_some_and(|report| report.heeds(kind))
    }

    fn needs_only_bytes(&self, kind: Kind) -> bool {
        self.stats.needs_only_bytes(kind)
    }

    fn hear(&mut self, stamp: Stamp, event: &Event<'_>) {
        self.stats.record(stamp, event);
        if let Some(report) = &mut self.report {
            report.hear(stamp, event);
        }
    }

    fn add(&mut self, stamp: Stamp, event: &Event<'_>, was_wanted: bool) {
        match was_wanted {
            true => self.stats.record_unheard(stamp, event),
            false => self.stats.record(stamp, event),
        }
    }

    fn is_full(&self) -> bool {
        self.report.as_ref().is_some_and(Report::is_full)
    }

    fn tick(&mut self, stamp: Stamp) {
        let Some(report) = &mut self.report else { return };
        // The terminal may have another size by now, or be another program's.
        match self.has_bar {
            true if is_in_background(io::stderr()) => report.end_progress(),
            true => report.show_progress(stamp, canvas(io::stderr()).columns, self.stats.progress()),
            false => report.tick(stamp, canvas(io::stdout())),
        }
    }

    fn expect(&mut self, count: u64) {
        self.stats.expect(count);
    }

    fn interim(&mut self, stamp: Stamp) {
        self.stats.until(stamp.elapsed);
        let totals = Totals { cpu: self.cpu(), ..self.stats.totals_so_far() };
        let interim = Event::from(self.stats.interim(stamp.elapsed, &totals));
        if let Some(report) = &mut self.report {
            report.hear(stamp, &interim);
        }
    }

    fn finish(&mut self, stamp: Stamp, code: ExitCode) -> ExitCode {
        let Some(report) = &mut self.report else { return code };
        report.end_progress();
        // Only what was written has succeeded: a result that nobody could store is none.
        report.settle();
        let mut code = code;
        if let Some(error) = self.failed() {
            code = ExitCode::of_targets([code, error.exit_code()]);
            let name = error.errno.map(errno_name);
            self.hear(stamp, &event::Error::of(&error, name.as_deref()).into());
        }
        self.stats.until(stamp.elapsed);
        let totals = Totals { cpu: self.cpu(), ..self.stats.totals() };
        if let Some(report) = &mut self.report {
            self.stats.each_target(|event| report.hear(stamp, event));
        }
        let summary = Event::from(self.stats.summary(code, &totals));
        let Some(mut report) = self.report.take() else { return code };
        report.hear(stamp, &summary);
        report.settle();
        if let Some(error) = self.failed() {
            code = ExitCode::of_targets([code, error.exit_code()]);
            let name = error.errno.map(errno_name);
            report.hear(stamp, &event::Error::of(&error, name.as_deref()).into());
        }
        drop(report.finish());
        code
    }
}
