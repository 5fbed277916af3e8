//! Places of pages, checked against what the servers say of their files and against the bytes that
//! whole disks hold.

#![expect(clippy::print_stdout, reason = "figures are for the test's log")]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as their tests do")]

mod budget;
mod content;
mod devices;
mod disk_bytes;
mod file_systems;
mod mapped_file;
mod mariadb;
mod mysql56;
mod mysql97;
mod names;
mod traps;
mod volume;
