//! The root disk: `debootstrap`, and a kernel that is unpacked but not installed.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use test_servers::command;
use test_servers::fixture::debian;

use super::disk;

/// Files of the entry in the cache.
pub(super) const KERNEL: &str = "vmlinuz";
pub(super) const DISK: &str = "root.raw";
/// Folder with what the initial RAM disk needs: `busybox`, and `modules/NN-NAME.ko` in the order in which they go in.
pub(super) const EARLY: &str = "early";

/// Debian's kernel for virtual machines: smaller, the same configuration for eBPF.
const KERNEL_PACKAGE: &str = "linux-image-cloud-amd64";
/// `libnuma1` is wanted by MySQL 5.6, the rest by the laboratory.
const PACKAGES: &str = "busybox-static,kmod,libnuma1,mariadb-client,sysbench";
/// Drivers of the VM's devices, and of the root disk's file system.
const MODULES: &[&str] =
    &["virtio_pci", "virtio_blk", "virtio_console", "virtio_net", "virtio_balloon", "ext4"];
/// Mount points of the other disks.
const MOUNT_POINTS: [&str; 3] = ["data", "lab", "server"];
/// Nothing of these is used.
pub(super) const LEFT_OUT: [&str; 6] = [
    "usr/share/doc",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/mysql-test",
    "var/cache/apt",
    "var/lib/apt/lists",
];

/// What the disk depends on beside the suite.
pub(super) fn inputs() -> String {
    format!("{KERNEL_PACKAGE} {PACKAGES} {MODULES:?} {MOUNT_POINTS:?} 1")
}

/// Makes kernel, modules and disk in `folder`.
pub(super) fn make(folder: &Path, suite: &str) -> Result<()> {
    let root = folder.join("root");
    let archive = debian::own_archive()?;
    command::output(
        Command::new("debootstrap")
            .args(["--variant=minbase", &format!("--include={PACKAGES}"), suite])
            .arg(&root)
            .arg(&archive),
    )
    .context("failed to make a Debian root for the guest")?;
    let version = unpack_kernel(&root, &folder.join(KERNEL))?;
    early(&root, &version, &folder.join(EARLY))?;
    for name in MOUNT_POINTS {
        fs::create_dir_all(root.join(name))?;
    }
    for name in LEFT_OUT {
        let _ = fs::remove_dir_all(root.join(name));
    }
    disk::make(&root, &folder.join(DISK), 64 << 20, disk::Use::ReadOnly)?;
    Ok(fs::remove_dir_all(root)?)
}

/// A command line that runs `program` of the root in it.
fn in_root(root: &Path, program: &str) -> Command {
    let mut command = Command::new("chroot");
    command.arg(root).arg(program).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// Unpacks the kernel's packages, copies the kernel to `kernel`, and gives its version. Installed, they would only make an initial
/// RAM disk that nobody uses.
fn unpack_kernel(root: &Path, kernel: &Path) -> Result<String> {
    let depends = |package: &str, prefixes: &[&str]| -> Result<Vec<String>> {
        let text =
            command::output(in_root(root, "apt-cache").args(["depends", "--important", package]))?;
        let names = text.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
        let wanted = names.filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
        Ok(wanted.map(str::to_owned).collect())
    };
    let mut packages = depends(KERNEL_PACKAGE, &["linux-image-"])?;
    let image = packages.first().cloned();
    let image = image.with_context(|| format!("`{KERNEL_PACKAGE}` depends on no kernel"))?;
    // Debian has parted them since Linux 7.
    packages.extend(depends(&image, &["linux-base-", "linux-binary-", "linux-modules-"])?);
    command::output(
        in_root(root, "sh")
            .args(["-c", "cd /tmp && apt-get -o APT::Sandbox::User= download \"$@\"", "sh"])
            .args(&packages),
    )?;
    // Beside the root first: the package's `/lib` would take the place of the root's link of that name.
    let unpacked = root.join("tmp/kernel");
    for entry in fs::read_dir(root.join("tmp"))? {
        let file = entry?.path();
        if file.extension().is_some_and(|extension| extension == "deb") {
            command::output(Command::new("dpkg-deb").arg("--extract").arg(&file).arg(&unpacked))?;
            fs::remove_file(file)?;
        }
    }
    let modules = ["lib/modules", "usr/lib/modules"].map(|path| unpacked.join(path));
    let modules = modules.iter().find(|path| path.is_dir()).context("a kernel without modules")?;
    let version = kernel_version(modules)?;
    let images =
        [unpacked.join(format!("boot/vmlinuz-{version}")), modules.join(&version).join("vmlinuz")];
    let image =
        images.iter().find(|path| path.is_file()).context("a kernel's package without a kernel")?;
    fs::copy(image, kernel)?;
    fs::rename(modules, root.join("usr/lib/modules"))?;
    fs::remove_dir_all(unpacked)?;
    Ok(version)
}

/// Version of the only kernel whose `modules` there are.
fn kernel_version(modules: &Path) -> Result<String> {
    let mut names = fs::read_dir(modules)?;
    let entry = names.next().context("the kernel's package has no modules")??;
    Ok(entry.file_name().to_string_lossy().into_owned())
}

/// Takes out what the initial RAM disk needs.
fn early(root: &Path, version: &str, to: &Path) -> Result<()> {
    fs::create_dir_all(to.join("modules"))?;
    fs::copy(root.join("bin/busybox"), to.join("busybox"))?;
    command::output(in_root(root, "depmod").arg(version))?;
    let mut done: Vec<String> = Vec::new();
    for module in MODULES {
        let text = command::output(in_root(root, "modprobe").args([
            "--set-version",
            version,
            "--show-depends",
            module,
        ]))?;
        // `insmod /lib/modules/VERSION/kernel/drivers/virtio/virtio_pci.ko`, or `builtin NAME`.
        let paths = text.lines().filter_map(|line| line.strip_prefix("insmod "));
        for path in paths.map(str::trim) {
            if !done.iter().any(|before| before == path) {
                let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy();
                let file = to.join(format!("modules/{:02}-{name}", done.len()));
                fs::copy(root.join(path.trim_start_matches('/')), &file)?;
                if file.extension().is_some_and(|extension| extension == "xz") {
                    command::output(Command::new("unxz").arg(&file))?;
                }
                done.push(path.to_owned());
            }
        }
    }
    Ok(())
}
