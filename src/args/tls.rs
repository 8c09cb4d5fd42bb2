//! TLS: the words of a client, and those of a server.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};

use super::fault::Fault;
use super::target::{self, Host, Target};
use super::value;
use crate::packet::starttls::Protocol;

/// How long a server waits for a handshake that nothing else bounds.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The most bytes that the names of ALPN may have with their lengths. All extensions of a ClientHello have 65,535
/// (RFC 8446, 4.1.2), and the others need some.
const ALPN_MOST: usize = 60 << 10;

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum TlsVersion {
    /// TLS 1.2 (RFC 5246).
    #[value(name = "1.2")]
    V12,
    /// TLS 1.3 (RFC 8446).
    #[value(name = "1.3")]
    V13,
}

/// The SHA-256 that a peer's certificate must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pin {
    /// Of the whole certificate.
    Certificate([u8; 32]),
    /// Of its public key (SubjectPublicKeyInfo), as curl's `--pinnedpubkey` has it.
    Key([u8; 32]),
}

impl Pin {
    fn parse(word: &str) -> Result<Self, String> {
        let bad = || {
            "a pin is the SHA-256 of the certificate in hexadecimal, with or without colons, or sha256//BASE64 of its key"
                .to_owned()
        };
        if let Some(base64) = word.strip_prefix("sha256//") {
            let bytes = BASE64.decode(base64.as_bytes()).map_err(|_| bad())?;
            return bytes.try_into().map(Self::Key).map_err(|_| bad());
        }
        let is_pairs = word.contains(':') && word.split(':').all(|pair| pair.len() == 2);
        let hex = if is_pairs { word.replace(':', "") } else { word.to_owned() };
        let bytes = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).map_err(|_| bad())?;
        bytes.try_into().map(Self::Certificate).map_err(|_| bad())
    }
}

/// What both ends of a connection may say of TLS.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsTerms {
    /// Offer, or take, these protocols (ALPN), the best first: h2,http/1.1
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = alpn)]
    pub alpn: Vec<String>,
    /// Speak no older version of TLS
    #[arg(long, value_enum, value_name = "VERSION")]
    tls_min: Option<TlsVersion>,
    /// Speak no newer version of TLS
    #[arg(long, value_enum, value_name = "VERSION")]
    tls_max: Option<TlsVersion>,
    /// Wait at most this long for a TLS handshake [default: --timeout; of a server without one, 10s]
    #[arg(long, value_name = "D", value_parser = value::patience, allow_negative_numbers = true)]
    pub tls_timeout: Option<Duration>,
}

impl TlsTerms {
    /// Returns whether a version may be spoken.
    #[must_use]
    pub fn allows(&self, version: TlsVersion) -> bool {
        self.tls_min.is_none_or(|least| version >= least) && self.tls_max.is_none_or(|most| version <= most)
    }

    /// Returns a word that was given, where one was.
    fn given(&self) -> Option<&'static str> {
        [
            (!self.alpn.is_empty(), "--alpn"),
            (self.tls_min.is_some(), "--tls-min"),
            (self.tls_max.is_some(), "--tls-max"),
            (self.tls_timeout.is_some(), "--tls-timeout"),
        ]
        .into_iter()
        .find_map(|(is_given, word)| is_given.then_some(word))
    }

    fn check(&self) -> Result<(), String> {
        match self.tls_min > self.tls_max && self.tls_max.is_some() {
            true => Err("--tls-min is above --tls-max: no version is left".to_owned()),
            false => Ok(()),
        }
    }
}

