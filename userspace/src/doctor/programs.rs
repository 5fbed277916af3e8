//! Whether eBPF programs load, attach and run: tried, not guessed.

use std::hint::black_box;
use std::path::Path;

use aya::Ebpf;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::programs::{Program, ProgramError, ProgramType, UProbe};
use aya::sys::{Stats, enable_stats, is_program_supported};
use kernel_text::first_mapping;

use super::Check;
use super::check::causes;
use crate::probes::{ProbesError, Settings, load};

/// Most bytes of our own table of mappings that are read.
const MAX_MAPS: u64 = 1 << 20;
/// Hits that the probe on ourselves must see.
const HITS: u64 = 100;

/// A refusal by a kernel that otherwise can is somebody's rule.
const REFUSED: &str = "run as root; where that does not help, a seccomp filter (containers) or a security \
                       module refuses bpf() or perf_event_open(): allow them, or run outside";

/// All checks of programs, each on what the one before has made.
pub(super) fn checks() -> Vec<Check> {
    let supported = is_program_supported(ProgramType::KProbe);
    let mut checks = vec![system_call(supported.map_err(|error| causes(&error)))];
    let loaded = load(&Settings::default()).and_then(|mut ebpf| Ok((load_all(&mut ebpf)?, ebpf)));
    match loaded {
        Ok((count, mut ebpf)) => {
            checks
                .push(Check::ok("eBPF programs", format!("all {count} accepted by the verifier")));
            checks.push(hits(hit_ourselves(&mut ebpf)));
        }
        Err(error) => {
            let remedy = match &error {
                ProbesError::NotBuiltIn => error.hint(),
                _ => REFUSED,
            };
            checks.push(Check::fail("eBPF programs", causes(&error), remedy));
            checks.push(Check::unknown("uprobes", "not tried: there is no program to attach"));
        }
    }
    checks
}

/// The answer to the smallest program of the probes' type.
fn system_call(supported: Result<bool, String>) -> Check {
    const NAME: &str = "eBPF system call";
    match supported {
        Ok(true) => Check::ok(NAME, "takes a program"),
        Ok(false) => Check::fail(
            NAME,
            "the kernel knows no programs for probes",
            "boot a kernel with CONFIG_BPF_SYSCALL=y and CONFIG_BPF_EVENTS=y; on one that has them: run \
             as root",
        ),
        Err(cause) => Check::fail(NAME, cause, REFUSED),
    }
}

/// Lets the verifier see every program; answers their number.
fn load_all(ebpf: &mut Ebpf) -> Result<usize, ProbesError> {
    let mut count = 0;
    for (_, program) in ebpf.programs_mut() {
        let (name, done) = match program {
            Program::UProbe(program) => ("a uprobe program", program.load()),
            Program::RawTracePoint(program) => ("a raw tracepoint program", program.load()),
            _ => continue,
        };
        done.map_err(|source| ProbesError::Program { program: name, source: Box::new(source) })?;
        count += 1;
    }
    Ok(count)
}

/// Why no probe of our own code was hit.
#[derive(Debug, thiserror::Error)]
enum HitError {
    #[error("our own code was not found among our mappings")]
    NotMapped,
    #[error("the object has no program `empty`")]
    NoProgram,
    #[error("failed to attach a uprobe with a cookie to our own program")]
    Attach(#[source] ProgramError),
    #[error("failed to read the kernel's information on a program")]
    Info(#[source] ProgramError),
}

/// What is probed. The argument keeps the calls from being folded into one.
#[inline(never)]
extern "C" fn landmark(call: u64) -> u64 {
    black_box(call)
}

/// Attaches the empty program to a function of our own and calls that; answers the hits that the
/// kernel counted, none when it may not be asked to count.
fn hit_ourselves(ebpf: &mut Ebpf) -> Result<Option<u64>, HitError> {
    let address = (landmark as extern "C" fn(u64) -> u64 as *const ()).addr() as u64;
    let offset = first_mapping(std::process::id(), MAX_MAPS, |map| map.offset_of(address));
    let offset = offset.ok().flatten().ok_or(HitError::NotMapped)?;
    let program = ebpf.program_mut("empty").ok_or(HitError::NoProgram)?;
    let program: &mut UProbe = program.try_into().map_err(|_| HitError::NoProgram)?;
    let counting = enable_stats(Stats::RunTime);
    let point = UProbeAttachPoint {
        location: UProbeAttachLocation::AbsoluteOffset(offset),
        cookie: Some(1),
    };
    let link = program
        .attach(point, Path::new("/proc/self/exe"), UProbeScope::CallingProcess)
        .map_err(HitError::Attach)?;
    for call in 0..HITS {
        black_box(landmark)(call);
    }
    let hits = program.info().map_err(HitError::Info)?.run_count();
    program.detach(link).map_err(HitError::Attach)?;
    Ok(counting.is_ok().then_some(hits))
}

fn hits(seen: Result<Option<u64>, HitError>) -> Check {
    const NAME: &str = "uprobes";
    match seen {
        Ok(Some(hits)) if hits >= HITS => Check::ok(
            NAME,
            format!("attached with a cookie to ourselves, {HITS} of {HITS} calls seen"),
        ),
        Ok(Some(hits)) => Check::fail(
            NAME,
            format!("attached to ourselves, but only {hits} of {HITS} calls were seen"),
            "this kernel's uprobes lose hits; boot another one",
        ),
        Ok(None) => {
            Check::ok(NAME, "attached with a cookie to ourselves; the kernel does not count hits")
        }
        Err(error) => Check::fail(NAME, causes(&error), REFUSED),
    }
}

#[cfg(test)]
mod tests {
    use kernel_text::Mapping;

    use super::super::CheckStatus::{Fail, Ok as Fine};
    use super::*;

    #[test]
    fn code_is_found_in_its_file() {
        let maps = "\
55d0c0000000-55d0c0040000 r--p 00000000 fe:00 12 /usr/bin/x
55d0c0040000-55d0c0100000 r-xp 0003f000 fe:00 12 /usr/bin/x
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0 [stack]
";
        let file_offset = |maps: &str, address| {
            maps.lines().find_map(|line| Mapping::parse(line.as_bytes())?.offset_of(address))
        };
        assert_eq!(file_offset(maps, 0x55d0_c004_0123), Some(0x3f123));
        assert_eq!(file_offset(maps, 0x1000), None);
        for hostile in ["", "-", "1-2", "zz-1 r 0", "1000-2000 r-xp"] {
            assert_eq!(file_offset(hostile, 0x1800), None, "{hostile}");
        }
        assert_eq!(file_offset("1-ffffffffffffffff r ffffffffffffffff", 9), None);
    }

    #[test]
    fn lost_hits_and_refusals_fail() {
        assert_eq!(hits(Ok(Some(HITS))).status, Fine);
        assert_eq!(hits(Ok(None)).status, Fine);
        assert_eq!(hits(Ok(Some(HITS - 1))).status, Fail);
        assert_eq!(hits(Err(HitError::NotMapped)).status, Fail);
        assert_eq!(system_call(Ok(true)).status, Fine);
        assert_eq!(system_call(Ok(false)).status, Fail);
        let refused = system_call(Err(String::from("operation not permitted")));
        assert_eq!(refused.status, Fail);
        assert!(refused.remedy.unwrap().contains("root"));
    }
}
