//! Strangers on the same machine: what they own must not decide where a probe goes in a server that is
//! not theirs.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use symbols::addr::LinkAddr;
use symbols::elf::Program as Elf;
use symbols::profile::{Profile, Site};
use symbols::role::SiteRole;
use symbols::site::{code, probe_at};
use symbols::{Options, ProgramPaths as Program};
use tempfile::TempDir;
use test_servers::{Config, LoadSpec, Release, Script};
use userspace::observer::{ObserveOptions, Observer};

use crate::lab::{DATA, on_each_mysql, open, run, settle, start, target, touch_all};
use crate::strangers::bare;
use crate::text::{Text, assert_unharmed};
use crate::under_load::assert_table_is_true;

/// An account without rights (`nobody`).
const NEIGHBOUR: u32 = 65534;

/// A folder of the neighbour's.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    chown(folder.path(), Some(NEIGHBOUR), Some(NEIGHBOUR)).unwrap();
    folder
}

/// As the agent looks at any program that is called like a server.
fn look(program: &Path, options: &Options) -> Result<Profile, symbols::Error> {
    let root = Path::new("/");
    symbols::resolve(&Program { program, root }, options).map(|resolved| resolved.profile)
}

/// The neighbour's copy of a server's program.
struct Copy {
    path: PathBuf,
    bytes: Vec<u8>,
    _folder: TempDir,
}

impl Copy {
    fn of(program: &Path) -> Self {
        let (folder, bytes) = (folder(), fs::read(program).unwrap());
        let path = folder.path().join("mysqld");
        fs::write(&path, &bytes).unwrap();
        chown(&path, Some(NEIGHBOUR), Some(NEIGHBOUR)).unwrap();
        Self { path, bytes, _folder: folder }
    }

    /// Lets every name and every description of the functions of `profile` lead two bytes too far, into
    /// the middle of `mov %rsp,%rbp`. Size, times and both ends of the file stay as they are.
    fn mislead(&mut self, profile: &Profile) {
        let meta = fs::metadata(&self.path).unwrap();
        let sites: Vec<_> = profile.sites.values().flatten().collect();
        let starts: Vec<[u8; 8]> = sites.iter().map(|site| site.entry.0.to_le_bytes()).collect();
        for at in 0..self.bytes.len() - 8 {
            if let Some(start) = starts.iter().find(|start| self.bytes[at..at + 8] == **start) {
                let moved = u64::from_le_bytes(*start) + 2;
                self.bytes[at..at + 8].copy_from_slice(&moved.to_le_bytes());
            }
        }
        // What was cached of the copy as it was does not hold of it any more.
        for site in sites {
            self.bytes[usize::try_from(site.file_offset.0).unwrap()] = 0x53; // push %rbx
        }
        let file = File::options().write(true).open(&self.path).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &self.bytes, 0).unwrap();
        file.set_times(FileTimes::new().set_modified(meta.modified().unwrap())).unwrap();
    }
}

/// The copy is looked at first, as it was and as it is now. Then the real server is attached to, with the
/// same cache: it lives, and its probes see what it does.
#[test]
fn a_neighbours_copy_moves_no_probe() {
    run("a_neighbours_copy_moves_no_probe", Release::Mysql56, |release| {
        let server = start(release, Config::new().pool_mib(64).sysbench(DATA));
        let right = look(server.program(), &bare()).unwrap();
        let cache = tempfile::tempdir().unwrap();
        let options = Options { cache_dir: Some(cache.path().to_owned()), ..bare() };
        let mut copy = Copy::of(server.program());
        look(&copy.path, &options).unwrap();
        copy.mislead(&right);
        // What this says of the neighbour's own program is the neighbour's business.
        let misled = look(&copy.path, &options);
        println!("the copy's own sites: {:?}", misled.map(|profile| probes(&profile)));

        let (target, observing) = (target(&server), ObserveOptions::default());
        let observer = match Observer::attach(target, &options, observing) {
            Ok(observer) => observer,
            Err(error) => panic!("not attached: {error}: {:?}", error.hint()),
        };
        println!("sites of the real server: {:?}", probes(observer.server().profile()));
        let load = server.load(&LoadSpec::new(Script::ReadWrite, 2).seconds(2)).unwrap();
        let ended = load.wait();
        let log = server.log();
        let killed = log.lines().find(|line| line.contains("got signal"));
        assert_eq!(killed, None, "the server was killed, its load ended with {ended:?}");
        touch_all(&server);
        settle(&server);
        assert_eq!(observer.server().profile().sites, right.sites);
        let hits: u64 = observer.probes().counters().unwrap().iter().map(|c| c.hits).sum();
        assert!(hits > 100, "{hits} hits");
        assert_table_is_true(&observer);
        let text = Text::of(observer.server());
        drop(observer);
        assert_unharmed(&server, server.pid(), &text);
    });
}

