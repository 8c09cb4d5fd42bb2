//! The dialogue before TLS: what a server that begins in plain text is asked, each part an event.

use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::time::Duration;

use super::failure::{Broken, another};
use crate::args::{Host, Target};
use crate::error::{Error, ExitCode, Step};
use crate::event::{self, Reason};
use crate::packet::starttls::{Act, Dialogue, Protocol};
use crate::step::{Failed, Stream, now, within};

/// The layer that the events of a dialogue are of.
const LAYER: Option<&str> = Some("starttls");

/// How a dialogue came to no handshake.
enum Unagreed {
    Broken(Broken),
    Refused(String),
    Injected(usize),
}

impl From<Broken> for Unagreed {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl Stream {
    /// Asks the server for TLS, as a protocol has it. A connection on which that fails is closed.
    ///
    /// # Errors
    /// The server does not agree, or says more than that; reported.
    pub async fn ask_for_tls(self, protocol: Protocol, target: &Target, bound: Duration) -> Result<Self, Failed> {
        let host = match target {
            Target::Inet(Host::Name(name), _) => name.clone(),
            Target::Inet(Host::Ip(ip, _), _) => ip.to_string(),
            Target::Unix(_) => "localhost".to_owned(),
        };
        let began = now();
        let mut first = Vec::new();
        let dialogue = self.dialogue(Dialogue::new(protocol, &host), &mut first);
        let asked = Box::pin(within(Some(bound), dialogue)).await;
        let refused = |name, what: &str| {
            let message = format!("tls {}: starttls {}: {what}", self.peer, protocol.name());
            let error = self.error(Step::Tls, ExitCode::Tls, message).with_name(name).with_took(began.elapsed());
            error.with_target(&target.to_string())
        };
        let (error, reason) = match asked {
            Some(Ok(())) => return Ok(self),
            Some(Err(Unagreed::Refused(what))) => {
                let error = refused("starttls-refused", &what);
                (another(&first, protocol).into_iter().fold(error, Error::with_hint), Reason::Local)
            }
            Some(Err(Unagreed::Injected(bytes))) => {
                let what = format!("{bytes} bytes of plain text came after the server had agreed to TLS");
                let hint = "somebody on the way may have put them there: they would pass for what TLS protects";
                (refused("plain-text-injected", &what).with_hint(hint), Reason::Local)
            }
            Some(Err(Unagreed::Broken(Broken::Io(error)))) => {
                let (error, reason) = self.broke(&error);
                (error.with_target(&target.to_string()), reason)
            }
            Some(Err(Unagreed::Broken(_))) => {
                self.ended();
                (refused("closed", "the server closed the connection before it agreed"), Reason::Eof)
            }
            None => {
                self.timeout(Step::Tls, began.elapsed());
                let what = format!("no agreement within {:.3} s", began.elapsed().as_secs_f64());
                let hint = match &*first {
                    [] => {
                        "nothing came: a port that speaks TLS at once waits for us to begin: try it without --starttls; or \
                         is it the right protocol?"
                    }
                    first => another(first, protocol).unwrap_or("is it the right protocol?"),
                };
                (refused("silent", &what).with_exit_code(ExitCode::NoAnswer).with_hint(hint), Reason::Timeout)
            }
        };
        let failed = self.fail(&error);
        self.close(reason);
        Err(failed)
    }

    /// Goes through a dialogue; `first` is what the server said first.
    async fn dialogue(&self, mut dialogue: Dialogue, first: &mut Vec<u8>) -> Result<(), Unagreed> {
        let mut buffer = [0; 4096];
        loop {
            match dialogue.act() {
                Act::Send(bytes) => self.say(&bytes).await?,
                Act::Wait => {
                    let count = self.hear(&mut buffer).await?;
                    if first.is_empty() {
                        first.extend_from_slice(&buffer[..count]);
                    }
                    dialogue.feed(&buffer[..count]);
                }
                Act::Begin => return Ok(()),
                Act::Refused(what) => return Err(Unagreed::Refused(what)),
                Act::Injected(bytes) => return Err(Unagreed::Injected(bytes)),
            }
        }
    }

    /// Sends a part of the dialogue.
    async fn say(&self, bytes: &[u8]) -> Result<(), Broken> {
        let mut left = bytes;
        while !left.is_empty() {
            let mut count = 0;
            self.drain(|mut socket| {
                count = socket.write(left)?;
                Ok(count)
            })
            .await?;
            self.count_sent(count);
            self.door().emit(event::Send { layer: LAYER, ..event::Send::on(self.conn, count, &left[..count]) });
            left = &left[count..];
        }
        Ok(())
    }

    /// Takes what the server says.
    async fn hear(&self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let Some(socket) = self.socket() else { return Err(Broken::Closed) };
        loop {
            let mut guard = poll_fn(|context| socket.poll_read_ready(context)).await.map_err(Broken::Io)?;
            let taken = (&mut socket.get_ref()).read(buffer);
            match taken {
                Ok(0) => return Err(Broken::Closed),
                Ok(count) => {
                    self.count_received(count);
                    self.door()
                        .emit(event::Recv { layer: LAYER, ..event::Recv::on(self.conn, count, &buffer[..count]) });
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Broken::Io(error)),
            }
        }
    }
}
