//! Through whom to connect: `--proxy`, who we are to each of them, and the PROXY protocol.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::port::Port;
use super::target::{self, Host, Target};
use crate::packet::dialogue::Credentials;
use crate::packet::proxy_protocol::Version;
use crate::packet::socks;

/// The port of SOCKS, as IANA has it.
const SOCKS_PORT: u16 = 1080;

/// The variables that hold a user and the password.
const VARIABLES: [&str; 2] = ["SOCKEYE_PROXY_USER", "SOCKEYE_PROXY_PASSWORD"];

/// What is said of a password where others can read it.
const NOT_HERE: &str = "a password does not belong on the command line, where others can read it (ps): leave it out of \
                        the URL, and put USER:PASSWORD into a file for --proxy-user-file, or set SOCKEYE_PROXY_USER \
                        and SOCKEYE_PROXY_PASSWORD";

/// What is said where a user could belong to any of several proxies.
const UNCLEAR: &str = "of several proxies, say in the URL to which the user belongs: USER@HOST";

/// The words for proxies.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Proxies")]
pub struct ProxyWords {
    /// Connect through this proxy: socks5://HOST:PORT (the target's name is looked up here), socks5h://
    /// (there), socks4a:// (there), http:// (CONNECT; there). Without PORT it is 1080, save for http.
    /// Repeatable: a chain, the first is the nearest. A user may stand before the host: socks5://USER@HOST
    #[arg(long = "proxy", value_name = "URL")]
    urls: Vec<OsString>,
    /// Read the credentials for the proxies from this file, a line USER:PASSWORD each; without it
    /// SOCKEYE_PROXY_USER and SOCKEYE_PROXY_PASSWORD (username and password) say who we are
    #[arg(long = "proxy-user-file", value_name = "FILE", requires = "urls")]
    pub user_file: Option<PathBuf>,
    /// Begin with a header of the PROXY protocol that tells the two ends of our connection, as a load
    /// balancer does
    #[arg(long = "proxy-protocol", value_name = "VERSION", value_enum)]
    header: Option<VersionWord>,
    /// The proxies, the nearest first.
    #[arg(skip)]
    pub chain: Vec<Proxy>,
}

/// A version of the PROXY protocol, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum VersionWord {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

/// How a proxy is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// SOCKS5, names looked up here.
    Socks5,
    /// SOCKS5, names looked up there.
    Socks5h,
    /// SOCKS4A.
    Socks4a,
    /// HTTP CONNECT.
    Http,
}

