//! One of the servers that the agent observes.

use std::fmt;
use std::marker::PhantomData;

use foreign::Text;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::observed::Observed;

/// Most servers that an agent observes at once.
pub const MAX_SERVERS: usize = 32;

/// A server with probes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Served {
    /// Its process id.
    pub pid: u32,
    /// Family and version, e.g. `mysql 5.6.24`.
    pub version: Text,
    /// Account that it runs as.
    pub user: Text,
    /// Its systemd unit, where it has one.
    pub unit: Option<Text>,
    /// Its data directory, as it sees it.
    pub datadir: Text,
    /// What is known of its pool, in an answer to [`RequestBody::Status`](super::RequestBody::Status).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<Box<Observed>>,
}

/// Reads one value a server, and no more than there may be servers.
pub(super) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Few<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Few<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {MAX_SERVERS} servers")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = from.next_element()? {
                if all.len() == MAX_SERVERS {
                    return Err(A::Error::custom(format_args!("more than {MAX_SERVERS} servers")));
                }
                all.push(one);
            }
            Ok(all)
        }
    }

    deserializer.deserialize_seq(Few(PhantomData))
}
