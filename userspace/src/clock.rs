//! The clock that eBPF programs use too.
#![expect(unsafe_code, reason = "clock_gettime")]

/// CLOCK_MONOTONIC in ns, as `bpf_ktime_get_ns` counts it.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: writes the struct given; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}
