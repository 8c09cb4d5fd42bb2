//! What a handshake is made with: files of certificates and keys, the system's roots, a certificate
//! made for one run.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType, date_time_ymd};
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::certificate::{described, seconds};
use super::trust::{Card, Doorkeeper, Issuers, Judge};
use crate::args::{self, Fault, TlsTerms, TlsVersion};
use crate::error::{Error, ExitCode, Step};
use crate::event;
use crate::step::{Door, Failed, SystemRoots, read_file};

/// How a client speaks TLS: the same for all its connections.
#[derive(Debug)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    pub(super) versions: Vec<&'static str>,
    pub(super) alpn: Vec<String>,
    pub(super) sni: Option<String>,
    pub(super) min_days: Option<u32>,
}

/// How a server speaks TLS.
#[derive(Debug)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    chain: Vec<CertificateDer<'static>>,
    pub(super) versions: Vec<&'static str>,
    pub(super) asks: bool,
    pub(super) is_cut: bool,
    pub(super) bound: Duration,
}

impl ClientTls {
    /// Returns a client that trusts one server, and nobody else.
    ///
    /// # Errors
    /// As [`ClientTls::new`].
    pub async fn trusting(door: &Door, server: &ServerTls, name: &str) -> Result<Self, Failed> {
        let words = args::ClientTls { tls: true, sni: Some(name.to_owned()), ..args::ClientTls::default() };
        Self::made(door, &words, RootCertStore::empty(), server.chain.clone()).await
    }

    /// Reads what the words name.
    ///
    /// # Errors
    /// A file could not be read, or what is in it is not what it should be; reported.
    pub async fn new(door: &Door, words: &args::ClientTls) -> Result<Self, Failed> {
        let mut roots = RootCertStore::empty();
        let mut named = Vec::new();
        match &words.ca {
            Some(file) => {
                named = certificates(door, file).await?;
                // One that is no authority's may still be the server's own.
                let _how_many = roots.add_parsable_certificates(named.iter().cloned());
                if let Some(error) = named.iter().find_map(|named| ParsedCertificate::try_from(named).err()) {
                    return Err(malformed(door, file, &format!("a certificate in it cannot be read: {error}")));
                }
            }
            None => {
                let system = rustls_native_certs::load_native_certs();
                let (added, _) = roots.add_parsable_certificates(system.certs);
                if added == 0 {
                    let message = "this system has no root certificates: every certificate's issuer is unknown";
                    door.warn("no-roots", message);
                }
            }
        }
        Self::made(door, words, roots, named).await
    }

