//! Both ways from virtual addresses to frames, compared on the same pages of this process.
#![expect(unsafe_code, reason = "maps memory of every kind for the walk to find")]
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io;
use std::time::{Duration, Instant};

use userspace::frames::{FRAME_BYTES, Frame, Pagemap, Walk};
use userspace::memory::ServerAddr;

const MIB: usize = 1 << 20;

/// Anonymous memory, aligned to 2 MiB inside a larger mapping.
struct Area {
    base: *mut libc::c_void,
    mapped: usize,
    start: *mut u8,
    len: usize,
}

impl Area {
    fn new(len: usize, huge: bool) -> Self {
        let mapped = len + 2 * MIB;
        // SAFETY: a fresh private mapping, owned by `Area`.
        let base = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            libc::mmap(
                std::ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                -1,
                0,
            )
        };
        assert_ne!(base, libc::MAP_FAILED, "{}", io::Error::last_os_error());
        let skip = base.cast::<u8>().align_offset(2 * MIB);
        // SAFETY: `skip` is at most 2 MiB, which the mapping has to spare; the advice changes nothing
        // but the page size.
        let start = unsafe {
            let start = base.cast::<u8>().add(skip);
            let advice = if huge { libc::MADV_HUGEPAGE } else { libc::MADV_NOHUGEPAGE };
            libc::madvise(start.cast(), len, advice);
            start
        };
        Self { base, mapped, start, len }
    }

    fn touch(&self, every: usize) {
        for at in (0..self.len).step_by(every) {
            // SAFETY: inside the mapping.
            unsafe { self.start.add(at).write_volatile(1) };
        }
    }

    fn protect(&self, from: usize, len: usize) {
        // SAFETY: inside the mapping, aligned to pages; nothing accesses it afterwards.
        let done = unsafe { libc::mprotect(self.start.add(from).cast(), len, libc::PROT_NONE) };
        assert_eq!(done, 0, "{}", io::Error::last_os_error());
    }

    fn addr(&self) -> ServerAddr {
        ServerAddr(self.start.expose_provenance() as u64)
    }

    fn frames(&self) -> usize {
        self.len / usize::try_from(FRAME_BYTES).unwrap()
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: our own mapping, unmapped once.
        unsafe { libc::munmap(self.base, self.mapped) };
    }
}

fn both(area: &Area, walk: &mut Walk) -> (Vec<Frame>, Vec<Frame>) {
    let mut by_walk = vec![Frame::ABSENT; area.frames()];
    let mut by_pagemap = by_walk.clone();
    walk.translate(area.addr(), &mut by_walk).unwrap();
    Pagemap::open(std::process::id()).unwrap().translate(area.addr(), &mut by_pagemap).unwrap();
    (by_walk, by_pagemap)
}

#[test]
fn walk_and_pagemap_agree_on_pages_of_every_kind() {
    let mut walk = Walk::open(std::process::id()).unwrap();
    let small = Area::new(64 * MIB, false);
    small.touch(4096);
    let huge = Area::new(64 * MIB, true);
    huge.touch(4096);
    let holes = Area::new(16 * MIB, false);
    holes.touch(3 * 4096);
    let fenced = Area::new(8 * MIB, true);
    fenced.touch(4096);
    fenced.protect(4096 * 3, 4 * MIB);
    let empty = Area::new(8 * MIB, false);
    let areas = [
        ("small", &small),
        ("huge", &huge),
        ("holes", &holes),
        ("fenced", &fenced),
        ("empty", &empty),
    ];
    for (name, area) in areas {
        let (by_walk, by_pagemap) = both(area, &mut walk);
        let wrong = by_walk.iter().zip(&by_pagemap).filter(|(a, b)| a != b).count();
        assert_eq!(wrong, 0, "{name}: {wrong} of {} pages differ", area.frames());
        let present = by_walk.iter().filter(|f| f.number().is_some()).count();
        println!("{name}: {present} of {} pages present", area.frames());
        match name {
            "holes" => assert!(present < area.frames() / 2 && present > 0),
            "empty" => assert_eq!(present, 0),
            _ => assert_eq!(present, area.frames()),
        }
    }
    // From the middle of a region, across regions.
    let start = ServerAddr(small.addr().0 + 5 * FRAME_BYTES);
    let mut some = vec![Frame::ABSENT; 1000];
    walk.translate(start, &mut some).unwrap();
    assert_eq!(some, both(&small, &mut walk).1[5..1005]);
}

fn best_of_five(mut run: impl FnMut()) -> Duration {
    let time = |()| {
        let start = Instant::now();
        run();
        start.elapsed()
    };
    [(); 5].map(time).into_iter().min().unwrap()
}

#[test]
fn the_walk_is_faster_than_the_pagemap() {
    let mut walk = Walk::open(std::process::id()).unwrap();
    let area = Area::new(512 * MIB, false);
    area.touch(4096);
    let mut frames = vec![Frame::ABSENT; area.frames()];
    let mut pagemap = Pagemap::open(std::process::id()).unwrap();
    let by_walk = best_of_five(|| walk.translate(area.addr(), &mut frames).unwrap());
    let by_pagemap = best_of_five(|| pagemap.translate(area.addr(), &mut frames).unwrap());
    println!("walk {by_walk:?}, pagemap {by_pagemap:?} for {} pages", area.frames());
    assert!(by_walk < by_pagemap, "walk {by_walk:?}, pagemap {by_pagemap:?}");
}

#[test]
fn a_process_that_is_gone_is_an_error() {
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    assert!(Walk::open(pid).is_err());
}
