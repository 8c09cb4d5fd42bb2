//! What a certificate says, as events tell it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use data_encoding::{BASE64, HEXLOWER};
use rustls::SupportedCipherSuite;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;

use crate::event::Certificate;

/// A day, in seconds.
const DAY: i64 = 24 * 3600;

/// Returns what the certificates of a chain say.
pub(super) fn described(chain: &[CertificateDer<'_>], now: SystemTime) -> Vec<Certificate> {
    chain.iter().map(|certificate| describe(certificate, now)).collect()
}

/// Returns what one certificate says; of one that cannot be read, its SHA-256.
fn describe(der: &CertificateDer<'_>, now: SystemTime) -> Certificate {
    let sha256 = HEXLOWER.encode(&sha256(der));
    let Ok((_, certificate)) = X509Certificate::from_der(der) else {
        return Certificate { sha256, ..Certificate::default() };
    };
    let validity = certificate.validity();
    let not_after = validity.not_after.timestamp();
    Certificate {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: HEXLOWER.encode(certificate.raw_serial()),
        names: names(&certificate),
        not_before: Some(time(validity.not_before.timestamp())),
        not_after: Some(time(not_after)),
        days_left: Some((not_after - seconds(now)).div_euclid(DAY)),
        key: key(&certificate),
        signature: signature(&certificate.signature_algorithm.algorithm.to_id_string()),
        sha256,
        key_pin: format!("sha256//{}", BASE64.encode(&self::sha256(certificate.public_key().raw))),
    }
}

/// Returns the begin and the end of a certificate's validity, in seconds of Unix time.
pub(super) fn validity(der: &CertificateDer<'_>) -> Option<(i64, i64)> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let validity = certificate.validity();
    Some((validity.not_before.timestamp(), validity.not_after.timestamp()))
}

/// Returns the SHA-256 of a certificate's public key.
pub(super) fn key_sha256(der: &CertificateDer<'_>) -> Option<[u8; 32]> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    Some(sha256(certificate.public_key().raw))
}

/// Returns the SHA-256 of some bytes, by the code that the handshake has for it.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    if let SupportedCipherSuite::Tls13(suite) = TLS13_AES_128_GCM_SHA256 {
        sum.copy_from_slice(suite.common.hash_provider.hash(bytes).as_ref());
    }
    sum
}

/// Returns the names and addresses that a certificate is for.
fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return Vec::new() };
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) | GeneralName::RFC822Name(name) | GeneralName::URI(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => ip(bytes),
        _ => None,
    };
    names.value.general_names.iter().filter_map(name).filter(|name| !name.is_empty()).collect()
}

fn ip(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|octets| Ipv4Addr::from(octets).to_string()),
        _ => <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).to_string()),
    }
}

/// Returns the kind and size of a certificate's key.
fn key(certificate: &X509Certificate<'_>) -> String {
    let public = certificate.public_key();
    let oid = public.algorithm.algorithm.to_id_string();
    match (oid.as_str(), public.parsed()) {
        // RFC 8410.
        ("1.3.101.112", _) => "Ed25519".to_owned(),
        ("1.3.101.113", _) => "Ed448".to_owned(),
        (_, Ok(PublicKey::RSA(rsa))) => format!("RSA {}", rsa.key_size()),
        (_, Ok(PublicKey::EC(_))) => {
            let curve = public.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()).as_deref() {
                // RFC 5480, 2.1.1.1.
                Some("1.2.840.10045.3.1.7") => "EC P-256".to_owned(),
                Some("1.3.132.0.34") => "EC P-384".to_owned(),
                Some("1.3.132.0.35") => "EC P-521".to_owned(),
                Some(curve) => format!("EC {curve}"),
                None => "EC".to_owned(),
            }
        }
        _ => oid,
    }
}

/// Returns the name of a signature's algorithm, as openssl has it; its number where it is a rare one.
fn signature(oid: &str) -> String {
    match oid {
        "1.2.840.113549.1.1.4" => "md5WithRSAEncryption",
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "rsassaPss",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.10045.4.1" => "ecdsa-with-SHA1",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "ED25519",
        "1.3.101.113" => "ED448",
        other => other,
    }
    .to_owned()
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
}

/// Returns a time in seconds of Unix time.
pub(super) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_certificate_has_its_sum() {
        // FIPS 180-4's example of three bytes.
        let told = describe(&CertificateDer::from(&b"abc"[..]), UNIX_EPOCH);
        assert_eq!(told.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(told, Certificate { sha256: told.sha256.clone(), ..Certificate::default() });
    }

    #[test]
    fn addresses_have_four_bytes_or_sixteen() {
        assert_eq!(ip(&[127, 0, 0, 1]).as_deref(), Some("127.0.0.1"));
        assert_eq!(ip(&[0; 16]).as_deref(), Some("::"));
        assert_eq!(ip(&[1, 2, 3]), None);
    }
}
