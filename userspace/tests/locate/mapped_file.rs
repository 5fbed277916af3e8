//! A second source of pages: the code of an ordinary process, which the kernel maps from a file. Its list is made by
//! the builder that makes a server's, and nothing of InnoDB is there.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use page_number::{PAGE_LEN, UNIT_SHIFT};
use page_wire::{Bounds, List};
use userspace::classify::Reason;
use userspace::frames::{FRAME_BYTES, Frame, Frames, Pagemap};
use userspace::memory::{Memory, ServerAddr};
use userspace::on_disk::{
    DiskFinder, FileId, FileOffset, FileRange, FileView, Files, Process, SeenFile,
};
use userspace::page_list::{
    BuildError, Candidate, Harvest, Judged, ListCache, PageKey, PageSource, SlotRange, build_from,
};

use crate::volume::{Loop, Mounted, run, with_own_mounts};

/// A shell that waits for a line.
struct Shell(Child);

impl Shell {
    fn start(program: &Path) -> Self {
        let mut shell = Command::new(program);
        shell.args(["-c", "echo ready; read line"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = shell.spawn().unwrap();
        let mut ready = [0; 6];
        shell.stdout.as_mut().unwrap().read_exact(&mut ready).unwrap();
        Self(shell)
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.0.stdin.as_mut().unwrap().write_all(b"\n");
        let _ = self.0.wait();
    }
}

/// Pages of the code of one program: its mapping, and where that begins in the file.
struct MappedCode {
    process: Process,
    view: FileView,
    file: SeenFile,
    mapping: SlotRange,
    first: u32,
    /// Whole pages of the file.
    pages: u32,
}

impl MappedCode {
    fn of(pid: u32, program: &Path) -> Self {
        let process = Process::open(pid).unwrap();
        let view = process.view().unwrap();
        let file = SeenFile::at(&view, program).unwrap();
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
        let (range, offset) = maps
            .lines()
            .filter(|line| Path::new(line.split_whitespace().last().unwrap_or("")) == program)
            .find_map(|line| {
                let words: Vec<&str> = line.split_whitespace().collect();
                (words[1] == "r-xp").then(|| (words[0].to_owned(), words[2].to_owned()))
            })
            .unwrap();
        let hex = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (start, end) = range.split_once('-').map(|(from, to)| (hex(from), hex(to))).unwrap();
        let count = |bytes: u64| u32::try_from(bytes / FRAME_BYTES).unwrap();
        let mapping = SlotRange { at: ServerAddr(start), slots: count(end - start) };
        let pages = count(program.metadata().unwrap().len());
        Self { process, view, file, mapping, first: count(hex(&offset)), pages }
    }
}

impl Files for MappedCode {
    fn process(&self) -> &Process {
        &self.process
    }

    fn view(&self) -> &FileView {
        &self.view
    }

    fn file(&self, id: FileId) -> Option<&SeenFile> {
        (id == FileId(0)).then_some(&self.file)
    }

    fn each(&self) -> Box<dyn Iterator<Item = &SeenFile> + '_> {
        Box::new(std::iter::once(&self.file))
    }
}

impl PageSource for MappedCode {
    fn page_bytes(&self) -> u32 {
        u32::try_from(FRAME_BYTES).unwrap()
    }

    fn memory(&self) -> impl Iterator<Item = SlotRange> {
        std::iter::once(self.mapping)
    }

    fn files(&self) -> &dyn Files {
        self
    }

    fn find(&self, unknown: Vec<Range<u32>>, judged: &Judged) -> Result<Harvest, BuildError> {
        let slots = unknown.into_iter().flatten().filter(|slot| !judged.has(*slot));
        let candidates: Vec<Candidate> = slots
            .map(|slot| Candidate { key: PageKey { object: 0, page: self.first + slot }, slot })
            .collect();
        Ok(Harvest { judged: candidates.len() as u64, candidates, ..Harvest::default() })
    }

    fn range(&self, page: PageKey) -> Result<(FileRange, u32), Reason> {
        let offset = FileOffset(u64::from(page.page) * FRAME_BYTES);
        let range = FileRange { file: FileId(0), offset, len_bytes: self.page_bytes() };
        // The last page goes beyond the end of the file.
        let after = self.pages.checked_sub(page.page + 1);
        after.map(|after| (range, after)).ok_or(Reason::Detached)
    }
}

#[test]
fn pages_of_a_mapped_file_make_a_list() {
    const NAME: &str = "pages_of_a_mapped_file_make_a_list";
    let Some(bash) =
        ["/usr/bin/bash", "/bin/bash"].map(PathBuf::from).into_iter().find(|path| path.is_file())
    else {
        return test_servers::skipped(NAME, "`bash` is not installed");
    };
    with_own_mounts(NAME, &["mkfs.ext4"], move || {
        let disk = Loop::new();
        let mounted = Mounted::made("ext4", &disk.partition());
        let program = mounted.path().join("shell");
        fs::copy(&bash, &program).unwrap();
        run("sync", &["--file-system".as_ref(), &program], "");
        let shell = Shell::start(&program);
        let source = MappedCode::of(shell.pid(), &program);
        let mut finder = DiskFinder::default();
        finder.refresh(&source).unwrap();
        let (mut frames, _) = Frames::open(shell.pid()).unwrap();
        let list =
            build_from(&source, &mut finder, &mut frames, &mut ListCache::default()).unwrap();
        println!(
            "{} of {} pages of code, in {} runs",
            list.facts.pages,
            source.mapping.slots,
            list.run_count()
        );
        assert!(list.facts.pages > 50, "{}", list.facts.pages);
        let left_out: u64 = list.left_out.values().sum();
        assert_eq!(list.facts.pages + left_out, u64::from(source.mapping.slots));
        let known = ["frame-absent", Reason::Detached.name()];
        assert!(
            list.left_out.keys().all(|reason| known.contains(&reason.as_str())),
            "{:?}",
            list.left_out
        );

        // The process's own table of pages says which page is in which frame.
        let mut table = vec![Frame::ABSENT; source.mapping.slots as usize];
        Pagemap::open(shell.pid()).unwrap().translate(source.mapping.at, &mut table).unwrap();
        let mut bytes = Vec::new();
        list.write(&mut bytes).unwrap();
        let parsed = List::parse(&bytes, Bounds::ANY).unwrap();
        let [device] = parsed.devices() else { panic!("{:?}", parsed.devices()) };
        assert_eq!(device.name(), format!("loop:0:{}", disk.image.display()));
        // The device's own cache may be older than what the file system wrote.
        run("blockdev", &["--flushbufs".as_ref(), &disk.device], "");
        let mut whole_disk = fs::File::open(&disk.device).unwrap();
        let mut equal = 0;
        for entry in parsed.runs() {
            for ahead in 0..u64::from(entry.frames()) {
                let frame = Frame::from_number(entry.gfn() + ahead);
                let slot = table.iter().position(|known| *known == frame).unwrap() as u64;
                let mut in_memory = [0; PAGE_LEN];
                let at = source.mapping.at.plus(slot * FRAME_BYTES);
                Memory::of(shell.pid()).read(at, &mut in_memory).unwrap();
                let mut on_disk = [0; PAGE_LEN];
                let place = (entry.unit() << UNIT_SHIFT) + ahead * FRAME_BYTES;
                whole_disk.seek(SeekFrom::Start(place)).unwrap();
                whole_disk.read_exact(&mut on_disk).unwrap();
                assert!(in_memory == on_disk, "slot {slot} is not what lies at {place:#x}");
                equal += 1;
            }
        }
        assert_eq!(equal, list.facts.pages);
    });
}
