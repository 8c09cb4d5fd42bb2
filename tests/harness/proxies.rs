//! Proxies that others wrote, and what the events say of them, in strict types of our own.

use std::process::Command;

use serde::Deserialize;

use super::net::{Family, TempDir, output_of, require};
use super::peers::Peer;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proxy {
    pub(crate) conn: u64,
    pub(crate) proxy: String,
    pub(crate) protocol: String,
    pub(crate) target: String,
    pub(crate) resolved_by: Option<String>,
    pub(crate) authentication: Option<String>,
    pub(crate) bound: Option<String>,
    pub(crate) reply: String,
    pub(crate) code: u16,
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) steps: Vec<ProxyStep>,
    pub(crate) duration_ns: u64,
}

impl Proxy {
    /// Returns the names of its steps, whose times are in that of the whole.
    #[track_caller]
    pub(crate) fn steps(&self) -> Vec<&str> {
        let sum: u64 = self.steps.iter().map(|step| step.duration_ns).sum();
        assert!(self.steps.iter().all(|step| step.duration_ns > 0) && sum <= self.duration_ns, "{self:?}");
        self.steps.iter().map(|step| step.name.as_str()).collect()
    }
}

/// One question to a proxy, and its answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProxyStep {
    pub(crate) name: String,
    pub(crate) duration_ns: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProxyProtocol {
    pub(crate) conn: u64,
    pub(crate) version: u8,
    pub(crate) command: String,
    pub(crate) proxied_peer: Option<String>,
    pub(crate) proxied_local: Option<String>,
    #[serde(default)]
    pub(crate) tlvs: Vec<Tlv>,
    pub(crate) bytes: u64,
    pub(crate) duration_ns: Option<u64>,
}

/// What a header of the PROXY protocol says besides its addresses.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tlv {
    #[serde(rename = "type")]
    pub(crate) kind: u8,
    pub(crate) name: Option<String>,
    pub(crate) data: Option<String>,
    pub(crate) data_base64: Option<String>,
}

/// Starts microsocks, a SOCKS5 server; `login` is `USER:PASSWORD`.
pub(crate) fn microsocks(family: Family, login: Option<&str>) -> Peer {
    Peer::daemon("microsocks", family, |port| {
        let mut words = vec!["-i".to_owned(), family.host(), "-p".to_owned(), port.to_string()];
        if let Some((user, password)) = login.and_then(|login| login.split_once(':')) {
            words.extend(["-u", user, "-P", password].map(str::to_owned));
        }
        words
    })
}

/// Starts Dante, a server of SOCKS4 and SOCKS5, that lets nobody through to `blocked`.
pub(crate) fn dante(dir: &TempDir, family: Family, blocked: &str) -> Peer {
    Peer::daemon("danted", family, |port| {
        let (host, any) = match family {
            Family::V4 => (family.host(), "0.0.0.0/0"),
            Family::V6 => (family.host(), "::/0"),
        };
        let path = dir.path().join(format!("danted-{port}.conf"));
        let config = format!(
            "logoutput: stderr\ninternal: {host} port = {port}\nexternal: lo\nexternal.rotation: route\n\
             socksmethod: none\nclientmethod: none\nuser.privileged: root\nuser.unprivileged: nobody\n\
             client pass {{ from: {any} to: {any} }}\n\
             socks block {{ from: {any} to: {blocked} }}\n\
             socks pass {{ from: {any} to: {any} protocol: tcp }}\n"
        );
        std::fs::write(&path, config).expect("a file can be written");
        vec!["-f".to_owned(), path.display().to_string()]
    })
}

/// Starts OpenSSH's `ssh -D`, a server of SOCKS4A and SOCKS5 whose far end looks names up. That far end is an sshd
/// with keys of its own behind a pipe, so that it needs no port.
pub(crate) fn ssh(dir: &TempDir, family: Family) -> Peer {
    require(&["ssh-keygen", "sshd", "unshare"]);
    let path = |file: &str| dir.path().join(file).display().to_string();
    for file in ["host", "client"] {
        output_of(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &path(file)])).unwrap();
    }
    let config = format!(
        "HostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\nPidFile none\n",
        path("host"),
        path("client.pub")
    );
    std::fs::write(path("config"), config).expect("a file can be written");
    // As root it wants a folder that only its service makes: it gets one that nobody else sees.
    let sshd = format!("exec \"$(command -v sshd)\" -i -f {}", path("config"));
    let in_root = "[ \"$1\" ] || [ \"$(id -u)\" != 0 ] || exec unshare -m sh \"$0\" again";
    let script = format!("{in_root}\n[ -z \"$1\" ] || {{ mount -t tmpfs tmpfs /run && mkdir /run/sshd; }}\n{sshd}\n");
    std::fs::write(path("far"), script).expect("a file can be written");
    Peer::daemon("ssh", family, |port| {
        let mut words: Vec<String> = ["-F", "none", "-N", "-n", "-i", &path("client"), "-D"].map(str::to_owned).into();
        words.push(family.at(port).to_string());
        for option in [
            "IdentitiesOnly=yes",
            "UserKnownHostsFile=/dev/null",
            "StrictHostKeyChecking=no",
            "ExitOnForwardFailure=yes",
            &format!("ProxyCommand=sh {}", path("far")),
        ] {
            words.extend(["-o".to_owned(), option.to_owned()]);
        }
        words.push("far".to_owned());
        words
    })
}

/// Starts tinyproxy, an HTTP proxy that closes after each refusal; `login` is `USER PASSWORD`.
pub(crate) fn tinyproxy(dir: &TempDir, family: Family, login: Option<&str>) -> Peer {
    Peer::daemon("tinyproxy", family, |port| {
        let path = dir.path().join(format!("tinyproxy-{port}.conf"));
        let login = login.map(|login| format!("BasicAuth {login}\n")).unwrap_or_default();
        let config = format!("Port {port}\nListen {}\nTimeout 60\nMaxClients 20\n{login}", family.host());
        std::fs::write(&path, config).expect("a file can be written");
        vec!["-d".to_owned(), "-c".to_owned(), path.display().to_string()]
    })
}

/// Starts Ncat as an HTTP proxy, which takes Basic and Digest; `login` is `USER:PASSWORD`.
pub(crate) fn ncat(family: Family, login: Option<&str>) -> Peer {
    Peer::daemon("ncat", family, |port| {
        let mut words: Vec<String> = ["-k", "-l", "--proxy-type", "http"].map(str::to_owned).into();
        words.extend([family.host(), port.to_string()]);
        words.extend(login.map(|login| format!("--proxy-auth={login}")));
        words
    })
}

/// Starts haproxy with a front and a back: a `listen` section with these lines, `PORT` being where it
/// listens.
pub(crate) fn haproxy(dir: &TempDir, family: Family, section: &str) -> Peer {
    Peer::daemon("haproxy", family, |port| {
        let path = dir.path().join(format!("haproxy-{port}.cfg"));
        let config = format!(
            "global\n  log stderr format raw daemon\ndefaults\n  mode tcp\n  timeout connect 10s\n  timeout client 60s\n  \
             timeout server 60s\nlisten l\n{}\n",
            section.replace("PORT", &port.to_string())
        );
        std::fs::write(&path, config).expect("a file can be written");
        vec!["-db".to_owned(), "-f".to_owned(), path.display().to_string()]
    })
}