/// What a client says of TLS.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct ClientTls {
    /// Speak TLS on the connection: the server's certificate is verified before anything is sent
    #[arg(long)]
    pub tls: bool,
    /// Ask for, and check the certificate against, this name [default: the host of the TARGET]
    #[arg(long, value_name = "NAME", value_parser = sni, allow_hyphen_values = true, requires = "tls")]
    pub sni: Option<String>,
    /// Trust these certificates (PEM), and not the system's; a server's own may be among them
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub ca: Option<PathBuf>,
    /// Go on where the certificate is not trusted; what is wrong with it is told all the same, but not
    /// with -q
    #[arg(long, requires = "tls")]
    pub insecure: bool,
    /// Refuse any other certificate: its SHA-256 in hexadecimal, or sha256//BASE64 of its key, as
    /// curl's --pinnedpubkey
    #[arg(long, value_name = "SHA256", value_parser = Pin::parse, requires = "tls")]
    pub pin: Option<Pin>,
    /// Exit with 1 where the server's certificate expires in fewer days than this
    #[arg(long, value_name = "N", value_parser = days, requires = "tls", allow_negative_numbers = true)]
    pub min_days: Option<u32>,
    /// Show this certificate (PEM, its chain after it) to a server that asks for one
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub client_cert: Option<PathBuf>,
    /// The private key of --client-cert (PEM) [default: it is in that file]
    #[arg(long, value_name = "FILE", requires = "client_cert")]
    pub client_key: Option<PathBuf>,
    /// Ask for TLS in plain text first, as this protocol has it
    #[arg(long, value_name = "PROTOCOL", value_parser = starttls(), requires = "tls")]
    pub starttls: Option<Protocol>,
    /// What both ends may say.
    #[command(flatten)]
    pub terms: TlsTerms,
}

/// Parses the name of a protocol that begins in plain text.
fn starttls() -> impl TypedValueParser<Value = Protocol> {
    PossibleValuesParser::new(Protocol::ALL.map(Protocol::name)).try_map(|name| {
        Protocol::ALL.into_iter().find(|protocol| protocol.name() == name).ok_or("there is no such protocol")
    })
}

impl ClientTls {
    /// Checks what clap cannot.
    pub(super) fn check(&self, targets: &[Target], is_records: bool, is_fast_open: bool) -> Result<(), String> {
        if !self.tls {
            return match self.terms.given() {
                Some(word) => Err(format!("{word} is of TLS: it needs --tls")),
                None => Ok(()),
            };
        }
        built_in()?;
        self.terms.check()?;
        let alpn: usize = self.terms.alpn.iter().map(|name| name.len() + 1).sum();
        if alpn > ALPN_MOST {
            return Err(format!("the names of --alpn need {alpn} bytes, and a ClientHello has room for {ALPN_MOST}"));
        }
        if is_fast_open {
            return Err(
                "--fast-open sends the first MESSAGE with the SYN, and --tls none before its handshake".to_owned()
            );
        }
        if is_records {
            return Err("--tls needs a stream of bytes: not with --type dgram or seqpacket".to_owned());
        }
        if self.sni.is_none() {
            let mut names = targets.iter().filter_map(|target| match target {
                Target::Inet(Host::Name(name), _) => Some(name),
                _ => None,
            });
            names.try_for_each(|name| target::check_certifiable(name)).map_err(|wrong| {
                format!("{wrong}; --tls checks the certificate against it, or against that of --sni")
            })?;
        }
        let unix = targets.iter().find(|target| matches!(target, Target::Unix(_)));
        match unix {
            Some(unix) if self.sni.is_none() && !self.insecure => {
                Err(format!("--tls needs --sni here: {unix} has no host to check the certificate against"))
            }
            _ => Ok(()),
        }
    }
}

/// What a server says of TLS.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "TLS")]
pub struct ServerTls {
    /// Speak TLS, and show this certificate (PEM, its chain after it)
    #[arg(long, value_name = "FILE", conflicts_with = "tls_self_signed")]
    pub tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM) [default: it is in that file]
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Speak TLS with a certificate made for this run; the `certificate` event has its SHA-256 and
    /// the certificate itself
    #[arg(long)]
    pub tls_self_signed: bool,
    /// Let only clients in whose certificate one of these (PEM) has issued
    #[arg(long, value_name = "FILE")]
    pub client_ca: Option<PathBuf>,
    /// What both ends may say.
    #[command(flatten)]
    pub terms: TlsTerms,
}

