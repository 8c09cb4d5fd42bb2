//! What proxies, servers of STARTTLS and peers with a PROXY header may say: it ends or waits, and how it
//! comes in pieces makes no difference.
//!
//! `cargo +nightly fuzz run dialogues`

#![no_main]

use libfuzzer_sys::fuzz_target;
use sockeye::packet::dialogue::{Credentials, Destination, Dialogue, Progress};
use sockeye::packet::http_connect::HttpConnect;
use sockeye::packet::proxy_protocol::{self, Reader};
use sockeye::packet::socks::{Socks4, Socks5};
use sockeye::packet::starttls::{self, Act};

fuzz_target!(|input: (u8, u8, Vec<u8>)| {
    let (which, size, bytes) = input;
    let size = usize::from(size).max(1);
    let name = || Destination::Name("a.example".into(), 80);
    let joe = || Some(Credentials { user: "joe".into(), password: "pw".into() });
    match which % 8 {
        0 => converse(|| Socks5::new(name(), None), &bytes, size),
        1 => converse(|| Socks5::new(name(), joe()), &bytes, size),
        2 => converse(|| Socks4::new(name(), Some("joe".into())), &bytes, size),
        3 => converse(|| HttpConnect::new(&name(), None, None, "fresh".into()), &bytes, size),
        4 => converse(|| HttpConnect::new(&name(), joe(), None, "fresh".into()), &bytes, size),
        5 => header(&bytes, size),
        6 => header(&[b"\r\n\r\n\0\r\nQUIT\n", &*bytes].concat(), size),
        _ => upgrade(&bytes, size),
    }
});

/// Walks a dialogue with what comes whole and in pieces: both come to the same.
fn converse<D: Dialogue>(make: impl Fn() -> D, bytes: &[u8], size: usize) {
    let (mut whole, mut parts) = (make(), make());
    let (at_once, left) = walk(&mut whole, bytes, bytes.len().max(1));
    let (in_pieces, rest) = walk(&mut parts, bytes, size);
    // Of a refusal's text as much is kept as came at once.
    if let (Progress::Granted(_), _) | (_, Progress::Granted(_)) = (&at_once, &in_pieces) {
        assert_eq!((at_once, left), (in_pieces, rest), "what is granted, and where the tunnel begins");
    }
    let _ = (whole.settled(), whole.at_end(), parts.settled(), parts.at_end());
}

/// Returns what a dialogue comes to, and how many bytes it leaves to whoever speaks next.
fn walk(dialogue: &mut impl Dialogue, bytes: &[u8], size: usize) -> (Progress, usize) {
    let _sent = dialogue.begin();
    let (mut held, mut pieces) = (Vec::new(), bytes.chunks(size));
    let mut came = 0;
    loop {
        let (taken, progress) = dialogue.take(&held);
        assert!(taken <= held.len(), "{taken} of {}", held.len());
        held.drain(..taken);
        match progress {
            Progress::More => match pieces.next() {
                Some(piece) => {
                    came += piece.len();
                    held.extend_from_slice(piece);
                }
                None => return (Progress::More, held.len()),
            },
            Progress::Send(sent) => assert!(!sent.is_empty()),
            other => return (other, held.len() + bytes.len() - came),
        }
    }
}

fn header(bytes: &[u8], size: usize) {
    let read = |size: usize| {
        let mut reader = Reader::default();
        let (mut held, mut came) = (Vec::new(), 0);
        for piece in bytes.chunks(size) {
            held.extend_from_slice(piece);
            came += piece.len();
            let (taken, progress) = reader.take(&held);
            assert!(taken <= held.len());
            held.drain(..taken);
            if progress != proxy_protocol::Progress::More {
                return (progress, held.len() + bytes.len() - came);
            }
        }
        (proxy_protocol::Progress::More, held.len())
    };
    let (at_once, in_pieces) = (read(bytes.len().max(1)), read(size));
    if let (proxy_protocol::Progress::Whole(_), _) = at_once {
        assert_eq!(at_once, in_pieces);
    }
}

fn upgrade(bytes: &[u8], size: usize) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    let mut dialogue = starttls::Dialogue::new(starttls::Protocol::ALL[usize::from(which % 8)], "host.example");
    let mut pieces = bytes.chunks(size);
    // Each piece brings about one act, and each line of ours at most one more.
    for _ in 0..2 * bytes.len() + 16 {
        match dialogue.act() {
            Act::Send(_) => {}
            Act::Wait => match pieces.next() {
                Some(piece) => dialogue.feed(piece),
                None => return,
            },
            _ => return,
        }
    }
    panic!("a dialogue without end");
}
