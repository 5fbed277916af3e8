//! The controller without QEMU: by table, and by property.

mod precedence;
mod property;
mod troubles;
mod world;