impl Protocol {
    /// Returns the name that events use.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Socks5 | Self::Socks5h => "socks5",
            Self::Socks4a => "socks4a",
            Self::Http => "http",
        }
    }

    /// Returns whether names are looked up here, not there.
    #[must_use]
    pub fn resolves_here(self) -> bool {
        self == Self::Socks5
    }
}

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// How it is spoken to.
    pub protocol: Protocol,
    /// Where it is.
    pub host: Host,
    /// Its port.
    pub port: u16,
    /// The user that its URL names.
    user: Option<String>,
    /// Who we are to it.
    pub credentials: Option<Credentials>,
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl Proxy {
    /// Parses a URL. What is wrong with it is said without its user, for it may have a password.
    fn parse(url: &OsString) -> Result<Self, String> {
        let url = target::text(url).map_err(|_| "--proxy: the URL is not UTF-8".to_owned())?;
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("--proxy takes a URL: socks5://HOST:PORT, socks5h://, socks4a:// or http://".to_owned());
        };
        let protocol = match scheme.to_ascii_lowercase().as_str() {
            "socks5" => Protocol::Socks5,
            "socks5h" => Protocol::Socks5h,
            "socks4a" => Protocol::Socks4a,
            "http" => Protocol::Http,
            _ => {
                let scheme = scheme.escape_default();
                return Err(format!("--proxy: '{scheme}' is none of socks5, socks5h, socks4a and http"));
            }
        };
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, _)) if user.contains(':') => return Err(format!("--proxy: {NOT_HERE}")),
            Some((user, place)) => (Some(decoded(user)?), place),
            None => (None, rest),
        };
        let place = place.strip_suffix('/').unwrap_or(place);
        let wrong = |error: String| format!("--proxy: {error}");
        let (host, port) = target::split(place).map_err(wrong)?;
        target::check_ascii(place).map_err(wrong)?;
        if matches!(host, Host::Ip(std::net::IpAddr::V6(_), _)) && !place.starts_with('[') {
            return Err(format!("--proxy: in a URL an IPv6 address stands in brackets: {host}:PORT"));
        }
        let port = match (port, protocol) {
            (Some(port), _) if !port.is_empty() => Port::parse_remote(port).map_err(wrong)?.0,
            (_, Protocol::Http) => return Err(format!("--proxy: the port is missing: http://{host}:PORT")),
            _ => SOCKS_PORT,
        };
        let proxy = Self { protocol, host, port, user, credentials: None };
        proxy.user.as_deref().map_or(Ok(()), |user| proxy.check_user(user, "")).map(|()| proxy)
    }

    /// Sets who we are to it, where that is one whom it can be told of.
    fn tell(&mut self, user: &str, password: &str) -> Result<(), String> {
        self.check_user(user, password)?;
        self.credentials = Some(Credentials { user: user.to_owned(), password: password.to_owned() });
        Ok(())
    }

    /// Checks what the protocol can carry. The words name no secret.
    fn check_user(&self, user: &str, password: &str) -> Result<(), String> {
        let fits = |text: &str| text.len() <= socks::LONGEST;
        if user.is_empty() || [user, password].iter().any(|text| text.chars().any(char::is_control)) {
            return Err("a user of a proxy is not empty, and neither it nor its password has control characters".into());
        }
        match self.protocol {
            Protocol::Http if user.contains(':') => {
                Err("a user of an HTTP proxy cannot have a colon (RFC 7617)".into())
            }
            Protocol::Socks5 | Protocol::Socks5h if !fits(user) || !fits(password) => {
                Err(format!("SOCKS5 takes a user and a password of at most {} bytes", socks::LONGEST))
            }
            _ => Ok(()),
        }
    }
}

/// Reads `%40` and the like (RFC 3986, 2.1).
fn decoded(text: &str) -> Result<String, String> {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| (*byte as char).to_digit(16));
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let (high, low) = (digit(rest.next().as_ref()), digit(rest.next().as_ref()));
                let code = high.zip(low).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                code.ok_or("--proxy: in the user '%' begins two hexadecimal digits")?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "--proxy: the user is not UTF-8".to_owned())
}

impl ProxyWords {
    /// Returns the version of the PROXY protocol that is to be sent.
    #[must_use]
    pub fn version(&self) -> Option<Version> {
        self.header.map(|word| match word {
            VersionWord::V1 => Version::V1,
            VersionWord::V2 => Version::V2,
        })
    }

