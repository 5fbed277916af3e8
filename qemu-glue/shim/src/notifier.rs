//! QEMU's list of migration notifiers, and our place in it.
#![expect(unsafe_code, reason = "a node of QEMU's list, and what its calls share")]

use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use core::ptr;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{AcqRel, Acquire, Release};

use shim_abi::{LibraryState, LoadedBy};

use crate::control::Shared;
use crate::engine::Engine;
use crate::qemu::{self, Qemu};

/// `NotifierWithReturn` (include/qemu/notify.h, 5.1 to 11.1): the function, then the list's links.
#[repr(C)]
struct Notifier {
    /// Up to 8.2 without the last argument, which the caller then leaves undefined: it is not read.
    notify: extern "C" fn(*mut Notifier, *const c_int, *mut c_void) -> c_int,
    next: *mut Notifier,
    previous: *mut *mut Notifier,
}

/// What all calls share. QEMU makes them under its big lock, one after the other; `busy` guards
/// against a version that does not.
struct Shop {
    busy: AtomicBool,
    engine: UnsafeCell<Option<Engine<Qemu>>>,
    notifier: UnsafeCell<Notifier>,
}

// SAFETY: the engine is touched only by whoever has set `busy`; the notifier, only by QEMU.
unsafe impl Sync for Shop {}

static SHOP: Shop = Shop {
    busy: AtomicBool::new(false),
    engine: UnsafeCell::new(None),
    notifier: UnsafeCell::new(Notifier {
        notify: notified,
        next: ptr::null_mut(),
        previous: ptr::null_mut(),
    }),
};

/// Sets the library up, once: makes the shared file, and has QEMU call us. On QEMU's main thread, with
/// the big lock held, after QEMU has initialised its list.
pub(crate) fn install(entry: LoadedBy) {
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.swap(true, AcqRel) {
        return;
    }
    let Ok(shared) = Shared::create() else {
        // The host will report that there is no library; this is the reason.
        const TEXT: &[u8] = b"poolferry: no memory to share with the host's program\n";
        // SAFETY: the text and its length.
        unsafe { libc::write(2, TEXT.as_ptr().cast(), TEXT.len()) };
        return;
    };
    let control = shared.control;
    control.entry.store(entry as u32, Release);
    if let Some(version) = qemu::version() {
        let numbers = [version.major, version.minor, version.micro];
        for (to, from) in control.version.iter().zip(numbers) {
            to.store(from, Release);
        }
    }
    match Qemu::around() {
        Err(reason) => shared.refuse(LibraryState::Unusable, reason),
        Ok(qemu) => {
            // SAFETY: static, and added this once; `DONE` has seen to it.
            unsafe { qemu.add_notifier(SHOP.notifier.get().cast()) };
            with_engine(|engine| *engine = Some(Engine::new(qemu, shared)));
        }
    }
}

/// QEMU calls it. A result other than 0 would end QEMU: it would report an error that nobody set.
extern "C" fn notified(_: *mut Notifier, reason: *const c_int, _: *mut c_void) -> c_int {
    // SAFETY: the first member of `PrecopyNotifyData` is the reason in all versions.
    let reason = unsafe { reason.as_ref() };
    with_engine(|engine| {
        if let (Some(engine), Some(reason)) = (engine, reason) {
            engine.notified(*reason);
        }
    });
    0
}

fn with_engine(work: impl FnOnce(&mut Option<Engine<Qemu>>)) {
    if !SHOP.busy.swap(true, Acquire) {
        // SAFETY: nobody else is in here.
        work(unsafe { &mut *SHOP.engine.get() });
        SHOP.busy.store(false, Release);
    }
}
