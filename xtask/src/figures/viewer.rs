//! The viewer on the demo server, as a terminal shows it.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use test_servers::{Release, command};

use super::screen;
use crate::run::{Demo, as_root};
use crate::setup::{self, Consent};
use crate::{ebpf, workspace};

const ROWS: u16 = 36;
const COLUMNS: u16 = 116;
/// Long enough for rates and histories.
const SECONDS: u32 = 20;
const TITLE: &str = "cargo xtask run: the viewer on MySQL 5.6.24 with a pool of 512 MiB under a sysbench read-write load";
/// Gives its own terminal the size that is wanted, and becomes the viewer for a while.
const SCRIPT: &str = r#"stty rows "$1" columns "$2" && seconds=$3 && shift 3 && exec timeout --foreground "$seconds" "$@""#;
/// Leaves the alternate screen.
const LEAVES: &[u8] = b"\x1b[?1049l";

/// Starts the demo server and the viewer, and draws what its terminal shows after a while.
pub(super) fn draw(consent: Consent) -> Result<String> {
    ensure!(
        command::exists("script"),
        "`script` of util-linux, which makes a terminal, is not installed"
    );
    setup::for_build(consent)?;
    ebpf::build()?;
    let release = workspace::build_release_of(&["--package", "userspace", "--bin", "poolferry"])?;
    setup::for_demo(Release::Mysql56, consent)?;
    let demo = Demo::start(Release::Mysql56)?;
    let mut viewer = as_root(&release.join("poolferry"), "trace");
    viewer.args(["--pid", &demo.pid().to_string(), "--queries"]);
    let shown = show(&viewer)?;
    // The last thing that it writes gives the terminal back.
    let leaves = shown.windows(LEAVES.len()).rposition(|bytes| bytes == LEAVES);
    let leaves = leaves.context("the viewer did not open, or did not end in order")?;
    let mut parser = vt100::Parser::new(ROWS, COLUMNS, 0);
    parser.process(&shown[..leaves]);
    let home = std::env::var("HOME").unwrap_or_default();
    Ok(screen::svg(parser.screen(), TITLE, home.trim_end_matches('/')))
}

/// Runs a program in a terminal for a while, and gives what it has written.
fn show(program: &Command) -> Result<Vec<u8>> {
    let folder = tempfile::tempdir()?;
    let typescript = folder.path().join("typescript");
    let mut words = vec![program.get_program()];
    words.extend(program.get_args());
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    // `script` takes one line for a shell; none of these words has a blank.
    let line = format!("sh -c '{SCRIPT}' sh {ROWS} {COLUMNS} {SECONDS} {}", words.join(" "));
    let mut script = Command::new("script");
    script.args(["--quiet", "--flush", "--command", &line]).arg(&typescript);
    script.env("TERM", "xterm-256color").env("COLORTERM", "truecolor").env_remove("NO_COLOR");
    // An input that ends would end the terminal.
    let mut child = script.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let _keyboard = child.stdin.take();
    child.wait()?;
    Ok(std::fs::read(&typescript)?)
}
