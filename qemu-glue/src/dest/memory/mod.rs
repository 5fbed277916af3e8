//! The guest's RAM at the destination: what may be there, what is, and how pages get into it.
//!
//! | file | |
//! |---|---|
//! | `headroom.rs` | what memory this process may use |
//! | `thp.rs` | which huge pages the kernel may put into the blocks |
//! | `holes.rs` | the pages of the set, punched before QEMU listens |
//! | `uffd.rs` | userfaultfd(2) |
//! | `install.rs` | pages installed where nothing has arrived |

pub(super) mod headroom;
pub(super) mod holes;
mod install;
pub(super) mod thp;
mod uffd;

pub(super) use install::PAGE;
pub use install::{BlockFile, InstallOutcome, Target};
