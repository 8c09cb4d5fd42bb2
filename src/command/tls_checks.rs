//! What `doctor` looks at of TLS: a round trip on loopback with a certificate made for it, and the
//! root certificates of this system.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use super::doctor::{Trouble, accepted, pass, reach, tell, to_end};
use crate::args::{Family, Host, ListenAddress, ServerTls as Words, SocketOptions, Target, UnixType};
use crate::event::{Check, CheckOutcome, Reason};
use crate::step::{self, ClientTls, Door, Failed, ServerTls, now};

/// The name that the certificate is for.
const NAME: &str = "localhost";

/// Looks at everything; returns whether the round trip worked or was not to be expected to.
pub(super) async fn run(door: &Arc<Door>, only: Option<Family>, bound: Duration) -> bool {
    if !cfg!(feature = "tls") {
        let hint = Some("built without the feature `tls`");
        let value = Some("not in this build");
        door.emit(Check { name: "tls", outcome: CheckOutcome::Absent, value, hint, duration: None });
        return true;
    }
    roots(door);
    let began = now();
    let families = [(Family::V4, Ipv4Addr::LOCALHOST.into()), (Family::V6, IpAddr::from(Ipv6Addr::LOCALHOST))];
    let mut outcome = CheckOutcome::Absent;
    for (family, loopback) in families {
        if only.is_some_and(|only| only != family) {
            continue;
        }
        // Where one family is not there, the other says it.
        let result = trip(door, loopback, bound).await;
        let is_last = only.is_some() || family == Family::V6;
        if is_last || result.is_ok() {
            outcome = tell(door, "tls", began, result);
            break;
        }
    }
    outcome != CheckOutcome::Failed
}

/// Tells how many root certificates this system has, and where.
fn roots(door: &Door) {
    let began = now();
    let found = step::system_roots();
    let mut places: Vec<String> = found.places.iter().map(|place| place.display().to_string()).collect();
    places.dedup();
    let mut value = format!("{} root certificate{}", found.usable, if found.usable == 1 { "" } else { "s" });
    if found.unusable > 0 {
        value += &format!(", {} more that cannot be used", found.unusable);
    }
    if !places.is_empty() {
        value += &format!(", from {}", places.join(", "));
    }
    let error = found.errors.first().map(String::as_str);
    let (outcome, hint) = match found.usable {
        0 if error.is_some() => (CheckOutcome::Failed, error),
        0 => (CheckOutcome::Absent, Some("install ca-certificates, or name a file by --ca or SSL_CERT_FILE")),
        _ => (CheckOutcome::Ok, error),
    };
    let duration = Some(step::since(began));
    door.emit(Check { name: "tls-roots", outcome, value: Some(&value), hint, duration });
}

/// Serves and connects over TLS on loopback, and returns how long a round trip took.
async fn trip(door: &Arc<Door>, loopback: IpAddr, bound: Duration) -> Result<Duration, Trouble> {
    let listen = ListenAddress { host: Some(Host::Ip(loopback, None)), port: 0 };
    let address = step::bind_address(door, &listen, None, bound).await?;
    let words = SocketOptions::default();
    let listener = step::listener(door, &address, 1, &words).await?;
    let asked = Words { tls_self_signed: true, ..Words::default() };
    let server = ServerTls::new(door, &asked, Some(bound), None, None).await?;
    let client = ClientTls::trusting(door, &server, NAME).await?;
    let near = step::connect(door, &[listener.local().clone()], &reach(UnixType::Stream, words, bound), &mut 0).await?;
    let far = accepted(&listener, bound).await?;
    // What is asked for is the name of the words.
    let target = Target::Unix(listener.local().clone());
    let (near, far) = tokio::join!(near.secure(&client, &target, bound), far.secure_accepted(&server));
    let (near, far): (_, Result<_, Failed>) = (near?, far);
    let Some(far) = far? else { return Err(Trouble::Damaged) };
    let began = now();
    pass(&near, &far, bound).await?;
    pass(&far, &near, bound).await?;
    let trip = step::since(began);
    near.shutdown().await?;
    to_end(&far, bound).await?;
    far.close(Reason::Eof);
    to_end(&near, bound).await?;
    near.close(Reason::Eof);
    Ok(trip)
}
