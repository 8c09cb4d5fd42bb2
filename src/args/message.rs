//! Messages and replies: sent exactly as given, unless an option says how to read or end them.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use clap::Args;
use data_encoding::HEXLOWER_PERMISSIVE;

/// How texts on the command line become bytes.
#[derive(Clone, Debug, Default, Args)]
pub struct Encoding {
    /// End each text that is sent with CR LF
    #[arg(long, help_heading = "Texts", conflicts_with_all = ["lf"])]
    pub crlf: bool,
    /// End each text that is sent with LF
    #[arg(long, help_heading = "Texts")]
    pub lf: bool,
    /// Read \r \n \t \0 \\ and \xNN in texts
    #[arg(long, help_heading = "Texts", conflicts_with = "hex")]
    pub escape: bool,
    /// Read texts as hexadecimal digits
    #[arg(long, help_heading = "Texts")]
    pub hex: bool,
}

impl Encoding {
    /// Returns whether any of the options was given.
    pub(super) fn is_given(&self) -> bool {
        self.crlf || self.lf || self.escape || self.hex
    }

    /// Returns the bytes that a text stands for, without a line end.
    pub(super) fn decode(&self, text: &OsStr) -> Result<Vec<u8>, String> {
        let bytes = text.as_bytes();
        if self.hex {
            let digits: Vec<u8> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
            return HEXLOWER_PERMISSIVE.decode(&digits).map_err(|error| {
                format!("--hex: '{}' is not hexadecimal: {error}", super::target::printable(&text.to_string_lossy()))
            });
        }
        if self.escape {
            return unescape(bytes).map_err(|error| {
                format!(
                    "--escape: in '{}' {error}; there are \\r \\n \\t \\0 \\\\ and \\xNN",
                    super::target::printable(&text.to_string_lossy())
                )
            });
        }
        Ok(bytes.to_vec())
    }

    /// Returns the bytes that a text stands for, ended as asked.
    pub(super) fn message(&self, text: &OsStr) -> Result<Vec<u8>, String> {
        let mut bytes = self.decode(text)?;
        if self.crlf {
            bytes.extend_from_slice(b"\r\n");
        } else if self.lf {
            bytes.push(b'\n');
        }
        Ok(bytes)
    }
}

fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => match (rest.next().and_then(digit), rest.next().and_then(digit)) {
                (Some(high), Some(low)) => high << 4 | low,
                _ => return Err("\\x needs two hexadecimal digits".to_owned()),
            },
            Some(other) => return Err(format!("\\{} is not known", other.escape_ascii())),
            None => return Err("a backslash ends the text".to_owned()),
        });
    }
    Ok(bytes)
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_sent_as_given_unless_told_otherwise() {
        let plain = Encoding::default();
        assert_eq!(plain.message(OsStr::new("a\\n")).unwrap(), b"a\\n");
        let crlf = Encoding { crlf: true, ..Encoding::default() };
        assert_eq!(crlf.message(OsStr::new("a")).unwrap(), b"a\r\n");
        let escape = Encoding { escape: true, ..Encoding::default() };
        assert_eq!(escape.message(OsStr::new(r"\r\n\t\0\\\x7F")).unwrap(), b"\r\n\t\0\\\x7f");
        for text in [r"\q", r"\x1", "\\", r"\xg1"] {
            assert!(escape.message(OsStr::new(text)).is_err(), "{text}");
        }
        let hex = Encoding { hex: true, ..Encoding::default() };
        assert_eq!(hex.message(OsStr::new("00 fF")).unwrap(), b"\x00\xff");
        assert!(hex.message(OsStr::new("0")).is_err());
        assert!(hex.message(OsStr::new("zz")).is_err());
    }
}
