//! Embeds the eBPF object of the probes on QEMU.
//!
//! `cargo xtask build` makes the object; a plain `cargo build` or `cargo check` without it still
//! works and embeds nothing, and `timeline` then says so.

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-env-changed=POOLFERRY_QEMU_PROBES");
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let built = manifest.join("../target/ebpf/qemu.o");
    let object = env::var_os("POOLFERRY_QEMU_PROBES").map_or(built, PathBuf::from);
    println!("cargo:rerun-if-changed={}", object.display());
    let bytes = fs::read(&object).unwrap_or_default();
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("qemu.o");
    if fs::read(&out).ok().as_deref() != Some(&bytes) {
        fs::write(&out, bytes).expect("the build's output folder is writable");
    }
}
