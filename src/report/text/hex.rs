//! The hex dump of a payload: direction, offset, bytes and what is printable of them.

use std::collections::HashMap;
use std::io::Write;

use super::escape::append_hex;
use crate::event::Event;

/// Bytes a row.
const ROW: usize = 16;

/// How far each connection came, in both directions.
#[derive(Debug, Default)]
pub(crate) struct HexDump {
    /// Bytes sent and bytes received; connection 0 where there is none.
    offsets: HashMap<u64, [u64; 2]>,
}

impl HexDump {
    /// Takes an event, and returns the offset of its data in the stream of that direction.
    pub(crate) fn advance(&mut self, event: &Event<'_>) -> u64 {
        let (conn, direction, bytes) = match event {
            Event::Send(send) => (send.conn, 0, send.bytes),
            Event::Recv(recv) => (recv.conn, 1, recv.bytes),
            Event::Close(close) => {
                self.offsets.remove(&close.conn);
                return 0;
            }
            _ => return 0,
        };
        let offset = &mut self.offsets.entry(conn.unwrap_or(0)).or_default()[direction];
        let before = *offset;
        *offset += bytes;
        before
    }
}

/// Appends the rows of `data`: `> 00000010  77 65 …  |welcome to serve|`.
pub(crate) fn append_rows(buffer: &mut Vec<u8>, direction: char, offset: u64, data: &[u8]) {
    for (at, row) in (offset..).step_by(ROW).zip(data.chunks(ROW)) {
        // Writing to memory does not fail.
        let _ = write!(buffer, "{direction} {at:08x} ");
        for column in 0..ROW {
            buffer.extend_from_slice(if column == ROW / 2 { b"  " } else { b" " });
            match row.get(column) {
                Some(byte) => append_hex(buffer, *byte),
                None => buffer.extend_from_slice(b"  "),
            }
        }
        buffer.extend_from_slice(b"  |");
        buffer.extend(row.iter().map(|byte| if matches!(byte, b' '..=b'~') { *byte } else { b'.' }));
        buffer.extend_from_slice(b"|\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Recv, Send};

    #[test]
    fn rows_have_sixteen_bytes() {
        let mut buffer = Vec::new();
        append_rows(&mut buffer, '>', 0, b"welcome to server!\x1b\n");
        let expected = "\
> 00000000  77 65 6c 63 6f 6d 65 20  74 6f 20 73 65 72 76 65  |welcome to serve|
> 00000010  72 21 1b 0a                                       |r!..|
";
        assert_eq!(String::from_utf8(buffer).unwrap(), expected);
    }

    #[test]
    fn each_direction_of_each_connection_has_its_offset() {
        let mut dump = HexDump::default();
        let recv = |conn| Event::from(Recv::on(conn, 3, b"abc"));
        assert_eq!(dump.advance(&recv(1)), 0);
        assert_eq!(dump.advance(&recv(1)), 3);
        assert_eq!(dump.advance(&recv(2)), 0);
        assert_eq!(dump.advance(&Send::on(1, 3, b"abc").into()), 0);
        assert_eq!(dump.advance(&recv(1)), 6);
    }
}
