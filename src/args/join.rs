//! Multicast groups to join: `GROUP[@INTERFACE][,from=SOURCE]`.

use std::fmt;
use std::net::IpAddr;

use super::value;

/// A multicast group, by which interface, and of which source alone (RFC 3678).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The group.
    pub group: IpAddr,
    /// The interface; `None` leaves the choice to the routes.
    pub interface: Option<String>,
    /// The only source that is wanted; `None` is any.
    pub source: Option<IpAddr>,
}

impl Join {
    /// Parses a group to join.
    pub(super) fn parse(word: &str) -> Result<Self, String> {
        let (place, source) = match word.split_once(',') {
            Some((place, rest)) => match rest.strip_prefix("from=") {
                Some(source) => (place, Some(source)),
                None => return Err(format!("'{rest}' after the comma is not from=SOURCE")),
            },
            None => (word, None),
        };
        let (group, interface) = match place.split_once('@') {
            Some((group, interface)) => (group, Some(value::interface(interface)?)),
            None => (place, None),
        };
        let address = |text: &str| text.parse::<IpAddr>().map_err(|_| format!("'{text}' is no address"));
        let group = address(group)?;
        if !group.is_multicast() {
            return Err(format!("{group} is no multicast group: those are 224.0.0.0/4 and ff00::/8"));
        }
        let source = source.map(address).transpose()?;
        match source {
            Some(source) if source.is_ipv4() != group.is_ipv4() => {
                Err(format!("{group} and its source {source} are of two families"))
            }
            Some(source) if source.is_multicast() || source.is_unspecified() => {
                Err(format!("{source} is no address of one sender"))
            }
            _ => Ok(Self { group, interface, source }),
        }
    }
}

impl fmt::Display for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.group)?;
        if let Some(interface) = &self.interface {
            write!(f, "@{interface}")?;
        }
        if let Some(source) = self.source {
            write!(f, ",from={source}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_an_interface_and_a_source_where_they_are_given() {
        for word in ["239.1.2.3", "239.1.2.3@eth0", "232.1.2.3,from=10.0.0.1", "ff3e::1@lo,from=::1"] {
            assert_eq!(Join::parse(word).map(|join| join.to_string()), Ok(word.to_owned()));
        }
        for word in [
            "",
            "10.0.0.1",
            "::1",
            "name",
            "239.1.2.3@",
            "239.1.2.3,10.0.0.1",
            "239.1.2.3,from=::1",
            "232.1.2.3,from=239.1.1.1",
            "232.1.2.3,from=0.0.0.0",
        ] {
            assert!(Join::parse(word).is_err(), "{word}");
        }
    }
}
