//! Foreign text comes out of `poolferry` harmless and bounded: one text drives its outputs, with the paths of a process
//! that any user may start. (The library's own sinks are in `src/sinks_tests.rs`.)

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output};

use foreign::hostile;
use tempfile::TempDir;

/// Most that one command may say.
const MOST: usize = 64 << 10;

/// A process whose program, folder and arguments are all hostile.
struct Stranger {
    /// Holds the program.
    _folder: TempDir,
    program: PathBuf,
    child: Child,
}

impl Stranger {
    fn start() -> io::Result<Self> {
        let folder = tempfile::tempdir()?;
        let home = folder.path().join(OsStr::from_bytes(&hostile::file_name()));
        fs::create_dir(&home)?;
        let program = home.join(OsStr::from_bytes(&hostile::file_name()));
        fs::copy("/bin/sleep", &program)?;
        let child = Command::new(&program)
            .arg0(OsStr::from_bytes(&hostile::bytes()))
            .arg("600")
            .current_dir(&home)
            .spawn()?;
        Ok(Self { _folder: folder, program, child })
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn poolferry(arguments: &[&OsStr]) -> io::Result<Output> {
    Command::new(env!("CARGO_BIN_EXE_poolferry")).args(arguments).env("RUST_LOG", "debug").output()
}

#[test]
fn no_output_does_what_a_process_names_itself() -> io::Result<()> {
    let stranger = Stranger::start()?;
    let pid = OsString::from(stranger.child.id().to_string());
    let evil = OsString::from(OsStr::from_bytes(&hostile::bytes()));
    let (pid, program, evil) = (pid.as_os_str(), stranger.program.as_os_str(), evil.as_os_str());
    let [symbols, pages, doctor, trace] = ["symbols", "pages", "doctor", "trace"].map(OsStr::new);
    let option = |name: &'static str| OsStr::new(name);
    let big = OsString::from(hostile::big()[..100_000].to_owned());
    // Whether it shows the text, or has nothing to say of it.
    let commands: [(bool, &[&OsStr]); 12] = [
        (false, &[symbols, option("--pid"), pid]),
        (true, &[symbols, program]),
        (true, &[symbols, program, option("--debug-dir"), OsStr::new(hostile::TEXT)]),
        (true, &[symbols, program, option("--debug-dir"), evil]),
        (true, &[symbols, evil]),
        (false, &[pages, option("--pid"), pid]),
        (true, &[pages, option("--format"), evil]),
        (true, &[pages, option("--name"), OsStr::new(hostile::TEXT)]),
        (true, &[doctor, option("--pid"), pid]),
        (true, &[doctor, option("--json"), option("--pid"), pid]),
        (false, &[trace, option("--pid"), pid, option("--format"), option("text")]),
        (true, &[trace, option("--format"), &big]),
    ];
    for (shows, command) in commands {
        let output = poolferry(command)?;
        let printed = [output.stdout, output.stderr].concat();
        let sink = format!("poolferry {:?}", command[0]);
        if let Some(harm) = hostile::harm(&printed, &[], MOST) {
            panic!("{sink}: {harm}");
        }
        assert!(!printed.is_empty(), "{sink} says nothing");
        if shows {
            hostile::assert_harmless(&format!("poolferry {command:?}"), &printed, MOST);
        }
    }
    Ok(())
}
