//! Foreign names: what machines compare and hand on.

use std::borrow::Borrow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::ser::{Serialize, Serializer};

use crate::NAME_BYTES;
use crate::shown::shown;

/// A name from outside, of a disk, a node, a block: whole, at most [`NAME_BYTES`], shown as
/// [`crate::shown()`] does.
///
/// Unlike a [`crate::Text`] it is never cut, as a part of a name may be another one's: what is longer is
/// refused. It writes itself (JSON) as it is, for the program that compares it.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Box<str>);

/// A name that is longer than [`NAME_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its length in bytes.
    pub length: usize,
}

impl fmt::Display for TooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name of {} bytes, where {NAME_BYTES} are the most", self.length)
    }
}

impl std::error::Error for TooLong {}

impl Name {
    /// The name as it is: to compare or to hand on to a machine, never to show.
    #[must_use]
    pub const fn raw(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Name {
    type Error = TooLong;

    fn try_from(name: &str) -> Result<Self, TooLong> {
        if name.len() > NAME_BYTES {
            return Err(TooLong { length: name.len() });
        }
        Ok(Self(name.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        shown(&self.0).fmt(f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Borrow<str> for Name {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Name {
    fn eq(&self, other: &str) -> bool {
        *self.0 == *other
    }
}

impl PartialEq<&str> for Name {
    fn eq(&self, other: &&str) -> bool {
        *self.0 == **other
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl Visitor<'_> for Any {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Name, E> {
                name.try_into().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_whole_or_refused() {
        let name = Name::try_from("serial:a\u{1b}\n").unwrap();
        assert_eq!(name.to_string(), "serial:a\\u{1b}\\n");
        let json = serde_json::to_string(&name).unwrap();
        assert_eq!(serde_json::from_str::<Name>(&json).unwrap(), name);
        assert_eq!(
            Name::try_from(&*"x".repeat(NAME_BYTES + 1)),
            Err(TooLong { length: NAME_BYTES + 1 })
        );
        let long = serde_json::to_string(&"x".repeat(1 << 20)).unwrap();
        assert!(serde_json::from_str::<Name>(&long).unwrap_err().to_string().contains("1024"));
    }
}
