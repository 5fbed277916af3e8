//! Where an archive keeps the files of a package, also of versions that its index does not name any more.

use std::fmt;

use anyhow::{Context as _, Result, ensure};

use super::package::DebianPackage;

/// The folder of a source package in an archive; the binary packages made from it lie there too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pool {
    folder: String,
    source: String,
}

impl Pool {
    /// Reads what `apt-cache showsrc` prints of any version of the package.
    ///
    /// # Errors
    /// The index knows no such package.
    pub(super) fn parse(archive: &str, records: &str) -> Result<Self> {
        let value = |key: &str| {
            let found = records.lines().find_map(|line| line.strip_prefix(key));
            let value = found.map(str::trim).context("the suite has no such package")?;
            let harmless = |c: char| c.is_ascii_alphanumeric() || "+-./".contains(c);
            ensure!(value.chars().all(harmless), "odd field of a package: `{value}`");
            Ok(value.to_owned())
        };
        let (directory, source) = (value("Directory:")?, value("Package:")?);
        Ok(Self { folder: format!("{}/{directory}", archive.trim_end_matches('/')), source })
    }

    /// Name of the file that describes the source package.
    pub(super) fn description(&self, package: &DebianPackage) -> String {
        format!("{}_{}.dsc", self.source, package.file_version())
    }

    /// The command that brings a file of the pool into the folder where it runs.
    pub(super) fn download(&self, file: &str) -> String {
        format!("/usr/lib/apt/apt-helper download-file {}/{file} {file}", self.folder)
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.folder)
    }
}

/// The files of a source package, as its description lists them under `Files:`.
///
/// # Errors
/// A name is none of a plain file.
pub(super) fn files(description: &str) -> Result<Vec<&str>> {
    let listed = description.lines().skip_while(|line| *line != "Files:").skip(1);
    listed
        .take_while(|line| line.starts_with(' '))
        .map(|line| {
            let name = line.split_ascii_whitespace().nth(2).context("a file without a name")?;
            let harmless = |c: char| c.is_ascii_alphanumeric() || "+-._~".contains(c);
            let plain = !name.starts_with(['.', '-']) && name.chars().all(harmless);
            ensure!(plain, "`{name}` is no file of a source package");
            Ok(name)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_older_versions_lie_beside_those_of_the_newest() {
        let records =
            "Package: mariadb\nVersion: 1:11.8.9+ds-0+deb13u1\nDirectory: pool/main/m/mariadb\n";
        let pool = Pool::parse("http://a/debian/", records).unwrap();
        assert_eq!(pool.to_string(), "http://a/debian/pool/main/m/mariadb");
        let package =
            DebianPackage::parse("mariadb-server-core=1:11.8.6-0+deb13u1", "trixie").unwrap();
        assert_eq!(pool.description(&package), "mariadb_11.8.6-0+deb13u1.dsc");
        assert!(Pool::parse("http://a", "").is_err());
        assert!(Pool::parse("http://a", "Package: a\nDirectory: b;id\n").is_err());
    }

    #[test]
    fn a_description_lists_its_files() {
        let text = "Format: 3.0 (quilt)\nChecksums-Sha256:\n 00 9 x.tar\nFiles:\n 8715 31 a_1+ds.orig.tar.xz\n 3280 2 a_1.debian.tar.xz\nOther: x\n";
        assert_eq!(files(text).unwrap(), ["a_1+ds.orig.tar.xz", "a_1.debian.tar.xz"]);
        for name in ["../a", "a/b", "-o", ".a", "$(id)"] {
            assert!(files(&format!("Files:\n 00 1 {name}\n")).is_err(), "{name}");
        }
    }
}
