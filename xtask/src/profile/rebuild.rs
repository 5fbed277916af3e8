//! Builds a package's server again, bit for bit, in a Debian of its own.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use test_servers::command;
use test_servers::fixture::debian;

use super::package::DebianPackage;
use super::pool::{self, Pool};

/// Where Debian's own builders unpack sources; the debug information names it, and with it the build id depends on it.
const BUILD: &str = "build/reproducible-path";

/// Folder of a source, where its server is built.
const OBJECTS: &str = "builddir";

/// Programs of servers, as their packages name them.
const PROGRAMS: [&str; 2] = ["mariadbd", "mysqld"];

/// The same server twice.
pub(super) struct Built {
    /// With its debug information.
    pub(super) rebuilt: PathBuf,
    /// As it is distributed.
    pub(super) stripped: PathBuf,
}

/// A package being built again. Each step leaves a mark, so that one that was interrupted goes on where it was.
pub(super) struct Rebuild<'p> {
    root: PathBuf,
    marks: PathBuf,
    package: &'p DebianPackage,
}

impl<'p> Rebuild<'p> {
    pub(super) fn new(folder: &Path, package: &'p DebianPackage) -> Self {
        Self { root: folder.join("root"), marks: folder.join("done"), package }
    }

    /// The whole of it.
    pub(super) fn carry_out(&self) -> Result<Built> {
        fs::create_dir_all(&self.marks)?;
        let lock = File::create(self.marks.with_extension("lock"))?;
        lock.lock().context("failed to lock the root")?;
        self.once("root", || self.bootstrap())?;
        let _proc = Proc::mount(&self.root)?;
        let name = format!("{}={}", self.package.name, self.package.version);
        self.once("lists", || self.apt(&["update"]))?;
        self.once("tools", || {
            self.apt(&["install", "--no-install-recommends", "dpkg-dev", "debian-keyring", "gpgv"])
        })?;
        let of_package = format!("{}-{}", self.package.name, self.package.version);
        let listed = format!("apt-cache madison {} | cut -d '|' -f 2", self.package.name);
        let listed = self.output(&listed, Path::new(""))?;
        let pool = match listed.lines().any(|version| version.trim() == self.package.version) {
            true => None,
            false => Some(self.pool()?),
        };
        let source = self.source(&name, &of_package, pool.as_ref())?;
        self.once(&format!("needs-{of_package}"), || {
            let folder = format!("/{}", source.display());
            self.apt(&["build-dep", "--no-install-recommends", &folder])
        })?;
        let stripped = self.stripped(&name, &of_package, pool.as_ref())?;
        let program = stripped.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let date = self.output("dpkg-parsechangelog -S Timestamp", &source)?;
        let date = format!("SOURCE_DATE_EPOCH={}", date.trim());
        self.once(&format!("configured-{of_package}"), || {
            self.run(&format!("{date} debian/rules override_dh_auto_configure"), &source)
        })?;
        let jobs = std::thread::available_parallelism().map_or(1, usize::from);
        self.once(&format!("built-{of_package}"), || {
            let objects = source.join(OBJECTS);
            self.run(&format!("{date} nice -n 19 make --jobs={jobs} {program}"), &objects)
        })?;
        let rebuilt = self.root.join(source.join(OBJECTS).join("sql").join(program));
        let other =
            self.root.join(source.join(OBJECTS).join("runtime_output_directory").join(program));
        let rebuilt = if rebuilt.is_file() { rebuilt } else { other };
        ensure!(rebuilt.is_file(), "the build made no `{program}` where it was looked for");
        Ok(Built { rebuilt, stripped })
    }

    /// Does a step unless its mark is there.
    fn once(&self, mark: &str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        let mark = self.marks.join(mark.replace(['/', ':'], "_"));
        if mark.exists() {
            return Ok(());
        }
        step()?;
        fs::write(&mark, "").with_context(|| format!("failed to write `{}`", mark.display()))
    }

    fn bootstrap(&self) -> Result<()> {
        let archive = debian::own_archive()?;
        if self.root.exists() {
            fs::remove_dir_all(&self.root)?;
        }
        let mut debootstrap = Command::new("debootstrap");
        debootstrap.args(["--variant=buildd", &self.package.suite]).arg(&self.root).arg(&archive);
        command::run(&mut debootstrap)?;
        let suite = &self.package.suite;
        let sources = format!("deb {archive} {suite} main\ndeb-src {archive} {suite} main\n");
        fs::write(self.root.join("etc/apt/sources.list"), sources)?;
        Ok(fs::create_dir_all(self.root.join(BUILD))?)
    }

