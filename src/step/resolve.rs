//! The step resolve: a name to its addresses, off the walk's thread and bounded in time.

use std::net::IpAddr;
use std::time::{Duration, Instant};
use std::{io, thread};

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::fail::RUN_IS_OVER;
use super::open::no_interface;
use super::{Door, Failed, now, within};
use crate::address::Address;
use crate::args::{Family, Host};
use crate::error::{Error, ExitCode, Step};
use crate::event;
use crate::socket;
use crate::socket::resolve::{Unresolved, ordered, resolve as look_up};

/// Returns the addresses of a host on a port: an address as it is, a name by the resolver.
///
/// # Errors
/// The name did not resolve, or not in time; the zone names no interface. Reported.
pub async fn resolve_host(
    door: &Door,
    host: &Host,
    port: u16,
    only: Option<Family>,
    bound: Duration,
) -> Result<Vec<Address>, Failed> {
    match host {
        Host::Ip(ip, zone) => match socket::inet(*ip, zone.as_deref(), port) {
            Ok(address) => Ok(vec![address]),
            Err(error) => Err(door.fail(&no_interface(zone, &error).with_target(&host.to_string()))),
        },
        Host::Name(name) => {
            let addresses = resolve(door, name, only, bound).await?;
            Ok(addresses.into_iter().map(|ip| std::net::SocketAddr::new(ip, port).into()).collect())
        }
    }
}

/// How long the answer about both families of a name is waited for before each is asked for by itself.
const TOGETHER: Duration = Duration::from_millis(250);

/// How long the answer about one family waits for the other: the "Resolution Delay" of RFC 8305, section 3.
const DELAY: Duration = Duration::from_millis(50);

/// Looks a name up and reports it. A name server that is silent about one family (a filter that drops AAAA, say) keeps
/// getaddrinfo(3) waiting for long: then the other alone is gone on with, and a warning says so.
///
/// # Errors
/// The name did not resolve, or not within `bound`; reported.
pub async fn resolve(door: &Door, name: &str, only: Option<Family>, bound: Duration) -> Result<Vec<IpAddr>, Failed> {
    let began = now();
    let (tell, told) = unbounded_channel();
    if let Err(error) = ask(name, only, &tell) {
        return Err(door.fail(&Error::of_io(Step::Resolve, &error, name).with_exit_code(ExitCode::Local)));
    }
    let mut under_way = UnderWay { door, name, began, is_over: false };
    let told = within(Some(bound), answer(name, only, tell, told)).await;
    under_way.is_over = true;
    let failed = |what: &str| {
        let error = Error::of_kind(Step::Resolve, ExitCode::Resolve, format!("resolve {name}: {what}"));
        error.with_target(name).with_took(began.elapsed())
    };
    match told {
        Some(Some(Answer { addresses: Ok(addresses), missing, ended, .. })) => {
            let duration = ended - began;
            door.emit(event::Resolve { name, addresses: &addresses, duration });
            if let Some(missing) = missing {
                let missing = if missing == Family::V4 { "IPv4" } else { "IPv6" };
                let message = format!(
                    "resolve {name}: no answer about {missing} addresses within {:.3} s: gone on without any",
                    duration.as_secs_f64()
                );
                let warning = event::Warning::of("family-unresolved", &message);
                door.emit(event::Warning { target: Some(name), ..warning });
            }
            Ok(addresses)
        }
        Some(Some(Answer { addresses: Err(said), .. })) => Err(door.fail(&failed(&said.words))),
        Some(None) => Err(door.fail(&failed("the resolver ended without an answer"))),
        None => {
            let after = began.elapsed();
            door.emit(event::Timeout { conn: None, step: Step::Resolve, after });
            Err(door.fail(&failed(&format!("no answer within {:.3} s", after.as_secs_f64()))))
        }
    }
}

/// What the resolver said.
struct Answer {
    /// Which family it was asked for alone.
    only: Option<Family>,
    addresses: Result<Vec<IpAddr>, Unresolved>,
    /// The family that it has not spoken of.
    missing: Option<Family>,
    ended: Instant,
}

/// Asks the resolver on a thread of its own: getaddrinfo cannot be interrupted, and one that nobody waits for may
/// outlast the wait.
///
/// # Errors
/// No thread can be made.
fn ask(name: &str, only: Option<Family>, tell: &UnboundedSender<Answer>) -> io::Result<()> {
    let (name, tell) = (name.to_owned(), tell.clone());
    let look = move || {
        let addresses = look_up(&name, only);
        // Nobody may be left to hear it.
        let _heard = tell.send(Answer { only, addresses, missing: None, ended: now() });
    };
    thread::Builder::new().name("resolve".to_owned()).spawn(look).map(drop)
}

/// Waits for what the resolver says of all that was asked for, or of one family where it is silent about the other.
async fn answer(
    name: &str,
    only: Option<Family>,
    tell: UnboundedSender<Answer>,
    mut told: UnboundedReceiver<Answer>,
) -> Option<Answer> {
    if only.is_some() {
        drop(tell);
        return told.recv().await;
    }
    if let Some(whole) = within(Some(TOGETHER), told.recv()).await {
        return whole;
    }
    for family in [Family::V6, Family::V4] {
        // Without a thread for it the first is waited for alone.
        let _asked = ask(name, Some(family), &tell);
    }
    drop(tell);
    let mut part: Option<Answer> = None;
    // The family of which the name has no address.
    let mut without = None;
    while let Some(answer) = within(part.is_some().then_some(DELAY), told.recv()).await.flatten() {
        match (answer.only, &answer.addresses, part.take()) {
            // Of all that was asked for; a failure is one of the family that is not there.
            (None, Ok(_), _) | (None, Err(_), None) => return Some(answer),
            (None, Err(_), Some(first)) => return Some(first),
            (Some(family), Err(said), before) => {
                if said.is_none {
                    without = Some(family);
                }
                match before {
                    Some(first) if without == first.missing => return Some(Answer { missing: None, ..first }),
                    // What it lacks the whole tells.
                    before => part = before,
                }
            }
            (Some(family), Ok(_), None) => {
                let missing = if family == Family::V4 { Family::V6 } else { Family::V4 };
                if without == Some(missing) {
                    return Some(answer);
                }
                part = Some(Answer { missing: Some(missing), ..answer });
            }
            (Some(_), Ok(second), Some(first)) => {
                let addresses = first.addresses.map(|first| ordered([&first[..], second].concat()));
                return Some(Answer { addresses, ..answer });
            }
        }
    }
    part.map(|part| Answer { ended: now(), ..part })
}

/// A look-up. Dropped before it is over, because the run is, it is reported as given up.
struct UnderWay<'a> {
    door: &'a Door,
    name: &'a str,
    began: Instant,
    is_over: bool,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        if !self.is_over {
            let what = format!("resolve {}", self.name);
            self.door.given_up(&what, self.began, RUN_IS_OVER, None, Some(self.name));
        }
    }
}
