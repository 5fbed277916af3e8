//! The releases, and how each is got.

use std::env;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};
use test_servers::cache::Cache;
use test_servers::fixture::debian;

use crate::qemu::Qemu;

/// QEMU with its firmware and option ROMs, its modules (accelerators among them), and the server of
/// the storage.
const PACKAGES: &[&str] = &["qemu-system-x86", "qemu-utils"];

/// Where the program lies in a root.
const PROGRAM: &str = "usr/bin/qemu-system-x86_64";

/// A QEMU release that the library knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QemuRelease {
    /// 7.2 of Debian bookworm.
    Q72,
    /// 8.2, which only Ubuntu 24.04 has: used where its variable names it.
    Q82,
    /// 10.0 of bookworm-backports.
    Q100,
    /// 11.1 of Debian sid.
    Q111,
}

impl QemuRelease {
    /// All of them, oldest first.
    pub const ALL: [Self; 4] = [Self::Q72, Self::Q82, Self::Q100, Self::Q111];

    /// Variable of the environment that names the program of this release, in place of the cache.
    #[must_use]
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Q72 => "POOLFERRY_QEMU72",
            Self::Q82 => "POOLFERRY_QEMU82",
            Self::Q100 => "POOLFERRY_QEMU100",
            Self::Q111 => "POOLFERRY_QEMU111",
        }
    }

    /// Its major and minor version.
    #[must_use]
    pub const fn version(self) -> (u32, u32) {
        match self {
            Self::Q72 => (7, 2),
            Self::Q82 => (8, 2),
            Self::Q100 => (10, 0),
            Self::Q111 => (11, 1),
        }
    }

    /// Whether the Debian archive has it.
    #[must_use]
    pub const fn can_be_fetched(self) -> bool {
        self.suite().is_some()
    }

    /// The Debian suite that has it.
    const fn suite(self) -> Option<&'static str> {
        match self {
            Self::Q72 => Some("bookworm"),
            Self::Q82 => None,
            Self::Q100 => Some("bookworm-backports"),
            Self::Q111 => Some("sid"),
        }
    }

    /// Name of its entry in the cache.
    const fn entry(self) -> &'static str {
        match self {
            Self::Q72 => "qemu-7.2",
            Self::Q82 => "qemu-8.2",
            Self::Q100 => "qemu-10.0",
            Self::Q111 => "qemu-11.1",
        }
    }

    /// Finds the release: what its [`variable`](Self::variable) names, else what was fetched into
    /// the cache.
    ///
    /// # Errors
    /// It is not there, or is another version; the text has how to get it.
    pub fn installed(self) -> Result<Qemu> {
        if let Some(program) = env::var_os(self.variable()).map(PathBuf::from) {
            let named = format!("`{}`, which {} names,", program.display(), self.variable());
            ensure!(program.is_file(), "{named} is no file");
            return Qemu::found(self, program, None);
        }
        let Some(suite) = self.suite() else {
            bail!("{self} is not in Debian; name its program in {}", self.variable());
        };
        let entry = Cache::open()?
            .find(self.entry(), &debian::inputs(suite, PACKAGES))
            .with_context(|| format!("{self} is not here; get it with `cargo xtask fetch`"))?;
        let root = entry.join("root");
        Qemu::found(self, root.join(PROGRAM), Some(root))
    }

    /// Fetches the release into the cache, unless it is there.
    ///
    /// # Errors
    /// No archive has it, the archive does not answer, or what it has is another version.
    pub fn fetch(self) -> Result<Qemu> {
        if let Ok(found) = self.installed() {
            return Ok(found);
        }
        if let Some(suite) = self.suite() {
            let inputs = debian::inputs(suite, PACKAGES);
            Cache::open()?.prepare(self.entry(), &inputs, |folder| {
                debian::fetch(folder, suite, PACKAGES)?;
                let root = folder.join("root");
                let qemu = Qemu::found(self, root.join(PROGRAM), Some(root))?;
                let (major, minor) = qemu.reported_version()?;
                ensure!(
                    (major, minor) == self.version(),
                    "Debian {suite} has QEMU {major}.{minor} now; this fixture is for {self}"
                );
                Ok(())
            })?;
        }
        self.installed()
    }
}

impl FromStr for QemuRelease {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let version = |release: &Self| {
            let (major, minor) = release.version();
            format!("{major}.{minor}")
        };
        let found = Self::ALL.into_iter().find(|release| version(release) == text);
        found.with_context(|| {
            let all = Self::ALL.iter().map(version).collect::<Vec<_>>().join(", ");
            format!("no QEMU `{text}` is known here: write one of {all}")
        })
    }
}

impl fmt::Display for QemuRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor) = self.version();
        write!(f, "QEMU {major}.{minor}")
    }
}
