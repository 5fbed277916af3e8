//! A process whose functions are probed: they do nothing, and are called in a row on real descriptors.
//!
//! The first instruction of three is `push`, as at most points of a server: the kernel emulates it, so a hit
//! costs one trap. That of three others is one that the kernel single-steps: two traps.
#![expect(
    unsafe_code,
    reason = "functions whose first instruction is known are written in assembly"
)]

use std::arch::global_asm;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, ensure};
use probe_abi::WordRange;
use serde::{Deserialize, Serialize};

/// Name of the argument by which this program becomes the probed one.
pub(crate) const ARGUMENT: &str = "probed-process";

/// Descriptors that the calls go round.
pub(crate) const BLOCKS: u32 = 1024;

global_asm!(
    ".macro bench_observe_nothing name",
    ".globl \\name",
    ".type \\name, @function",
    "\\name: push rbp",
    "pop rbp",
    "ret",
    ".size \\name, . - \\name",
    ".endm",
    ".macro bench_observe_stepped name",
    ".globl \\name",
    ".type \\name, @function",
    "\\name: test dl, dl",
    "push rbp",
    "pop rbp",
    "ret",
    ".size \\name, . - \\name",
    ".endm",
    "bench_observe_nothing bench_observe_io_complete",
    "bench_observe_nothing bench_observe_dirty",
    "bench_observe_nothing bench_observe_free",
    "bench_observe_stepped bench_observe_io_complete_stepped",
    "bench_observe_stepped bench_observe_dirty_stepped",
    "bench_observe_stepped bench_observe_free_stepped",
);

type Function = unsafe extern "C" fn(descriptor: u64);

unsafe extern "C" {
    fn bench_observe_io_complete(descriptor: u64);
    fn bench_observe_dirty(descriptor: u64);
    fn bench_observe_free(descriptor: u64);
    fn bench_observe_io_complete_stepped(descriptor: u64);
    fn bench_observe_dirty_stepped(descriptor: u64);
    fn bench_observe_free_stepped(descriptor: u64);
}

/// Their symbols, in the same order.
pub(crate) const NAMES: [&str; 6] = [
    "bench_observe_io_complete",
    "bench_observe_dirty",
    "bench_observe_free",
    "bench_observe_io_complete_stepped",
    "bench_observe_dirty_stepped",
    "bench_observe_free_stepped",
];

/// From a function to the one of the same event that is single-stepped.
pub(crate) const STEPPED: usize = 3;

/// In the order of [`NAMES`].
const FUNCTIONS: [Function; 6] = [
    bench_observe_io_complete,
    bench_observe_dirty,
    bench_observe_free,
    bench_observe_io_complete_stepped,
    bench_observe_dirty_stepped,
    bench_observe_free_stepped,
];

/// Where the process has what is to be probed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Where {
    /// Address of the first descriptor.
    pub(crate) descriptors: u64,
}

/// The probed process, as the one that measures sees it. Dropped, it ends.
pub(crate) struct Probed {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
    pub(crate) at: Where,
}

impl Probed {
    /// Starts it with descriptors of `stride` bytes, all of pages that are being read.
    pub(crate) fn start(stride: u32, reading: WordRange) -> Result<Self> {
        let WordRange { offset, first, .. } = reading;
        let mut child = Command::new(std::env::current_exe()?)
            .arg(ARGUMENT)
            .args([stride.into(), offset, first].map(|n: u64| n.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("failed to start the probed process")?;
        let requests = child.stdin.take().context("the probed process has no input")?;
        let output = child.stdout.take().context("the probed process has no output")?;
        let mut answers = BufReader::new(output);
        let mut line = String::new();
        answers.read_line(&mut line)?;
        let at = serde_json::from_str(&line).context("the probed process does not say where")?;
        Ok(Self { child, requests, answers, at })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it call function `function` so often, and gives the CPU time of a call in ns.
    pub(crate) fn call(&mut self, function: usize, calls: u64) -> Result<f64> {
        writeln!(self.requests, "{function} {calls}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().context("the probed process gives no time")
    }
}

impl Drop for Probed {
    fn drop(&mut self) {
        // An error means that it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The probed process itself: says where things are, then calls as asked until its input ends.
pub(crate) fn be_probed(arguments: &[String]) -> Result<()> {
    let numbers: Vec<usize> =
        arguments.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [stride, offset, value] = numbers.as_slice() else {
        anyhow::bail!("the probed process wants three numbers")
    };
    ensure!(offset + 8 <= *stride, "the I/O state is not in a descriptor");
    let mut descriptors = vec![0_u8; stride * BLOCKS as usize];
    for descriptor in descriptors.chunks_exact_mut(*stride) {
        descriptor[*offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    }
    let first = descriptors.as_ptr().expose_provenance() as u64;
    println!("{}", serde_json::to_string(&Where { descriptors: first })?);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (function, calls) = line.split_once(' ').context("a request is two numbers")?;
        let function = *FUNCTIONS.get(function.parse::<usize>()?).context("no such function")?;
        let calls: u64 = calls.parse()?;
        println!("{}", time(function, calls, first, *stride as u64));
    }
    drop(descriptors);
    Ok(())
}

/// CPU time of a call in ns.
fn time(function: Function, calls: u64, first: u64, stride: u64) -> f64 {
    let start = cpu_time_ns();
    for call in 0..calls {
        let descriptor = first + call % u64::from(BLOCKS) * stride;
        // SAFETY: the functions take an integer, touch nothing but their own stack, and return.
        unsafe { function(descriptor) };
    }
    (cpu_time_ns() - start) / calls.max(1) as f64
}

/// What this thread has used of a CPU: a trap runs in its name, other processes do not.
fn cpu_time_ns() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}
