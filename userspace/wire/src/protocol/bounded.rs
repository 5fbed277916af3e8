//! Reading answers without making more of them than they are worth.
//!
//! A derived reader of an object with a flattened field first keeps all of it as a tree, which takes twenty
//! times the bytes of a line that is made for it. Here every field is read as what it must be; what it
//! must not be is passed over, or ends the reading.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{AgentReply, GuestRun, MAX_GUEST_RUNS, ReplyBody};

/// Keys of an answer that are none of its kinds.
const ID: &str = "id";

impl<'de> Deserialize<'de> for AgentReply {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(OfAnswer)
    }
}

struct OfAnswer;

impl<'de> Visitor<'de> for OfAnswer {
    type Value = AgentReply;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an answer: an id and one thing that is said")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AgentReply, A::Error> {
        let (mut id, mut what) = (None, None);
        while let Some(Key(key)) = map.next_key()? {
            if what.is_some() && !matches!(key, Kind::Id | Kind::Other) {
                return Err(A::Error::custom("an answer says two things"));
            }
            match key {
                Kind::Id if id.is_some() => return Err(A::Error::duplicate_field(ID)),
                Kind::Id => id = Some(map.next_value()?),
                Kind::Hello => what = Some(ReplyBody::Hello(map.next_value()?)),
                Kind::PageList => what = Some(ReplyBody::PageList(map.next_value()?)),
                Kind::Copied => what = Some(ReplyBody::Copied(map.next_value()?)),
                Kind::Released => map.next_value().map(|()| what = Some(ReplyBody::Released))?,
                Kind::Status => what = Some(ReplyBody::Status(map.next_value()?)),
                Kind::Noted => map.next_value().map(|()| what = Some(ReplyBody::Noted))?,
                Kind::Error => what = Some(ReplyBody::Error(map.next_value()?)),
                Kind::Other => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let id = id.ok_or_else(|| A::Error::missing_field(ID))?;
        let what = what.ok_or_else(|| A::Error::custom("an answer says nothing that is known"))?;
        Ok(AgentReply { id, body: what })
    }
}

/// A key of an answer.
struct Key(Kind);

#[derive(Clone, Copy)]
enum Kind {
    Id,
    Hello,
    PageList,
    Copied,
    Released,
    Status,
    Noted,
    Error,
    Other,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct OfKey;
        impl Visitor<'_> for OfKey {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
                Ok(Key(match key {
                    ID => Kind::Id,
                    "hello" => Kind::Hello,
                    "page-list" => Kind::PageList,
                    "copied" => Kind::Copied,
                    "released" => Kind::Released,
                    "status" => Kind::Status,
                    "noted" => Kind::Noted,
                    "error" => Kind::Error,
                    _ => Kind::Other,
                }))
            }
        }
        from.deserialize_identifier(OfKey)
    }
}

/// At most [`MAX_GUEST_RUNS`].
pub(super) fn runs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<GuestRun>, D::Error> {
    struct Runs;
    impl<'de> Visitor<'de> for Runs {
        type Value = Vec<GuestRun>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_GUEST_RUNS} runs of frames")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut runs = Vec::new();
            while let Some(run) = seq.next_element()? {
                if runs.len() == MAX_GUEST_RUNS {
                    return Err(A::Error::invalid_length(runs.len() + 1, &self));
                }
                runs.push(run);
            }
            Ok(runs)
        }
    }
    from.deserialize_seq(Runs)
}
