//! A server's model, changed into what its owner likes, and the agent's look at it.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use symbols::debug_file::SearchOptions;
use symbols::isolated::Isolation;
use symbols::{Options, ProgramPaths, Resolved};
use tempfile::TempDir;
use test_servers::{command, skipped};

/// What makes a program a server of 5.6 here; it says that it is up, and waits.
const SERVER: &str = r#"
#include <unistd.h>
extern const char version[] = "5.6.24";
enum enum_server_command { COM_QUERY }; struct THD; unsigned used;
struct buf_block_t { int state; } block;
bool dispatch_command(enum_server_command, THD *, char *, unsigned) { return used++; }
int main() { write(1, "up\n", 3); for (;;) pause(); return version[0]; }
"#;

/// The agent.
pub(crate) const POOLFERRY: &str = env!("CARGO_BIN_EXE_poolferry");

/// `SHF_COMPRESSED`.
const COMPRESSED: u64 = 1 << 11;

/// A scratch folder with the model in it.
pub(crate) struct Lab {
    dir: TempDir,
}

/// What the agent made of a file.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) status: ExitStatus,
    pub(crate) errors: String,
    pub(crate) took: Duration,
    /// Peak of its memory (`VmHWM`) in bytes.
    pub(crate) peak: u64,
}

impl Lab {
    /// The model, compiled with `flags`; none, and a counted skip, without a compiler.
    pub(crate) fn with(test: &str, flags: &[&str]) -> Option<Self> {
        if !command::exists("g++") {
            skipped(test, "`g++` is not installed");
            return None;
        }
        let lab = Self { dir: TempDir::with_prefix("foreign-files-").unwrap() };
        fs::write(lab.path("model.cc"), SERVER).unwrap();
        let mut compiler = Command::new("g++");
        compiler.args(["-rdynamic", "-o", "mysqld", "model.cc"]).args(flags);
        assert!(compiler.current_dir(lab.dir.path()).status().unwrap().success());
        Some(lab)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The model.
    pub(crate) fn program(&self) -> PathBuf {
        self.path("mysqld")
    }

    /// The model with other sections; those marked are stated to be compressed.
    pub(crate) fn changed(&self, name: &str, sections: &[(&str, &[u8], bool)]) -> PathBuf {
        let mut bytes = fs::read(self.program()).unwrap();
        for (section, content, compressed) in sections {
            replace(&mut bytes, section, content, *compressed);
        }
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, fs::metadata(self.program()).unwrap().permissions()).unwrap();
        path
    }

    /// `poolferry symbols` on a file.
    pub(crate) fn look(&self, program: &Path) -> Outcome {
        let mut agent = Command::new(POOLFERRY);
        agent.args(["symbols", "--no-cache"]).arg(program);
        watch(&mut agent)
    }
}

/// Neither cache nor network nor other folders; read by another process.
pub(crate) fn options(isolation: Isolation) -> Options {
    Options {
        cache_dir: None,
        debug_files: SearchOptions { debug_dirs: Vec::new(), ..SearchOptions::default() },
        isolation: Some(isolation),
        ..Options::default()
    }
}

pub(crate) fn resolve(program: &Path, options: &Options) -> Result<Resolved, symbols::Error> {
    symbols::resolve(&ProgramPaths { program, root: Path::new("/") }, options)
}

