//! One test at a time, each with every release of QEMU that is here.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use test_qemus::{Qemu, QemuRelease};
use test_servers::skipped;

/// How long anything is waited for that is known to come.
const LIMIT: Duration = Duration::from_secs(30);

/// Declares a test of `$name` for each QEMU release.
macro_rules! on_each_qemu {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            use test_qemus::QemuRelease;

            fn run(test: &str, release: QemuRelease) {
                let name = format!("{}::{test}", module_path!());
                crate::lab::run(&name, release, async |lab| super::$name(&lab).await);
            }

            #[test]
            fn qemu72() {
                run("qemu72", QemuRelease::Q72);
            }

            #[test]
            fn qemu82() {
                run("qemu82", QemuRelease::Q82);
            }

            #[test]
            fn qemu100() {
                run("qemu100", QemuRelease::Q100);
            }

            #[test]
            fn qemu111() {
                run("qemu111", QemuRelease::Q111);
            }
        }
    )+};
}
pub(crate) use on_each_qemu;

/// What a test has.
pub(crate) struct Lab {
    pub(crate) qemu: Qemu,
    pub(crate) library: PathBuf,
    folder: TempDir,
}

impl Lab {
    /// For sockets and disks; removed at the end.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

/// Runs a test when it is its turn; says so where it cannot run.
pub(crate) fn run(test: &str, release: QemuRelease, body: impl AsyncFnOnce(Lab)) {
    static TURN: Mutex<()> = Mutex::new(());
    // A test that failed leaves nothing behind that the next would trip over.
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(library) = library() else {
        return skipped(test, "no library; `cargo xtask build` makes it");
    };
    let qemu = match release.installed() {
        Ok(qemu) => qemu,
        Err(error) => return skipped(test, error),
    };
    let folder = tempfile::Builder::new().prefix("poolferry-").tempdir().unwrap();
    // On this thread: the QEMUs that it starts die with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(body(Lab { qemu, library, folder }));
}

fn library() -> Option<PathBuf> {
    let own = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?;
        Some(root.join("target/shim/libpoolferry_qemu.so"))
    };
    let named = env::var_os("POOLFERRY_QEMU_LIBRARY").map(PathBuf::from);
    named.or_else(own).filter(|path| path.is_file())
}

/// Asks until `condition` holds; fails with `what` if it never does.
pub(crate) async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let since = Instant::now();
    while !condition().await {
        assert!(since.elapsed() < LIMIT, "{what}: not within {LIMIT:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
