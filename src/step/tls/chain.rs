//! Whether signatures lead from a certificate to an authority that is trusted, whatever else is wrong.
//!
//! rustls's judge stops at the first thing that is wrong: of a certificate that is out of its time, or made for
//! another purpose, it does not say whether anybody whom we trust has issued it.

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm};
use rustls::{CertificateError, RootCertStore};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Most certificates that are looked at: many more than a chain has, but not as many as somebody may send.
const MOST: usize = 32;

/// Follows names and signatures from a certificate, over those of authorities that came with it, to a root.
///
/// # Errors
/// They lead to none: what is wrong with the best way that there is.
pub(super) fn to_root(
    own: &CertificateDer<'_>,
    others: &[CertificateDer<'_>],
    roots: &RootCertStore,
    algorithms: WebPkiSupportedAlgorithms,
) -> Result<(), CertificateError> {
    let Ok((_, own)) = X509Certificate::from_der(own) else { return Err(CertificateError::BadEncoding) };
    let mut unseen: Vec<X509Certificate<'_>> =
        others.iter().take(MOST).filter_map(|der| X509Certificate::from_der(der).ok()).map(|(_, one)| one).collect();
    unseen.retain(|other| other.tbs_certificate.is_ca());
    let mut wrong = CertificateError::UnknownIssuer;
    let mut at_hand = vec![own];
    while let Some(issued) = at_hand.pop() {
        for root in roots.roots.iter().filter(|root| sequence(&root.subject) == issued.issuer().as_raw()) {
            let key = sequence(&root.subject_public_key_info);
            if SubjectPublicKeyInfo::from_der(&key).is_ok_and(|(_, key)| is_signed_by(&issued, &key, algorithms)) {
                return Ok(());
            }
            let is_of_key = |algorithm: &&dyn SignatureVerificationAlgorithm| {
                root.subject_public_key_info.starts_with(&sequence(&algorithm.public_key_alg_id()))
            };
            wrong = match algorithms.all.iter().any(is_of_key) {
                true => CertificateError::BadSignature,
                false => CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                    signature_algorithm_id: issued.signature_algorithm.algorithm.as_bytes().to_vec(),
                    public_key_algorithm_id: root.subject_public_key_info.to_vec(),
                },
            };
        }
        at_hand.extend(unseen.extract_if(.., |other| {
            other.subject().as_raw() == issued.issuer().as_raw()
                && is_signed_by(&issued, other.public_key(), algorithms)
        }));
    }
    Err(wrong)
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
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    /// A certificate's parameters and key.
    fn draft(name: &str, is_ca: bool) -> (CertificateParams, KeyPair) {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        (params, KeyPair::generate().unwrap())
    }

    #[test]
    fn only_authorities_lead_to_a_root_and_only_by_their_signature() {
        let algorithms = rustls::crypto::ring::default_provider().signature_verification_algorithms;
        let (root, root_key) = draft("root", true);
        let mut roots = RootCertStore::empty();
        roots.add(root.self_signed(&root_key).unwrap().der().clone()).unwrap();
        let root = Issuer::new(root, root_key);
        let (own, own_key) = draft("own", false);
        // An ordinary certificate of the root signs as well as an authority's, and has no right to.
        let [by_authority, by_other] = [true, false].map(|is_ca| {
            let (between, key) = draft("between", is_ca);
            let between_der = between.signed_by(&key, &root).unwrap().der().clone();
            let own = own.signed_by(&own_key, &Issuer::new(between, key)).unwrap().der().clone();
            (own, between_der)
        });
        let judged = |own: &CertificateDer<'_>, others: &[CertificateDer<'_>]| to_root(own, others, &roots, algorithms);
        let others = [by_other.1.clone(), by_authority.1.clone()];
        assert_eq!(judged(&by_authority.0, &others), Ok(()));
        assert_eq!(judged(&by_authority.0, &[]), Err(CertificateError::UnknownIssuer));
        assert_eq!(judged(&by_other.0, &others), Err(CertificateError::UnknownIssuer));
        // Somebody else calls himself as the root is called.
        let (forged, key) = draft("root", true);
        let forged = own.signed_by(&own_key, &Issuer::new(forged, key)).unwrap();
        assert_eq!(judged(forged.der(), &others), Err(CertificateError::BadSignature));
    }

    #[test]
    fn a_sequence_has_its_length_before_it() {
        assert_eq!(sequence(&[]), [0x30, 0]);
        assert_eq!(sequence(&[7; 127])[..3], [0x30, 127, 7]);
        assert_eq!(sequence(&[7; 128])[..4], [0x30, 0x81, 128, 7]);
        assert_eq!(sequence(&[7; 256])[..5], [0x30, 0x82, 1, 0, 7]);
    }
}
