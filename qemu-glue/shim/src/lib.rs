//! The library in the source's QEMU. It does two things at the right moments of an armed migration:
//! it hints pages away, and it re-dirties pages.
//!
//! ```text
//! load ── plugin ───────────────> install ──> notifier ──> engine ──> skip: take and check, hint,
//!    └─── preload (bottom half) ─────┘           ^            │             re-dirty, throttle
//!                                                │            └──> control (shared with the host)
//!                                         precopy_notify
//! ```
//! It never waits, never fails a callback, allocates no more than the armed set needs, and hints
//! nothing on any doubt. What it cannot do it reports by [`shim_abi::RefusalReason`]. Whatever happens to the
//! host's program, at the last sync every page that was hinted and not confirmed is re-dirtied: then
//! QEMU sends it.
#![cfg_attr(not(test), no_std)]

mod bits;
mod checks;
mod control;
mod engine;
mod hint;
mod hypervisor;
#[cfg(not(test))]
mod load;
mod mapping;
#[cfg(not(test))]
mod notifier;
#[cfg(not(test))]
mod preload;
#[cfg(not(test))]
mod qemu;
mod redirty;
mod skip;
#[cfg(not(test))]
mod symbols;
#[cfg(test)]
mod tests;
mod version;

/// Must not be reachable: an optimised build in which it is does not link, as nothing has this name.
#[cfg(not(test))]
#[panic_handler]
#[expect(unsafe_code, reason = "calls what must not exist")]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn poolferry_qemu_could_panic() -> !;
    }
    // SAFETY: a library that calls it cannot be linked.
    unsafe { poolferry_qemu_could_panic() }
}
