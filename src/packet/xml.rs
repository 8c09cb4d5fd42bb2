//! XML, as far as a stream of XMPP may have it (RFC 6120, 11.1): tags, text between them, a declaration;
//! no comments and no document types. It is read in bytes, so that no text shifts where a tag ends.

/// What a stream begins with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// More must come; the name is known where its tag has come that far.
    Short(Option<&'a [u8]>),
    /// A whole element.
    Whole(Element<'a>),
    /// No element.
    Bad,
}

/// An element.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    /// Its name, without a prefix.
    pub(super) name: &'a [u8],
    /// The names of the elements in it, but not of those in these.
    pub(super) children: Vec<&'a [u8]>,
    /// Where it ends.
    pub(super) end: usize,
}

/// Reads the element that comes first; blanks and a declaration may come before.
pub(super) fn element(bytes: &[u8]) -> Found<'_> {
    let (mut at, mut open, mut children) = (0, Vec::<&[u8]>::new(), Vec::new());
    loop {
        let name = open.first().map(|name| local(name));
        let Ok((piece, length)) = piece(&bytes[at..]) else { return Found::Bad };
        at += length;
        let depth = open.len();
        let closed = match piece {
            Piece::Short(begun) => return Found::Short(name.or(begun.map(local))),
            Piece::Blank | Piece::Declaration => continue,
            Piece::Text if depth > 0 => continue,
            Piece::Open(own) => {
                if depth == 1 {
                    children.push(local(own));
                }
                open.push(own);
                continue;
            }
            Piece::Empty(own) if depth == 0 => own,
            Piece::Empty(own) => {
                if depth == 1 {
                    children.push(local(own));
                }
                continue;
            }
            Piece::Close(own) if open.last() == Some(&own) => {
                open.pop();
                own
            }
            Piece::Text | Piece::Close(_) => return Found::Bad,
        };
        if open.is_empty() {
            return Found::Whole(Element { name: local(closed), children, end: at });
        }
    }
}

