//! Lists of foreign JSON, bounded while they are read: three bytes of it (`{},`) may become an element of a hundred.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The first `MOST` elements; those after them are read and forgotten.
///
/// # Errors
/// What is no such list.
pub fn first<'de, const MOST: usize, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    from.deserialize_seq(List::<MOST, false, T>(PhantomData))
}

/// All elements; more than `MOST` are an error.
///
/// # Errors
/// What is no such list.
pub fn all<'de, const MOST: usize, T, D>(from: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    from.deserialize_seq(List::<MOST, true, T>(PhantomData))
}

/// All members of a map but those that are null; more than `MOST` are an error.
///
/// # Errors
/// What is no such list.
pub fn members<'de, const MOST: usize, K, V, D>(from: D) -> Result<BTreeMap<K, V>, D::Error>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
    D: Deserializer<'de>,
{
    from.deserialize_map(Members::<MOST, K, V>(PhantomData))
}

struct List<const MOST: usize, const STRICT: bool, T>(PhantomData<T>);

impl<'de, const MOST: usize, const STRICT: bool, T: Deserialize<'de>> Visitor<'de>
    for List<MOST, STRICT, T>
{
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {MOST}")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while list.len() < MOST {
            let Some(element) = seq.next_element()? else {
                list.shrink_to_fit();
                return Ok(list);
            };
            list.push(element);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            if STRICT {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
        }
        list.shrink_to_fit();
        Ok(list)
    }
}

struct Members<const MOST: usize, K, V>(PhantomData<(K, V)>);

impl<'de, const MOST: usize, K, V> Visitor<'de> for Members<MOST, K, V>
where
    K: Deserialize<'de> + Ord,
    V: Deserialize<'de>,
{
    type Value = BTreeMap<K, V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {MOST}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some((key, value)) = map.next_entry::<K, Option<V>>()? {
            let Some(value) = value else { continue };
            if members.len() == MOST {
                return Err(A::Error::invalid_length(MOST + 1, &self));
            }
            members.insert(key, value);
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Lists {
        #[serde(default, deserialize_with = "first::<3, _, _>")]
        first: Vec<u8>,
        #[serde(default, deserialize_with = "all::<3, _, _>")]
        all: Vec<u8>,
        #[serde(default, deserialize_with = "members::<2, _, _, _>")]
        members: BTreeMap<String, u8>,
    }

    #[test]
    fn no_list_becomes_longer_than_it_may_be() {
        let read = |text: &str| serde_json::from_str::<Lists>(text);
        let lists = read(r#"{"first":[1,2,3,4,[5]],"all":[1,2,3]}"#).unwrap();
        assert_eq!((lists.first, lists.all), (vec![1, 2, 3], vec![1, 2, 3]));
        let error = read(r#"{"all":[1,2,3,4]}"#).unwrap_err().to_string();
        assert!(error.contains("a list of at most 3"), "{error}");
        let lists = read(r#"{"members":{"a":1,"b":null,"c":3}}"#).unwrap();
        assert_eq!(lists.members, BTreeMap::from([("a".to_owned(), 1), ("c".to_owned(), 3)]));
        let error = read(r#"{"members":{"a":1,"b":2,"c":3}}"#).unwrap_err().to_string();
        assert!(error.contains("a map of at most 2"), "{error}");
    }
}
