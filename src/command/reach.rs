//! One target of a client: its name looked up, its addresses raced.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OnceCell;

use super::Run;
use crate::address::Address;
use crate::args::{Connect, Host, Target};
use crate::step::{self, Failed, Reach, Stream};

/// The addresses of a host, once they were looked up.
pub(super) type Resolved = OnceCell<Result<Vec<Address>, Failed>>;

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

/// Connects to one target, once. `attempts` counts the attempts on it, over all tries.
///
/// # Errors
/// The name did not resolve, or no address answered; reported.
pub(super) async fn reach(
    connect: &Connect,
    target: &Target,
    resolved: &Resolved,
    bounds: Bounds,
    attempts: &mut u32,
    run: &Run,
) -> Result<Stream, Failed> {
    let addresses = match target {
        Target::Inet(host, port) => {
            let known = resolved.get_or_init(|| resolve(connect, host, bounds.resolve, run)).await;
            known.as_ref().map_err(|failed| *failed)?.iter().map(|address| address.with_port(*port)).collect()
        }
        Target::Unix(address) => vec![address.clone()],
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
    };
    let stream = step::connect(&run.door, &addresses, &Arc::new(reach), attempts).await?;
    let stream = match connect.tls.starttls {
        Some(protocol) => stream.ask_for_tls(protocol, target, bounds.tls).await?,
        None => stream,
    };
    match &run.tls {
        Some(tls) => stream.secure(tls, target, bounds.tls).await,
        None => Ok(stream),
    }
}

/// Returns the addresses of a host, the port not yet set.
async fn resolve(connect: &Connect, host: &Host, bound: Duration, run: &Run) -> Result<Vec<Address>, Failed> {
    step::resolve_host(&run.door, host, 0, connect.output.family(), bound).await
}
