//! The eBPF programs: which toolchain can build them, and the build.
//!
//! The core library has to be compiled for the BPF target, so its source must be there and belong to the compiler. A nightly of rustup with
//! `rust-src` and a `bpf-linker` on the path is used as it is; the fallback is Debian's compiler, which a script needs no rustup for.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use test_servers::cache::Cache;
use test_servers::command;

use crate::packages::{self, Purpose};
use crate::pins;
use crate::workspace;

/// Debian's source of the core library.
const DEBIAN_CORE: &str = "/usr/lib/rustlib/src/rust/library/core";

/// A compiler and a linker that go together.
#[derive(Debug)]
pub(crate) enum Toolchain {
    /// A toolchain of rustup and the `bpf-linker` on the path.
    Rustup(String),
    /// Debian's compiler and the `bpf-linker` at this path.
    Debian(PathBuf),
}

impl Toolchain {
    /// The toolchain to use, if one is complete.
    pub(crate) fn find() -> Option<Self> {
        Self::rustup().or_else(Self::debian)
    }

    fn rustup() -> Option<Self> {
        if !command::exists("bpf-linker") {
            return None;
        }
        let list =
            command::output(Command::new("rustup").args(["toolchain", "list", "--quiet"])).ok()?;
        let nightlies = list.lines().filter(|name| name.starts_with("nightly"));
        nightlies.map(|name| Self::Rustup(name.to_owned())).find(Self::links)
    }

    fn debian() -> Option<Self> {
        let complete = packages::complete(Purpose::Ebpf) && Path::new(DEBIAN_CORE).is_dir();
        (complete && bpf_linker_is_here()).then(|| bpf_linker().ok().map(Self::Debian))?
    }

    /// Whether it can link a program. Tried once for each compiler and linker, with the least program there is.
    fn links(&self) -> bool {
        let Ok(cache) = Cache::open() else { return false };
        let versions = self.versions();
        let tried = cache.prepare("ebpf-toolchain", &versions, |folder| {
            fs::create_dir(folder.join("src"))?;
            fs::write(folder.join("Cargo.toml"), TRIAL_MANIFEST)?;
            fs::write(folder.join("src/main.rs"), TRIAL_PROGRAM)?;
            command::output(&mut self.build_in(folder, &folder.join("target"))).map(drop)
        });
        tried.is_ok()
    }

    fn versions(&self) -> String {
        let version = |command: &mut Command| command::output(command).unwrap_or_default();
        match self {
            Self::Rustup(name) => {
                let rustc = version(Command::new("rustc").env("RUSTUP_TOOLCHAIN", name).arg("-vV"));
                rustc + &version(Command::new("bpf-linker").arg("--version"))
            }
            Self::Debian(_) => version(Command::new(pins::DEBIAN_RUSTC).arg("-vV")),
        }
    }

