//! Building and resolving a model of a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use symbols::debug_file::SearchOptions;
use symbols::{Error, Options, Profile, ProgramPaths, resolve};
use tempfile::TempDir;

use crate::common::skip;

/// A scratch folder with sources in it.
pub(crate) struct Build {
    dir: TempDir,
}

impl Build {
    /// A folder with `sources` (name and text); none, and a counted skip, without one of `tools`.
    pub(crate) fn with(tools: &[&str], sources: &[(&str, &str)]) -> Option<Self> {
        let missing = |tool: &&&str| Command::new(tool).arg("--version").output().is_err();
        if let Some(tool) = tools.iter().find(missing) {
            skip(&format!("{tool} is not installed"));
            return None;
        }
        let dir = TempDir::with_prefix("dwarf-").unwrap();
        for (name, text) in sources {
            fs::write(dir.path().join(name), text).unwrap();
        }
        Some(Self { dir })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a tool in the folder and returns what it printed; none when it refuses.
    pub(crate) fn try_run(&self, tool: &str, args: &[&str]) -> Option<String> {
        let out = Command::new(tool).args(args).current_dir(self.dir.path()).output().unwrap();
        out.status.success().then(|| String::from_utf8(out.stdout).unwrap())
    }

    /// Compiles and links `sources` as `server` with `flags`.
    #[track_caller]
    pub(crate) fn compile(&self, flags: &[&str], sources: &[&str]) -> PathBuf {
        let fixed = ["-rdynamic", "-o", "server"];
        let built = self.try_run("g++", &[&fixed, flags, sources].concat());
        assert!(built.is_some(), "g++ {flags:?} fails");
        self.path("server")
    }
}

/// Resolves without cache, network or stored profile.
pub(crate) fn profile(program: &Path) -> Result<Profile, Error> {
    let options = Options {
        cache_dir: None,
        profile_dirs: Vec::new(),
        debug_files: SearchOptions { debug_dirs: Vec::new(), ..SearchOptions::default() },
        ..Options::default()
    };
    let target = ProgramPaths { program, root: Path::new("/") };
    resolve(&target, &options).map(|resolved| resolved.profile)
}
