//! A FUSE file system of one file, which does not answer what it does not want to.
//!
//! The protocol: Linux `include/uapi/linux/fuse.h`.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

/// Requests by their codes.
pub mod code {
    /// Bytes of a file.
    pub const READ: u32 = 15;
}

/// Answer to an open: nothing of the file is kept in memory.
pub const DIRECT_IO: u32 = 1;

const ROOT: u64 = 1;
const FILE: u64 = 2;
const MOST: usize = 1 << 17;

/// The file that is served.
pub struct Served<'f> {
    /// Its name.
    pub name: &'static str,
    /// What it holds, and how much.
    pub file: File,
    /// Flags for each open of it, in turn.
    pub open_flags: &'f (dyn Fn() -> u32 + Sync),
}

/// Answers requests until the file system is gone. One whose code is mute is taken, so that not even SIGKILL ends who waits, and
/// not answered.
pub fn serve(connection: &OwnedFd, served: &Served<'_>, is_mute: impl Fn(u32) -> bool) {
    let mut request = vec![0; MOST + 4096];
    loop {
        let Ok(read) = rustix::io::read(connection, &mut request) else { return };
        let word = |at: usize| number(&request[at..], u32::from_ne_bytes);
        let long = |at: usize| number(&request[at..], u64::from_ne_bytes);
        let (code, unique, node) = (word(4), long(8), long(16));
        let body = &request[40..read];
        if is_mute(code) {
            continue;
        }
        let answer = match code {
            1 if body.strip_suffix(b"\0") == Some(served.name.as_bytes()) => {
                Ok([words(&[FILE, 0, 0, 0, 0]), attributes(FILE, &served.file)].concat())
            }
            1 => Err(rustix::io::Errno::NOENT),
            2 | 36 | 42 => continue, // FORGET, INTERRUPT, BATCH_FORGET
            3 => Ok([words(&[0, 0]), attributes(node, &served.file)].concat()),
            14 => Ok(words(&[0, (served.open_flags)().into()])),
            27 => Ok(words(&[0, 0])),
            code::READ => {
                let mut bytes = vec![0; (word(56) as usize).min(MOST)];
                let read = served.file.read_at(&mut bytes, long(48)).unwrap_or(0);
                bytes.truncate(read);
                Ok(bytes)
            }
            17 => {
                let mut about = vec![0; 80];
                about[40..44].copy_from_slice(&4096_u32.to_ne_bytes()); // bsize
                about[44..48].copy_from_slice(&255_u32.to_ne_bytes()); // namelen
                Ok(about)
            }
            18 | 25 | 28 | 29 => Ok(Vec::new()), // RELEASE, FLUSH, READDIR, RELEASEDIR
            26 => {
                let mut about = vec![0; 64];
                about[0..4].copy_from_slice(&7_u32.to_ne_bytes());
                about[4..8].copy_from_slice(&31_u32.to_ne_bytes());
                about[20..24].copy_from_slice(&4096_u32.to_ne_bytes()); // max_write
                Ok(about)
            }
            _ => Err(rustix::io::Errno::NOSYS),
        };
        let (error, data) = match answer {
            Ok(data) => (0, data),
            Err(error) => (-error.raw_os_error(), Vec::new()),
        };
        let length = u32::try_from(16 + data.len()).unwrap_or(u32::MAX);
        let head =
            [&length.to_ne_bytes()[..], &error.to_ne_bytes(), &unique.to_ne_bytes()].concat();
        // Whoever asked may be gone.
        let _ = rustix::io::write(connection, &[head, data].concat());
    }
}

/// The number at the start of `bytes`.
fn number<const N: usize, T>(bytes: &[u8], from: fn([u8; N]) -> T) -> T {
    from(bytes.first_chunk().copied().unwrap_or([0; N]))
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// `struct fuse_attr`
fn attributes(node: u64, file: &File) -> Vec<u8> {
    let (mode, size) = match node {
        ROOT => (0o40_755_u32, 0),
        _ => (0o100_755, file.metadata().map_or(0, |file| file.len())),
    };
    let mut bytes = words(&[node, size, size.div_ceil(512), 0, 0, 0]);
    for word in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes
}
