//! How an HTTP client says who it is: Basic (RFC 7617) and Digest (RFC 7616).

use data_encoding::{BASE64, HEXLOWER};
use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::dialogue::Credentials;

/// What a proxy asks for, and what it gives for the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// The password in the clear.
    Basic,
    /// A hash over it.
    Digest(Digest),
}

/// A challenge of Digest (RFC 7616, 3.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Digest {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    hash: Hash,
    is_session: bool,
    /// The algorithm as the proxy wrote it; absent where it did not.
    algorithm: Option<String>,
    quality: Option<&'static str>,
    /// Whether only the nonce of the answer before was too old.
    pub(super) is_stale: bool,
}

/// A hash, the better the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hash {
    Md5,
    Sha256,
}

impl Hash {
    fn of(self, text: &str) -> String {
        match self {
            Self::Md5 => HEXLOWER.encode(&Md5::digest(text)),
            Self::Sha256 => HEXLOWER.encode(&Sha256::digest(text)),
        }
    }
}

impl Scheme {
    /// Returns its name, as events have it.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Basic => "basic",
            Self::Digest(_) => "digest",
        }
    }

    fn rank(&self) -> (bool, Option<Hash>) {
        match self {
            Self::Basic => (false, None),
            Self::Digest(digest) => (true, Some(digest.hash)),
        }
    }

    /// Returns the value of Proxy-Authorization; `fresh` is random.
    pub(super) fn answer(&self, credentials: &Credentials, method: &str, uri: &str, fresh: &str) -> String {
        match self {
            Self::Basic => {
                format!("Basic {}", BASE64.encode(format!("{}:{}", credentials.user, credentials.password).as_bytes()))
            }
            Self::Digest(digest) => digest.answer(credentials, method, uri, fresh),
        }
    }
}

impl Digest {
    fn answer(&self, credentials: &Credentials, method: &str, uri: &str, fresh: &str) -> String {
        /// Each answer is the first on its nonce.
        const COUNT: &str = "00000001";
        let Self { realm, nonce, hash, .. } = self;
        let Credentials { user, password } = credentials;
        let mut secret = hash.of(&format!("{user}:{realm}:{password}"));
        if self.is_session {
            secret = hash.of(&format!("{secret}:{nonce}:{fresh}"));
        }
        let asked = match self.quality {
            // Of an empty body.
            Some("auth-int") => hash.of(&format!("{method}:{uri}:{}", hash.of(""))),
            _ => hash.of(&format!("{method}:{uri}")),
        };
        let response = match self.quality {
            Some(quality) => hash.of(&format!("{secret}:{nonce}:{COUNT}:{fresh}:{quality}:{asked}")),
            None => hash.of(&format!("{secret}:{nonce}:{asked}")),
        };
        let mut answer = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, response=\"{response}\"",
            quote(user),
            quote(realm),
            quote(nonce),
            quote(uri)
        );
        if let Some(algorithm) = &self.algorithm {
            answer += &format!(", algorithm={algorithm}");
        }
        if let Some(quality) = self.quality {
            answer += &format!(", qop={quality}, nc={COUNT}");
        }
        if self.quality.is_some() || self.is_session {
            answer += &format!(", cnonce=\"{fresh}\"");
        }
        if let Some(opaque) = &self.opaque {
            answer += &format!(", opaque={}", quote(opaque));
        }
        answer
    }
}

/// Returns the best of what a proxy offers that we know, from all its Proxy-Authenticate fields.
pub(super) fn best<'a>(fields: impl IntoIterator<Item = &'a str>) -> Option<Scheme> {
    let offers = fields.into_iter().flat_map(challenges);
    // Of two as good the first: it is what the proxy prefers (RFC 7616, 3.7).
    offers.filter_map(|offer| offer.scheme()).reduce(|best, next| if next.rank() > best.rank() { next } else { best })
}

/// Returns the names of all that a proxy offers.
pub(super) fn names<'a>(fields: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    fields.into_iter().flat_map(challenges).map(|offer| offer.name).collect()
}

/// A challenge as it was written.
#[derive(Debug, Default, PartialEq, Eq)]
struct Offer {
    name: String,
    parameters: Vec<(String, String)>,
}

impl Offer {
    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    fn scheme(&self) -> Option<Scheme> {
        if self.name.eq_ignore_ascii_case("basic") {
            return Some(Scheme::Basic);
        }
        if !self.name.eq_ignore_ascii_case("digest") {
            return None;
        }
        let algorithm = self.get("algorithm");
        let (hash, is_session) = match algorithm.unwrap_or("MD5").to_ascii_uppercase().as_str() {
            "MD5" => (Hash::Md5, false),
            "MD5-SESS" => (Hash::Md5, true),
            "SHA-256" => (Hash::Sha256, false),
            "SHA-256-SESS" => (Hash::Sha256, true),
            _ => return None,
        };
        let quality = match self.get("qop") {
            None => None,
            Some(offered) => {
                let has = |wanted: &str| offered.split(',').any(|word| word.trim().eq_ignore_ascii_case(wanted));
                Some(["auth", "auth-int"].into_iter().find(|wanted| has(wanted))?)
            }
        };
        Some(Scheme::Digest(Digest {
            realm: self.get("realm").unwrap_or_default().to_owned(),
            nonce: self.get("nonce")?.to_owned(),
            opaque: self.get("opaque").map(str::to_owned),
            hash,
            is_session,
            algorithm: algorithm.map(str::to_owned),
            quality,
            is_stale: self.get("stale").is_some_and(|stale| stale.eq_ignore_ascii_case("true")),
        }))
    }
}

