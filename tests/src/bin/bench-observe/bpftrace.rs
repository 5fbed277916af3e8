//! The peer for the cost of a probe: bpftrace on the same points, counting.

use std::fmt::Display;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

/// bpftrace with its probes set. Dropped, it is ended and the kernel takes its probes out.
pub(crate) struct Bpftrace {
    child: Child,
}

impl Bpftrace {
    /// Sets a counting probe at each of `points` (symbols or link addresses of `program`) in process
    /// `pid`.
    pub(crate) fn attach<P: Display>(program: &Path, pid: u32, points: &[P]) -> Result<Self> {
        let program = program.display();
        let points: Vec<String> =
            points.iter().map(|point| format!("uprobe:{program}:{point}")).collect();
        // The tick is set after the probes: its first word means that they stand. (`BEGIN` is
        // itself a probe on a symbol that stripped builds of bpftrace do not have.)
        let script = format!(
            "{} {{ @hits = count(); }} interval:ms:100 {{ printf(\"set\\n\"); }}",
            points.join(", ")
        );
        let mut child = Command::new("bpftrace")
            // A point inside of a function is not where a symbol stands.
            .args(["--unsafe", "-B", "line", "-p", &pid.to_string(), "-e", &script])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("failed to start `bpftrace`; the package `bpftrace` has it")?;
        let output = child.stdout.take().context("bpftrace has no output")?;
        let bpftrace = Self { child };
        if BufReader::new(output).lines().map_while(Result::ok).any(|line| line == "set") {
            return Ok(bpftrace);
        }
        let complaint = bpftrace.complaint();
        bail!("bpftrace sets no probe: {complaint}")
    }

    fn complaint(mut self) -> String {
        let errors = self.child.stderr.take().and_then(|pipe| std::io::read_to_string(pipe).ok());
        errors.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Bpftrace {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
