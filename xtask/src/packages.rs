//! Debian packages that the commands want, each with its reason, in one list.

use std::ffi::{OsStr, OsString};
use std::process::Command;

use anyhow::{Context, Result, bail};
use test_servers::command;

use crate::apt_lock;

/// What a package is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The eBPF programs, where rustup has no nightly that can build them.
    Ebpf,
    /// Private servers and their load: demo, tests, benchmarks.
    Servers,
    /// The laboratory of migrations.
    Lab,
    /// Programs that tests and benchmarks compare with or try things on.
    Tests,
}

/// One package.
#[derive(Debug)]
pub(crate) struct Package {
    pub(crate) name: &'static str,
    purpose: Purpose,
    /// Its program, which may as well come from elsewhere; `None` if only the package will do.
    program: Option<&'static str>,
    pub(crate) why: &'static str,
}

const fn package(
    name: &'static str,
    purpose: Purpose,
    program: Option<&'static str>,
    why: &'static str,
) -> Package {
    Package { name, purpose, program, why }
}

const PACKAGES: &[Package] = {
    use Purpose::{Ebpf, Lab, Servers, Tests};
    &[
        package(
            "rustc-web",
            Ebpf,
            None,
            "a compiler of the same version as its core library's source",
        ),
        package("rust-web-src", Ebpf, None, "source of the core library, to build it for BPF"),
        package("cargo-web", Ebpf, None, "cargo of the same version"),
        package("llvm-22-dev", Ebpf, None, "bpf-linker is built on it"),
        package("libzstd-dev", Ebpf, None, "LLVM is linked with it"),
        package("zlib1g-dev", Ebpf, None, "LLVM is linked with it"),
        package("npm", Servers, Some("npm"), "fetches MySQL 5.6.24"),
        package("sysbench", Servers, Some("sysbench"), "load on the demo and test servers"),
        package("mariadb-client", Servers, Some("mariadb"), "SQL to the demo and test servers"),
        package("debootstrap", Lab, Some("debootstrap"), "makes the guest's Debian"),
        package("e2fsprogs", Lab, Some("mke2fs"), "disks made from folders"),
        package("iproute2", Lab, Some("tc"), "hosts as network namespaces, links of a speed"),
        package("qemu-utils", Lab, Some("qemu-nbd"), "the storage server"),
        package(
            "binutils",
            Tests,
            Some("readelf"),
            "readelf and objcopy: peers and makers of ELF files",
        ),
        package("bpftrace", Tests, Some("bpftrace"), "peer for the cost of a probe"),
        package("btrfs-progs", Tests, Some("mkfs.btrfs"), "file systems on loop devices"),
        package("dmsetup", Tests, Some("dmsetup"), "linear LVM, to find a page on the disk below"),
        package("dwz", Tests, Some("dwz"), "debug files with an alternate"),
        package("e2fsprogs", Tests, Some("mkfs.ext4"), "file systems on loop devices"),
        package("elfutils", Tests, Some("eu-strip"), "separate debug files"),
        package("fdisk", Tests, Some("sfdisk"), "partitions on loop devices"),
        package("g++", Tests, Some("g++"), "programs with every kind of DWARF; libFuzzer"),
        package("gdb", Tests, Some("gdb"), "peer for the layout of structures"),
        package("llvm", Tests, Some("llvm-dwarfdump"), "peer for the reading of DWARF"),
        package("python3-prometheus-client", Tests, None, "peer for the reading of metrics"),
        package("tmux", Tests, Some("tmux"), "a terminal for the viewer"),
        package("xfsprogs", Tests, Some("mkfs.xfs"), "file systems on loop devices"),
    ]
};

/// The packages for any of `purposes` that are not here yet.
pub(crate) fn missing(purposes: &[Purpose]) -> Vec<&'static Package> {
    let wanted = PACKAGES.iter().filter(|package| purposes.contains(&package.purpose));
    wanted.filter(|package| !is_here(package)).collect()
}

/// Whether all packages for `purpose` are here.
pub(crate) fn complete(purpose: Purpose) -> bool {
    missing(&[purpose]).is_empty()
}

fn is_here(package: &Package) -> bool {
    package.program.is_some_and(on_path) || installed(package.name)
}

/// Whether a program is on the path, or where Debian keeps those of root.
fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = std::env::split_paths(&path).map(|folder| folder.join(program));
    let system = ["/usr/sbin", "/sbin"].map(|folder| std::path::Path::new(folder).join(program));
    own.chain(system).any(|path| path.is_file())
}

fn installed(name: &str) -> bool {
    command::output(Command::new("dpkg-query").args([
        "--show",
        "--showformat=${db:Status-Status}",
        name,
    ]))
    .is_ok_and(|status| status == "installed")
}

/// Installs packages with apt, as root or through sudo.
pub(crate) fn install(names: &[&str]) -> Result<()> {
    if !command::exists("apt-get") {
        bail!("apt-get is not here; on this system, install what stands for: {}", names.join(" "));
    }
    println!("installing {}", names.join(" "));
    update()?;
    install_here(names)
}

/// Package lists anew. Whoever else makes them at the same time is waited for.
fn update() -> Result<()> {
    let update = || {
        apt_lock::wait();
        command::run(apt().args(["update", "--quiet=2"]))
    };
    // Somebody may have taken the lock between the look at it and apt's own.
    update().or_else(|error| if apt_lock::is_held() { update() } else { Err(error) })
}

/// Installs packages by the lists that are here.
pub(crate) fn install_here(names: &[&str]) -> Result<()> {
    apt_lock::wait();
    command::run(
        apt()
            .args(["install", "--yes", "--quiet=2", "--no-install-recommends", "--no-upgrade"])
            .args(names),
    )
    .with_context(|| format!("failed to install {}", names.join(" ")))
}

fn apt() -> Command {
    let mut apt = as_root("apt-get", &[("DEBIAN_FRONTEND", "noninteractive".into())]);
    apt.args(apt_lock::options());
    apt
}

/// A command line that runs `program` as root, with these variables in its environment: sudo drops those of its own.
pub(crate) fn as_root(program: impl AsRef<OsStr>, variables: &[(&str, OsString)]) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        Command::new("env")
    } else {
        let mut sudo = Command::new("sudo");
        sudo.arg("env");
        sudo
    };
    for (name, value) in variables {
        let mut word = OsString::from(format!("{name}="));
        word.push(value);
        command.arg(word);
    }
    command.arg(program);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_stand_behind_sudo() {
        let command = as_root("lab", &[("POOLFERRY_CACHE", "/c".into())]);
        let words: Vec<_> = command.get_args().collect();
        assert_eq!(words[words.len() - 2..], ["POOLFERRY_CACHE=/c", "lab"]);
        assert_eq!(command.get_envs().count(), 0);
    }

    #[test]
    fn a_package_is_known_to_be_there_or_not() {
        assert!(on_path("sh") && !on_path("no-such-program"));
        if on_path("dpkg-query") {
            assert!(installed("dpkg") && !installed("no-such-package"));
        }
    }
}
