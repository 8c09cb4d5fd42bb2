//! `--fault`: how a server misbehaves on purpose, to test clients.

use std::time::Duration;

use super::value::{self, Rate};

/// One way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// End every connection by a reset.
    Reset,
    /// Accept, then neither read nor send.
    Hang,
    /// Listen, and never accept.
    NeverAccept,
    /// Close our sending side at accept, and read on.
    HalfClose,
    /// Send and read no faster than this.
    Slow(Rate),
    /// Close after so many bytes were sent; received, where nothing is sent.
    CloseAfter(u64),
    /// Wait before each answer.
    Delay(Duration),
    /// TLS: show a certificate that is not valid any more.
    Expired,
    /// TLS: show a certificate for another name.
    WrongName,
    /// TLS: show a certificate that nobody else has signed.
    SelfSigned,
    /// TLS: close in the middle of our part of the handshake.
    HandshakeCut,
}

impl Fault {
    /// Parses the word of `--fault`.
    pub(super) fn parse(word: &str) -> Result<Self, String> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        match (name, value) {
            ("reset", None) => Ok(Self::Reset),
            ("hang", None) => Ok(Self::Hang),
            ("never-accept", None) => Ok(Self::NeverAccept),
            ("half-close", None) => Ok(Self::HalfClose),
            ("slow", Some(rate)) => value::rate(rate).map(Self::Slow),
            ("close-after", Some(size)) => match value::size(size)? {
                0 => Err("--messages 0 is what closes at accept".to_owned()),
                bytes => Ok(Self::CloseAfter(bytes)),
            },
            ("delay", Some(delay)) => value::patience(delay).map(Self::Delay),
            ("expired", None) => Ok(Self::Expired),
            ("wrong-name", None) => Ok(Self::WrongName),
            ("self-signed", None) => Ok(Self::SelfSigned),
            ("handshake-cut", None) => Ok(Self::HandshakeCut),
            (
                "reset" | "hang" | "never-accept" | "half-close" | "expired" | "wrong-name" | "self-signed"
                | "handshake-cut",
                Some(_),
            ) => Err(format!("{name} takes no value")),
            ("slow", None) => Err("slow needs a rate: slow=1000/s or slow=100kbit/s".to_owned()),
            ("close-after", None) => Err("close-after needs a size: close-after=64KiB".to_owned()),
            ("delay", None) => Err("delay needs a duration: delay=2s".to_owned()),
            _ => Err(
                "a fault is reset, hang, never-accept, half-close, slow=RATE, close-after=SIZE, delay=D or, of TLS, \
                     expired, wrong-name, self-signed, handshake-cut"
                    .to_owned(),
            ),
        }
    }

    /// Returns whether no answer is given, whatever the words for one say.
    pub(super) fn is_mute(self) -> bool {
        matches!(self, Self::Reset | Self::Hang | Self::NeverAccept | Self::HalfClose | Self::HandshakeCut)
    }

    /// Returns whether nothing is received either.
    pub(super) fn is_deaf(self) -> bool {
        self.is_mute() && self != Self::HalfClose
    }

    /// Returns whether it is of the handshake of TLS.
    #[must_use]
    pub fn is_of_tls(self) -> bool {
        matches!(self, Self::Expired | Self::WrongName | Self::SelfSigned | Self::HandshakeCut)
    }

    /// Returns the name without its value.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Hang => "hang",
            Self::NeverAccept => "never-accept",
            Self::HalfClose => "half-close",
            Self::Slow(_) => "slow",
            Self::CloseAfter(_) => "close-after",
            Self::Delay(_) => "delay",
            Self::Expired => "expired",
            Self::WrongName => "wrong-name",
            Self::SelfSigned => "self-signed",
            Self::HandshakeCut => "handshake-cut",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_have_their_values_and_no_other() {
        assert_eq!(Fault::parse("reset"), Ok(Fault::Reset));
        assert_eq!(Fault::parse("slow=100kbit/s"), Ok(Fault::Slow(Rate::Bits(100_000.0))));
        assert_eq!(Fault::parse("close-after=64KiB"), Ok(Fault::CloseAfter(65_536)));
        assert_eq!(Fault::parse("delay=0.5"), Ok(Fault::Delay(Duration::from_millis(500))));
        for word in [
            "",
            "Reset",
            "reset=1",
            "hang=",
            "slow",
            "slow=",
            "slow=0/s",
            "close-after",
            "close-after=0",
            "delay=0",
            "x=1",
        ] {
            assert!(Fault::parse(word).is_err(), "{word}");
        }
    }
}
