//! Wrong command lines: exit 2, stdout empty, the message on stderr, before any socket exists; and
//! right ones that must be understood.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use crate::harness::events::{Connect, Error, Resolve, Setsockopt, Value};
use crate::harness::net::{Net, TempDir, listener};
use crate::harness::{Family, Sockeye, require};

/// Command lines that are wrong, and what the message must contain. Words are split at blanks;
/// `_` stands for an empty word.
const WRONG: &[(&str, &[&str])] = &[
    // No subcommand, or none that there is.
    ("", &["Usage"]),
    ("nosuch", &["nosuch"]),
    ("serv 80", &["serv"]),
    ("--nosuch", &["--nosuch"]),
    // serve: where to listen.
    ("serve", &["PORT"]),
    ("serve 65536", &["65536"]),
    ("serve 99999", &["99999"]),
    ("serve -- -1", &["-1"]),
    ("serve 80x", &["80x"]),
    ("serve nosuchservice", &["nosuchservice"]),
    ("serve _", &["PORT"]),
    ("serve :", &[":"]),
    ("serve :nosuchservice", &["nosuchservice"]),
    ("serve 127.0.0.1", &["127.0.0.1"]),
    ("serve 127.0.0.1:", &["127.0.0.1:"]),
    ("serve 127.0.0.1:65536", &["65536"]),
    ("serve 127.0.0.1:0:0", &["127.0.0.1:0:0"]),
    ("serve ::1", &["::1"]),
    ("serve [::1]", &["[::1]"]),
    ("serve [::1:80", &["[::1:80"]),
    ("serve [::1]80", &["[::1]80"]),
    ("serve 8000-8010", &["8000-8010"]),
    ("serve 80,81", &["80,81"]),
    ("serve 0 0", &["0"]),
    ("serve -4 [::1]:0", &["-4"]),
    ("serve -6 127.0.0.1:0", &["-6"]),
    ("serve -4 -6 0", &["--ipv4", "--ipv6"]),
    ("serve 127.0.0.1:0 --source 127.0.0.2", &["--source"]),
    // serve: what to do.
    ("serve 0 --echo --discard", &["--echo", "--discard"]),
    ("serve 0 --echo --when a b", &["--echo", "--when"]),
    ("serve 0 --discard --when a b", &["--discard", "--when"]),
    ("serve 0 --discard --when-regex a b", &["--discard", "--when-regex"]),
    ("serve 0 --discard --otherwise b", &["--discard", "--otherwise"]),
    ("serve 0 --when a", &["--when"]),
    ("serve 0 --when", &["--when"]),
    ("serve 0 --when-regex ( b", &["--when-regex"]),
    ("serve 0 --prefix", &["--prefix"]),
    ("serve 0 --nosuch", &["--nosuch"]),
    ("serve 0 --source-bytes 0", &["--source-bytes", "0"]),
    ("serve 0 --source-bytes 1x", &["--source-bytes", "1x"]),
    ("serve 0 --source-bytes --echo", &["--source-bytes", "--echo"]),
    ("serve 0 --source-bytes --discard", &["--source-bytes", "--discard"]),
    ("serve 0 --source-bytes --prefix x", &["--source-bytes", "--prefix"]),
    ("serve 0 --source-bytes --when a b", &["--source-bytes", "--when"]),
    ("serve 0 --source-bytes --otherwise b", &["--source-bytes", "--otherwise"]),
    ("serve 0 --source-bytes --messages 1", &["--source-bytes", "--messages"]),
    ("serve 0 --source-bytes --relay", &["--source-bytes", "--relay"]),
    ("serve 0 --source-bytes --broker", &["--source-bytes", "--broker"]),
    ("serve 0 --source-bytes --crlf", &["--source-bytes", "--crlf"]),
    ("serve 0 --source-bytes --hex", &["--source-bytes", "--hex"]),
    ("serve 0 --broker --echo", &["--broker", "--echo"]),
    ("serve 0 --broker --discard", &["--broker", "--discard"]),
    ("serve 0 --broker --messages 1", &["--broker", "--messages"]),
    ("serve 0 --broker --relay", &["--broker", "--relay"]),
    ("serve 0 --broker --lf", &["--broker", "--lf"]),
    ("serve 0 --broker --fault hang", &["--broker", "--fault"]),
    // serve: how to misbehave.
    ("serve 0 --fault", &["--fault"]),
    ("serve 0 --fault nosuch", &["--fault", "half-close"]),
    ("serve 0 --fault reset=1", &["reset"]),
    ("serve 0 --fault slow", &["slow=1000/s"]),
    ("serve 0 --fault slow=fast", &["1000/s"]),
    ("serve 0 --fault slow=1000", &["1000/s"]),
    ("serve 0 --fault slow=0/s", &["0.001/s"]),
    ("serve 0 --fault close-after=0", &["--messages 0"]),
    ("serve 0 --fault close-after", &["close-after=64KiB"]),
    ("serve 0 --fault delay=0", &["0"]),
    ("serve 0 --fault delay", &["delay=2s"]),
    ("serve 0 --fault hang --fault reset", &["--fault"]),
    ("serve 0 --fault hang --relay", &["--fault", "--relay"]),
    ("serve 0 --fault hang --echo", &["hang"]),
    ("serve 0 --fault reset --prefix x", &["reset"]),
    ("serve 0 --fault half-close --discard", &["half-close"]),
    ("serve 0 --fault half-close --messages 1", &["half-close"]),
    ("serve 0 --fault hang --source-bytes", &["hang"]),
    ("serve 0 --fault never-accept --when a b", &["never-accept"]),
    ("serve 0 --fault never-accept --timeout 1s", &["--timeout", "never-accept"]),
    ("serve 0 --fault never-accept --recv-size 5", &["--recv-size", "never-accept"]),
    ("serve 0 --fault reset --recv-size 5", &["--recv-size", "reset"]),
    ("serve 0 --fault hang --recv-size 64KiB", &["--recv-size", "hang"]),
    ("serve 0 --tls-self-signed --fault handshake-cut --recv-size 5", &["--recv-size", "handshake-cut"]),
    ("unix-serve @x --fault reset --recv-size 5", &["--recv-size", "reset"]),
    ("unix-serve @x --type dgram --fault hang --recv-size 5", &["--recv-size", "hang"]),
    ("serve 0 --fault reset --timeout 1", &["--timeout", "reset"]),
    ("serve 0 --fault never-accept --count 1", &["--count", "never-accept"]),
    ("serve 0 --fault never-accept --max-connections 1", &["--max-connections", "never-accept"]),
    ("serve 0 --fault never-accept --deny 127.0.0.1", &["--deny", "never-accept"]),
    ("serve 0 --fault delay=1s --discard", &["--discard", "delay"]),
    ("serve 0 --fault delay=1s --messages 0", &["--messages 0", "delay"]),
    ("serve 0 --fault close-after=10 --source-bytes 10", &["close-after", "--source-bytes"]),
    // serve: limits.
    ("serve 0 --backlog -1", &["--backlog"]),
    ("serve 0 --backlog many", &["--backlog", "many"]),
    ("serve 0 --recv-size 0", &["--recv-size", "0"]),
    ("serve 0 --recv-size -1", &["--recv-size"]),
    ("serve 0 --recv-size 4x", &["--recv-size", "4x"]),
    ("serve 0 --recv-size _", &["--recv-size"]),
    ("serve 0 --max-connections 0", &["--max-connections", "0"]),
    ("serve 0 --max-connections x", &["--max-connections", "x"]),
    ("serve 0 --messages x", &["--messages", "x"]),
    ("serve 0 --messages -1", &["--messages"]),
    ("serve 0 --count x", &["--count", "x"]),
    ("serve 0 --count 1.5", &["--count", "1.5"]),
    ("serve 0 --allow 127.0.0.1/33", &["--allow", "127.0.0.1/33"]),
    ("serve 0 --allow ::1/129", &["--allow", "::1/129"]),
    ("serve 0 --deny neighbours", &["--deny", "neighbours"]),
    ("serve 0 --deny 10.0.0.0/", &["--deny", "10.0.0.0/"]),
    // Proxies, and the PROXY protocol.
    ("serve 0 --proxy-protocol --fault never-accept", &["--proxy-protocol", "never-accept"]),
    ("unix-serve @x --proxy-protocol --fault never-accept", &["--proxy-protocol", "never-accept"]),
    ("unix-serve @x --proxy-protocol --type dgram", &["--proxy-protocol", "dgram"]),
    ("unix-serve @x --proxy-protocol --type seqpacket", &["--proxy-protocol", "seqpacket"]),
    ("connect localhost 80 --proxy", &["--proxy"]),
    ("connect localhost 80 --proxy localhost:1080", &["socks5://"]),
    ("connect localhost 80 --proxy https://x:1", &["https", "socks5h"]),
    ("connect localhost 80 --proxy http://x", &["port", "http://x:PORT"]),
    ("connect localhost 80 --proxy socks5://x:99999", &["99999"]),
    ("connect localhost 80 --proxy socks5://a:b@x", &["--proxy-user-file", "SOCKEYE_PROXY_PASSWORD"]),
    ("connect localhost 80 --proxy socks5://a@x", &["password", "x:1080"]),
    ("connect localhost 80 --proxy-user-file x", &["--proxy"]),
    ("connect localhost 80 --proxy socks5://x --proxy-user-file -", &["--proxy-user-file", "stdin"]),
    ("connect localhost 80 --proxy socks5://x --proxy http://y:1 --proxy-user-file z", &["USER@HOST"]),
    ("connect bücher.example 80 --proxy socks5h://127.0.0.1", &["bücher.example", "xn--"]),
    ("connect bücher.example 80 --proxy socks4a://127.0.0.1", &["bücher.example", "xn--"]),
    ("connect -z a:1 bücher.example:80 --proxy http://127.0.0.1:1", &["bücher.example", "xn--"]),
    ("connect localhost 80 --proxy http://bücher.example:1", &["--proxy", "bücher.example", "xn--"]),
    ("connect unix:/x --proxy socks5://x", &["--proxy", "unix:/x"]),
    ("connect unix:@x --proxy-protocol v1", &["--proxy-protocol", "unix:@x"]),
    ("connect --probe a:1 unix:@x --proxy socks5://x", &["--proxy", "unix:@x"]),
    ("connect ::1 80 --proxy socks4a://x", &["SOCKS4A", "[::1]:80"]),
    ("connect fe80::1%lo 80 --proxy socks5h://x", &["zone"]),
    ("connect localhost 80 x --fast-open --proxy socks5://x", &["--fast-open", "--proxy"]),
    ("connect localhost 80 x --fast-open --proxy-protocol v2", &["--fast-open", "--proxy-protocol"]),
    ("connect localhost 80 --proxy-protocol v3", &["--proxy-protocol", "v3"]),
    ("connect -n localhost 80 --proxy socks5://127.0.0.1", &["localhost", "-n"]),
    ("connect -n localhost 80 --proxy socks5h://proxy", &["proxy", "-n"]),
    ("connect -4 localhost 80 --proxy socks5h://[::1]", &["-4"]),
    ("connect localhost 80 --proxy socks5h://[::1] --source 127.0.0.1", &["--source", "two families"]),
    // TLS.
    ("connect bücher.example 443 --tls", &["bücher.example", "xn--"]),
    ("connect -z localhost:1 bücher.example:443 --tls --insecure", &["bücher.example", "xn--"]),
    ("connect a!b 443 --tls", &["a!b", "--sni"]),
    ("connect localhost 443 --tls --sni _", &["--sni"]),
    ("connect localhost 443 --tls --sni [::1]", &["--sni", "[::1]", "no brackets"]),
    ("connect localhost 443 --tls --sni bücher.example", &["--sni", "bücher.example", "xn--"]),
    ("connect localhost 443 --tls --sni a..b", &["--sni", "a..b"]),
    ("connect localhost 443 --tls --sni -a.example", &["--sni", "-a.example"]),
    ("connect localhost 443 --tls --sni a.example:443", &["--sni", "a.example:443"]),
    ("connect localhost 443 --tls --sni *.example", &["--sni", "*.example"]),
    ("connect localhost 443 --tls --sni a.1", &["--sni", "a.1"]),
    ("connect localhost 443 --tls --pin ::::::abab", &["--pin", "SHA-256"]),
    // Durations.
    ("serve 0 --timeout abc", &["--timeout", "abc"]),
    ("serve 0 --timeout _", &["--timeout"]),
    ("serve 0 --timeout -1", &["--timeout"]),
    ("serve 0 --timeout=-1", &["--timeout", "-1"]),
    ("serve 0 --timeout 5parsecs", &["--timeout", "5parsecs"]),
    ("serve 0 --timeout nan", &["--timeout", "nan"]),
    ("serve 0 --timeout inf", &["--timeout", "inf"]),
    ("serve 0 --timeout 0", &["--timeout", "0"]),
    ("serve 0 --deadline soon", &["--deadline", "soon"]),
    ("connect localhost:80 --connect-timeout x", &["--connect-timeout", "x"]),
    ("connect localhost:80 --resolve-timeout x", &["--resolve-timeout", "x"]),
    ("connect localhost:80 --idle-timeout x", &["--idle-timeout", "x"]),
    ("connect localhost:80 hi --send-delay x", &["--send-delay", "x"]),
    ("connect localhost:80 hi --timeout 99999999999999999999999", &["--timeout"]),
    // connect: whom.
    ("connect", &["TARGET"]),
    ("connect _", &["missing"]),
    ("connect localhost", &[":PORT", " PORT"]),
    ("connect ::1", &[":PORT", " PORT"]),
    ("connect 127.0.0.1", &[":PORT", " PORT"]),
    ("connect [::1]", &[":PORT", " PORT"]),
    ("connect localhost:", &[":PORT", " PORT"]),
    ("connect :80", &["host"]),
    ("connect localhost:65536", &["65536"]),
    ("connect localhost 65536", &["65536"]),
    ("connect localhost hello", &["hello"]),
    ("connect localhost:nosuchservice", &["nosuchservice"]),
    ("connect ::1 nosuchservice", &["nosuchservice"]),
    ("connect [::1]:nosuchservice", &["nosuchservice"]),
    ("connect [::1:80", &["[::1:80"]),
    ("connect unix:x -4 y", &["-4", "unix:x"]),
    ("connect -6 unix:@x", &["-6", "unix:@x"]),
    ("connect --probe -4 unix:x unix:@y", &["-4", "unix:x"]),
    ("connect localhost 22,80", &["22,80", "--probe"]),
    ("connect localhost:22,80", &["22,80", "--probe"]),
    ("connect localhost 8000-8010", &["8000-8010", "--probe"]),
    ("connect --probe localhost 8010-8000", &["8010-8000"]),
    ("connect --probe localhost 80,", &["80,"]),
    ("connect --probe localhost:80 hello", &[":PORT", " PORT"]),
    (
        "connect unix:/a-path-of-more-than-107-bytes/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx hi",
        &["107"],
    ),
    ("connect unix: hi", &["unix"]),
    ("connect -4 ::1 80", &["-4"]),
    ("connect -4 [::1]:80", &["-4"]),
    ("connect -6 127.0.0.1:80", &["-6"]),
    ("connect -4 -6 localhost:80", &["--ipv4", "--ipv6"]),
    ("connect -4 localhost:80 --source ::1", &["::1"]),
    ("connect -6 localhost:80 --source 127.0.0.1", &["127.0.0.1"]),
    // connect: what.
    ("connect localhost:80 --expect (", &["--expect"]),
    ("connect localhost:80 hi --crlf --lf", &["--crlf", "--lf"]),
    ("connect localhost:80 hi --escape --hex", &["--escape", "--hex"]),
    ("connect localhost:80 xyz --hex", &["xyz"]),
    ("connect localhost:80 abc --hex", &["abc"]),
    (r"connect localhost:80 a\q --escape", &[r"\q"]),
    (r"connect localhost:80 a\x4 --escape", &[r"\x4"]),
    (r"connect localhost:80 a\ --escape", &[r"\"]),
    ("connect localhost:80 --on-peer-close maybe", &["--on-peer-close", "maybe"]),
    ("connect localhost:80 hi --recv-size 0", &["--recv-size", "0"]),
    ("connect localhost:80 --probe --echo", &["--echo"]),
    // Socket options.
    ("serve 0 --ttl 0", &["--ttl", "0"]),
    ("serve 0 --ttl 256", &["--ttl", "256"]),
    ("serve 0 --dscp 64", &["--dscp", "64"]),
    ("serve 0 --dscp fastest", &["--dscp", "fastest"]),
    ("serve 0 --mark x", &["--mark", "x"]),
    ("serve 0 --mark 4294967296", &["--mark", "4294967296"]),
    ("serve 0 --mss x", &["--mss", "x"]),
    ("serve 0 --recv-buffer 4XiB", &["--recv-buffer", "4XiB"]),
    ("serve 0 --send-buffer lots", &["--send-buffer", "lots"]),
    ("serve 0 --send-buffer 99999999999999999999k", &["--send-buffer"]),
    ("serve 0 --keepalive x", &["--keepalive", "x"]),
    ("serve 0 --user-timeout x", &["--user-timeout", "x"]),
    ("serve 0 --busy-poll x", &["--busy-poll", "x"]),
    ("serve 0 --source here", &["--source", "here"]),
    ("connect localhost:80 --source 127.0.0.1:65536", &["--source", "65536"]),
    ("connect localhost:80 --source 127.0.0.1 --source 127.0.0.2", &["--source"]),
    // raw-ping: whom, and how.
    ("raw-ping", &["TARGET"]),
    ("raw-ping 192.0.2.0/33", &["192.0.2.0/33"]),
    ("raw-ping host/24", &["host/24"]),
    ("raw-ping 192.0.2.2-192.0.2.1", &["inverted"]),
    ("raw-ping 192.0.2.1-::1", &["two families"]),
    ("raw-ping fd00::/64", &["16777216"]),
    ("raw-ping @", &["@FILE"]),
    ("raw-ping - -", &["stdin"]),
    ("raw-ping -4 ::1", &["-4"]),
    ("raw-ping -6 127.0.0.0/8", &["-6"]),
    ("raw-ping -n localhost", &["-n"]),
    ("raw-ping 127.0.0.1 --size 65508", &["65507"]),
    ("raw-ping 127.0.0.1 --sweep --count 2", &["--sweep", "--count"]),
    ("raw-ping 127.0.0.1 --retry 2", &["--sweep"]),
    ("raw-ping 127.0.0.1 --retry 1 --count 1", &["--sweep"]),
    ("raw-ping 127.0.0.1 --retry 1 --until-reply", &["--sweep"]),
    ("raw-ping 127.0.0.1 --source ::1", &["two families"]),
    ("raw-ping 127.0.0.1 --with tcp-syn --size 100", &["--size"]),
    ("raw-ping 127.0.0.1:80", &["--port 80"]),
    ("raw-ping 127.0.0.1 --flood --interval 1s", &["--flood", "--interval"]),
    ("raw-ping 127.0.0.1 --trace --path-mtu", &["--trace", "--path-mtu"]),
    ("raw-ping 127.0.0.1 --port 80", &["--port", "--with"]),
    ("raw-ping 127.0.0.1 --with tcp-syn --port 0", &["port 0"]),
    ("raw-ping 127.0.0.1 --with tcp-syn --path-mtu", &["--path-mtu"]),
    ("raw-ping 127.0.0.1 --with udp --socket raw", &["--socket"]),
    ("raw-ping 127.0.0.1 --max-loss 101", &["0 to 100"]),
    ("raw-ping 127.0.0.1 --pattern xyz", &["hexadecimal"]),
    ("raw-ping 127.0.0.1 --no-delay", &["--no-delay"]),
    ("raw-ping 127.0.0.1 --source 127.0.0.1:80", &["--source"]),
    ("raw-ping 127.0.0.1 --timeout 0", &["--timeout"]),
    // udp-send: whom, and what.
    ("udp-send", &["TARGET"]),
    ("udp-send localhost", &[":PORT", " PORT"]),
    ("udp-send ::1", &[":PORT", " PORT"]),
    ("udp-send localhost:65536 x", &["65536"]),
    ("udp-send localhost 22,80 x", &["22,80"]),
    ("udp-send localhost:nosuchservice x", &["nosuchservice"]),
    ("udp-send unix:/run/x hi", &["unix", "connect"]),
    ("udp-send unix:@x hi", &["unix", "--type dgram"]),
    ("udp-send -4 ::1 9 x", &["-4"]),
    ("udp-send -6 127.0.0.1:9 x", &["-6"]),
    ("udp-send -4 -6 localhost:9 x", &["--ipv4", "--ipv6"]),
    ("udp-send 127.0.0.1:9 x --source ::1", &["::1", "127.0.0.1"]),
    ("udp-send -4 localhost:9 x --source ::1", &["::1"]),
    ("udp-send localhost:9 x --size 10", &["--size", "MESSAGE"]),
    ("udp-send localhost:9 x --measure", &["--measure", "MESSAGE"]),
    ("udp-send localhost:9 --size 65508", &["--size", "65507"]),
    ("udp-send localhost:9 --size 64KiB", &["--size", "65507"]),
    ("udp-send localhost:9 --size -1", &["--size"]),
    ("udp-send localhost:9 --measure --size 43", &["44"]),
    ("udp-send localhost:9 --one-way", &["--measure"]),
    ("udp-send localhost:9 --measure --one-way --wait 1s", &["--one-way", "--wait"]),
    ("udp-send localhost:9 --crlf", &["MESSAGE"]),
    ("udp-send localhost:9 --size 10 --hex", &["MESSAGE"]),
    ("udp-send localhost:9 x --crlf --lf", &["--crlf", "--lf"]),
    ("udp-send localhost:9 xyz --hex", &["xyz"]),
    // udp-send: when.
    ("udp-send localhost:9 x --rate 1/s --flood", &["--rate", "--flood"]),
    ("udp-send localhost:9 x --rate 1/s --interval 1s", &["--rate", "--interval"]),
    ("udp-send localhost:9 x --flood --interval 1s", &["--flood", "--interval"]),
    ("udp-send localhost:9 x --rate 1000", &["1000/s"]),
    ("udp-send localhost:9 x --rate 0/s", &["0.001/s"]),
    ("udp-send localhost:9 --rate 1Mbit/s", &["bits", "--size"]),
    ("udp-send localhost:9 --size 0 --rate 1Mbit/s", &["bits"]),
    ("udp-send localhost:9 x --count -1", &["--count"]),
    ("udp-send localhost:9 x --count many", &["--count", "many"]),
    ("udp-send localhost:9 x --wait 0", &["--wait", "0"]),
    ("udp-send localhost:9 x --wait x", &["--wait", "x"]),
    ("udp-send localhost:9 x --timeout 0", &["--timeout", "0"]),
    ("udp-send localhost:9 x --interval -1", &["--interval"]),
    // udp-send: options of the socket.
    ("udp-send 127.0.0.1:9 x --multicast-interface lo", &["--multicast-interface", "127.0.0.1"]),
    ("udp-send [::1]:9 x --broadcast", &["--broadcast", "IPv4"]),
    ("udp-send localhost:9 x --keepalive 1s", &["--keepalive", "UDP"]),
    ("udp-send localhost:9 x --no-delay", &["--no-delay", "UDP"]),
    ("udp-send localhost:9 x --mss 1000", &["--mss", "UDP"]),
    ("udp-send localhost:9 x --congestion reno", &["--congestion", "UDP"]),
    ("udp-send localhost:9 x --user-timeout 1s", &["--user-timeout", "UDP"]),
    ("udp-send localhost:9 x --fast-open", &["--fast-open", "UDP"]),
    ("udp-send localhost:9 x --mptcp", &["--mptcp", "UDP"]),
    ("udp-send localhost:9 x --echo", &["--echo"]),
    ("udp-send localhost:9 x --ttl 0", &["--ttl", "0"]),
    // udp-listen.
    ("udp-listen", &["PORT"]),
    ("udp-listen 65536", &["65536"]),
    ("udp-listen nosuchservice", &["nosuchservice"]),
    ("udp-listen ::1", &["::1"]),
    ("udp-listen 0 0", &["0"]),
    ("udp-listen -4 [::1]:0", &["-4"]),
    ("udp-listen -6 127.0.0.1:0", &["-6"]),
    ("udp-listen 127.0.0.1:0 --source 127.0.0.2", &["--source"]),
    ("udp-listen 0 --echo --discard", &["--echo", "--discard"]),
    ("udp-listen 0 --echo --when a b", &["--echo", "--when"]),
    ("udp-listen 0 --discard --prefix x", &["--discard", "--prefix"]),
    ("udp-listen 0 --discard --otherwise x", &["--discard", "--otherwise"]),
    ("udp-listen 0 --when a", &["--when"]),
    ("udp-listen 0 --when-regex ( b", &["--when-regex"]),
    ("udp-listen 0 --measure --echo", &["--measure", "--echo"]),
    ("udp-listen 0 --measure --discard", &["--measure", "--discard"]),
    ("udp-listen 0 --measure --when a b", &["--measure", "--when"]),
    ("udp-listen 0 --measure --recv-size 43", &["--measure", "44"]),
    ("udp-listen 0 --one-way", &["--measure"]),
    ("udp-listen 0 --count 0", &["--count", "0"]),
    ("udp-listen 0 --count -1", &["--count"]),
    ("udp-listen 0 --recv-size 0", &["--recv-size", "0"]),
    ("udp-listen 0 --timeout 0", &["--timeout", "0"]),
    ("udp-listen 0 --join 10.0.0.1", &["10.0.0.1", "multicast"]),
    ("udp-listen 0 --join ::1", &["::1", "multicast"]),
    ("udp-listen 0 --join name", &["name"]),
    ("udp-listen 0 --join 239.1.1.1@", &["--join"]),
    ("udp-listen 0 --join 239.1.1.1,10.0.0.1", &["from=SOURCE"]),
    ("udp-listen 0 --join 232.1.1.1,from=::1", &["::1", "families"]),
    ("udp-listen 0 --join 232.1.1.1,from=239.0.0.1", &["239.0.0.1"]),
    ("udp-listen 0 --join ff02::1", &["ff02::1", "@INTERFACE"]),
    ("udp-listen -4 0 --join ff15::1", &["ff15::1", "family"]),
    ("udp-listen -6 0 --join 239.1.1.1", &["239.1.1.1", "family"]),
    ("udp-listen 127.0.0.1:0 --join ff15::1@lo", &["ff15::1", "family"]),
    ("udp-listen [::1]:0 --join 239.1.1.1", &["239.1.1.1", "family"]),
    ("udp-listen 0 --backlog 5", &["--backlog"]),
    ("udp-listen 0 --max-connections 5", &["--max-connections"]),
    ("udp-listen 0 --messages 5", &["--messages"]),
    ("udp-listen 0 --relay", &["--relay"]),
    ("udp-listen 0 --keepalive 1s", &["--keepalive", "UDP"]),
    ("udp-listen 0 --no-delay", &["--no-delay", "UDP"]),
    ("udp-listen 0 --mss 1000", &["--mss", "UDP"]),
    ("udp-listen 0 --congestion reno", &["--congestion", "UDP"]),
    ("udp-listen 0 --user-timeout 1s", &["--user-timeout", "UDP"]),
    ("udp-listen 0 --fast-open", &["--fast-open", "UDP"]),
    ("udp-listen 0 --mptcp", &["--mptcp", "UDP"]),
    // Output.
    ("serve 0 --format xml", &["--format", "xml"]),
    ("serve 0 --color maybe", &["--color", "maybe"]),
    ("serve 0 --events", &["--events"]),
    // The rest.
    ("completions", &["SHELL"]),
    ("completions tcsh", &["tcsh"]),
    ("man nosuch", &["nosuch"]),
    ("schema extra", &["extra"]),
    ("doctor extra", &["extra"]),
];

/// Plenty for a command line that is refused; one that is taken by mistake is ended then.
const ENOUGH: Duration = Duration::from_secs(2);

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split_whitespace().map(|word| if word == "_" { "" } else { word })
}

#[test]
fn a_wrong_command_line_is_exit_2_with_stdout_empty_and_names_what_is_wrong() {
    let mut wrong = Vec::new();
    for (line, needles) in WRONG {
        let run = Sockeye::new("").args(words(line)).run_or_kill_after(ENOUGH);
        let (code, stderr) = (run.status().code(), run.stderr());
        if code != Some(2) || !run.stdout().is_empty() {
            wrong.push(format!("sockeye {line}: {}\n{}", run.status(), run.dump()));
        } else if let Some(needle) = needles.iter().find(|needle| !stderr.contains(**needle)) {
            wrong.push(format!("sockeye {line}: no {needle:?} in\n{stderr}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} lines:\n{}", wrong.len(), WRONG.len(), wrong.join("\n"));
}

#[test]
fn with_json_a_wrong_command_line_is_the_same_text_on_stderr() {
    let subcommands = ["serve", "connect", "udp-send", "udp-listen", "doctor"];
    for (line, _) in WRONG.iter().filter(|(line, _)| subcommands.iter().any(|name| line.starts_with(name))) {
        // `--` ends the options, and so must stay behind this one.
        let (name, rest) = line.split_once(' ').unwrap_or((line, ""));
        let plain = Sockeye::new("").args(words(line)).run_or_kill_after(ENOUGH);
        let run = Sockeye::new(name).arg("--json").args(words(rest)).run_or_kill_after(ENOUGH).exits(2);
        assert_eq!(run.stdout(), b"", "{line}");
        let message = |text: &str| text.lines().next().unwrap_or_default().to_owned();
        assert_eq!(message(&run.stderr()), message(&plain.stderr()), "{line}");
        assert!(!run.stderr().trim_start().starts_with('{'), "text, not JSON: {line}");
    }
}

#[test]
fn protocols_of_alpn_that_no_hello_has_room_for_are_refused() {
    let names = |count: usize| vec!["x".repeat(255); count].join(",");
    for words in [
        format!("connect 127.0.0.1:1 --tls --alpn {}", names(241)),
        format!("connect 127.0.0.1:1 --tls --alpn {}", names(300)),
    ] {
        let run = Sockeye::new(words).run().exits(2);
        assert!(run.stdout().is_empty() && run.stderr().contains("--alpn"), "{}", run.stderr());
    }
    // Nobody listens: what fits comes as far as that.
    Sockeye::new(format!("connect 127.0.0.1:1 x --tls --alpn {}", names(240))).run().exits(7);
}

#[test]
fn a_wrong_command_line_makes_no_socket() {
    require(&["strace"]);
    let dir = TempDir::new();
    let lines =
        ["serve 65536", "serve nosuchservice", "serve 0 --timeout x", "serve 0 --recv-size 0", "serve -4 [::1]:0"];
    let more =
        ["connect localhost", "connect localhost 22,80", "connect -6 127.0.0.1:80", "connect localhost:80 zz --hex"];
    for (index, line) in lines.iter().chain(&more).enumerate() {
        let log = dir.path().join(index.to_string());
        let strace = format!("strace -f -e trace=socket -o {}", log.display());
        Sockeye::new(line).under(strace.split(' ')).run().exits(2);
        let log = std::fs::read_to_string(log).unwrap();
        // The C library asks its cache of services, a daemon, by AF_UNIX: not a socket of the run.
        let sockets: Vec<_> =
            log.lines().filter(|line| line.contains("socket(") && !line.contains("AF_UNIX")).collect();
        assert!(sockets.is_empty(), "{line}: {sockets:?}");
        assert!(log.contains("exited with 2"), "strace saw the run: {log}");
    }
}

#[test]
fn ports_and_targets_in_each_form_are_understood() {
    let (_v4, v4) = listener(Family::V4);
    let (_v6, v6) = listener(Family::V6);
    for (line, peer) in [
        (format!("127.0.0.1:{v4}"), format!("127.0.0.1:{v4}")),
        (format!("127.0.0.1 {v4}"), format!("127.0.0.1:{v4}")),
        (format!("[::1]:{v6}"), format!("[::1]:{v6}")),
        (format!("::1 {v6}"), format!("[::1]:{v6}")),
        (format!("localhost:{v4}"), format!("127.0.0.1:{v4}")),
        (format!("localhost {v4}"), format!("127.0.0.1:{v4}")),
        (format!("-4 localhost {v4}"), format!("127.0.0.1:{v4}")),
        (format!("-6 ::1 {v6}"), format!("[::1]:{v6}")),
        (format!("-n 127.0.0.1 {v4}"), format!("127.0.0.1:{v4}")),
    ] {
        let run = Sockeye::new(format!("connect --probe {line} --json")).run().exits(0);
        assert_eq!(run.one::<Connect>().peer, peer, "{line}");
        let looked_up = line.contains("localhost");
        assert_eq!(
            run.all::<Resolve>().len(),
            usize::from(looked_up),
            "resolve only where a name was looked up: {line}"
        );
    }
}

#[test]
fn a_service_name_is_a_port() {
    // In a network of one's own nobody listens on port 80, and nobody else is disturbed.
    for line in ["127.0.0.1:http", "127.0.0.1 http", "localhost http"] {
        let run = Sockeye::new(format!("connect --probe {line} --json")).under(Net::isolated().prefix()).run().exits(7);
        let peers: Vec<_> = run.all::<Error>().iter().map(|error| error.peer.clone().unwrap()).collect();
        assert!(peers.contains(&"127.0.0.1:80".to_owned()), "{line}: {peers:?}");
    }
    let run =
        Sockeye::new("serve 127.0.0.1:http --json --deadline 100ms").under(Net::isolated().prefix()).run().exits(0);
    assert_eq!(run.one::<crate::harness::events::Bind>().local, "127.0.0.1:80");
}

#[test]
fn durations_and_sizes_in_each_form_are_understood() {
    let (_listener, port) = listener(Family::V4);
    for duration in ["1.5", "2", "0.5", "200ms", "1m 30s", "1m30s", "5s", "1h", "500us"] {
        Sockeye::new(format!("connect --probe 127.0.0.1:{port} --json"))
            .args(["--idle-timeout", duration])
            .run()
            .exits(0);
    }
    for size in ["1", "4096", "64KiB", "1MiB", "64k", "1M"] {
        Sockeye::new(format!("connect --probe 127.0.0.1:{port} --recv-size {size} --json")).run().exits(0);
    }
    for (size, bytes) in [("8KiB", 8192), ("8192", 8192), ("9k", 9000)] {
        let run =
            Sockeye::new(format!("connect --probe 127.0.0.1:{port} --recv-buffer {size} --json -v")).run().exits(0);
        let buffer = run.all::<Setsockopt>().into_iter().find(|event| event.option == "SO_RCVBUF");
        assert_eq!(buffer.unwrap().requested, Value::Number(bytes), "{size}");
    }
}

#[test]
fn where_serve_listens_can_be_said_in_each_form() {
    for (words, local) in [
        ("0", "[::]:"),
        (":0", "[::]:"),
        ("127.0.0.1:0", "127.0.0.1:"),
        ("[::1]:0", "[::1]:"),
        ("-4 0", "0.0.0.0:"),
        ("-6 0", "[::]:"),
        ("0 --source 127.0.0.1", "127.0.0.1:"),
    ] {
        let run = Sockeye::new(format!("serve {words} --json --deadline 50ms")).run().exits(0);
        let bound = &run.one::<crate::harness::events::Bind>().local;
        assert!(bound.starts_with(local), "{words}: {bound}");
    }
}

#[test]
fn words_that_a_fault_leaves_with_an_effect_are_taken() {
    for line in [
        // Of the header of the PROXY protocol; until there are bytes to leave unread.
        "serve 0 --fault reset --proxy-protocol --timeout 1",
        "unix-serve @sockeye-usage-reset --fault reset --timeout 1",
        "serve 0 --fault hang --timeout 1",
        "serve 0 --fault half-close --recv-size 5 --timeout 1",
        "serve 0 --fault delay=1s --recv-size 5",
    ] {
        Sockeye::new(line).args(["--json", "--deadline", "50ms"]).run().exits(0);
    }
    // Of one of two targets.
    let (_listener, port) = listener(Family::V4);
    Sockeye::new(format!("connect --probe -4 127.0.0.1:{port} unix:@sockeye-usage-nobody --json")).run().exits(1);
}

#[test]
fn short_forms_follow_nc() {
    let (_listener, port) = listener(Family::V4);
    Sockeye::new(format!("connect -z -w 5 -s 127.0.0.1 127.0.0.1 {port} -j")).run().exits(0);
}

#[test]
fn messages_are_sent_as_given_unless_told_otherwise() {
    for (options, message, sent) in [
        ("", r"a\n", &br"a\n"[..]),
        ("", "café", "café".as_bytes()),
        ("--lf", "a", b"a\n"),
        ("--crlf", "a", b"a\r\n"),
        ("--escape", r"a\r\n\t\0\\\x41", b"a\r\n\t\0\\A"),
        ("--hex", "00ff 41", b"\x00\xffA"),
        ("--hex", "00FF41", b"\x00\xffA"),
        ("--escape --crlf", r"a\t", b"a\t\r\n"),
    ] {
        let server = Sockeye::new("serve 0 --json").start();
        let run =
            Sockeye::new(format!("connect 127.0.0.1:{} --json {options}", server.port())).arg(message).run().exits(0);
        assert_eq!(run.one::<crate::harness::events::Send>().payload(), sent, "{options} {message}");
        server.interrupt().exits(0);
    }
}

#[test]
fn a_message_may_begin_with_a_dash_or_be_no_text_at_all() {
    let server = Sockeye::new("serve 0 --json").start();
    let to_server = format!("connect 127.0.0.1:{} --json", server.port());
    let run = Sockeye::new(&to_server).args(["--", "-x"]).run().exits(0);
    assert_eq!(run.one::<crate::harness::events::Send>().payload(), b"-x");
    let run = Sockeye::new(&to_server).arg(OsString::from_vec(b"\xff\xfe\n".to_vec())).run().exits(0);
    assert_eq!(run.one::<crate::harness::events::Send>().payload(), b"\xff\xfe\n");
    server.interrupt().exits(0);
}

#[test]
fn help_and_version_are_exit_0_on_stdout() {
    for line in ["--help", "-h", "serve --help", "connect -h", "doctor --help"] {
        let run = Sockeye::new(line).run().exits(0);
        assert!(!run.stdout().is_empty() && run.stderr().is_empty(), "{line}: {}", run.dump());
    }
    for line in ["--version", "-V"] {
        let run = Sockeye::new(line).run().exits(0);
        assert_eq!(String::from_utf8_lossy(run.stdout()), format!("sockeye {}\n", env!("CARGO_PKG_VERSION")));
    }
}
