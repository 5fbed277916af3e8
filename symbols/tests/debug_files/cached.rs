//! The cache of profiles: whose entries are believed, and of what.

use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};

use symbols::debug_file::SearchOptions;
use symbols::{Options, Origin, ProgramPaths, Resolved, resolve};

use crate::common::skip;
use crate::lab::Lab;
use crate::model::compile;

/// Somebody else (`nobody`).
const STRANGER: u32 = 65534;

struct Cached {
    lab: Lab,
    program: PathBuf,
}

impl Cached {
    fn new() -> Option<Self> {
        let lab = Lab::with(&["g++"])?;
        let program = compile(&lab, "mysqld", &[]);
        fs::create_dir(lab.path("cache")).unwrap();
        fs::set_permissions(lab.path("cache"), Permissions::from_mode(0o755)).unwrap();
        Some(Self { lab, program })
    }

    fn dir(&self) -> PathBuf {
        self.lab.path("cache")
    }

    fn resolved(&self, program: &Path) -> Resolved {
        let options = Options {
            cache_dir: Some(self.dir()),
            debug_files: SearchOptions { debug_dirs: Vec::new(), ..SearchOptions::default() },
            ..Options::default()
        };
        resolve(&ProgramPaths { program, root: Path::new("/") }, &options).unwrap()
    }

    /// The entries that are profiles.
    fn entries(&self) -> Vec<PathBuf> {
        let files = fs::read_dir(self.dir()).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| fs::read_to_string(path).unwrap().contains("\"sites\"")).collect()
    }
}

#[test]
fn an_entry_that_strangers_may_write_is_not_believed() {
    let Some(cached) = Cached::new() else { return };
    if !rustix::process::geteuid().is_root() {
        return skip("a file is given to another user by root only");
    }
    let right = cached.resolved(&cached.program).profile;
    let (entry, dir) = (cached.entries().remove(0), cached.dir());
    let text = fs::read_to_string(&entry).unwrap();
    let planted = text.replace("\"COM_QUERY\":3", "\"COM_QUERY\":77");
    assert_ne!(planted, text);
    let elsewhere = cached.lab.path("planted.json");
    let own = |path: &Path, mode| {
        chown(path, Some(0), Some(0)).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    };
    type Plant<'a> = &'a dyn Fn();
    let ways: [(&str, Plant<'_>); 6] = [
        ("a file of a stranger", &|| chown(&entry, Some(STRANGER), None).unwrap()),
        ("a file that all may write", &|| own(&entry, 0o666)),
        ("a file that a group may write", &|| {
            chown(&entry, Some(0), Some(STRANGER)).unwrap();
            fs::set_permissions(&entry, Permissions::from_mode(0o664)).unwrap();
        }),
        ("a link", &|| {
            fs::rename(&entry, &elsewhere).unwrap();
            symlink(&elsewhere, &entry).unwrap();
        }),
        ("a folder of a stranger", &|| chown(&dir, Some(STRANGER), None).unwrap()),
        ("a folder that all may write", &|| own(&dir, 0o777)),
    ];
    let mut believed = Vec::new();
    for (way, plant) in ways {
        own(&dir, 0o755);
        let _ = fs::remove_file(&entry);
        fs::write(&entry, &planted).unwrap();
        own(&entry, 0o600);
        plant();
        let resolved = cached.resolved(&cached.program);
        if resolved.profile.enums["COM_QUERY"] == 77 || resolved.origin == Origin::Cached {
            believed.push(way);
        }
    }
    assert!(believed.is_empty(), "believed: {believed:?}");
    // A new one takes its place.
    own(&dir, 0o755);
    chown(&entry, Some(STRANGER), None).unwrap();
    assert_eq!(cached.resolved(&cached.program).profile, right);
    let again = cached.resolved(&cached.program);
    assert_eq!((again.origin, again.profile), (Origin::Cached, right));
}

/// One file, at the same place, of the same size, times and ends: another content is another program.
#[test]
fn a_program_is_known_by_its_whole_content() {
    let Some(cached) = Cached::new() else { return };
    let copy = cached.lab.path("copy");
    fs::copy(&cached.program, &copy).unwrap();
    // Long enough that its ends are not all of it.
    File::options().append(true).open(&copy).unwrap().set_len(1 << 20).unwrap();
    let meta = fs::metadata(&copy).unwrap();
    let before = cached.resolved(&copy);
    assert_eq!((before.origin, cached.resolved(&copy).origin), (Origin::Computed, Origin::Cached));
    let file = File::options().write(true).open(&copy).unwrap();
    file.write_all_at(b"x", 1 << 19).unwrap();
    file.set_times(FileTimes::new().set_modified(meta.modified().unwrap())).unwrap();
    let after = cached.resolved(&copy);
    assert_eq!(after.origin, Origin::Computed, "another content was taken for the same");
    assert_ne!(after.profile.binary.content_hash, before.profile.binary.content_hash);
}
