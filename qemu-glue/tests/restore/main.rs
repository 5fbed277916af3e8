//! The restore with real parts: a memfd with userfaultfd, raw files and `qemu-nbd`.

#![expect(clippy::unwrap_used, reason = "a test that cannot set up its parts ends there")]
#![expect(clippy::print_stdout, reason = "skip lines and figures")]

mod nbd;
mod rig;
mod several;
mod storage;
mod trouble;
