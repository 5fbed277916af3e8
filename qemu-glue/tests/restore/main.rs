//! The restore with real parts: a memfd with userfaultfd, raw files and `qemu-nbd`.

mod bench;
mod nbd;
mod rig;
mod storage;
mod trouble;
