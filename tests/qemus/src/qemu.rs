//! One QEMU that lies ready, and the command that runs it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use test_servers::command;

use crate::release::QemuRelease;

/// Folders of a root that have its libraries.
const LIBRARIES: [&str; 2] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu"];

/// Where the loader lies: before and after Debian moved `/lib` below `/usr`.
const LOADERS: [&str; 2] =
    ["lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"];

/// Folders of a root that have firmware and option ROMs.
const FIRMWARE: [&str; 3] = ["usr/share/qemu", "usr/share/seabios", "usr/lib/ipxe/qemu"];

/// Folder of a root that has QEMU's modules, the accelerators among them.
const MODULES: &str = "usr/lib/x86_64-linux-gnu/qemu";

/// A QEMU that lies ready on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qemu {
    release: QemuRelease,
    program: PathBuf,
    /// The folder with all that it needs; `None` if it runs on the machine's own libraries.
    root: Option<PathBuf>,
}

impl Qemu {
    pub(crate) fn found(
        release: QemuRelease,
        program: PathBuf,
        root: Option<PathBuf>,
    ) -> Result<Self> {
        let qemu = Self { release, program, root };
        if let Some(root) = &qemu.root {
            loader(root)?;
        }
        Ok(qemu)
    }

    /// Which release it is.
    #[must_use]
    pub fn release(&self) -> QemuRelease {
        self.release
    }

    /// The file with QEMU's code: the place of uprobes. Run it by [`command`](Self::command), whose
    /// process has the root's loader as `/proc/PID/exe`.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The same with another program, such as a changed copy of its own.
    #[must_use]
    pub fn with_program(&self, program: PathBuf) -> Self {
        Self { program, ..self.clone() }
    }

    /// A command line that starts this QEMU; the caller adds QEMU's options.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = self.run(&self.program);
        if let Some(root) = &self.root {
            for folder in FIRMWARE {
                command.arg("-L").arg(root.join(folder));
            }
        }
        command
    }

    /// A command line that starts `name` of the same packages: `qemu-img`, `qemu-nbd`, `qemu-io`,
    /// `qemu-storage-daemon`.
    #[must_use]
    pub fn tool(&self, name: &str) -> Command {
        self.run(&self.program.with_file_name(name))
    }

    /// Major and minor version that the program itself prints.
    ///
    /// # Errors
    /// It does not run, or prints no version.
    pub fn reported_version(&self) -> Result<(u32, u32)> {
        let text = command::output(self.command().arg("-version"))?;
        parse_version(&text).with_context(|| format!("no version in `{}`", text.trim_end()))
    }

    fn run(&self, program: &Path) -> Command {
        let Some((root, loader)) = self.root.as_ref().and_then(|r| Some((r, loader(r).ok()?)))
        else {
            return Command::new(program);
        };
        let libraries = LIBRARIES.map(|folder| root.join(folder).display().to_string()).join(":");
        let mut command = Command::new(loader);
        command.arg("--library-path").arg(libraries).arg(program);
        command.env("QEMU_MODULE_DIR", root.join(MODULES));
        command
    }
}

fn loader(root: &Path) -> Result<PathBuf> {
    let mut found = LOADERS.iter().map(|path| root.join(path)).filter(|path| path.is_file());
    found.next().with_context(|| format!("no loader in `{}`", root.display()))
}

/// From `QEMU emulator version 10.0.2 (Debian ...)`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_once("version ")?.1.split(|letter: char| !letter.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn versions_are_found_in_the_first_line() {
        let text = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c) 2003";
        assert_eq!(parse_version(text), Some((7, 2)));
        assert_eq!(parse_version("QEMU emulator version 11.1 x"), Some((11, 1)));
        assert_eq!(parse_version("QEMU"), None);
    }
}
