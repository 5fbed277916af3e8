//! `cargo xtask profile`: a stored profile of a distribution's stripped server, from its source package.
//!
//! ```text
//! binary package -> the stripped program --------------------------- same build id, same code? --> profile, code of the build
//! source package -> rebuild (a root of its own) -> with debug information -^
//! ```
//!
//! It takes about an hour and is never part of a test. What it makes is small and lies in `symbols/profiles`.

mod package;
mod pool;
mod rebuild;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use test_servers::cache::Cache;
use test_servers::command;

use crate::setup::{self, Consent};
use crate::workspace;
use package::DebianPackage;
use rebuild::Rebuild;

/// Options of `profile`.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The binary package with the server, and its version: `mariadb-server-core=1:10.11.18-0+deb12u1`
    #[arg(long, value_name = "NAME=VERSION")]
    package: String,
    /// Debian suite that has both the binary and the source package
    #[arg(long, value_name = "SUITE")]
    suite: String,
    /// Folder for the profile [default: symbols/profiles]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Install and download what is missing without asking (also when there is no terminal, or with CI=true)
    #[arg(long)]
    yes: bool,
}

/// Makes the profile.
pub(crate) fn perform(arguments: &Arguments) -> Result<ExitCode> {
    let package = DebianPackage::parse(&arguments.package, &arguments.suite)?;
    ensure!(
        rustix::process::geteuid().is_root(),
        "`cargo xtask profile` builds in a root folder of its own, which takes root: run it with sudo"
    );
    let cache = Cache::open()?;
    let folder = cache.root().join("rebuild").join(&package.suite);
    println!(
        "{} {} is built again in `{}`: some 3 GB of packages and objects, about an hour on two CPUs. What is there already is used.",
        package.name,
        package.version,
        folder.display()
    );
    setup::for_rebuild(Consent::new(arguments.yes))?;
    let built = Rebuild::new(&folder, &package).carry_out()?;
    let name = package.profile();
    let out = arguments.out.clone().unwrap_or_else(|| workspace::root().join("symbols/profiles"));
    command::run(
        workspace::cargo()
            .args(["run", "--release", "--package=symbols", "--example=known_build", "--", &name])
            .args([&built.rebuilt, &built.stripped])
            .arg(&out),
    )?;
    note(&out, &name, &package)?;
    println!("name it in symbols/src/stored.rs, and run the tests of a server of this build");
    Ok(ExitCode::SUCCESS)
}

/// How the profile was made, beside it.
fn note(out: &Path, name: &str, package: &DebianPackage) -> Result<()> {
    let profile = fs::read(out.join(format!("{name}.json"))).context("no profile was made")?;
    let profile: serde_json::Value = serde_json::from_slice(&profile)?;
    let id = profile["binary"]["build_id"].as_str();
    let text = format!(
        "# {name}\n\n\
         Profile of the server in Debian's `{}` {}, amd64, of {}, build id `{}`, and the code by which other builds\n\
         are known to be its kin. Both were made by\n\n\
         ```sh\ncargo xtask profile --package {}={} --suite {}\n```\n\n\
         which builds the server again from its source package, in the folder and with the date that Debian's own build had. The program\n\
         that comes out has the same `.text`, `.rodata`, `.data`, `.data.rel.ro`, `.init_array` and `.eh_frame` to the byte, and exports the same\n\
         symbols; so its debug information is true of the distributed one. Its build id is the same too, unless the distributed one has a note\n\
         (`.note.package`) that Debian's tools add to a whole build.\n",
        package.name,
        package.version,
        package.suite,
        id.unwrap_or("none"),
        package.name,
        package.version,
        package.suite,
    );
    let path = out.join(format!("{name}.md"));
    fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))
}
