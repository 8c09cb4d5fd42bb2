//! Whether signatures lead from a certificate to an authority that is trusted, whatever else is wrong.
//!
//! rustls's judge stops at the first thing that is wrong: of a certificate that is out of its time, or made for
//! another purpose, it does not say whether anybody whom we trust has issued it.

use rustls::RootCertStore;
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Most certificates that are looked at: a chain is seldom longer than four.
pub(super) const MOST: usize = 8;

/// Returns whether names and signatures lead from a certificate, over others that came with it, to a root.
pub(super) fn leads_to_root(
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    roots: &RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
) -> bool {
    let chain = std::iter::once(own).chain(others).take(MOST);
    let mut unseen: Vec<X509Certificate<'_>> =
        chain.filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, parsed)| parsed).collect();
    if unseen.first().is_none_or(|first| first.as_raw() != own.as_ref()) {
        return false;
    }
    let mut at_hand = vec![unseen.remove(0)];
    while let Some(issued) = at_hand.pop() {
        let is_by_root = roots.roots.iter().any(|root| {
            sequence(&root.subject) == issued.issuer().as_raw()
                && SubjectPublicKeyInfo::from_der(&sequence(&root.subject_public_key_info))
                    .is_ok_and(|(_, key)| is_signed_by(&issued, &key, algorithms))
        });
        if is_by_root {
            return true;
        }
        let issues = |other: &mut X509Certificate<'_>| {
            other.subject().as_raw() == issued.issuer().as_raw()
                && is_signed_by(&issued, other.public_key(), algorithms)
        };
        at_hand.extend(unseen.extract_if(.., issues));
    }
    false
}

/// Returns whether a certificate has a key's signature, by any of the algorithms.
fn is_signed_by(
    issued: &X509Certificate<'_>,
    key: &SubjectPublicKeyInfo<'_>,
    algorithms: WebPkiSupportedAlgorithms,
) -> bool {
    let (message, signature) = (issued.tbs_certificate.as_ref(), &issued.signature_value.data);
    algorithms
        .all
        .iter()
        .any(|algorithm| algorithm.verify_signature(&key.subject_public_key.data, message, signature).is_ok())
}

/// Puts the head of a SEQUENCE (X.690, 8.1) before its contents, which is all that is kept of a root's parts.
fn sequence(contents: &[u8]) -> Vec<u8> {
    let length = contents.len().to_be_bytes();
    let length = &length[length.iter().take_while(|byte| **byte == 0).count()..];
    let head = match *length {
        [] => vec![0x30, 0],
        [short @ ..0x80] => vec![0x30, short],
        // There are at most 8 bytes.
        _ => [&[0x30, 0x80 | length.len() as u8], length].concat(),
    };
    [&head, contents].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_has_its_length_before_it() {
        assert_eq!(sequence(&[]), [0x30, 0]);
        assert_eq!(sequence(&[7; 127])[..3], [0x30, 127, 7]);
        assert_eq!(sequence(&[7; 128])[..4], [0x30, 0x81, 128, 7]);
        assert_eq!(sequence(&[7; 256])[..5], [0x30, 0x82, 1, 0, 7]);
    }
}