fn probes(profile: &Profile) -> Vec<String> {
    profile.sites.values().flatten().map(|site| site.probe.to_string()).collect()
}

/// The best possible lie: everything but the place is true of the place.
fn move_to(site: &mut Site, program: &Elf, entry: u64, way: u64) {
    let entry = LinkAddr(entry);
    let probe = probe_at(program, LinkAddr(entry.0 + way)).expect("something decodes there");
    site.code = code(program, entry, &probe);
    (site.entry, site.probe, site.file_offset) = (entry, probe.addr, probe.file_offset);
    (site.instruction, site.text) = (probe.instruction, probe.text);
}

/// A stored profile of the operator's that is true but for one site. No probe is set at all, and the
/// server goes on.
fn a_stored_profile_moves_no_probe(release: Release) {
    let server = start(release, Config::new().pool_mib(32));
    let observed = open(&server);
    let (right, text) = (observed.profile().clone(), Text::of(&observed));
    let program = Elf::open(server.program()).unwrap();
    let role = SiteRole::PageIoComplete;
    let here = right.sites[&role][0].entry.0;
    let other = right.sites[&SiteRole::BlockFree][0].entry.0;
    // The first instruction of some length: endbr64, or mov %rsp,%rbp.
    let long =
        (0..8).find(|way| probe_at(&program, LinkAddr(here + way)).is_some_and(|p| p.len > 2));
    let long = long.unwrap();
    let lies = [
        ("in the middle of an instruction", here, long + 1, "the middle of an instruction"),
        ("a start in mid-instruction", here + long + 1, 0, "`_Z20buf_page_io_complete"),
        ("another function", other, 0, "`_Z20buf_page_io_complete"),
        ("no start of a function", here + 0x40, 0, "`_Z20buf_page_io_complete"),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (lie, entry, way, message) in lies {
        let mut wrong = right.clone();
        move_to(&mut wrong.sites.get_mut(&role).unwrap()[0], &program, entry, way);
        let hash = wrong.binary.content_hash.as_ref().map(|hash| format!("blake3-{hash}"));
        let name = wrong.binary.build_id.clone().or(hash).unwrap();
        let path = folder.path().join(format!("{name}.json"));
        fs::write(&path, serde_json::to_vec(&wrong).unwrap()).unwrap();
        let options = Options { profile_dirs: vec![folder.path().to_owned()], ..bare() };
        let observing = ObserveOptions::default();
        let Err(error) = Observer::attach(target(&server), &options, observing) else {
            panic!("{lie}: attached")
        };
        let mut whole = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            whole = format!("{whole}: {error}");
            cause = error.source();
        }
        println!("{lie}: {whole}\n  hint: {:?}", error.hint());
        assert!(whole.contains(message), "{lie}: {whole}");
        assert!(error.hint().is_some_and(|hint| hint.contains("stored profile")), "{lie}");
        assert_eq!(text.left_by(std::process::id()), 0, "{lie}");
    }
    assert_unharmed(&server, server.pid(), &text);
}

on_each_mysql!(a_stored_profile_moves_no_probe);