/// Reads the tag that opens an element; blanks and a declaration may come before. Returns its name, without a prefix,
/// and where it ends: `None` where more must come.
///
/// # Errors
/// There is no such tag.
pub(super) fn opening(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, ()> {
    let mut at = 0;
    loop {
        let (piece, length) = piece(&bytes[at..])?;
        at += length;
        match piece {
            Piece::Short(_) => return Ok(None),
            Piece::Blank | Piece::Declaration => {}
            Piece::Open(name) => return Ok(Some((local(name), at))),
            Piece::Text | Piece::Empty(_) | Piece::Close(_) => return Err(()),
        }
    }
}

/// The smallest part of XML; names have their prefixes.
enum Piece<'a> {
    Short(Option<&'a [u8]>),
    Blank,
    Text,
    Declaration,
    Open(&'a [u8]),
    Empty(&'a [u8]),
    Close(&'a [u8]),
}

/// Reads a part, and returns how long it is.
fn piece(bytes: &[u8]) -> Result<(Piece<'_>, usize), ()> {
    let through = |end: &[u8], kind| match bytes.windows(end.len()).position(|there| there == end) {
        Some(at) => (kind, at + end.len()),
        None => (Piece::Short(None), 0),
    };
    let is_begin = |of: &[u8]| of.starts_with(&bytes[..bytes.len().min(of.len())]);
    match bytes {
        [] | b"<" => Ok((Piece::Short(None), 0)),
        [b'<', b'?', ..] => Ok(through(b"?>", Piece::Declaration)),
        [b'<', b'!', ..] if is_begin(b"<![CDATA[") => Ok(through(b"]]>", Piece::Text)),
        [b'<', b'!', ..] => Err(()),
        [b'<', b'/', rest @ ..] => match rest.iter().position(|byte| matches!(byte, b'<' | b'>')) {
            None => Ok((Piece::Short(None), 0)),
            Some(end) if rest[end] == b'<' => Err(()),
            Some(end) => Ok((Piece::Close(name(rest[..end].trim_ascii_end())?), end + 3)),
        },
        [b'<', rest @ ..] => tag(rest).map(|(piece, length)| (piece, length + usize::from(length > 0))),
        text => {
            let length = text.iter().position(|byte| *byte == b'<').unwrap_or(text.len());
            let kind = if text[..length].iter().all(u8::is_ascii_whitespace) { Piece::Blank } else { Piece::Text };
            Ok((kind, length))
        }
    }
}

/// Reads a tag behind its `<`: quotes may hold a `>`.
fn tag(bytes: &[u8]) -> Result<(Piece<'_>, usize), ()> {
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>' | b'<' | b'\'' | b'"');
    let Some(end) = bytes.iter().position(is_end) else { return Ok((Piece::Short(None), 0)) };
    let own = name(&bytes[..end])?;
    let (mut quote, mut is_empty) = (None, false);
    for (at, byte) in bytes.iter().enumerate().skip(end) {
        match (quote, *byte) {
            (_, b'<') => return Err(()),
            (Some(open), byte) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'>') if is_empty => return Ok((Piece::Empty(own), at + 1)),
            (None, b'>') => return Ok((Piece::Open(own), at + 1)),
            (None, b'\'' | b'"') => quote = Some(*byte),
            (None, _) => {}
        }
        is_empty = quote.is_none() && *byte == b'/';
    }
    Ok((Piece::Short(Some(own)), 0))
}

/// Returns a name, where it is one.
fn name(bytes: &[u8]) -> Result<&[u8], ()> {
    let is_of_one = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b":_-.".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_of_one) { Ok(bytes) } else { Err(()) }
}

/// Returns a name without its prefix.
fn local(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b':').next().unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_end_where_they_end() {
        for (text, name, children) in [
            ("<a/>", "a", &[][..]),
            ("<?xml version='1.0'?>\n <x:a ></x:a >", "a", &[]),
            ("<a b='>' c=\"/>\"/>", "a", &[]),
            ("<a b='/'>x</a>", "a", &[]),
            ("<a><x:b><c/></x:b> text <d/><![CDATA[</a>]]></a>", "a", &["b", "d"]),
            ("<a\n/>", "a", &[]),
        ] {
            let more = format!("{text}</a>");
            let children: Vec<&[u8]> = children.iter().map(|child: &&str| child.as_bytes()).collect();
            let expected = Element { name: name.as_bytes(), children, end: text.len() };
            assert_eq!(element(more.as_bytes()), Found::Whole(expected), "{text}");
            for short in 0..text.len() {
                assert!(matches!(element(&text.as_bytes()[..short]), Found::Short(_)), "{}", &text[..short]);
            }
        }
        for text in ["x", "</a>", "<a></b>", "<a><", "<!-- x -->", "<a><!DOCTYPE>", "< a>", "<>", "<a <b>", "<a'b'>"] {
            let found = element(text.as_bytes());
            assert!(found == Found::Bad || text == "<a><" || text == "<a'b'>", "{text}: {found:?}");
        }
        assert_eq!(element(b"<s:error><x"), Found::Short(Some(b"error")));
        assert_eq!(element(b"<s:error x="), Found::Short(Some(b"error")));
        assert_eq!(element(b"<s:err"), Found::Short(None));
    }

    #[test]
    fn a_stream_begins_with_its_tag() {
        assert_eq!(opening(b"<?xml version='1.0'?><s:stream a='>'><x"), Ok(Some((&b"stream"[..], 37))));
        assert_eq!(opening(b" <stream a="), Ok(None));
        for text in ["x", "<a/>", "</a>", "<!--"] {
            assert_eq!(opening(text.as_bytes()), Err(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_do_no_harm(bytes in proptest::collection::vec(prop_oneof![
            Just(b'<'), Just(b'>'), Just(b'/'), Just(b'\''), Just(b'?'), Just(b'a'), any::<u8>()
        ], 0..80)) {
            if let Found::Whole(element) = element(&bytes) {
                prop_assert!(element.end <= bytes.len() && bytes[element.end - 1] == b'>');
            }
            let _ = opening(&bytes);
        }
    }
}
