//! One target of a client: its name looked up, its addresses raced.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::{Run, proxied};
use crate::address::Address;
use crate::args::{Connect, Host, Target};
use crate::step::{self, Failed, Reach, Stream};

/// The addresses of a host, once they were looked up.
pub(super) type Addresses = OnceCell<Result<Vec<Address>, Failed>>;

/// What was looked up for a target.
#[derive(Debug, Default)]
pub(super) struct Resolved {
    /// The target itself.
    target: Addresses,
    /// The proxy that is connected to first.
    proxy: Addresses,
}

impl Resolved {
    /// Returns whether the name that is looked up first was, well or not.
    pub(super) fn initialized(&self) -> bool {
        self.target.initialized() || self.proxy.initialized()
    }
}

/// How long each part of a try may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) resolve: Duration,
    pub(super) connect: Duration,
    /// Of a handshake of TLS.
    pub(super) tls: Duration,
}

impl Bounds {
    /// Returns bounds of which none is longer than `most`.
    pub(super) fn within(self, most: Duration) -> Self {
        Self { resolve: self.resolve.min(most), connect: self.connect.min(most), tls: self.tls.min(most) }
    }
}

/// Connects to one target, by its place among them, once. `attempts` counts the attempts on it, over all tries.
///
/// # Errors
/// The name did not resolve, or no address answered; reported.
pub(super) async fn reach(
    connect: &Connect,
    at: usize,
    resolved: &Resolved,
    bounds: Bounds,
    attempts: &mut u32,
    run: &Run,
) -> Result<Stream, Failed> {
    let target = &connect.targets[at];
    // What is connected to: the target, or who leads to it.
    let first = connect.proxies.chain.first();
    let addresses = match (first, target) {
        (Some(first), _) => known(connect, &first.host, first.port, &resolved.proxy, bounds, run).await?,
        (None, Target::Inet(host, port)) => known(connect, host, *port, &resolved.target, bounds, run).await?,
        (None, Target::Unix(address)) => vec![address.clone()],
    };
    let is_fast = connect.options.fast_open && step::is_fast_open_on(&run.door);
    let reach = Reach {
        source: step::source_address(&run.door, &connect.options)?,
        options: connect.options.clone(),
        unix_type: connect.unix_type(),
        bound: bounds.connect,
        first: connect.messages.first().filter(|_| is_fast).map(|first| first[..].into()),
        // Of many targets the table tells enough, and its order is that of the answers.
        is_explained: connect.targets.len() == 1,
        target: Some(target.to_string()),
        number: at,
        proxy: first.map(ToString::to_string),
    };
    let stream = if let (Some(_), Target::Inet(host, port)) = (first, target) {
        let destinations = match host {
            Host::Name(_) if !connect.proxies.resolves_there() => {
                known(connect, host, *port, &resolved.target, bounds, run).await?
            }
            _ => Vec::new(),
        };
        let way = proxied::Way { connect, host, port: *port, destinations: &destinations, addresses: &addresses };
        // Boxed: most connects have no proxy, and hold no room for one.
        // A way that did not open is no connection to the target.
        let opened = Box::pin(way.open(reach, bounds, attempts, run)).await;
        opened.map_err(|failed| Failed { conn: None, ..failed })?
    } else {
        let stream = step::connect(&run.door, &addresses, &Arc::new(reach), attempts).await?;
        match connect.proxies.version() {
            Some(version) => {
                let peer = stream.peer().clone();
                Box::pin(step::announce(stream, version, &peer, bounds.connect)).await?
            }
            None => stream,
        }
    };
    // What is spoken with the target itself comes after all that leads to it.
    let stream = match connect.tls.starttls {
        Some(protocol) => stream.ask_for_tls(protocol, target, bounds.tls).await?,
        None => stream,
    };
    match &run.tls {
        Some(tls) => stream.secure(tls, target, bounds.tls).await,
        None => Ok(stream),
    }
}

/// Returns the addresses of a host with a port, looked up where they are not known yet.
async fn known(
    connect: &Connect,
    host: &Host,
    port: u16,
    addresses: &Addresses,
    bounds: Bounds,
    run: &Run,
) -> Result<Vec<Address>, Failed> {
    let known = addresses.get_or_init(|| resolve(connect, host, bounds.resolve, run)).await;
    let known = known.as_ref().map_err(|failed| *failed)?;
    Ok(known.iter().map(|address| address.with_port(port)).collect())
}

/// Returns the addresses of a host, the port not yet set.
pub(super) async fn resolve(
    connect: &Connect,
    host: &Host,
    bound: Duration,
    run: &Run,
) -> Result<Vec<Address>, Failed> {
    step::resolve_host(&run.door, host, 0, connect.output.family(), bound).await
}
