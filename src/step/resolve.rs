//! The step resolve: a name to its addresses, off the walk's thread and bounded in time.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::fail::RUN_IS_OVER;
use super::open::no_interface;
use super::{Door, Failed, now, within};
use crate::address::Address;
use crate::args::{Family, Host};
use crate::error::{Error, ExitCode, Step};
use crate::event;
use crate::socket;

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

/// Looks a name up and reports it.
///
/// # Errors
/// The name did not resolve, or not within `bound`; reported.
pub async fn resolve(door: &Door, name: &str, only: Option<Family>, bound: Duration) -> Result<Vec<IpAddr>, Failed> {
    let began = now();
    let (tell, told) = oneshot::channel();
    let asked = name.to_owned();
    // getaddrinfo cannot be interrupted: a thread that nobody waits for may outlast the wait.
    let thread = std::thread::Builder::new().name("resolve".to_owned()).spawn(move || {
        let _ = tell.send((socket::resolve::resolve(&asked, only), now()));
    });
    if let Err(error) = thread {
        return Err(door.fail(&Error::of_io(Step::Resolve, &error, name).with_exit_code(ExitCode::Local)));
    }
    let mut under_way = UnderWay { door, name, began, is_over: false };
    let told = within(Some(bound), told).await;
    under_way.is_over = true;
    let failed = |what: &str| {
        let error = Error::of_kind(Step::Resolve, ExitCode::Resolve, format!("resolve {name}: {what}"));
        error.with_target(name).with_took(began.elapsed())
    };
    match told {
        Some(Ok((Ok(addresses), ended))) => {
            door.emit(event::Resolve { name, addresses: &addresses, duration: ended - began });
            Ok(addresses)
        }
        Some(Ok((Err(words), _))) => Err(door.fail(&failed(&words))),
        Some(Err(_)) => Err(door.fail(&failed("the resolver ended without an answer"))),
        None => {
            let after = began.elapsed();
            door.emit(event::Timeout { conn: None, step: Step::Resolve, after });
            Err(door.fail(&failed(&format!("no answer within {:.3} s", after.as_secs_f64()))))
        }
    }
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