/// Splits a field into its challenges (RFC 9110, 11.6.1): each a name, then parameters, commas
/// between the parameters and between the challenges too. What follows no grammar is left out.
fn challenges(field: &str) -> Vec<Offer> {
    let mut offers: Vec<Offer> = Vec::new();
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let end = rest.find(|c: char| !is_token(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        if word.is_empty() {
            // Neither a name nor a parameter: go on after the next comma.
            match rest.find(',') {
                Some(comma) => rest = &rest[comma..],
                None => return offers,
            }
            continue;
        }
        let value = after.trim_start_matches([' ', '\t']).strip_prefix('=');
        match (value.map(|value| value.trim_start_matches([' ', '\t'])), offers.last_mut()) {
            (Some(value), Some(offer)) => {
                let (value, after) = read_value(value);
                offer.parameters.push((word.to_owned(), value));
                rest = after;
            }
            (Some(_), None) => rest = after.trim_start_matches([' ', '\t', '=']),
            (None, _) => {
                offers.push(Offer { name: word.to_owned(), parameters: Vec::new() });
                rest = after;
            }
        }
    }
}

/// Reads a token or a quoted string; returns what is behind it too.
fn read_value(text: &str) -> (String, &str) {
    let Some(inner) = text.strip_prefix('"') else {
        let end = text.find([',', ' ', '\t']).unwrap_or(text.len());
        return (text[..end].to_owned(), &text[end..]);
    };
    let (mut value, mut chars) = (String::new(), inner.char_indices());
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &inner[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

fn is_token(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c)
}

fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn basic_is_as_rfc_7617_has_it() {
        let aladdin = Credentials { user: "Aladdin".into(), password: "open sesame".into() };
        assert_eq!(Scheme::Basic.answer(&aladdin, "", "", ""), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
    }

    /// RFC 7616, 3.9.1.
    #[test]
    fn digest_is_as_rfc_7616_has_it() {
        let mufasa = Credentials { user: "Mufasa".into(), password: "Circle of Life".into() };
        let challenge = |algorithm: &str| {
            format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", \
                 opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            )
        };
        let answer = |field: &str| {
            let scheme = best([field]).unwrap();
            scheme.answer(&mufasa, "GET", "/dir/index.html", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")
        };
        let md5 = answer(&challenge("MD5"));
        assert!(md5.contains("response=\"8ca523f5e9506fed4657c9700eebdbec\""), "{md5}");
        let sha = answer(&challenge("SHA-256"));
        assert!(sha.contains("response=\"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1\""), "{sha}");
        for part in [
            "username=\"Mufasa\"",
            "uri=\"/dir/index.html\"",
            "algorithm=SHA-256",
            "qop=auth, nc=00000001",
            "cnonce=\"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ\"",
            "opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"",
        ] {
            assert!(sha.contains(part), "{part} in {sha}");
        }
        assert!(!sha.contains("Circle"));
        // Of several the best, in one field or in several.
        let both = format!("Basic realm=x, {}, {}", challenge("MD5"), challenge("SHA-256"));
        assert_eq!(answer(&both), sha);
        // RFC 2069: without qop.
        let old = answer("Digest realm=\"r\", nonce=\"n\"");
        assert!(!old.contains("qop") && !old.contains("cnonce"), "{old}");
    }

    #[test]
    fn fields_are_split_into_challenges() {
        let names = |field: &str| names([field]);
        assert_eq!(
            names("Negotiate, Basic realm=\"a, b\", Digest realm=x,nonce=\"y\\\"z\""),
            ["Negotiate", "Basic", "Digest"]
        );
        assert_eq!(names("NTLM"), ["NTLM"]);
        assert_eq!(names("NTLM TlRMTVNTUAAC=="), ["NTLM"]);
        assert!(names("").is_empty() && names(",,=\"").is_empty());
        assert_eq!(best(["NTLM", "basic realm=x"]), Some(Scheme::Basic));
        assert_eq!(best(["Digest realm=x, nonce=y, algorithm=SHA-512-256"]), None);
        assert_eq!(best(["Digest realm=x, nonce=y, qop=other"]), None);
        let Some(Scheme::Digest(digest)) = best(["digest realm=\"x\\\"\", nonce=y, stale=TRUE"]) else { panic!() };
        assert!(digest.is_stale && digest.realm == "x\"");
        assert_eq!(quote("a\"\\"), "\"a\\\"\\\\\"");
    }

    proptest! {
        #[test]
        fn hostile_fields_do_no_harm(field in "[Digest realm=,\"\\\\\u{e9} ]{0,200}") {
            let _ = (best([field.as_str()]), names([field.as_str()]));
        }
    }
}
