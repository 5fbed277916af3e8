//! A hostile program: from its bytes to its profile, through ELF, DWARF and machine code.
#![no_main]

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, memfd_create};
use symbols::debug_file::SearchOptions;
use symbols::{Options, Target, resolve};

fuzz_target!(|bytes: &[u8]| {
    // `resolve` reads a file, so it gets one; in memory, as there are thousands a second.
    let file = memfd_create("program", MemfdFlags::CLOEXEC).expect("a memfd can be made");
    let mut file = File::from(file);
    file.write_all(bytes).expect("a memfd takes what memory holds");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    let options = Options {
        cache_dir: None,
        profile_dirs: Vec::new(),
        debug_files: SearchOptions { debug_dirs: Vec::new(), ..SearchOptions::default() },
        ..Options::default()
    };
    let root = PathBuf::from("/nonexistent");
    let _ = resolve(&Target { program: &path, root: &root }, &options);
});
