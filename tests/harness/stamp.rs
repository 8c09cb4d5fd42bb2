//! STAMP in Python, written from RFC 8762 and RFC 8972 beside sockeye's own.

/// What a script gets that speaks STAMP: offsets are those of RFC 8762, figures 2 and 5.
pub(crate) const STAMP: &str = r#"
import random

NTP = 2208988800

def udp(host="127.0.0.1", port=0):
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    made.bind((host, port))
    made.settimeout(60)
    return made

def serve_udp(host="127.0.0.1"):
    made = udp(host)
    say(made.getsockname()[1])
    return made

def ntp(ns):
    return ((ns // 10**9 + NTP) << 32) + ((ns % 10**9 << 32) + 5 * 10**8) // 10**9

def unix_ns(bits):
    return ((bits >> 32) - NTP) * 10**9 + ((bits & 0xffffffff) * 10**9 + (1 << 31) >> 32)

def test_packet(sequence, sent=None, error=0x0587, ssid=0, size=44):
    sent = ntp(time.time_ns()) if sent is None else sent
    return (struct.pack("!IQHH", sequence & 0xffffffff, sent, error, ssid) + bytes(28)).ljust(size, b"\0")

def answer(test, sequence, received=None, sent=None, error=0x0301, ttl=64, ssid=None):
    received = ntp(time.time_ns()) if received is None else received
    sent = ntp(time.time_ns()) if sent is None else sent
    number, time1, error1, ssid1 = struct.unpack("!IQHH", test[:16])
    made = struct.pack("!IQHHQIQHHB3x", sequence & 0xffffffff, sent, error, ssid1 if ssid is None else ssid,
        received, number, time1, error1, 0, ttl)
    return made.ljust(len(test), b"\0")

def sequence_of(packet):
    return struct.unpack("!I", packet[:4])[0]
"#;
