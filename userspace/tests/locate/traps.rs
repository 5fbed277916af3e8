//! What the owner of a data directory may put there for whoever looks: nothing of it is opened, and
//! nothing of it is waited for.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, OFlags, inotify, makedev, mknodat, open};
use userspace::locate::{PageNo, SpaceId};

use crate::file_systems::{Observed, table};
use crate::volume::with_own_mounts;

/// Counts how often any of `files` is opened.
struct Opens(rustix::fd::OwnedFd);

impl Opens {
    fn of<'a>(files: impl IntoIterator<Item = &'a Path>) -> Self {
        let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
        for file in files {
            inotify::add_watch(&watch, file, inotify::WatchFlags::OPEN).unwrap();
        }
        Self(watch)
    }

    fn count(&self) -> usize {
        let mut buffer = vec![std::mem::MaybeUninit::uninit(); 64 << 10];
        let mut reader = inotify::Reader::new(&self.0, &mut buffer);
        std::iter::from_fn(|| reader.next().ok().map(drop)).count()
    }
}

/// A device that is always full, in `folder`.
fn device(folder: &Path, name: &str) -> Option<std::path::PathBuf> {
    let path = folder.join(name);
    let mode = Mode::RUSR | Mode::WUSR;
    mknodat(CWD, &path, FileType::CharacterDevice, mode, makedev(1, 7)).ok()?;
    Some(path)
}

/// A file that is swapped for a link to a device, over and over, is never opened as a device.
#[test]
fn a_name_that_changes_opens_no_device() {
    const TEST: &str = "a_name_that_changes_opens_no_device";
    let folder = tempfile::tempdir().unwrap();
    let Some(device) = device(folder.path(), "device") else {
        return test_servers::skipped(TEST, "making a device wants root");
    };
    let shop = folder.path().join("shop");
    table(folder.path(), "x.ibd", 5).set_len(8 * 16384).unwrap();
    // Others, so that time passes between a look at the file and its opening.
    for number in 100..400 {
        table(folder.path(), &format!("t{number}.ibd"), number).set_len(16384).unwrap();
    }
    let opens = Opens::of([device.as_path()]);
    let observed = Observed::in_folder(folder.path());
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for turn in 0_u32.. {
                if done.load(Ordering::Relaxed) {
                    break;
                }
                let new = shop.join("new");
                match turn % 2 {
                    0 => symlink(&device, &new).unwrap(),
                    _ => drop(table(folder.path(), "new", 5)),
                }
                fs::rename(new, shop.join("x.ibd")).unwrap();
            }
        });
        let mut locator = observed.locator();
        for _ in 0..60 {
            locator.refresh().unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(opens.count(), 0, "times that the device was opened in 60 looks");
}

/// Pipes and devices with the names of tables and of links to tables.
#[test]
fn what_is_no_file_is_not_opened() {
    const TEST: &str = "what_is_no_file_is_not_opened";
    let folder = tempfile::tempdir().unwrap();
    let shop = folder.path().join("shop");
    fs::create_dir(&shop).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let traps = [
        device(&shop, "device.ibd"),
        device(&shop, "device.isl"),
        device(elsewhere.path(), "linked.ibd"),
    ];
    let Some(mut traps) = traps.into_iter().collect::<Option<Vec<_>>>() else {
        return test_servers::skipped(TEST, "making a device wants root");
    };
    for name in ["pipe.ibd", "pipe.isl"] {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, shop.join(name), FileType::Fifo, mode, 0).unwrap();
        traps.push(shop.join(name));
    }
    fs::write(shop.join("linked.isl"), traps[2].as_os_str().as_encoded_bytes()).unwrap();
    symlink(&traps[0], shop.join("link.ibd")).unwrap();
    symlink(&traps[1], shop.join("link.isl")).unwrap();
    // A file of procfs is a regular one to whoever does not look further.
    symlink("/proc/self/status", shop.join("status.ibd")).unwrap();
    fs::write(shop.join("status.isl"), "/proc/self/status.ibd").unwrap();
    let opens = Opens::of(traps.iter().map(std::path::PathBuf::as_path));
    let observed = Observed::in_folder(folder.path());
    let mut locator = observed.locator();
    locator.refresh().unwrap();
    assert_eq!(opens.count(), 0);
    let files: Vec<_> = locator.tablespaces().files().map(|(_, f)| f.path().to_owned()).collect();
    assert_eq!(files, Vec::<std::path::PathBuf>::new());
}

/// A file system whose daemon, another user's program, never answers.
#[test]
fn a_file_system_that_never_answers_is_not_asked() {
    const TEST: &str = "a_file_system_that_never_answers_is_not_asked";
    with_own_mounts(TEST, &[], || {
        let folder = tempfile::tempdir().unwrap();
        let shop = folder.path().join("shop");
        table(folder.path(), "good.ibd", 5).set_len(8 * 16384).unwrap();
        let mute = folder.path().join("mute");
        fs::create_dir(&mute).unwrap();
        let Ok(connection) = open("/dev/fuse", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        else {
            return test_servers::skipped(TEST, "the kernel has no FUSE");
        };
        let number = std::os::fd::AsRawFd::as_raw_fd(&connection);
        let options = format!("fd={number},rootmode=40000,user_id=1000,group_id=1000,allow_other");
        let data = std::ffi::CString::new(options).unwrap();
        let mounted = rustix::mount::mount(
            "mute",
            &mute,
            "fuse.mute",
            rustix::mount::MountFlags::empty(),
            Some(data.as_c_str()),
        );
        if let Err(error) = mounted {
            return test_servers::skipped(TEST, format_args!("FUSE: {error}"));
        }
        symlink(mute.join("t.ibd"), shop.join("link.ibd")).unwrap();
        fs::write(shop.join("linked.isl"), mute.join("t.ibd").as_os_str().as_encoded_bytes())
            .unwrap();
        let observed = Observed::in_folder(folder.path());
        let (sender, done) = channel();
        let pid = observed.pid();
        // The thread that looks sees the same mounts.
        let looks = thread::spawn(move || {
            let mut locator = userspace::locate::Locator::open(pid).unwrap();
            locator.refresh().unwrap();
            sender.send(locator.locate(SpaceId(5), PageNo(3)).is_ok()).unwrap();
        });
        let found = done.recv_timeout(Duration::from_secs(10));
        drop(connection); // whoever waits is let go
        looks.join().unwrap();
        assert_eq!(found, Ok(true));
    });
}