impl ServerTls {
    /// Returns whether TLS is spoken.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.tls_self_signed || self.tls_cert.is_some()
    }

    /// Returns the bound of a handshake, where `timeout` is the server's patience with a silent peer.
    #[must_use]
    pub fn bound(&self, timeout: Option<Duration>) -> Duration {
        self.terms.tls_timeout.or(timeout).unwrap_or(HANDSHAKE)
    }

    /// Checks what clap cannot.
    pub(super) fn check(&self, fault: Option<Fault>) -> Result<(), String> {
        if !self.is_on() {
            let given = self.terms.given().or(self.client_ca.as_ref().map(|_| "--client-ca"));
            if let Some(word) = given {
                return Err(format!("{word} is of TLS: it needs --tls-cert or --tls-self-signed"));
            }
            return match fault {
                Some(fault) if fault.is_of_tls() => {
                    Err(format!("--fault {} is of TLS: it needs --tls-cert or --tls-self-signed", fault.name()))
                }
                _ => Ok(()),
            };
        }
        built_in()?;
        self.terms.check()?;
        match fault {
            Some(fault @ (Fault::Expired | Fault::WrongName | Fault::SelfSigned)) if self.tls_cert.is_some() => {
                Err(format!(
                    "--fault {} makes a certificate of its own: with --tls-self-signed, not --tls-cert",
                    fault.name()
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Returns an error where this build has no TLS.
fn built_in() -> Result<(), String> {
    match cfg!(feature = "tls") {
        true => Ok(()),
        false => Err("this build of sockeye has no TLS: it was built without the feature `tls`".to_owned()),
    }
}

/// Parses what a certificate is to be for: a name, or an address without brackets.
fn sni(word: &str) -> Result<String, String> {
    if word.starts_with('[') {
        return Err("an address has no brackets here".to_owned());
    }
    match word.parse::<IpAddr>() {
        Ok(_) => Ok(word.to_owned()),
        Err(_) => target::check_certifiable(word).map(|()| word.to_owned()),
    }
}

/// Parses a number of days.
fn days(word: &str) -> Result<u32, String> {
    word.parse().map_err(|_| "it is a number of days, whole, not negative, without a unit: 21".to_owned())
}

/// Parses the name of a protocol, which has 1 to 255 bytes (RFC 7301, 3.1).
fn alpn(word: &str) -> Result<String, String> {
    match word.len() {
        1..=255 => Ok(word.to_owned()),
        _ => Err("a protocol's name has 1 to 255 bytes".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_of_a_certificate_or_of_its_key() {
        let hex = "ab".repeat(32);
        let colons = vec!["AB"; 32].join(":");
        assert_eq!(Pin::parse(&hex), Ok(Pin::Certificate([0xab; 32])));
        assert_eq!(Pin::parse(&colons), Ok(Pin::Certificate([0xab; 32])));
        let base64 = format!("sha256//{}", BASE64.encode(&[7; 32]));
        assert_eq!(Pin::parse(&base64), Ok(Pin::Key([7; 32])));
        let odd = format!("{}a:b", "ab:".repeat(31));
        let twos = vec!["abab"; 16].join(":");
        let (edges, twice) = (format!(":{colons}"), colons.replacen(':', "::", 1));
        let mixed = colons.replacen(':', "", 1);
        for word in
            ["", "ab", "sha256//", "sha256//abcd", &hex[1..], "xy", "::::::abab", &odd, &twos, &edges, &twice, &mixed]
        {
            assert!(Pin::parse(word).is_err(), "{word}");
        }
    }

    #[test]
    fn versions_lie_between_the_two_bounds() {
        let terms = |tls_min, tls_max| TlsTerms { tls_min, tls_max, ..TlsTerms::default() };
        use TlsVersion::{V12, V13};
        assert!(terms(None, None).allows(V12) && terms(None, None).allows(V13));
        assert!(!terms(Some(V13), None).allows(V12) && !terms(None, Some(V12)).allows(V13));
        assert!(terms(Some(V13), Some(V12)).check().is_err());
        assert!(terms(Some(V13), None).check().is_ok() && terms(None, Some(V12)).check().is_ok());
        assert!(terms(Some(V12), Some(V13)).check().is_ok());
    }
}
