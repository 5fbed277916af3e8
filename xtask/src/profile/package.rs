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

    /// The version of the server: without epoch and revision.
    pub(super) fn upstream(&self) -> &str {
        let version = self.version.split_once(':').map_or(&*self.version, |(_, rest)| rest);
        version.rsplit_once('-').map_or(version, |(upstream, _)| upstream)
    }

    /// Name of the stored profile.
    pub(super) fn profile(&self) -> String {
        let server = self.name.split('-').next().unwrap_or(&self.name);
        format!("{server}-{}-{}-amd64", self.upstream(), self.suite)
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
        let mysql = DebianPackage::parse("mysql-server-core=9.7.4-1", "sid").unwrap();
        assert_eq!(mysql.profile(), "mysql-9.7.4-sid-amd64");
    }

    #[test]
    fn what_is_no_package_is_refused() {
        for text in ["mariadb-server-core", "=1", "a=", "../a=1", "a=$(id)", "-o=1", "a b=1"] {
            assert!(DebianPackage::parse(text, "bookworm").is_err(), "{text}");
        }
        assert!(DebianPackage::parse("a=1", "bookworm main").is_err());
    }
}
