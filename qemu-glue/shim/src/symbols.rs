//! QEMU's functions, found in the running program by name. One that is missing must not keep QEMU from
//! starting, so nothing of QEMU's is linked.
#![expect(unsafe_code, reason = "pointers to functions of C")]

use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem;

use shim_abi::{RefusalReason, SYMBOLS};

/// `RAMBlock *`: only its address is used.
pub(crate) type BlockPointer = *mut c_void;

/// Functions of QEMU; signatures compared in 5.2 to 11.0 and seen to work in 7.2, 8.2, 10.0 and 11.1.
#[derive(Clone, Copy)]
pub(crate) struct Symbols {
    /// migration/migration.c, migration/precopy.c: wants the big lock.
    pub(crate) add_notifier: unsafe extern "C" fn(*mut c_void),
    /// migration/ram.c: memory and length; wants a migration whose first sync has begun.
    pub(crate) hint: unsafe extern "C" fn(*mut c_void, usize),
    pub(crate) block_by_name: unsafe extern "C" fn(*const c_char) -> BlockPointer,
    pub(crate) block_host: unsafe extern "C" fn(BlockPointer) -> *mut c_void,
    pub(crate) block_length: unsafe extern "C" fn(BlockPointer) -> u64,
    pub(crate) block_is_shared: unsafe extern "C" fn(BlockPointer) -> bool,
    pub(crate) block_is_migratable: unsafe extern "C" fn(BlockPointer) -> bool,
    pub(crate) block_page_bytes: unsafe extern "C" fn(BlockPointer) -> usize,
    /// softmmu/memory.c, system/memory.c: gives a region and, through the pointer, the offset in it.
    pub(crate) region_from_host: unsafe extern "C" fn(*mut c_void, *mut u64) -> *mut c_void,
    /// Region, offset and length in it.
    pub(crate) region_set_dirty: unsafe extern "C" fn(*mut c_void, u64, u64),
    pub(crate) is_running: unsafe extern "C" fn() -> bool,
    pub(crate) postcopy_ram: unsafe extern "C" fn() -> bool,
    pub(crate) ignore_shared: unsafe extern "C" fn() -> bool,
    pub(crate) background_snapshot: unsafe extern "C" fn() -> bool,
    pub(crate) multifd: unsafe extern "C" fn() -> bool,
    /// From 9.0: `enum ZeroPageDetection`.
    pub(crate) zero_page_detection: Option<unsafe extern "C" fn() -> c_int>,
    /// From 9.0.
    pub(crate) mapped_ram: Option<unsafe extern "C" fn() -> bool>,
    /// From 8.2: `enum MigMode`.
    pub(crate) mode: Option<unsafe extern "C" fn() -> c_int>,
    /// `migrate_colo_enabled` before 8.1; not in builds without COLO.
    pub(crate) colo: Option<unsafe extern "C" fn() -> bool>,
}

impl Symbols {
    /// Finds all that are needed.
    ///
    /// # Errors
    /// The first one that QEMU does not export.
    pub(crate) fn find() -> Result<Self, RefusalReason> {
        // SAFETY: each name is that of a function of the field's type, see the fields.
        unsafe {
            Ok(Self {
                add_notifier: required(c"precopy_add_notifier")?,
                hint: required(c"qemu_guest_free_page_hint")?,
                block_by_name: required(c"qemu_ram_block_by_name")?,
                block_host: required(c"qemu_ram_get_host_addr")?,
                block_length: required(c"qemu_ram_get_used_length")?,
                block_is_shared: required(c"qemu_ram_is_shared")?,
                block_is_migratable: required(c"qemu_ram_is_migratable")?,
                block_page_bytes: required(c"qemu_ram_pagesize")?,
                region_from_host: required(c"memory_region_from_host")?,
                region_set_dirty: required(c"memory_region_set_dirty")?,
                is_running: required(c"runstate_is_running")?,
                postcopy_ram: required(c"migrate_postcopy_ram")?,
                ignore_shared: required(c"migrate_ignore_shared")?,
                background_snapshot: required(c"migrate_background_snapshot")?,
                multifd: match optional(c"migrate_use_multifd") {
                    Some(function) => function,
                    None => required(c"migrate_multifd")?,
                },
                zero_page_detection: optional(c"migrate_zero_page_detection"),
                mapped_ram: optional(c"migrate_mapped_ram"),
                mode: optional(c"migrate_mode"),
                colo: optional(c"migrate_colo").or_else(|| optional(c"migrate_colo_enabled")),
            })
        }
    }
}

/// Address of a function of the program or of a library that it links.
pub(crate) fn address(name: &CStr) -> *mut c_void {
    // SAFETY: the name ends with a zero.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

/// The function of this name.
///
/// # Safety
/// If QEMU has it, it must be of type `F`, a pointer to a function.
pub(crate) unsafe fn optional<F: Copy>(name: &CStr) -> Option<F> {
    const { assert!(size_of::<F>() == size_of::<*mut c_void>()) };
    let address = address(name);
    // SAFETY: a pointer to a function, not null; its type is the caller's word.
    (!address.is_null()).then(|| unsafe { mem::transmute_copy::<*mut c_void, F>(&address) })
}

/// The same, as an error if it is missing.
///
/// # Safety
/// As for [`optional`].
pub(crate) unsafe fn required<F: Copy>(name: &CStr) -> Result<F, RefusalReason> {
    let index = || SYMBOLS.iter().position(|symbol| *symbol == name).unwrap_or(SYMBOLS.len());
    // SAFETY: the caller's word.
    unsafe { optional(name) }.ok_or_else(|| RefusalReason::MissingSymbol(index() as u64))
}
