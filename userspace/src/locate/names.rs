//! What a file's name says: its part in the server, and the table's name for people.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A file's part in the server, by name only; its first page has the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// `*.ibd`: a table, a partition, a general tablespace, `mysql.ibd`.
    Tablespace,
    /// `undo*` and `*.ibu`.
    Undo,
    /// `ibdata*`.
    System,
    /// Temporary tablespaces: `ibtmp*`, `*.ibt`.
    Temporary,
    /// A name that the operator may have given to a file of the system tablespace.
    Other,
    /// Doublewrite and redo files, other engines' files, logs.
    Foreign,
}

impl Role {
    pub(crate) fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let extension = path.extension().unwrap_or_default().as_bytes();
        match extension {
            b"ibd" => Self::Tablespace,
            b"ibu" => Self::Undo,
            b"ibt" => Self::Temporary,
            _ if name.starts_with(b"ibtmp") => Self::Temporary,
            b"dblwr" | b"bdblwr" | b"frm" | b"MYD" | b"MYI" | b"CSV" | b"CSM" | b"MAD" | b"MAI"
            | b"log" | b"err" | b"pid" | b"index" | b"sdi" | b"pem" | b"cnf" | b"isl" => {
                Self::Foreign
            }
            _ if name.starts_with(b"ibdata") => Self::System,
            _ if name.starts_with(b"undo") => Self::Undo,
            _ if name.starts_with(b"ib_") || name.starts_with(b"#ib_") => Self::Foreign,
            _ => Self::Other,
        }
    }
}

/// The name to show for a file: `database/table`, or the bare name of a file that is not one
/// table's.
pub(crate) fn display_name(path: &Path, role: Role, shared: bool, datadir: &Path) -> String {
    let folder = path.parent();
    let stem = decode(path.file_stem().unwrap_or_default());
    match folder.and_then(Path::file_name) {
        Some(database) if role == Role::Tablespace && !shared && folder != Some(datadir) => {
            format!("{}/{stem}", decode(database))
        }
        _ if role == Role::System => String::from("system tablespace"),
        _ => stem,
    }
}

/// Decodes the server's file-name character set: `@` and four lower-case hexadecimal digits stand
/// for a UTF-16 unit (`my_wc_mb_filename`, strings/ctype-utf8.c).
///
/// The same character set writes some 1,600 letters (Latin with accents, Greek, Cyrillic) as `@`
/// and two characters by a table; these stay as they are.
fn decode(name: &OsStr) -> String {
    let name = name.to_string_lossy();
    let mut decoded = String::with_capacity(name.len());
    let mut rest = &*name;
    while let Some((plain, code)) = rest.split_once('@') {
        decoded.push_str(plain);
        let hexadecimal = |digits: &&str| {
            digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let unit = code.get(..4).filter(hexadecimal).and_then(|d| u32::from_str_radix(d, 16).ok());
        match unit.and_then(char::from_u32) {
            Some(character) => {
                decoded.push(character);
                rest = &code[4..];
            }
            None => {
                decoded.push('@');
                rest = code;
            }
        }
    }
    decoded + rest
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_read_as_the_operator_wrote_them() {
        let datadir = Path::new("/var/lib/mysql");
        let cases = [
            ("/var/lib/mysql/shop/orders.ibd", "shop/orders"),
            ("/var/lib/mysql/shop/a@002db@4e2d.ibd", "shop/a-b\u{4e2d}"),
            ("/var/lib/mysql/shop/caf@0r.ibd", "shop/caf@0r"),
            ("/var/lib/mysql/shop/t#P#p0.ibd", "shop/t#P#p0"),
            ("/fast/shop/moved.ibd", "shop/moved"),
            ("/var/lib/mysql/mysql.ibd", "mysql"),
            ("/var/lib/mysql/undo_001", "undo_001"),
            ("/var/lib/mysql/ibdata1", "system tablespace"),
        ];
        for (path, name) in cases {
            let path = Path::new(path);
            assert_eq!(display_name(path, Role::of(path), false, datadir), name);
        }
    }

    #[test]
    fn roles_follow_the_name() {
        let cases = [
            ("ibdata2", Role::System),
            ("undo001", Role::Undo),
            ("my_undo.ibu", Role::Undo),
            ("ibtmp1", Role::Temporary),
            ("temp_3.ibt", Role::Temporary),
            ("#ib_16384_0.dblwr", Role::Foreign),
            ("ib_logfile0", Role::Foreign),
            ("#ib_redo7", Role::Foreign),
            ("user.MYI", Role::Foreign),
            ("#sql-1_2.ibd", Role::Tablespace),
            ("central:data", Role::Other),
        ];
        for (name, role) in cases {
            assert_eq!(Role::of(Path::new(name)), role, "{name}");
        }
    }

    proptest! {
        /// Any name decodes to something, and a name without `@` to itself.
        #[test]
        fn any_name_decodes(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let decoded = decode(OsStr::from_bytes(&bytes));
            if !bytes.contains(&b'@') {
                prop_assert_eq!(decoded, String::from_utf8_lossy(&bytes));
            }
        }
    }
}
