//! The targets: the words of the command line and of lists, looked up and numbered.

use std::net::IpAddr;

use tokio::task::JoinSet;

use super::super::{Results, Run};
use crate::address::Address;
use crate::args::aim::MOST;
use crate::args::{Aim, Host, RawPing};
use crate::error::{Error, ExitCode, Step};
use crate::step::{self, Failed, LIST_BYTES as MOST_BYTES, Privileged, Stdin, Targets};

/// Returns the targets with their numbers, and what came of names that did not resolve.
pub(super) async fn targets(
    ping: &RawPing,
    stdin: Option<Stdin>,
    privileged: &Privileged,
    run: &Run,
) -> Result<(Targets, Results), Failed> {
    let aims = aims(ping, stdin, privileged, run).await?;
    let names = aims.iter().filter_map(|aim| if let Aim::Host(Host::Name(name)) = aim { Some(name) } else { None });
    let mut looked_up = look_up(ping, names.cloned().collect(), run).await.into_iter();
    let (mut targets, mut unresolved) = (Targets::new(ping.port()), Results::default());
    for aim in &aims {
        match aim {
            Aim::Host(Host::Name(name)) => match looked_up.next().flatten() {
                Some(Ok(addresses)) => {
                    let most = if ping.all_addresses { usize::MAX } else { 1 };
                    addresses.iter().take(most).for_each(|ip| targets.push_named(&Address::Ip(*ip, 0), name));
                }
                Some(Err(failed)) => unresolved.add(failed.code),
                None => {
                    let message = format!("resolve {name}: the look-up broke off");
                    let error = Error::of_kind(Step::Resolve, ExitCode::Local, message).with_target(name);
                    unresolved.add(run.door.fail(&error).code);
                }
            },
            Aim::Host(host) => match step::resolve_host(&run.door, host, 0, None, ping.resolve_timeout).await {
                Ok(addresses) => addresses.iter().for_each(|address| targets.push(address)),
                Err(failed) => unresolved.add(failed.code),
            },
            Aim::Net(_) | Aim::Range(..) | Aim::File(_) | Aim::Stdin => {
                if let Some((first, count)) = aim.hosts(ping.include_broadcast) {
                    targets.push_row(first, count);
                }
            }
        }
    }
    Ok((targets, unresolved))
}

/// Returns the words, those of lists in the place of their list.
async fn aims(
    ping: &RawPing,
    mut stdin: Option<Stdin>,
    privileged: &Privileged,
    run: &Run,
) -> Result<Vec<Aim>, Failed> {
    let (mut all, mut addresses) = (Vec::new(), 0);
    for aim in &ping.targets {
        let (name, listed) = match aim {
            Aim::File(path) => match privileged.read(path).await {
                Ok(text) if text.len() > MOST_BYTES => {
                    let message = format!("{}: more than {MOST_BYTES} bytes", path.display());
                    return Err(step::unreadable(&run.door, &wrong(&message)));
                }
                Ok(text) => (path.display().to_string(), text),
                Err(error) => {
                    let error = Error::of_io(Step::Open, &error, &path.display().to_string());
                    return Err(step::unreadable(&run.door, &error));
                }
            },
            Aim::Stdin => ("stdin".to_owned(), read_stdin(stdin.take(), run).await?),
            aim => {
                all.push(aim.clone());
                continue;
            }
        };
        let found = words(ping, &listed)
            .map_err(|message| step::unreadable(&run.door, &wrong(&format!("{name}: {message}"))))?;
        if found.is_empty() {
            return Err(step::unreadable(&run.door, &wrong(&format!("{name} names no target"))));
        }
        addresses += found.iter().map(Aim::addresses).sum::<u128>();
        if addresses > MOST {
            return Err(step::unreadable(&run.door, &wrong(&format!("{name}: more than {MOST} addresses"))));
        }
        all.extend(found);
    }
    Ok(all)
}

fn wrong(message: &str) -> Error {
    Error::of_kind(Step::Read, ExitCode::File, format!("read {message}"))
}

/// Parses a list: words between blanks; `#` begins a comment.
fn words(ping: &RawPing, text: &[u8]) -> Result<Vec<Aim>, String> {
    let text = std::str::from_utf8(text).map_err(|_| "is not UTF-8".to_owned())?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut all = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.split('#').next().unwrap_or_default();
        for word in line.split_whitespace() {
            all.push(ping.listed(word).map_err(|message| format!("line {}: {message}", number + 1))?);
        }
    }
    Ok(all)
}

async fn read_stdin(stdin: Option<Stdin>, run: &Run) -> Result<Vec<u8>, Failed> {
    let Some(stdin) = stdin else { return Ok(Vec::new()) };
    let mut chunks = stdin.start(&run.door, 1 << 16)?;
    let mut all = Vec::new();
    while let Some(chunk) = chunks.next(&run.door).await? {
        all.extend(chunk);
        if all.len() > MOST_BYTES {
            return Err(step::unreadable(&run.door, &wrong(&format!("stdin: more than {MOST_BYTES} bytes"))));
        }
    }
    Ok(all)
}

/// Looks names up, many at once, and returns what each has in their order.
async fn look_up(ping: &RawPing, names: Vec<String>, run: &Run) -> Vec<Option<Result<Vec<IpAddr>, Failed>>> {
    /// Look-ups at once: each is a thread.
    const PARALLEL: usize = 32;
    let (only, bound) = (ping.family(), ping.resolve_timeout);
    let mut found: Vec<_> = names.iter().map(|_| None).collect();
    let (mut running, mut left) = (JoinSet::new(), names.into_iter().enumerate());
    loop {
        while running.len() < PARALLEL
            && let Some((at, name)) = left.next()
        {
            let door = std::sync::Arc::clone(&run.door);
            running.spawn(async move { (at, step::resolve(&door, &name, only, bound).await) });
        }
        match running.join_next().await {
            Some(Ok((at, result))) => found[at] = Some(result),
            // Of that name nothing was found, and it is told as such.
            Some(Err(_)) => {}
            None => return found,
        }
    }
}
