//! The step proxy-protocol: the header of the PROXY protocol, sent by a client, read by a server.

use std::time::Duration;

use super::apart::Apart;
use super::{Failed, Stream, now, within};
use crate::address::Address;
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Payload, Reason};
use crate::packet::proxy_protocol::{self, Header, Progress, Reader, Version};
use crate::socket;

/// Tells, before anything else, whose connection it is: ours, to a target. Gives the connection back.
///
/// # Errors
/// As send(2), or nothing was taken within the bound; reported, and the connection is closed.
pub async fn announce(stream: Stream, version: Version, target: &Address, bound: Duration) -> Result<Stream, Failed> {
    let began = now();
    let local = stream.socket().map_or(Address::UnixUnnamed, |made| socket::local(made.get_ref()));
    let (header, bytes) = proxy_protocol::write(version, &local, target);
    let sent = match Apart::on(&stream) {
        Some(mut apart) => within(Some(bound), apart.send(&bytes)).await,
        None => Some(Ok(())),
    };
    let failed = match sent {
        Some(Ok(())) => {
            report(&stream, &header, None);
            return Ok(stream);
        }
        Some(Err(error)) => stream.failed_io(Step::ProxyProtocol, &error),
        None => stream.timed_out(Step::ProxyProtocol, began.elapsed()),
    };
    stream.close(failed.reason());
    Err(failed)
}

/// Reads the header that comes first, and gives the connection back.
///
/// # Errors
/// None came, or not in time, or a broken one; reported, and the connection is closed.
pub async fn read_header(stream: Stream, bound: Duration) -> Result<Stream, Failed> {
    let began = now();
    let mut reader = Reader::default();
    let read = match Apart::on(&stream) {
        Some(mut apart) => {
            within(Some(bound), async {
                loop {
                    match apart.next(|there| reader.take(there)).await {
                        Ok(Some(Progress::More)) => {}
                        ended => return ended,
                    }
                }
            })
            .await
        }
        None => Some(Ok(None)),
    };
    let error = |code, words: &str| {
        let message = format!("proxy-protocol {}: {words}", stream.peer());
        let error = Error::of_kind(Step::ProxyProtocol, code, message);
        stream.fail(&error.with_conn(stream.conn()).with_peer(stream.peer().clone()).with_took(began.elapsed()))
    };
    let (failed, reason) = match read {
        Some(Ok(Some(Progress::Whole(header)))) => {
            report(&stream, &header, Some(began.elapsed()));
            return Ok(stream);
        }
        Some(Ok(Some(Progress::Broken(words)))) => (error(ExitCode::Reset, &words), Reason::Denied),
        Some(Ok(Some(Progress::More) | None)) => {
            stream.ended();
            let words = match reader.came() {
                Some(came) => format!("it closed within the header: {came}"),
                None => "it closed without a header".to_owned(),
            };
            (error(ExitCode::Reset, &words), Reason::Eof)
        }
        Some(Err(broke)) => {
            let failed = stream.failed_io(Step::ProxyProtocol, &broke);
            (failed, failed.reason())
        }
        None => {
            let after = began.elapsed();
            stream.timeout(Step::ProxyProtocol, after);
            let waited = after.as_secs_f64();
            let words = match reader.came() {
                Some(came) => format!("its header was not whole within {waited:.3} s: {came}"),
                None => format!("no header came within {waited:.3} s"),
            };
            (error(ExitCode::NoAnswer, &words), Reason::Timeout)
        }
    };
    stream.close(reason);
    Err(failed)
}

fn report(stream: &Stream, header: &Header, duration: Option<Duration>) {
    let tlvs: Vec<event::Tlv<'_>> = header
        .tlvs
        .iter()
        .map(|tlv| event::Tlv { kind: tlv.kind, name: tlv.name, data: Payload(&tlv.value) })
        .collect();
    stream.door().emit(event::ProxyProtocol {
        conn: stream.conn(),
        version: header.version.number(),
        command: header.command.name(),
        proxied_peer: header.ends.as_ref().map(|(peer, _)| peer),
        proxied_local: header.ends.as_ref().map(|(_, local)| local),
        tlvs: &tlvs,
        bytes: header.bytes as u64,
        duration,
    });
}
