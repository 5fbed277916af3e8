//! What data files hold that their first pages do not show, as data: `servers/files.toml`.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::error::Error;

const TEXT: &str = include_str!("../servers/files.toml");

/// How a family of servers keeps its data files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConventions {
    /// Ids of temporary tablespaces, first and last of each range.
    temporary_spaces: Vec<(u32, u32)>,
    /// Types of pages that are stored compressed.
    compressed_pages: Vec<u16>,
    /// Types of pages that are stored encrypted.
    encrypted_pages: Vec<u16>,
    /// What page 0 of an encrypted tablespace has behind its extent descriptors.
    crypt_record: Option<CryptRecord>,
}

/// What a family writes into page 0 about the encryption of a tablespace.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CryptRecord {
    /// How the record begins.
    magic: [u8; 6],
    /// Bytes of a record by which nothing is encrypted: offset and value of each.
    unencrypted: Vec<(usize, u8)>,
}

impl CryptRecord {
    /// Bytes of a record that are looked at.
    pub const BYTES: usize = 40;

    /// Whether pages may be encrypted where a record would stand.
    #[must_use]
    pub fn is_encrypted(&self, found: &[u8; Self::BYTES]) -> bool {
        let has = |(at, value): &(usize, u8)| found.get(*at) == Some(value);
        found.starts_with(&self.magic) && !self.unencrypted.iter().all(has)
    }
}

/// How a page lies in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As it is in memory.
    Plainly,
    /// Compressed.
    Compressed,
    /// Encrypted.
    Encrypted,
}

impl FileConventions {
    fn families() -> Result<BTreeMap<String, Self>, Error> {
        let malformed = |e: toml::de::Error| Error::Definition {
            name: String::from("files"),
            source: e.into(),
        };
        toml::from_str(TEXT).map_err(malformed)
    }

    /// Those of a family; of any, where it is not known.
    #[must_use]
    pub fn of_family(family: &str) -> Self {
        let known = Self::families().ok().and_then(|mut families| families.remove(family));
        known.unwrap_or_else(Self::of_any)
    }

    /// Those of all families together, for a server that is not known: what one of them keeps in another form is
    /// not read plainly.
    #[must_use]
    pub fn of_any() -> Self {
        let families = Self::families().unwrap_or_default().into_values();
        families.fold(Self::default(), |mut all, one| {
            all.temporary_spaces.extend(one.temporary_spaces);
            all.compressed_pages.extend(one.compressed_pages);
            all.encrypted_pages.extend(one.encrypted_pages);
            all.crypt_record = all.crypt_record.or(one.crypt_record);
            all
        })
    }

    /// Whether a tablespace that no file claims is a temporary one.
    #[must_use]
    pub fn is_temporary(&self, space: u32) -> bool {
        self.temporary_spaces.iter().any(|(first, last)| (*first..=*last).contains(&space))
    }

    /// How a page of this type (`FIL_PAGE_TYPE`) lies in its file.
    #[must_use]
    pub fn stored(&self, page_type: u16) -> Stored {
        match page_type {
            kind if self.compressed_pages.contains(&kind) => Stored::Compressed,
            kind if self.encrypted_pages.contains(&kind) => Stored::Encrypted,
            _ => Stored::Plainly,
        }
    }

    /// What page 0 of an encrypted tablespace has behind its extent descriptors, where the family has such a record.
    #[must_use]
    pub const fn crypt_record(&self) -> Option<&CryptRecord> {
        self.crypt_record.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::Definition;

    #[test]
    fn families_differ() {
        let families = FileConventions::families().unwrap();
        for definition in Definition::all().unwrap() {
            for family in &definition.families {
                assert!(families.contains_key(family.name()), "{}", definition.name);
            }
        }
        let of = FileConventions::of_family;
        let (mysql, mariadb) = (of("mysql"), of("mariadb"));
        assert!(!mysql.is_temporary(0xffff_fffe), "the data dictionary");
        assert!(mariadb.is_temporary(0xffff_fffe));
        assert!(mysql.is_temporary(4_243_767_280) && !mysql.is_temporary(4_243_767_279));
        assert_eq!((mysql.stored(14), mariadb.stored(14)), (Stored::Compressed, Stored::Plainly));
        assert_eq!(mysql.crypt_record(), None);
        let unknown = of("drizzle");
        assert_eq!(unknown, FileConventions::of_any());
        assert_eq!(
            [14, 15, 34354, 37401, 8].map(|kind| unknown.stored(kind) == Stored::Plainly),
            [false, false, false, false, true]
        );
        let record = unknown.crypt_record().unwrap();
        let mut page = [0; CryptRecord::BYTES];
        assert!(!record.is_encrypted(&page));
        page[..6].copy_from_slice(b"s\x0e\x0cREt");
        // Of the default, which a thread may be about to encrypt; encrypted; asked not to be.
        assert!(record.is_encrypted(&page));
        page[6] = 1;
        assert!(record.is_encrypted(&page));
        (page[6], page[32]) = (0, 2);
        assert!(!record.is_encrypted(&page));
    }
}