    /// The command that builds the crate in `folder` for BPF.
    fn build_in(&self, folder: &Path, target: &Path) -> Command {
        let mut flags =
            String::from("-C link-arg=--btf -C debuginfo=2 --cfg=bpf_target_arch=\"x86_64\"");
        let mut cargo = match self {
            Self::Rustup(name) => {
                let mut cargo = Command::new("cargo");
                cargo.env("RUSTUP_TOOLCHAIN", name).env_remove("RUSTC");
                cargo
            }
            Self::Debian(linker) => {
                flags.push_str(&format!(" -C linker={}", linker.display()));
                let mut cargo = Command::new(pins::DEBIAN_CARGO);
                // It is a stable compiler, and `-Zbuild-std` an option of nightly ones.
                cargo.env("RUSTC", pins::DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
                cargo
            }
        };
        // What the cargo that runs this program has set is meant for another compiler.
        for name in
            ["CARGO", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WRAPPER", "RUSTDOC"]
        {
            cargo.env_remove(name);
        }
        cargo
            .args(["build", "--release", "-Zbuild-std=core", "--target", pins::BPF_TARGET])
            .env("RUSTFLAGS", flags)
            .env("CARGO_TARGET_DIR", target)
            .current_dir(folder);
        cargo
    }
}

/// An object with programs: its name as a binary of the crate, which is also its name in `target/ebpf`.
const OBJECTS: [(&str, &str); 2] = [("probes", "probes.o"), ("qemu", "qemu.o")];

/// Builds the eBPF programs, if anything of them changed, and gives the path of the agent's object.
///
/// `userspace/build.rs` embeds the agent's object and `qemu-glue/build.rs` the host's. A file is written only when its bytes change, so
/// that nothing is built again for nothing.
pub(crate) fn build() -> Result<PathBuf> {
    let target = workspace::root().join("target/ebpf");
    if let Some(given) = env::var_os("POOLFERRY_PROBES") {
        println!("taking the eBPF programs from `{}` (POOLFERRY_PROBES)", given.display());
        if env::var_os("POOLFERRY_QEMU_PROBES").is_none() && !target.join("qemu.o").exists() {
            println!("building no probes of QEMU: POOLFERRY_QEMU_PROBES names no object");
        }
        return Ok(given.into());
    }
    let toolchain = Toolchain::find().context("no toolchain for eBPF; see CONTRIBUTING.md")?;
    command::run(&mut toolchain.build_in(&workspace::root().join("ebpf-probes"), &target))
        .context("failed to build the eBPF programs")?;
    let folder = target.join(pins::BPF_TARGET).join("release");
    for (binary, object) in OBJECTS {
        let built = folder.join(binary);
        let bytes =
            fs::read(&built).with_context(|| format!("no eBPF object at `{}`", built.display()))?;
        let object = target.join(object);
        if fs::read(&object).ok().as_ref() != Some(&bytes) {
            fs::write(&object, bytes)?;
        }
    }
    Ok(target.join(OBJECTS[0].1))
}

/// Whether the pinned `bpf-linker` is in the cache and runs.
pub(crate) fn bpf_linker_is_here() -> bool {
    let version =
        bpf_linker().and_then(|linker| command::output(Command::new(linker).arg("--version")));
    version.is_ok_and(|version| version.split_whitespace().any(|word| word == pins::BPF_LINKER))
}

fn bpf_linker() -> Result<PathBuf> {
    Ok(bpf_linker_root()?.join("bin/bpf-linker"))
}

fn bpf_linker_root() -> Result<PathBuf> {
    Ok(Cache::open()?.root().join("bpf-linker"))
}

/// Compiles `bpf-linker` on Debian's LLVM into the cache.
pub(crate) fn install_bpf_linker() -> Result<()> {
    check_llvm()?;
    // Without this path its build finds the system's older `llvm-config`.
    let mut path = OsString::from(format!("{}/bin:", pins::LLVM_PREFIX));
    path.push(env::var_os("PATH").unwrap_or_default());
    let feature = format!("llvm-{}", pins::LLVM);
    command::run(
        workspace::cargo()
            .args(["install", "bpf-linker", "--version", pins::BPF_LINKER, "--locked", "--force"])
            .args(["--no-default-features", "--features", &feature, "--root"])
            .arg(bpf_linker_root()?)
            .env("PATH", path)
            .env("LLVM_PREFIX", pins::LLVM_PREFIX)
            .env(pins::LLVM_SYS_PREFIX, pins::LLVM_PREFIX),
    )
    .context("failed to build bpf-linker")
}

/// The linker reads what the compiler emits, so their LLVM must be the same.
fn check_llvm() -> Result<()> {
    let text = command::output(Command::new(pins::DEBIAN_RUSTC).arg("-vV"))?;
    let version =
        text.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or_default();
    let major = version.split('.').next().and_then(|major| major.parse().ok());
    if major != Some(pins::LLVM) {
        bail!(
            "`{}` is built on LLVM {version}, not {}; change xtask/src/pins.rs and packages.rs together",
            pins::DEBIAN_RUSTC,
            pins::LLVM
        );
    }
    Ok(())
}

const TRIAL_MANIFEST: &str = r#"[package]
name = "trial"
version = "0.0.0"
edition = "2024"

[profile.release]
panic = "abort"

[workspace]
"#;

const TRIAL_PROGRAM: &str = r#"#![no_std]
#![no_main]

#[unsafe(no_mangle)]
#[unsafe(link_section = "uprobe")]
pub extern "C" fn trial() -> u64 {
    0
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
"#;
