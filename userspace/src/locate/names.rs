//! What a file's name means: its part in the server, and the table's name for people.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::file_name::decode_file_name;

/// A file's part in the server, by name only; its first page has the last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileRole {
    /// `*.ibd`: a table, a partition, a general tablespace, `mysql.ibd`.
    Tablespace,
    /// `undo*` and `*.ibu`.
    Undo,
    /// `ibdata*`.
    System,
    /// Temporary tablespaces: `ibtmp*`, `*.ibt`.
    Temporary,
    /// Any other name: one that the operator may have given to a file of the system tablespace.
    Other,
    /// A name of something else: doublewrite and redo files, other engines' files, logs. Of two files
    /// with the same content it is the other one.
    Foreign,
}

impl FileRole {
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
            _ if name.starts_with(b"ib_logfile") || name.starts_with(b"#ib_") => Self::Foreign,
            _ => Self::Other,
        }
    }

    /// Whether files of this name are spaces of their own, and not only parts of the system tablespace.
    pub(crate) fn is_named_space(self) -> bool {
        matches!(self, Self::Tablespace | Self::Undo | Self::Temporary)
    }
}

/// The name to show for a file: `database/table`, or the bare name of a file that is not one
/// table's.
pub(crate) fn display_name(path: &Path, role: FileRole, shared: bool, datadir: &Path) -> String {
    let folder = path.parent();
    let stem = decode_file_name(path.file_stem().unwrap_or_default());
    match folder.and_then(Path::file_name) {
        Some(database) if role == FileRole::Tablespace && !shared && folder != Some(datadir) => {
            format!("{}/{stem}", decode_file_name(database))
        }
        _ => stem,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_as_the_operator_wrote_them() {
        let datadir = Path::new("/var/lib/mysql");
        let cases = [
            ("/var/lib/mysql/shop/orders.ibd", "shop/orders"),
            ("/var/lib/mysql/shop/a@002db@4e2d.ibd", "shop/a-b\u{4e2d}"),
            ("/var/lib/mysql/@g0/caf@0p.ibd", "\u{430}/caf\u{e9}"),
            ("/var/lib/mysql/shop/t#P#p0.ibd", "shop/t#P#p0"),
            ("/fast/shop/moved.ibd", "shop/moved"),
            ("/var/lib/mysql/mysql.ibd", "mysql"),
            ("/var/lib/mysql/undo_001", "undo_001"),
        ];
        for (path, name) in cases {
            let path = Path::new(path);
            assert_eq!(display_name(path, FileRole::of(path), false, datadir), name);
        }
    }

    #[test]
    fn roles_follow_the_name() {
        let cases = [
            ("ibdata2", FileRole::System),
            ("undo001", FileRole::Undo),
            ("my_undo.ibu", FileRole::Undo),
            ("ibtmp1", FileRole::Temporary),
            ("temp_3.ibt", FileRole::Temporary),
            ("#ib_16384_0.dblwr", FileRole::Foreign),
            ("ib_logfile0", FileRole::Foreign),
            ("#ib_redo7", FileRole::Foreign),
            ("user.MYI", FileRole::Foreign),
            ("#sql-1_2.ibd", FileRole::Tablespace),
            ("central:data", FileRole::Other),
            ("ib_sys1", FileRole::Other),
        ];
        for (name, role) in cases {
            assert_eq!(FileRole::of(Path::new(name)), role, "{name}");
        }
    }
}