    fn apt(&self, arguments: &[&str]) -> Result<()> {
        let mut apt = self.inside();
        apt.args(["apt-get", "--yes", "--quiet"]).args(arguments);
        command::run(&mut apt)
    }

    /// Where the archive keeps what its index does not name any more.
    fn pool(&self) -> Result<Pool> {
        let Self { package, .. } = self;
        let records = self.output(&format!("apt-cache showsrc {}", package.name), Path::new(""))?;
        let pool = Pool::parse(&debian::own_archive()?, &records)?;
        println!(
            "`{}` has no {} {} any more; {} is asked: the source counts by its signature, the program by being the same as the rebuilt one.",
            package.suite, package.name, package.version, pool
        );
        Ok(pool)
    }

    /// The server in the binary package.
    fn stripped(&self, name: &str, of_package: &str, pool: Option<&Pool>) -> Result<PathBuf> {
        let folder = PathBuf::from(BUILD).join("binary").join(of_package.replace([':', '/'], "_"));
        let whole = self.root.join(&folder);
        self.once(&format!("binary-{of_package}"), || {
            fs::create_dir_all(&whole)?;
            match pool {
                None => self.run(&format!("apt-get download {name}"), &folder)?,
                Some(pool) => self.run(&pool.download(&self.package.binary_file()), &folder)?,
            }
            self.run("dpkg-deb --extract ./*.deb .", &folder)
        })?;
        let programs = PROGRAMS.iter().map(|program| whole.join("usr/sbin").join(program));
        programs
            .into_iter()
            .find(|program| program.is_file())
            .with_context(|| format!("`{name}` has no server in `usr/sbin`"))
    }

    /// Folder of the source, below the root.
    fn source(&self, name: &str, of_package: &str, pool: Option<&Pool>) -> Result<PathBuf> {
        let build = PathBuf::from(BUILD);
        let folder = build.join(of_package.replace([':', '/'], "_") + ".source");
        self.once(&format!("source-{of_package}"), || {
            let whole = self.root.join(&folder);
            fs::create_dir_all(&whole)?;
            let mut extract = "dpkg-source --extract";
            match pool {
                None => self.run(&format!("apt-get source --download-only {name}"), &folder)?,
                Some(pool) => {
                    let description = pool.description(self.package);
                    self.run(&pool.download(&description), &folder)?;
                    let text = fs::read_to_string(whole.join(&description))?;
                    for file in pool::files(&text)? {
                        self.run(&pool.download(file), &folder)?;
                    }
                    extract = "dpkg-source --require-valid-signature --extract";
                }
            }
            let upstream = self.package.upstream();
            let into = format!("/{BUILD}/$(basename *.dsc | cut -d_ -f1)-{upstream}");
            self.run(&format!("rm -rf {into} && {extract} *.dsc {into}"), &folder)
        })?;
        let ending = format!("-{}", self.package.upstream());
        for entry in fs::read_dir(self.root.join(&build))? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(&ending)
                && entry.path().join("debian/rules").is_file()
            {
                return Ok(build.join(name));
            }
        }
        bail!("the source package of `{name}` was not unpacked")
    }

    /// A command in the root, with nothing of this machine's environment: what is built must not depend on it.
    fn inside(&self) -> Command {
        let mut chroot = Command::new("chroot");
        chroot.arg(&self.root).args([
            "/usr/bin/env",
            "-i",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
            "LC_ALL=C.UTF-8",
            "TZ=UTC",
            "DEBIAN_FRONTEND=noninteractive",
            "DEB_BUILD_OPTIONS=nocheck parallel=2",
        ]);
        chroot
    }

    fn shell(&self, line: &str, folder: &Path) -> Command {
        let mut shell = self.inside();
        shell.args(["sh", "-ec", &format!("cd /{}; {line}", folder.display())]);
        shell
    }

    fn run(&self, line: &str, folder: &Path) -> Result<()> {
        command::run(&mut self.shell(line, folder))
    }

    fn output(&self, line: &str, folder: &Path) -> Result<String> {
        command::output(&mut self.shell(line, folder))
    }
}

/// `/proc` in the root, as long as this value lives.
struct Proc(PathBuf);

impl Proc {
    fn mount(root: &Path) -> Result<Self> {
        let folder = root.join("proc");
        let mut mount = Command::new("mount");
        command::run(mount.args(["-t", "proc", "proc"]).arg(&folder))?;
        Ok(Self(folder))
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        let _ = command::run(Command::new("umount").arg(&self.0));
    }
}