    async fn made(
        door: &Door,
        words: &args::ClientTls,
        roots: RootCertStore,
        named: Vec<CertificateDer<'static>>,
    ) -> Result<Self, Failed> {
        let provider = Arc::new(default_provider());
        let issuers = Issuers { roots: Arc::new(roots), algorithms: provider.signature_verification_algorithms };
        let judge = Arc::new(Judge { issuers, named, insecure: words.insecure, pin: words.pin });
        let (versions, spoken) = versions(&words.terms);
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| unusable(door, &error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(judge);
        let mut config = match &words.client_cert {
            None => config.with_no_client_auth(),
            Some(file) => {
                let chain = certificates(door, file).await?;
                let key_file = words.client_key.as_ref().unwrap_or(file);
                let other = words.client_key.is_none().then_some("--client-key");
                let key = private_key(door, key_file, other).await?;
                config.with_client_auth_cert(chain, key).map_err(|error| unfit(door, file, key_file, &error))?
            }
        };
        config.alpn_protocols = words.terms.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        config.client_auth_cert_resolver = Arc::new(Card(config.client_auth_cert_resolver));
        // A session that is resumed shows no certificate: whoever watches one would be told of an old one.
        config.resumption = Resumption::disabled();
        Ok(Self {
            config: Arc::new(config),
            versions: spoken,
            alpn: words.terms.alpn.clone(),
            sni: words.sni.clone(),
            min_days: words.min_days,
        })
    }
}

impl ServerTls {
    /// Reads what the words name, or makes a certificate, and reports it. `local` is the
    /// address that it is to be for, besides those of loopback.
    ///
    /// # Errors
    /// A file could not be read, or what is in it is not what it should be; reported.
    pub async fn new(
        door: &Door,
        words: &args::ServerTls,
        timeout: Option<Duration>,
        fault: Option<Fault>,
        local: Option<IpAddr>,
    ) -> Result<Self, Failed> {
        let provider = Arc::new(default_provider());
        let (chain, key, pem) = match &words.tls_cert {
            Some(file) => {
                let other = words.tls_key.is_none().then_some("--tls-key");
                let key = private_key(door, words.tls_key.as_ref().unwrap_or(file), other).await?;
                (certificates(door, file).await?, key, None)
            }
            None => {
                let (certificate, key, pem) =
                    throw_away(fault, local).map_err(|error| unusable(door, &error.to_string()))?;
                (vec![certificate], key, Some(pem))
            }
        };
        let told = described(&chain, SystemTime::now());
        let (versions, spoken) = versions(&words.terms);
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| unusable(door, &error.to_string()))?;
        let config = match &words.client_ca {
            None => config.with_no_client_auth(),
            Some(file) => config.with_client_cert_verifier(Arc::new(doorkeeper(door, file, provider).await?)),
        };
        let own = |file: Option<&PathBuf>| file.map_or_else(|| PathBuf::from("its own"), PathBuf::clone);
        let (cert, key_file) = (own(words.tls_cert.as_ref()), own(words.tls_key.as_ref().or(words.tls_cert.as_ref())));
        let mut config =
            config.with_single_cert(chain.clone(), key).map_err(|error| unfit(door, &cert, &key_file, &error))?;
        if words.client_ca.is_some() {
            // rustls judges a client when its session begins and not when it is resumed: so each time is the
            // first.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        config.alpn_protocols = words.terms.alpn.iter().map(|name| name.clone().into_bytes()).collect();
        door.emit(event::OwnCertificate { certificates: &told, throw_away: pem.is_some(), pem: pem.as_deref() });
        Ok(Self {
            config: Arc::new(config),
            chain,
            versions: spoken,
            asks: words.client_ca.is_some(),
            is_cut: fault == Some(Fault::HandshakeCut),
            bound: words.bound(timeout),
        })
    }
}

/// Returns who judges the certificates of clients.
async fn doorkeeper(door: &Door, file: &Path, provider: Arc<CryptoProvider>) -> Result<Doorkeeper, Failed> {
    let mut roots = RootCertStore::empty();
    let _how_many = roots.add_parsable_certificates(certificates(door, file).await?);
    let issuers = Issuers { roots: Arc::new(roots), algorithms: provider.signature_verification_algorithms };
    WebPkiClientVerifier::builder_with_provider(Arc::clone(&issuers.roots), provider)
        .build()
        .map(|verifier| Doorkeeper { verifier, issuers })
        .map_err(|error| malformed(door, file, &error.to_string()))
}

/// Returns the versions that the words allow, and their names.
fn versions(terms: &TlsTerms) -> (Vec<&'static SupportedProtocolVersion>, Vec<&'static str>) {
    let all = [(TlsVersion::V13, &version::TLS13, "TLSv1.3"), (TlsVersion::V12, &version::TLS12, "TLSv1.2")];
    all.into_iter().filter(|(version, ..)| terms.allows(*version)).map(|(_, version, name)| (version, name)).unzip()
}

/// Reads the certificates of a file.
async fn certificates(door: &Door, file: &Path) -> Result<Vec<CertificateDer<'static>>, Failed> {
    let bytes = read(door, file).await?;
    let all: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(&bytes).collect();
    match all {
        Ok(all) if all.is_empty() => {
            Err(malformed(door, file, "no certificate is in it: PEM begins with -----BEGIN CERTIFICATE-----"))
        }
        Ok(all) => Ok(all),
        Err(error) => Err(malformed(door, file, &format!("no PEM: {error}"))),
    }
}

