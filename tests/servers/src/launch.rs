//! The command that starts a server, alone or behind namespaces and a root of its own.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::config::{Config, Isolation};
use crate::fixture::{Installed, MOUNT_POINT, Release};
use crate::my_cnf::{self, Seen};

/// Mounts `$1` over `$2` and `$3` over `$4`, then becomes the rest of the arguments: the process id stays the same.
const MOUNT_AND_EXEC: &str =
    r#"mount --bind "$1" "$2" && mount --bind "$3" "$4" && shift 4 && exec "$@""#;

/// The dynamic loader, where the System V ABI for AMD64 (5.2.1) has it.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// The program, or the loader with it.
fn program(program: &Path, config: &Config) -> Command {
    if !config.loader {
        return Command::new(program);
    }
    let mut command = Command::new(LOADER);
    command.arg(program);
    command
}

/// Where the parts of one server lie, as seen from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) scratch: &'a Path,
    pub(crate) datadir: &'a Path,
    pub(crate) log: &'a Path,
}

/// Writes `my.cnf` and starts the server with it and `arguments`.
pub(crate) fn spawn(
    installed: &Installed,
    config: &Config,
    places: Places<'_>,
    arguments: &[&str],
) -> Result<Child> {
    let inside = Inside::of(installed, config, places);
    let seen = Seen { scratch: &inside.scratch, datadir: &inside.datadir };
    fs::write(places.scratch.join("my.cnf"), my_cnf::render(installed, config, &seen))?;
    let mut command = inside.command(installed, config, places)?;
    command
        .arg(format!("--defaults-file={}", inside.scratch.join("my.cnf").display()))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(File::options().append(true).create(true).open(places.log)?)
        .stderr(File::options().append(true).create(true).open(places.log)?)
        .process_group(0); // the terminal's Ctrl-C goes to the owner, which then ends the server
    command.spawn().with_context(|| format!("failed to start {}", installed.release))
}

/// The same places as the server sees them.
struct Inside {
    scratch: PathBuf,
    datadir: PathBuf,
    mounted: Option<PathBuf>,
}

impl Inside {
    fn of(installed: &Installed, config: &Config, places: Places<'_>) -> Self {
        let mounted = match (&installed.root, config.isolation) {
            (None, Isolation::Least) => None,
            // A folder that every Debian has (hier(7)).
            (None, Isolation::Namespaces) => Some(PathBuf::from("/mnt")),
            (Some(_), _) => Some(PathBuf::from(MOUNT_POINT)),
        };
        match mounted {
            None => Self {
                scratch: places.scratch.to_owned(),
                datadir: places.datadir.to_owned(),
                mounted: None,
            },
            Some(scratch) => {
                Self { datadir: scratch.join("data"), mounted: Some(scratch.clone()), scratch }
            }
        }
    }

    fn command(
        &self,
        installed: &Installed,
        config: &Config,
        places: Places<'_>,
    ) -> Result<Command> {
        let Some(mounted) = &self.mounted else {
            return Ok(with_own_libraries(program(&installed.program, config), installed));
        };
        ensure!(
            rustix::process::geteuid().is_root(),
            "{} needs a mount namespace of its own, which only root can make",
            installed.release
        );
        let outside = match &installed.root {
            Some(root) => root.join(mounted.strip_prefix("/")?),
            None => mounted.clone(),
        };
        // The mount point of a data directory that lies elsewhere.
        fs::create_dir_all(places.scratch.join("data"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        if config.isolation == Isolation::Namespaces {
            command.args(["--pid", "--fork", "--kill-child"]);
        }
        command.args(["sh", "-c", MOUNT_AND_EXEC, "sh"]).args([
            places.scratch,
            &outside,
            places.datadir,
            &outside.join("data"),
        ]);
        match &installed.root {
            Some(root) => {
                let program = Path::new("/").join(installed.program.strip_prefix(root)?);
                command.arg("chroot").arg(root).args(config.loader.then_some(LOADER)).arg(program);
            }
            None => {
                command.args(config.loader.then_some(LOADER)).arg(&installed.program);
            }
        }
        Ok(with_own_libraries(command, installed))
    }
}

/// The old `libaio.so.1` lies beside the program; newer systems have it under another name.
fn with_own_libraries(mut command: Command, installed: &Installed) -> Command {
    if let (Release::Mysql56, Some(folder)) = (installed.release, installed.program.parent()) {
        command.env("LD_LIBRARY_PATH", folder);
    }
    command
}

/// The process that `child` became or, in a PID namespace, the one that it started and waits for.
pub(crate) fn server_pid(child: &Child, config: &Config) -> Option<u32> {
    match config.isolation {
        Isolation::Least => Some(child.id()),
        Isolation::Namespaces => child_of(child.id()),
    }
}

/// The first process whose parent is `parent` (field 4 of `/proc/PID/stat`, proc(5)).
fn child_of(parent: u32) -> Option<u32> {
    let pids = fs::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            // The name in field 2 may hold spaces and brackets, so count from its last one.
            let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
            fields.split_whitespace().nth(1).and_then(|word| word.parse().ok()) == Some(parent)
        })
    })
}
