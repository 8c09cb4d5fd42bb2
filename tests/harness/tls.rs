//! TLS for the tests: certificates made for one test, Python and openssl as peers, the events.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use serde::Deserialize;

use super::net::{TempDir, output_of, require};
use super::peers::Peer;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) conn: u64,
    pub(crate) version: Option<String>,
    pub(crate) versions_offered: Vec<String>,
    pub(crate) cipher: Option<String>,
    pub(crate) group: Option<String>,
    pub(crate) alpn: Option<String>,
    #[serde(default)]
    pub(crate) alpn_offered: Vec<String>,
    pub(crate) sni: Option<String>,
    pub(crate) resumed: Option<bool>,
    pub(crate) ocsp_staple: Option<bool>,
    pub(crate) client_certificate_requested: Option<bool>,
    pub(crate) client_certificate_shown: Option<bool>,
    pub(crate) target: Option<String>,
    #[serde(default)]
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) verified: Option<bool>,
    #[serde(default)]
    pub(crate) problems: Vec<String>,
    pub(crate) duration_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    pub(crate) subject: Option<String>,
    pub(crate) issuer: Option<String>,
    pub(crate) serial: Option<String>,
    #[serde(default)]
    pub(crate) names: Vec<String>,
    pub(crate) not_before: Option<String>,
    pub(crate) not_after: Option<String>,
    pub(crate) days_left: Option<i64>,
    pub(crate) key: Option<String>,
    pub(crate) signature: Option<String>,
    pub(crate) sha256: String,
    pub(crate) key_pin: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OwnCertificate {
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) throw_away: bool,
    pub(crate) pem: Option<String>,
}

/// A certificate and its key, as files.
pub(crate) struct Pair {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// An authority, and what it issues: files in a folder that goes with it.
pub(crate) struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// From how many days from now until how many a certificate is valid.
pub(crate) type Days = (i64, i64);

/// Valid now.
pub(crate) const NOW: Days = (-1, 30);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = params(&[], NOW);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        // Each has a name of its own, as those of the world have.
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        params.distinguished_name.push(DnType::CommonName, format!("Test Authority {number}"));
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { dir: TempDir::new(), issuer }
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the file of its own certificate.
    pub(crate) fn cert(&self) -> PathBuf {
        self.write("ca.pem", self.issuer.pem())
    }

    /// Issues a certificate for names and addresses.
    pub(crate) fn issue(&self, file: &str, names: &[&str], days: Days) -> Pair {
        self.issue_for(file, names, days, &[])
    }

    /// Issues a certificate for purposes.
    pub(crate) fn issue_for(&self, file: &str, names: &[&str], days: Days, uses: &[ExtendedKeyUsagePurpose]) -> Pair {
        let mut params = params(names, days);
        params.distinguished_name.push(DnType::CommonName, file);
        params.extended_key_usages = uses.to_vec();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        self.pair(file, cert.pem(), &key)
    }

    /// Makes a certificate that signs itself.
    pub(crate) fn self_signed(&self, file: &str, names: &[&str], is_ca: bool) -> Pair {
        let mut params = params(names, NOW);
        params.distinguished_name.push(DnType::CommonName, file);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let key = KeyPair::generate().unwrap();
        self.pair(file, params.self_signed(&key).unwrap().pem(), &key)
    }

    /// Issues a certificate by an authority between, and leaves that out of the file or not.
    pub(crate) fn issue_by_another(&self, file: &str, names: &[&str], is_whole: bool) -> Pair {
        self.issue_by_one_of(NOW, file, names, NOW, is_whole)
    }

    /// As [`Authority::issue_by_another`], of which the other is valid at times of its own.
    pub(crate) fn issue_by_one_of(
        &self,
        between: Days,
        file: &str,
        names: &[&str],
        days: Days,
        is_whole: bool,
    ) -> Pair {
        let mut between = params(&[], between);
        between.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        between.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        between.distinguished_name.push(DnType::CommonName, "Between");
        let between = CertifiedIssuer::signed_by(between, KeyPair::generate().unwrap(), &self.issuer).unwrap();
        let mut params = params(names, days);
        params.distinguished_name.push(DnType::CommonName, file);
        let key = KeyPair::generate().unwrap();
        let own = params.signed_by(&key, &between).unwrap().pem();
        let chain = if is_whole { own + &between.pem() } else { own };
        self.pair(file, chain, &key)
    }

    fn pair(&self, file: &str, cert: String, key: &KeyPair) -> Pair {
        let cert = self.write(&format!("{file}.pem"), cert);
        Pair { cert, key: self.write(&format!("{file}.key"), key.serialize_pem()) }
    }

