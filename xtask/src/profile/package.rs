//! A package of Debian that has a server.

use anyhow::{Context as _, Result, ensure};

/// A package of a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DebianPackage {
    /// Name of the binary package.
    pub(super) name: String,
    /// Its version, with the epoch.
    pub(super) version: String,
    /// The suite that has it.
    pub(super) suite: String,
}

impl DebianPackage {
    pub(super) fn parse(text: &str, suite: &str) -> Result<Self> {
        let (name, version) = text.split_once('=').with_context(|| {
            format!("`{text}` is no package with a version: write mariadb-server-core=1:10.11.18-0+deb12u1")
        })?;
        let harmless = |text: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "+-.:~".contains(c);
            !text.is_empty() && !text.starts_with(['-', '.']) && text.chars().all(allowed)
        };
        for part in [name, version, suite] {
            ensure!(harmless(part), "`{part}` is no name of a package, version or suite");
        }
        Ok(Self { name: name.to_owned(), version: version.to_owned(), suite: suite.to_owned() })
    }

    /// The version as files are named after it: without the epoch.
    pub(super) fn file_version(&self) -> &str {
        self.version.split_once(':').map_or(&*self.version, |(_, rest)| rest)
    }

    /// Name of the binary package's file.
    pub(super) fn binary_file(&self) -> String {
        format!("{}_{}_amd64.deb", self.name, self.file_version())
    }

    /// The version of the server: without epoch and revision.
    pub(super) fn upstream(&self) -> &str {
        let version = self.file_version();
        version.rsplit_once('-').map_or(version, |(upstream, _)| upstream)
    }

    /// Name of the stored profile.
    pub(super) fn profile(&self) -> String {
        let server = self.name.split('-').next().unwrap_or(&self.name);
        // `+ds`, `+dfsg`: what Debian has left out of the source.
        let version = self.upstream().split('+').next().unwrap_or_default();
        format!("{server}-{version}-{}-amd64", self.suite)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_names_its_profile() {
        let package =
            DebianPackage::parse("mariadb-server-core=1:10.11.18-0+deb12u1", "bookworm").unwrap();
        assert_eq!(package.upstream(), "10.11.18");
        assert_eq!(package.profile(), "mariadb-10.11.18-bookworm-amd64");
        assert_eq!(package.binary_file(), "mariadb-server-core_10.11.18-0+deb12u1_amd64.deb");
        let mysql = DebianPackage::parse("mysql-server-core=9.7.4-1", "sid").unwrap();
        assert_eq!(mysql.profile(), "mysql-9.7.4-sid-amd64");
        let repacked =
            DebianPackage::parse("mariadb-server-core=1:11.8.9+ds-0+deb13u1", "trixie").unwrap();
        assert_eq!(repacked.upstream(), "11.8.9+ds");
        assert_eq!(repacked.profile(), "mariadb-11.8.9-trixie-amd64");
    }

    #[test]
    fn what_is_no_package_is_refused() {
        for text in ["mariadb-server-core", "=1", "a=", "../a=1", "a=$(id)", "-o=1", "a b=1"] {
            assert!(DebianPackage::parse(text, "bookworm").is_err(), "{text}");
        }
        assert!(DebianPackage::parse("a=1", "bookworm main").is_err());
    }
}
