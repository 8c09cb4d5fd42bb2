//! What every test stands on: runs of sockeye, foreign peers, the strict reader of the events.

pub(crate) mod check;
pub(crate) mod events;
pub(crate) mod hosts;
pub(crate) mod net;
pub(crate) mod peers;
pub(crate) mod pinged;
pub(crate) mod probes;
pub(crate) mod process;
pub(crate) mod proxies;
pub(crate) mod redact;
pub(crate) mod sockeye;
pub(crate) mod stamp;
pub(crate) mod tls;
pub(crate) mod tun;
pub(crate) mod udp;

pub(crate) use self::net::{Family, require};
pub(crate) use self::peers::{Peer, Tool};
pub(crate) use self::sockeye::{Finished, Running, Sockeye};
