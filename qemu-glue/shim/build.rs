//! Lets the linker refuse undefined symbols: QEMU's are looked up while it runs, so that one that is
//! missing cannot keep QEMU from starting.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,defs");
    println!("cargo::rerun-if-changed=build.rs");
}
