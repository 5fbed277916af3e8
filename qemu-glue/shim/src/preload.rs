//! Preloaded: a thread waits for QEMU's main loop, and has it call us on the main thread.
#![expect(unsafe_code, reason = "threads, signals and QEMU's bottom halves")]

use core::ffi::{c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr;
use core::sync::atomic::AtomicBool;
use core::sync::atomic::Ordering::{Acquire, Release};

use shim_abi::LoadedBy;

use crate::{notifier, symbols};

/// Time between two looks, in ns.
const POLL_NS: i64 = 2_000_000;

/// Whether the main loop has our bottom half.
static SCHEDULED: AtomicBool = AtomicBool::new(false);

/// `AioContext *` of the main loop; `None` before QEMU has made it, which is after the list of
/// notifiers is initialised (`qemu_init`, 5.2 to 11.1).
pub(crate) fn main_loop() -> Option<ptr::NonNull<c_void>> {
    type Get = unsafe extern "C" fn() -> *mut c_void;
    // SAFETY: the type is that of the function, which reads a global.
    unsafe {
        let get: Get = symbols::optional(c"qemu_get_aio_context")?;
        ptr::NonNull::new(get())
    }
}

/// Keeps the library out of QEMU's children, and starts to wait.
pub(crate) fn begin() {
    // SAFETY: called by the dynamic linker, before there are other threads. The handler stays loaded.
    unsafe {
        libc::unsetenv(c"LD_PRELOAD".as_ptr());
        // `-daemonize` forks, and a fork has only the thread that called it.
        pthread_atfork(None, None, Some(start));
    }
    start();
}

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> c_int;
}

/// Starts the thread that waits, unless its work is done.
extern "C" fn start() {
    if SCHEDULED.load(Acquire) {
        return;
    }
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    let (mut all, mut own) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    // SAFETY: the sets and the thread's id are written before they are read. The thread takes no
    // signal: those of QEMU are for its own threads.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), own.as_mut_ptr());
        let result = libc::pthread_create(thread.as_mut_ptr(), ptr::null(), wait, ptr::null_mut());
        libc::pthread_sigmask(libc::SIG_SETMASK, own.as_ptr(), ptr::null_mut());
        if result == 0 {
            libc::pthread_detach(thread.assume_init());
        }
    }
}

/// The thread: waits for the main loop and schedules [`on_main_thread`].
extern "C" fn wait(_: *mut c_void) -> *mut c_void {
    type Schedule =
        unsafe extern "C" fn(*mut c_void, extern "C" fn(*mut c_void), *mut c_void, *const c_char);
    // SAFETY: the type is that of the function in 7.2 to 11.1.
    let schedule = unsafe { symbols::optional::<Schedule>(c"aio_bh_schedule_oneshot_full") };
    let Some(schedule) = schedule else { return ptr::null_mut() };
    let main_loop = loop {
        if let Some(main_loop) = main_loop() {
            break main_loop;
        }
        let pause = libc::timespec { tv_sec: 0, tv_nsec: POLL_NS };
        // SAFETY: the time is our own.
        unsafe { libc::nanosleep(&raw const pause, ptr::null_mut()) };
    };
    SCHEDULED.store(true, Release);
    // SAFETY: any thread may schedule; the name is static.
    unsafe {
        schedule(main_loop.as_ptr(), on_main_thread, ptr::null_mut(), c"poolferry".as_ptr());
    }
    ptr::null_mut()
}

/// Run by the main loop, with the big lock held.
extern "C" fn on_main_thread(_: *mut c_void) {
    notifier::install(LoadedBy::Preload);
}
