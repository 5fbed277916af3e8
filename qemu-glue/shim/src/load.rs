//! The ways in: QEMU loads the library as a plugin, or the dynamic linker does before QEMU begins.
//!
//! Both run [`loaded`] first. As a plugin it comes when QEMU has its main loop, preloaded before.
#![expect(unsafe_code, reason = "entry points for C")]

use core::ffi::{c_char, c_int, c_void};
use core::sync::atomic::AtomicI32;
use core::sync::atomic::Ordering::Relaxed;

use shim_abi::LoadedBy;

use crate::{notifier, preload, qemu, symbols};

/// The plugin interface that QEMU is to believe in; it reads it right after [`loaded`] has run. Of that
/// interface nothing is used, so any number that QEMU accepts is right.
#[unsafe(no_mangle)]
pub(crate) static qemu_plugin_version: AtomicI32 = AtomicI32::new(2);

#[used]
#[unsafe(link_section = ".init_array")]
static LOADED: extern "C" fn() = loaded;

/// Run by the dynamic linker when the library is in memory.
extern "C" fn loaded() {
    if symbols::address(c"precopy_add_notifier").is_null() {
        return; // preloaded into another program
    }
    if preload::main_loop().is_none() {
        preload::begin();
    } else if let Some(version) = qemu::version() {
        qemu_plugin_version.store(version.plugin_interface(), Relaxed);
    }
}

/// QEMU's entry into a plugin (include/qemu/qemu-plugin.h), called from `qemu_init_board` on the main
/// thread with the big lock held, after `precopy_infrastructure_init`. A result other than 0 would keep
/// QEMU from starting.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn qemu_plugin_install(
    _id: u64,
    _info: *const c_void,
    _count: c_int,
    _arguments: *const *const c_char,
) -> c_int {
    notifier::install(LoadedBy::Plugin);
    0
}
