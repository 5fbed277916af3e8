//! The proof of eligibility: a page's frame, its file and the disk below hold the same bytes.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use userspace::frames::Frames;
use userspace::locate::Locator;
use userspace::memory::ServerAddr;
use userspace::observer::Observer;
use userspace::on_disk::{DeviceId, DiskRanges};
use userspace::page_list::{self, Filter};

use crate::figure::{Figure, Goal};
use crate::report::Report;
use crate::sample::number;

/// Alignment that `O_DIRECT` wants of memory on every disk.
const ALIGNMENT: usize = 4096;

/// Where an eligible page is said to be.
struct Claim {
    frame: ServerAddr,
    file: PathBuf,
    offset: u64,
    disk: DiskRanges,
}

/// Compares all eligible pages of a server at rest.
pub(crate) fn prove(
    report: &mut Report,
    name: &str,
    observer: &Observer,
    locator: &mut Locator,
    frames: &mut Frames,
) -> Result<()> {
    let server = observer.server();
    let page_bytes = usize::try_from(server.pool_map.page_size)?;
    let root = server.target.root();
    let claims = claims(observer, &root, locator, frames)?;
    // What the server wrote may wait in the page cache, and its place in the journal.
    rustix::fs::sync();
    let mut disks = Disks::open(locator);
    let mut files: HashMap<PathBuf, File> = HashMap::new();
    let (mut frame, mut file_page) = (vec![0; page_bytes], vec![0; page_bytes]);
    let (mut same_file, mut same_disk) = (0, 0);
    for claim in &claims {
        server.memory().read(claim.frame, &mut frame)?;
        let file = match files.entry(claim.file.clone()) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => new.insert(
                File::open(&claim.file)
                    .with_context(|| format!("failed to open `{}`", claim.file.display()))?,
            ),
        };
        // A page beyond the end of its file is no error of this program, but a wrong claim.
        let read = file.read_exact_at(&mut file_page, claim.offset).is_ok();
        same_file += u64::from(read && frame == file_page);
        same_disk += u64::from(disks.holds(&claim.disk, &frame)?);
    }
    let count = number(claims.len() as u64);
    let share = |what: &str, same| {
        let name = format!("{name}: eligible pages with {what}");
        Figure::truth(name, 100.0 * number(same) / count, "%").goal(Goal::AtLeast(100.0))
    };
    report.add(Figure::truth(format!("{name}: eligible pages"), count, "pages"));
    report.add(share("frame bytes = file bytes", same_file));
    match disks.trouble {
        None => report.add(share("frame bytes = disk bytes", same_disk)),
        Some(reason) => report.skip(&format!("{name}: frame bytes = disk bytes"), reason),
    }
    Ok(())
}

fn claims(
    observer: &Observer,
    root: &Path,
    locator: &mut Locator,
    frames: &mut Frames,
) -> Result<Vec<Claim>> {
    let mut claims = Vec::new();
    let eligible = Filter { eligible: true, space: None };
    let residency = Some(observer.residency());
    page_list::rows(observer.server(), residency, locator, frames, eligible, |row| {
        if let (Some(file), Some(offset)) = (&row.file, row.file_offset) {
            claims.push(Claim {
                frame: ServerAddr(row.frame_va),
                file: root.join(file.raw().trim_start_matches('/')),
                offset,
                disk: row.disk.clone(),
            });
        }
        Ok(())
    })?;
    Ok(claims)
}

/// The whole disks, read past the page cache.
struct Disks {
    open: HashMap<DeviceId, File>,
    buffer: Vec<u8>,
    /// Why they cannot be read, if so.
    trouble: Option<String>,
}

impl Disks {
    fn open(locator: &Locator) -> Self {
        let mut disks = Self { open: HashMap::new(), buffer: Vec::new(), trouble: None };
        for disk in locator.disks() {
            let path = Path::new("/dev").join(&disk.name);
            match File::options().read(true).custom_flags(libc::O_DIRECT).open(&path) {
                Ok(file) => drop(disks.open.insert(disk.device, file)),
                Err(error) => disks.trouble = Some(format!("`{}`: {error}", path.display())),
            }
        }
        if disks.open.is_empty() && disks.trouble.is_none() {
            disks.trouble = Some("the data directory is on no disk of this machine".to_owned());
        }
        disks
    }

    /// Whether these ranges hold `expected`.
    fn holds(&mut self, ranges: &DiskRanges, mut expected: &[u8]) -> Result<bool> {
        if self.trouble.is_some() || ranges.is_empty() {
            return Ok(false);
        }
        self.buffer.resize(expected.len() + ALIGNMENT, 0);
        let start = self.buffer.as_ptr().align_offset(ALIGNMENT);
        for range in ranges {
            let len = usize::try_from(range.len_bytes)?;
            let Some((wanted, rest)) = expected.split_at_checked(len) else { return Ok(false) };
            let Some(disk) = self.open.get(&range.device) else { return Ok(false) };
            let found = &mut self.buffer[start..start + len];
            disk.read_exact_at(found, range.offset.0).with_context(|| {
                format!("failed to read disk {} at {}", range.device, range.offset.0)
            })?;
            if *found != *wanted {
                return Ok(false);
            }
            expected = rest;
        }
        Ok(expected.is_empty())
    }
}