    /// Returns a word that was given, by its name.
    pub(super) fn given(&self) -> Option<&'static str> {
        match (self.urls.is_empty(), self.header) {
            (false, _) => Some("--proxy"),
            (true, Some(_)) => Some("--proxy-protocol"),
            (true, None) => None,
        }
    }

    /// Returns whether the names of targets are looked up by a proxy.
    #[must_use]
    pub fn resolves_there(&self) -> bool {
        self.chain.last().is_some_and(|last| !last.protocol.resolves_here())
    }

    /// Makes the chain of the words, and of the environment where no file is named.
    pub(super) fn check(&mut self) -> Result<(), String> {
        self.chain = self.urls.iter().map(Proxy::parse).collect::<Result<_, _>>()?;
        if self.user_file.as_deref().is_some_and(|file| file == Path::new("-")) {
            return Err("--proxy-user-file takes a file: users are not read from stdin, which is the peer's".to_owned());
        }
        if self.user_file.is_some() && self.is_unclear() {
            return Err(UNCLEAR.to_owned());
        }
        if self.chain.is_empty() || self.user_file.is_some() {
            return Ok(());
        }
        let [user, password] = VARIABLES.map(|name| match std::env::var(name) {
            Ok(value) => Ok(Some(value)),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(format!("{name} is not UTF-8")),
        });
        let (user, password) = (user?.filter(|user| !user.is_empty()), password?);
        self.introduce(|named| match (named, &user, &password) {
            (Some(named), Some(user), _) if named != user => None,
            (Some(named), _, Some(password)) => Some((named.to_owned(), password.clone())),
            (None, Some(user), password) => Some((user.clone(), password.clone().unwrap_or_default())),
            (Some(_), _, None) | (None, None, _) => None,
        })?;
        if let (None, Some(proxy)) =
            (&password, self.chain.iter().find(|proxy| proxy.credentials.is_some() && !is_without_password(proxy)))
        {
            return Err(format!("for the proxy {proxy} the password is missing: set {}", VARIABLES[1]));
        }
        Ok(())
    }

    /// Takes what the file has: the first line is of the proxies whose URL names no user. The words of
    /// the error name no secret.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read_users(&mut self, file: &[u8]) -> Result<(), String> {
        let text = std::str::from_utf8(file).map_err(|_| "it is not UTF-8".to_owned())?;
        let lines = text.lines().enumerate().filter(|(_, line)| !line.is_empty());
        let users =
            lines.map(|(at, line)| line.split_once(':').ok_or_else(|| format!("line {} is not USER:PASSWORD", at + 1)));
        let users: Vec<(&str, &str)> = users.collect::<Result<_, _>>()?;
        if users.is_empty() {
            return Err("it has no line USER:PASSWORD".to_owned());
        }
        self.introduce(|named| {
            let user = match named {
                Some(named) => users.iter().find(|(user, _)| *user == named),
                None => users.first(),
            };
            user.map(|(user, password)| ((*user).to_owned(), (*password).to_owned()))
        })
    }

    /// Sets who we are to each proxy, as `whose` says of the user that its URL names. A secret goes to
    /// the one proxy that it can only be meant for.
    fn introduce(&mut self, whose: impl Fn(Option<&str>) -> Option<(String, String)>) -> Result<(), String> {
        let (is_chain, is_unclear) = (self.chain.len() > 1, self.is_unclear());
        for proxy in &mut self.chain {
            let named = proxy.user.clone();
            match (whose(named.as_deref()), named) {
                (Some(_), None) if is_unclear => return Err(UNCLEAR.to_owned()),
                // Of a chain in which some have a user the others have none.
                (Some(_), None) if is_chain => {}
                (Some((user, password)), _) => proxy.tell(&user, &password)?,
                (None, Some(user)) if is_without_password(proxy) => proxy.tell(&user, "")?,
                (None, Some(_)) => {
                    return Err(format!(
                        "for the proxy {proxy} the password of its user is missing: it stands in no --proxy-user-file, \
                         nor in {}",
                        VARIABLES[1]
                    ));
                }
                (None, None) => {}
            }
        }
        Ok(())
    }

    /// Returns whether a user could belong to any of several proxies.
    fn is_unclear(&self) -> bool {
        self.chain.len() > 1 && self.chain.iter().all(|proxy| proxy.user.is_none())
    }

    /// Checks the chain against a target.
    pub(super) fn check_target(&self, target: &Target) -> Result<(), String> {
        if let (Some(word), Target::Unix(_)) = (self.given(), target) {
            return Err(format!("{word} is for TCP, and {target} is a unix socket"));
        }
        let Target::Inet(host, port) = target else { return Ok(()) };
        let nexts = self.chain.iter().skip(1).map(|proxy| (&proxy.host, proxy.port));
        for (proxy, (host, port)) in self.chain.iter().zip(nexts.chain([(host, *port)])) {
            match host {
                Host::Ip(_, Some(_)) => {
                    return Err(format!("{host}:{port} has a zone, which the proxy {proxy} cannot know"));
                }
                Host::Ip(std::net::IpAddr::V6(_), _) if proxy.protocol == Protocol::Socks4a => {
                    return Err(format!("SOCKS4A has no IPv6: the proxy {proxy} cannot be asked for {host}:{port}"));
                }
                Host::Name(name) if !proxy.protocol.resolves_here() => target::check_ascii(name)?,
                Host::Ip(..) | Host::Name(_) => {}
            }
        }
        Ok(())
    }
}

