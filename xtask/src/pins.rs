//! Versions of the eBPF toolchain, which have to change together.
//!
//! `ebpf-probes/Cargo.toml` pins the crates that go with them; the servers are pinned in `tests/servers/src/fixture`.

/// Major version of the LLVM that rustc emits and that `bpf-linker` reads; the linker must not be older.
pub(crate) const LLVM: u32 = 22;
/// Version of `bpf-linker`, a crate.
pub(crate) const BPF_LINKER: &str = "0.13.0";
/// Where Debian's `llvm-22-dev` puts its files.
pub(crate) const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
/// Variable by which the crate `llvm-sys` finds them.
pub(crate) const LLVM_SYS_PREFIX: &str = "LLVM_SYS_221_PREFIX";
/// Debian's compiler (`rustc-web`), beside any that rustup has.
pub(crate) const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
/// Debian's cargo (`cargo-web`).
pub(crate) const DEBIAN_CARGO: &str = "/usr/bin/cargo";
/// The target that the kernel's loader takes on x86-64.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";
