//! Installs what is missing: says what and why, asks on a terminal, and does nothing where all is there.

use std::io::{self, IsTerminal as _, Write as _};

use anyhow::{Result, bail};
use test_qemus::QemuRelease as Qemu;
use test_servers::Release;

use crate::ebpf;
use crate::packages::{self, Purpose};

/// Whether to ask before something is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    Prompt,
    Given,
}

impl Consent {
    /// Asks only on a terminal, and neither with `--yes` nor in CI.
    pub(crate) fn new(yes: bool) -> Self {
        let ci = std::env::var_os("CI").is_some_and(|value| value == "true");
        if yes || ci || !io::stdin().is_terminal() { Self::Given } else { Self::Prompt }
    }
}

/// Options of every command that installs what is missing.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct SetupOptions {
    /// Install what is missing without asking (also when there is no terminal, or with CI=true)
    #[arg(long)]
    yes: bool,
}

impl SetupOptions {
    pub(crate) fn consent(self) -> Consent {
        Consent::new(self.yes)
    }
}

/// For a build of the whole: the eBPF toolchain.
pub(crate) fn for_build(consent: Consent) -> Result<()> {
    Plan::default().with_ebpf().carry_out(consent)
}

/// For the demo server.
pub(crate) fn for_demo(release: Release, consent: Consent) -> Result<()> {
    Plan::default().with_servers(&[release]).carry_out(consent)
}

/// For the laboratory.
pub(crate) fn for_lab(consent: Consent) -> Result<()> {
    let plan = Plan::default().with_ebpf().with_packages(Purpose::Lab);
    plan.with_servers(&[Release::Mysql56]).with_qemus(&[Qemu::Q100]).carry_out(consent)
}

/// For building a distribution's server again.
pub(crate) fn for_rebuild(consent: Consent) -> Result<()> {
    Plan::default().with_packages(Purpose::Lab).carry_out(consent)
}

/// For tests and benchmarks.
pub(crate) fn for_tests(consent: Consent) -> Result<()> {
    let plan =
        Plan::default().with_ebpf().with_packages(Purpose::Tests).with_packages(Purpose::Lab);
    plan.with_servers(&Release::ALL).with_qemus(&Qemu::ALL).carry_out(consent)
}

/// What is missing.
#[derive(Debug, Default)]
struct Plan {
    packages: Vec<&'static packages::Package>,
    bpf_linker: bool,
    releases: Vec<Release>,
    qemus: Vec<Qemu>,
}

impl Plan {
    fn with_packages(mut self, purpose: Purpose) -> Self {
        self.packages.extend(packages::missing(&[purpose]));
        self
    }

    fn with_ebpf(mut self) -> Self {
        // Programs that are given need no toolchain.
        let given = std::env::var_os("POOLFERRY_PROBES").is_some();
        if !given && ebpf::Toolchain::find().is_none() {
            self.bpf_linker = !ebpf::bpf_linker_is_here();
            self = self.with_packages(Purpose::Ebpf);
        }
        self
    }

    fn with_servers(mut self, releases: &[Release]) -> Self {
        self.releases.extend(releases.iter().filter(|release| release.installed().is_err()));
        self.with_packages(Purpose::Servers)
    }

    /// Those of `qemus` that can be fetched.
    fn with_qemus(mut self, qemus: &[Qemu]) -> Self {
        let missing = |qemu: &&Qemu| qemu.can_be_fetched() && qemu.installed().is_err();
        self.qemus.extend(qemus.iter().filter(missing));
        self
    }

    fn carry_out(self, consent: Consent) -> Result<()> {
        let lines = self.lines();
        if lines.is_empty() {
            return Ok(());
        }
        println!("This needs, and will install:");
        for line in lines {
            println!("  {line}");
        }
        if consent == Consent::Prompt && !agreed()? {
            bail!("nothing was installed");
        }
        let names: Vec<&str> = self.packages.iter().map(|package| package.name).collect();
        if !names.is_empty() {
            packages::install(&names)?;
        }
        if self.bpf_linker {
            ebpf::install_bpf_linker()?;
        }
        for release in self.releases {
            println!("fetching {release}");
            match release.fetch() {
                Err(error) if release.is_optional() => println!("going on without it: {error:#}"),
                fetched => drop(fetched?),
            }
        }
        for qemu in self.qemus {
            println!("fetching {qemu}");
            qemu.fetch()?;
        }
        Ok(())
    }

    /// What is to be installed, for people.
    fn lines(&self) -> Vec<String> {
        let package = |package: &&packages::Package| {
            format!("{:14} (Debian package) {}", package.name, package.why)
        };
        let mut lines: Vec<String> = self.packages.iter().map(package).collect();
        if self.bpf_linker {
            lines.push(
                "bpf-linker     (a crate, into the cache folder) links the eBPF programs".into(),
            );
        }
        lines.extend(self.releases.iter().map(|release| {
            format!("{release}: a real server, into the cache folder; nothing of it is installed")
        }));
        lines.extend(self.qemus.iter().map(|qemu| {
            format!("{qemu}: Debian's own build, into the cache folder; nothing of it is installed")
        }));
        lines
    }
}

fn agreed() -> Result<bool> {
    print!("Go ahead? [Y/n] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "" | "y" | "Y" | "yes"))
}
