//! The way to a target through proxies: the first is connected to, each asked for the next, the last
//! for the target.

use std::sync::Arc;
use std::time::Instant;

use super::Run;
use super::reach::{Bounds, resolve};
use crate::address::Address;
use crate::args::{Connect, Host, Protocol, Proxy, ProxyWords};
use crate::error::{Error, ExitCode, Step};
use crate::event::{Reason, ResolvedBy};
use crate::packet::dialogue::{Challenge, Destination, Dialogue};
use crate::packet::http_connect::HttpConnect;
use crate::packet::socks::{Socks4, Socks5};
use crate::step::{self, Asked, Failed, Hop, Lost, Reach, Stream, now};

/// Reads who we are to the proxies, where a file says it.
///
/// # Errors
/// The file cannot be read, or is not what it is to be; reported.
pub(super) async fn read_users(proxies: &mut ProxyWords, run: &Run) -> Result<(), Failed> {
    /// Whoever has more users than this has named the wrong file.
    const MOST: u64 = 1 << 20;
    let Some(path) = proxies.user_file.clone() else { return Ok(()) };
    let name = path.display().to_string();
    let file = step::read_file(&path, MOST)
        .await
        .map_err(|error| step::unreadable(&run.door, &Error::of_io(Step::Open, &error, &name)))?;
    proxies.read_users(&file).map_err(|wrong| {
        let message = format!("read {name}: {wrong}");
        step::unreadable(&run.door, &Error::of_kind(Step::Read, ExitCode::File, message))
    })
}

/// A way to a target.
pub(super) struct Way<'a> {
    pub(super) connect: &'a Connect,
    pub(super) host: &'a Host,
    pub(super) port: u16,
    /// The addresses of the target, where its name was looked up here.
    pub(super) destinations: &'a [Address],
    /// The addresses of the first proxy.
    pub(super) addresses: &'a [Address],
}

/// What each proxy has asked for so far, where it wanted another connection for the answer.
type Challenges = Vec<Option<Challenge>>;

/// Where a chain leads to after one of its proxies.
struct Next {
    destination: Destination,
    resolved_by: Option<ResolvedBy>,
}