/// Reads the private key of a file; `other` is the word that would name another file. What is in it is never
/// told.
async fn private_key(door: &Door, file: &Path, other: Option<&str>) -> Result<PrivateKeyDer<'static>, Failed> {
    let bytes = read(door, file).await?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let is_locked = bytes.windows(9).any(|window| window == b"ENCRYPTED");
        let what = match (is_locked, other) {
            (true, _) => {
                "the private key is encrypted; `openssl pkey -in FILE -out PLAIN` writes it without a password"
                    .to_owned()
            }
            (false, Some(other)) => format!("no private key is in it; {other} names the file that has it"),
            (false, None) => "no private key is in it: PEM begins with -----BEGIN PRIVATE KEY-----".to_owned(),
        };
        malformed(door, file, &what)
    })
}

async fn read(door: &Door, file: &Path) -> Result<Vec<u8>, Failed> {
    /// No bundle of certificates is larger; what has no end is not read without end.
    const MOST: u64 = 16 << 20;
    let read = read_file(file, MOST).await;
    read.map_err(|error| door.fail(&Error::of_io(Step::Open, &error, &file.display().to_string())))
}

/// Reports what is wrong with a file.
fn malformed(door: &Door, file: &Path, what: &str) -> Failed {
    door.fail(&Error::of_kind(Step::Read, ExitCode::File, format!("read {}: {what}", file.display())))
}

/// Reports that a certificate and its key do not fit, by the file that is at fault.
fn unfit(door: &Door, cert: &Path, key: &Path, error: &rustls::Error) -> Failed {
    match error {
        rustls::Error::InconsistentKeys(_) => malformed(door, key, "the private key is not that of the certificate"),
        rustls::Error::InvalidCertificate(what) => {
            malformed(door, cert, &format!("the certificate in it cannot be read: {what:?}"))
        }
        other => malformed(door, key, &format!("the private key cannot be used: {other}")),
    }
}

fn unusable(door: &Door, what: &str) -> Failed {
    door.fail(&Error::of_kind(Step::Tls, ExitCode::Tls, format!("tls: {what}")))
}

/// Makes a certificate for this run, with what is wrong with it on purpose; returns its PEM too.
fn throw_away(
    fault: Option<Fault>,
    local: Option<IpAddr>,
) -> Result<(CertificateDer<'static>, PrivateKeyDer<'static>, String), rcgen::Error> {
    const DAY: u64 = 24 * 3600;
    let now = u64::try_from(seconds(SystemTime::now())).unwrap_or(0);
    let names = match fault {
        // RFC 2606, 2: nobody has a name below it.
        Some(Fault::WrongName) => vec![SanType::DnsName("wrong-name.invalid".try_into()?)],
        _ => {
            let mut names = vec![SanType::DnsName("localhost".try_into()?)];
            let mut ips: Vec<IpAddr> = vec![[127, 0, 0, 1].into(), std::net::Ipv6Addr::LOCALHOST.into()];
            ips.extend(local.filter(|ip| !ip.is_unspecified() && !ip.is_loopback()));
            names.extend(ips.into_iter().map(SanType::IpAddress));
            names
        }
    };
    let (from, until) = match fault {
        Some(Fault::Expired) => (now.saturating_sub(8 * DAY), now.saturating_sub(DAY)),
        // From an hour ago, for clients whose clock is behind.
        _ => (now.saturating_sub(3600), now + 7 * DAY),
    };
    let at = |seconds| date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "sockeye throw-away certificate");
    params.subject_alt_names = names;
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = (at(from), at(until));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    let pem = certificate.pem();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok((certificate.der().clone(), key, pem))
}

/// Looks for the root certificates of this system.
#[must_use]
pub fn system_roots() -> SystemRoots {
    let found = rustls_native_certs::load_native_certs();
    let (usable, unusable) = RootCertStore::empty().add_parsable_certificates(found.certs);
    let place = openssl_probe::probe();
    SystemRoots {
        usable,
        unusable,
        places: place.cert_file.into_iter().chain(place.cert_dir).collect(),
        errors: found.errors.iter().map(ToString::to_string).collect(),
    }
}