/// Returns whether a proxy is told a user without a password.
fn is_without_password(proxy: &Proxy) -> bool {
    proxy.protocol == Protocol::Socks4a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(url: &str) -> Result<Proxy, String> {
        Proxy::parse(&url.into())
    }

    fn chain(urls: &[&str]) -> ProxyWords {
        ProxyWords { chain: urls.iter().map(|url| parsed(url).unwrap()).collect(), ..ProxyWords::default() }
    }

    #[test]
    fn urls_name_protocol_host_port_and_user() {
        for (url, protocol, place, user) in [
            ("socks5://127.0.0.1", Protocol::Socks5, "127.0.0.1:1080", None),
            ("SOCKS5h://[::1]:9050/", Protocol::Socks5h, "[::1]:9050", None),
            ("socks4a://joe@proxy.example", Protocol::Socks4a, "proxy.example:1080", Some("joe")),
            ("http://a%40b@proxy:3128", Protocol::Http, "proxy:3128", Some("a@b")),
        ] {
            let proxy = parsed(url).unwrap();
            assert_eq!((proxy.protocol, proxy.to_string().as_str()), (protocol, place));
            assert_eq!(proxy.user.as_deref(), user);
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_its_secret() {
        for (url, words) in [
            ("127.0.0.1:1080", "takes a URL"),
            ("https://x:1", "none of socks5"),
            ("socks4://x", "none of socks5"),
            ("http://proxy", "port is missing"),
            ("socks5://x:0", "port"),
            ("socks5://", "host is missing"),
            ("socks5://@x", "not empty"),
            ("socks5://::1", "brackets"),
            ("socks5://a%4@x", "hexadecimal"),
            ("http://a%3Ab@x:1", "colon"),
            ("socks5://joe:geheim@proxy", "--proxy-user-file"),
            ("socks5://joe:geheim@x y", "SOCKEYE_PROXY_PASSWORD"),
            ("socks5://joe:ge@heim@proxy", "--proxy-user-file"),
        ] {
            let told = parsed(url).unwrap_err();
            assert!(told.contains(words) && !told.contains("geheim") && !told.contains("heim@"), "{url}: {told}");
        }
    }

    #[test]
    fn a_secret_goes_to_the_proxy_that_it_is_meant_for() {
        let told = |words: &ProxyWords| {
            let user = |proxy: &Proxy| proxy.credentials.clone().map(|told| format!("{}:{}", told.user, told.password));
            words.chain.iter().map(user).collect::<Vec<_>>()
        };
        let file = b"joe:one:two\r\n\nann:three\n";
        let mut one = chain(&["socks5://x"]);
        one.read_users(file).unwrap();
        assert_eq!(told(&one), [Some("joe:one:two".to_owned())]);
        let mut two = chain(&["socks5://ann@x", "http://joe@y:1", "socks5://z"]);
        two.read_users(file).unwrap();
        assert_eq!(told(&two), [Some("ann:three".to_owned()), Some("joe:one:two".to_owned()), None]);
        for (urls, file, words) in [
            (&["socks5://x", "socks5://y"][..], &file[..], "of several proxies"),
            (&["socks5://sue@x"], file, "password of its user is missing"),
            (&["socks5://x"], b"secret", "line 1"),
            (&["socks5://x"], b"\n", "no line"),
            (&["socks5://x"], b"\xff:x", "UTF-8"),
            (&["socks5://x"], b"a:\x01", "control"),
        ] {
            let told = chain(urls).read_users(file).unwrap_err();
            assert!(told.contains(words) && !told.contains("secret"), "{told}");
        }
        assert!(chain(&["socks5://x"]).read_users(format!("a:{}", "x".repeat(256)).as_bytes()).is_err());
    }

    #[test]
    fn targets_that_a_proxy_cannot_be_asked_for_are_refused() {
        let target = |host: &str| Target::Inet(Host::parse(host).unwrap(), 80);
        assert!(chain(&["socks5://x"]).check_target(&target("fe80::1%lo")).unwrap_err().contains("zone"));
        assert!(chain(&["socks4a://x"]).check_target(&target("::1")).unwrap_err().contains("no IPv6"));
        assert!(chain(&["socks4a://x", "socks5://[::1]"]).check_target(&target("a")).is_err());
        assert!(chain(&["socks4a://[::1]", "socks5://x"]).check_target(&target("::1")).is_ok());
    }
}