impl Way<'_> {
    /// Opens the way; the time is that of all together. Where the name of the target was looked up
    /// here, its addresses are asked for one after the other, each on a connection of its own.
    ///
    /// # Errors
    /// It did not open; reported.
    pub(super) async fn open(
        &self,
        reach: Reach,
        bounds: Bounds,
        attempts: &mut u32,
        run: &Run,
    ) -> Result<Stream, Failed> {
        let until = now() + bounds.connect;
        let targets: Vec<Next> = match self.host {
            Host::Name(name) if self.destinations.is_empty() => {
                let destination = Destination::Name(name.clone(), self.port);
                vec![Next { destination, resolved_by: Some(ResolvedBy::Proxy) }]
            }
            Host::Name(_) => self.destinations.iter().filter_map(looked_up).collect(),
            Host::Ip(ip, _) => {
                vec![Next { destination: Destination::Address((*ip, self.port).into()), resolved_by: None }]
            }
        };
        let mut furthest: Option<Failed> = None;
        for target in &targets {
            match self.open_to(target, &reach, bounds, until, attempts, run).await {
                Ok(stream) => return self.announced(stream, target, until).await,
                Err(Lost { failed, is_target }) => {
                    furthest = Some(step::further(furthest, failed));
                    if !is_target || until <= now() {
                        break;
                    }
                }
            }
        }
        Err(furthest.unwrap_or_else(|| run.door.fail(&reach.untried())))
    }

    /// Opens the way to one address of the target. A proxy that wants another connection to be told
    /// who we are gets it, once each.
    async fn open_to(
        &self,
        target: &Next,
        reach: &Reach,
        bounds: Bounds,
        until: Instant,
        attempts: &mut u32,
        run: &Run,
    ) -> Result<Stream, Lost> {
        let mut challenges: Challenges = vec![None; self.connect.proxies.chain.len()];
        loop {
            let bound = until.saturating_duration_since(now());
            let reach = Arc::new(Reach { bound, ..reach.clone() });
            let stream = step::connect(&run.door, self.addresses, &reach, attempts)
                .await
                .map_err(|failed| Lost { failed, is_target: false })?;
            if let Some(stream) = self.pass(stream, target, &mut challenges, bounds, until, run).await? {
                return Ok(stream);
            }
        }
    }

    /// Asks each proxy for the next, and the last for the target; `None` where one of them wants to be
    /// told who we are on another connection.
    async fn pass(
        &self,
        mut stream: Stream,
        target: &Next,
        challenges: &mut Challenges,
        bounds: Bounds,
        until: Instant,
        run: &Run,
    ) -> Result<Option<Stream>, Lost> {
        let chain = &self.connect.proxies.chain;
        for (at, proxy) in chain.iter().enumerate() {
            let (next, is_last);
            let next = match chain.get(at + 1) {
                Some(further) => {
                    is_last = false;
                    let bounds = bounds.within(until.saturating_duration_since(now()));
                    next = match self.next(proxy, further, bounds, run).await {
                        Ok(next) => next,
                        Err(failed) => {
                            stream.close(Reason::Local);
                            return Err(Lost { failed, is_target: false });
                        }
                    };
                    &next
                }
                None => {
                    is_last = true;
                    target
                }
            };
            let hop = Hop {
                proxy: proxy.to_string(),
                protocol: proxy.protocol.name(),
                target: next.destination.to_string(),
                resolved_by: next.resolved_by,
                is_last,
            };
            let dialogue = dialogue(proxy, &next.destination, challenges[at].clone());
            match step::ask(stream, &hop, dialogue, until).await? {
                Asked::Granted(open) => stream = open,
                // Where it was told already, and asks again, it is not told again: the dialogue says no.
                Asked::Again(challenge) => {
                    challenges[at] = Some(challenge);
                    return Ok(None);
                }
            }
        }
        Ok(Some(stream))
    }

    /// Returns what a proxy is asked for to lead to the next one.
    async fn next(&self, proxy: &Proxy, further: &Proxy, bounds: Bounds, run: &Run) -> Result<Next, Failed> {
        let port = further.port;
        match &further.host {
            Host::Ip(ip, _) => Ok(Next { destination: Destination::Address((*ip, port).into()), resolved_by: None }),
            Host::Name(name) if !proxy.protocol.resolves_here() => {
                Ok(Next { destination: Destination::Name(name.clone(), port), resolved_by: Some(ResolvedBy::Proxy) })
            }
            host => {
                let addresses = resolve(self.connect, host, bounds.resolve, run).await?;
                let first = addresses.iter().find_map(|address| looked_up(&address.with_port(port)));
                Ok(first.unwrap_or_else(|| Next {
                    destination: Destination::Name(host.to_string(), port),
                    resolved_by: Some(ResolvedBy::Proxy),
                }))
            }
        }
    }

    /// Begins with the header of the PROXY protocol, where that is asked for. Of a target whose name
    /// the proxy has looked up nothing can be told.
    async fn announced(&self, stream: Stream, target: &Next, until: Instant) -> Result<Stream, Failed> {
        let Some(version) = self.connect.proxies.version() else { return Ok(stream) };
        let target = match &target.destination {
            Destination::Address(address) => Address::from(*address),
            Destination::Name(..) => Address::UnixUnnamed,
        };
        step::announce(stream, version, &target, until.saturating_duration_since(now())).await
    }
}

/// Returns an address that was looked up here.
fn looked_up(address: &Address) -> Option<Next> {
    match address {
        Address::Inet(inet) => {
            Some(Next { destination: Destination::Address(*inet), resolved_by: Some(ResolvedBy::Local) })
        }
        _ => None,
    }
}

/// Makes the dialogue with a proxy.
fn dialogue(proxy: &Proxy, destination: &Destination, known: Option<Challenge>) -> Box<dyn Dialogue> {
    let (destination, credentials) = (destination.clone(), proxy.credentials.clone());
    match proxy.protocol {
        Protocol::Socks5 | Protocol::Socks5h => Box::new(Socks5::new(destination, credentials)),
        Protocol::Socks4a => Box::new(Socks4::new(destination, credentials.map(|told| told.user))),
        Protocol::Http => {
            let fresh = format!("{:032x}", fastrand::u128(..));
            Box::new(HttpConnect::new(&destination, credentials, known, fresh))
        }
    }
}