    fn write(&self, name: &str, text: String) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

fn params(names: &[&str], (from, until): Days) -> CertificateParams {
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let at = |days: i64| {
        let seconds = u64::try_from(now + days * 24 * 3600).unwrap();
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    (params.not_before, params.not_after) = (at(from), at(until));
    params
}

/// A server in Python's ssl: each connection is a line, `ok BYTES` or `no REASON`; BYTES are those
/// that TLS carried.
const SERVER: &str = r"
import ssl
cert, key, ca, newest, alpn, wish = sys.argv[1:7]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
if ca != '-':
    context.load_verify_locations(ca)
    context.verify_mode = getattr(ssl, wish)
if newest != '-':
    context.maximum_version = getattr(ssl.TLSVersion, newest)
    context.minimum_version = getattr(ssl.TLSVersion, newest)
if alpn != '-':
    context.set_alpn_protocols(alpn.split(','))
server = listen('127.0.0.1')
while True:
    peer, _ = server.accept()
    peer.settimeout(60)
    count = 0
    try:
        with context.wrap_socket(peer, server_side=True) as tls:
            while data := tls.recv(65536):
                count += len(data)
                tls.sendall(data)
        say('ok', count)
    except (OSError, ValueError) as error:
        say('no', count, repr(error))
        peer.close()
";

/// A handshake by hand in Python's ssl, of either end: what follows a flight can be put into its segment.
/// `serving` has the certificate in the first two arguments, `dialing` judges none.
pub(crate) const BY_HAND: &str = r"
import ssl
came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
BROKEN = b'\x17\x03\x03\x00\x20' + b'x' * 32
def step(peer, call, behind=b''):
    while True:
        try:
            return call()
        except ssl.SSLWantReadError:
            if goes.pending:
                peer.sendall(goes.read() + behind)
            came.write(peer.recv(65536))
def serving(newest='TLSv1_3', behind=b''):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:3])
    context.maximum_version = getattr(ssl.TLSVersion, newest)
    peer, _ = listen('127.0.0.1').accept()
    peer.settimeout(60)
    tls = context.wrap_bio(came, goes, server_side=True)
    step(peer, tls.do_handshake, behind)
    return tls, peer
def dialing(port):
    context = ssl._create_unverified_context()
    peer = dial('127.0.0.1', port)
    peer.settimeout(60)
    tls = context.wrap_bio(came, goes)
    step(peer, tls.do_handshake)
    return tls, peer
def end(peer, behind=b''):
    peer.sendall(goes.read() + behind)
    try:
        all_of(peer)
    except ConnectionError:
        pass
";

/// How a server of the tests speaks TLS.
#[derive(Default)]
pub(crate) struct Terms<'a> {
    pub(crate) client_ca: Option<&'a Path>,
    /// `TLSv1_2` or `TLSv1_3`, and no other.
    pub(crate) only: Option<&'a str>,
    pub(crate) alpn: Option<&'a str>,
    /// Whether who has no certificate is let in too.
    pub(crate) is_optional: bool,
}

/// Starts a server in Python that echoes over TLS.
pub(crate) fn python_server(pair: &Pair, terms: &Terms<'_>) -> Peer {
    let [cert, key] = [&pair.cert, &pair.key].map(|path| path.to_str().unwrap());
    let ca = terms.client_ca.map_or("-", |path| path.to_str().unwrap());
    let wish = if terms.is_optional { "CERT_OPTIONAL" } else { "CERT_REQUIRED" };
    Peer::python_server(SERVER, &[cert, key, ca, terms.only.unwrap_or("-"), terms.alpn.unwrap_or("-"), wish])
}

/// Asks openssl about a certificate.
pub(crate) fn openssl_x509(cert: &Path, words: &[&str]) -> String {
    require(&["openssl"]);
    output_of(Command::new("openssl").args(["x509", "-noout", "-in"]).arg(cert).args(words)).unwrap()
}

/// Makes a key and a certificate that signs itself with openssl.
pub(crate) fn openssl_self_signed(dir: &Path, file: &str, key: &[&str], names: &str) -> Pair {
    require(&["openssl"]);
    let pair = Pair { cert: dir.join(format!("{file}.pem")), key: dir.join(format!("{file}.key")) };
    let mut command = Command::new("openssl");
    let made = command
        .args(["req", "-x509", "-nodes", "-days", "20", "-subj", "/C=DE/O=Sockeye Tests/CN=Ünder test"])
        .args(["-utf8", "-addext", &format!("subjectAltName={names}"), "-newkey"])
        .args(key)
        .arg("-out")
        .arg(&pair.cert)
        .arg("-keyout")
        .arg(&pair.key);
    output_of(made).unwrap();
    pair
}