/// Runs a program to its end, and sees how much memory it has at most.
pub(crate) fn watch(program: &mut Command) -> Outcome {
    let start = Instant::now();
    let mut child =
        program.stdout(Stdio::null()).stderr(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let errors = thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    let exit = loop {
        if let Some(exit) = child.try_wait().unwrap() {
            break exit;
        }
        peak = peak.max(field(&status, "VmHWM:").unwrap_or(0) * 1024);
        thread::sleep(Duration::from_millis(1));
    };
    let took = start.elapsed();
    Outcome { status: exit, errors: errors.join().unwrap(), took, peak }
}

/// A number in a file of `/proc`.
pub(crate) fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Appends `content` and lets the header of the section point to it (System V gABI, "Sections").
fn replace(bytes: &mut Vec<u8>, section: &str, content: &[u8], compressed: bool) {
    let number = |bytes: &[u8], at: usize, len: usize| {
        let mut value = [0; 8];
        value[..len].copy_from_slice(&bytes[at..at + len]);
        usize::try_from(u64::from_le_bytes(value)).unwrap()
    };
    let (headers, count) = (number(bytes, 0x28, 8), number(bytes, 0x3c, 2));
    let names_header = headers + number(bytes, 0x3e, 2) * 64;
    let names = number(bytes, names_header + 24, 8);
    let header = (0..count).map(|n| headers + n * 64).find(|header| {
        let name = &bytes[names + number(bytes, *header, 4)..];
        name.starts_with(section.as_bytes()) && name[section.len()] == 0
    });
    let header = header.unwrap_or_else(|| panic!("the model has no {section}"));
    let at = bytes.len().next_multiple_of(8);
    bytes.resize(at, 0);
    bytes.extend_from_slice(content);
    let flags = if compressed { COMPRESSED } else { 0 };
    for (place, value) in [(8, flags), (24, at as u64), (32, content.len() as u64)] {
        bytes[header + place..header + place + 8].copy_from_slice(&value.to_le_bytes());
    }
}

/// `count` units of DWARF 4 of one byte each, which use the abbreviations at `abbrev`.
pub(crate) fn tiny_units(count: usize, abbrev: u32, code: u8) -> Vec<u8> {
    let mut unit = Vec::new();
    unit.extend_from_slice(&8_u32.to_le_bytes());
    unit.extend_from_slice(&4_u16.to_le_bytes());
    unit.extend_from_slice(&abbrev.to_le_bytes());
    unit.extend_from_slice(&[8, code]);
    unit.repeat(count)
}

/// A table of `count` abbreviations, each of a unit without attributes: what is read for every unit.
pub(crate) fn abbreviations(count: u32) -> Vec<u8> {
    let mut table = Vec::new();
    for code in 1..=count {
        let mut rest = code;
        while rest >= 0x80 {
            table.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        table.push(u8::try_from(rest).unwrap());
        table.extend_from_slice(&[0x11, 0, 0, 0]);
    }
    table.push(0);
    table
}

/// A file that is read for minutes.
pub(crate) fn slow(lab: &Lab, name: &str) -> PathBuf {
    let (units, table) = (tiny_units(300_000, 0, 1), abbreviations(20_000));
    lab.changed(name, &[(".debug_info", &units, false), (".debug_abbrev", &table, false)])
}

/// A section of zeros: some KB that state to be `size` bytes (zstd, RFC 8878, 3.1.1.2: blocks of one
/// repeated byte, of 128 KiB each), and a frame to be skipped that makes them `len`.
pub(crate) fn zeros(size: u64, len: usize) -> Vec<u8> {
    const BLOCK: u64 = 128 << 10;
    let blocks = size / BLOCK;
    let mut section = Vec::new();
    // Elf64_Chdr: ELFCOMPRESS_ZSTD, reserved, size, alignment.
    section.extend_from_slice(&2_u32.to_le_bytes());
    section.extend_from_slice(&0_u32.to_le_bytes());
    section.extend_from_slice(&(blocks * BLOCK).to_le_bytes());
    section.extend_from_slice(&1_u64.to_le_bytes());
    // Magic; no content size, no checksum; window of 128 KiB.
    section.extend_from_slice(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 7 << 3]);
    for block in 0..blocks {
        let last = u64::from(block + 1 == blocks);
        let header = (BLOCK << 3 | 1 << 1 | last).to_le_bytes();
        section.extend_from_slice(&header[..3]);
        section.push(0);
    }
    if let Some(rest) = len.checked_sub(section.len() + 8) {
        section.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18]);
        section.extend_from_slice(&u32::try_from(rest).unwrap().to_le_bytes());
        section.resize(len, 0);
    }
    section
}
