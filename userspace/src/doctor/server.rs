//! One server: whether it can be resolved, proven and probed.

use symbols::profile::{Instruction, Profile, SiteKind, Source};
use symbols::{Options, Resolved};

use super::check::{causes, counted};
use super::{Check, storage};
use crate::choose::ChooseError;
use crate::pool_map::PoolMap;
use crate::probes::{Coverage, coverage};
use crate::server::{Server, ServerError, resolve};
use crate::target::{ServerRule, Target, TargetError};
use crate::validation::Validation;
use crate::viewer::units;

const DEBUG_INFORMATION: &str = "debug information";
const POOL: &str = "buffer pool";
/// Most processes that a check names.
const NAMED: usize = 16;
const SITES: &str = "probe sites";

/// All checks of a server.
pub(super) fn checks(target: Result<Target, ChooseError>, options: &Options) -> Vec<Check> {
    let target = match target {
        Ok(target) => target,
        Err(error) => return vec![nobody(&error)],
    };
    let (pid, exe, cwd) = (target.pid, foreign::path(&target.exe), foreign::path(&target.cwd));
    let mut checks = vec![Check::ok("server", format!("pid {pid}, {exe}, data directory {cwd}"))];
    match Server::open(target.clone(), options) {
        Ok(server) => {
            checks.push(resolved(&server.resolved));
            checks.push(pool(&server.pool_map, server.validation));
            checks.push(events(server.profile(), &target));
        }
        Err(ServerError::Symbols(error)) => checks.push(unresolved(&error)),
        Err(error) => {
            // The profile is there, so the finding on it comes first.
            checks.extend(resolve(&target, options).ok().as_ref().map(resolved));
            checks.push(no_pool(&error));
        }
    }
    checks.extend(storage::checks(&target));
    checks
}

/// There is no one server to check.
fn nobody(error: &ChooseError) -> Check {
    const NAME: &str = "server";
    match error {
        ChooseError::Target(TargetError::None { rule }) if **rule == ServerRule::default() => {
            Check::ok(NAME, "none runs; only the machine was checked")
        }
        ChooseError::Several { list } => {
            let pids: Vec<_> = list.iter().map(|found| found.pid.to_string()).collect();
            let found =
                format!("{} are running, none was checked: pids {}", list.len(), pids.join(", "));
            Check::warning(NAME, found, "choose one with --pid, --datadir, --user or --unit")
        }
        ChooseError::None { failed, .. } => {
            let pids: Vec<_> =
                failed.iter().take(NAMED).map(|(target, _)| target.pid.to_string()).collect();
            let found = format!("{}: pids {}", causes(error), pids.join(", "));
            let hint = error.hint().unwrap_or_else(|| "name another with --pid".to_owned());
            Check::fail(NAME, found, hint)
        }
        _ => {
            let hint = error.hint().unwrap_or_else(|| "name another with --pid".to_owned());
            Check::fail(NAME, causes(error), hint)
        }
    }
}

fn resolved(resolved: &Resolved) -> Check {
    let profile = &resolved.profile;
    let source = match &profile.source {
        Source::OwnDwarf => String::from("its own"),
        Source::DebugFile { path } => format!("from {path}"),
        Source::Stored { name } => format!("stored profile {name}"),
        Source::Kin { name, version, .. } => {
            format!("stored profile {name} of {version}, whose code this build has")
        }
    };
    let server = &profile.server;
    let mut found = format!("{} {}: {source}", server.family, server.version);
    if !profile.missing.is_empty() {
        let roles: Vec<_> = profile.missing.iter().map(|missing| missing.role.name()).collect();
        found.push_str(&format!("; does without {}", roles.join(", ")));
    }
    Check::ok(DEBUG_INFORMATION, found)
}

fn unresolved(error: &symbols::Error) -> Check {
    let remedy = error.hint().unwrap_or("`poolferry symbols` shows where it was looked for");
    Check::fail(DEBUG_INFORMATION, causes(error), remedy)
}

fn pool(pool_map: &PoolMap, validation: Validation) -> Check {
    let blocks: u64 = pool_map.chunks.iter().map(|chunk| u64::from(chunk.blocks)).sum();
    let page = u64::from(pool_map.page_size);
    let found = format!(
        "{} in {} and {}, pages of {}; {} of {} descriptors agree with their frames",
        units::bytes(blocks.saturating_mul(page)),
        counted(pool_map.instances(), "instance"),
        counted(pool_map.chunks.len(), "chunk"),
        units::bytes(page),
        validation.compared - validation.wrong.min(validation.compared),
        validation.compared,
    );
    Check::ok(POOL, found)
}

fn no_pool(error: &ServerError) -> Check {
    let hint = error.hint().unwrap_or_else(|| "start with -v for more".to_owned());
    Check::fail(POOL, causes(error), hint)
}

/// Whether every event can be seen, and how.
fn events(profile: &Profile, target: &Target) -> Check {
    match coverage(profile) {
        Ok(Coverage::Events) => {}
        Ok(Coverage::ScanOnly { lacking }) => {
            return Check::warning(
                SITES,
                format!("no site for a probe of {lacking}: the pool can only be scanned"),
                "`poolferry symbols` shows what was found; until then each list costs a scan",
            );
        }
        Err(error) => return Check::fail(SITES, causes(&error), error.hint()),
    }
    match target.text(profile).map(|text| text.prove_all(profile)) {
        Ok(Ok(())) => sites(profile),
        Ok(Err(error)) => Check::fail(SITES, causes(&error), error.hint()),
        Err(error) => {
            Check::fail(SITES, causes(&error), error.hint().unwrap_or("start the check again"))
        }
    }
}

/// How the probes will stand in the server's text.
///
/// Linux 6.18 and later turn a probed five-byte `nop` into a `call`, which writes below the stack
/// pointer (arch/x86/kernel/uprobes.c, `arch_uprobe_optimize`): harmless at a function's entry, not
/// further in, where a leaf function may keep values there (System V ABI for AMD64, 3.2.2).
fn sites(profile: &Profile) -> Check {
    let all = || profile.sites.values().flatten();
    let (count, one_trap) =
        (all().count(), all().filter(|site| site.instruction == Instruction::Emulated).count());
    let rewritten = all()
        .filter(|site| site.text.starts_with("nopl") || site.text.starts_with("nopw"))
        .filter(|site| site.kind == SiteKind::Inlined || site.probe != site.entry)
        .count();
    let found =
        format!("{count}, of which {one_trap} cost one trap and {} cost two", count - one_trap);
    if rewritten > 0 {
        return Check::warning(
            SITES,
            format!("{found}; {rewritten} stand on a long nop within a function"),
            "on Linux 6.18 and later, observe a build without patchable entries, or an older kernel",
        );
    }
    Check::ok(
        SITES,
        format!("{found}; none on an instruction that the kernel rewrites into a call"),
    )
}

#[cfg(test)]
mod tests {
    use symbols::addr::{FileOff, LinkAddr};
    use symbols::profile::Site;
    use symbols::role::SiteRole;

    use super::super::CheckStatus::{Fail, Ok as Fine, Warning};
    use super::*;
    use crate::choose::FoundServer;
    use crate::memory::ServerAddr;
    use crate::pool_map::{Chunk, PoolMapError};
    use crate::stored_profile::stored;
    use crate::target::Account;
    use crate::validation::ValidationError;

    #[test]
    fn no_server_is_fine_unless_one_was_named() {
        let none =
            |rule: ServerRule| nobody(&TargetError::None { rule: Box::new(rule) }.into()).status;
        assert_eq!(none(ServerRule::default()), Fine);
        assert_eq!(
            none(ServerRule { names: vec!["mysqld-x".to_owned()], ..ServerRule::default() }),
            Fail
        );
        assert_eq!(nobody(&TargetError::Gone { pid: 7 }.into()).status, Fail);
        let found = FoundServer {
            pid: 7,
            version: "mysql 5.6.24".to_owned(),
            user: Account(0),
            unit: None,
            datadir: "/d".into(),
        };
        let several = nobody(&ChooseError::Several { list: vec![found.clone(), found] });
        assert_eq!(several.status, Warning);
        assert!(several.remedy.unwrap().contains("--pid"));
    }

    #[test]
    fn a_process_that_is_no_server_fails_with_a_remedy() {
        let options = Options { cache_dir: None, ..Options::default() };
        let me = Target::of(std::process::id()).map_err(ChooseError::from);
        let checks = checks(me, &options);
        let found = checks.iter().find(|check| check.name == DEBUG_INFORMATION).unwrap();
        assert_eq!(found.status, Fail);
        assert!(found.found.contains("no database server"), "{}", found.found);
        assert!(found.remedy.as_ref().unwrap().contains("mysqld"));
    }

    #[test]
    fn a_pool_says_its_size_and_proof() {
        let chunk = Chunk {
            descriptors: ServerAddr(0),
            frames: ServerAddr(0),
            blocks: 8192,
            first: 0,
            instance: 0,
        };
        let pool_map =
            PoolMap { page_size: 16384, pools: vec![ServerAddr(0); 2], chunks: vec![chunk; 2] };
        let check = pool(&pool_map, Validation { compared: 1000, wrong: 3 });
        assert!(check.found.contains("997 of 1000"), "{}", check.found);
        assert!(check.found.contains("2 instances and 2 chunks"), "{}", check.found);
        let check =
            no_pool(&ServerError::Validation(ValidationError::Disproved { wrong: 9, of: 10 }));
        assert_eq!(check.status, Fail);
        assert!(check.remedy.unwrap().contains("debug symbols"));
        let check = no_pool(&ServerError::PoolMap(PoolMapError::Resizing));
        assert!(check.remedy.unwrap().contains("try again"));
    }

    #[test]
    fn sites_are_counted_by_cost_and_hazard() {
        let mut profile = stored();
        assert_eq!(sites(&profile).status, Fine);
        let site = |text: &str, probe| Site {
            function: String::from("f"),
            entry: LinkAddr(0x1000),
            probe: LinkAddr(probe),
            file_offset: FileOff(probe),
            instruction: Instruction::SingleStepped,
            code: String::new(),
            text: String::from(text),
            kind: SiteKind::Function,
            args: Vec::new(),
        };
        profile.sites.clear();
        profile.sites.insert(SiteRole::Query, vec![site("nopl (%rax,%rax)", 0x1000)]);
        assert_eq!(sites(&profile).status, Fine, "at the entry nothing lies below the stack yet");
        profile.sites.insert(SiteRole::TrxCommit, vec![site("nopl (%rax,%rax)", 0x1004)]);
        let check = sites(&profile);
        assert_eq!(check.status, Warning);
        assert!(
            check.found.raw().starts_with("2, of which 0 cost one trap and 2"),
            "{}",
            check.found
        );
    }

    #[test]
    fn an_event_without_a_site_fails_with_a_remedy() {
        let me = Target::of(std::process::id()).unwrap();
        let mut profile = stored();
        profile.sites.remove(&SiteRole::PageDirty);
        let check = events(&profile, &me);
        assert_eq!(check.status, Fail);
        assert!(check.found.contains("page_dirty"), "{}", check.found);
        assert!(check.remedy.unwrap().contains("debug symbols"));
    }

    #[test]
    fn sites_of_another_program_fail_with_a_remedy() {
        let me = Target::of(std::process::id()).unwrap();
        let check = events(&stored(), &me);
        assert_eq!(check.status, Fail);
        assert!(check.found.contains("is not probed"), "{}", check.found);
        assert!(check.remedy.unwrap().contains("not true of this program"));
    }

    #[test]
    fn the_source_of_a_profile_is_named() {
        let profile = stored();
        let resolved = Resolved {
            profile,
            origin: symbols::Origin::Computed,
            steps: Vec::new(),
            tried: Vec::new(),
        };
        let check = super::resolved(&resolved);
        assert!(check.found.raw().starts_with("mysql 9.7.4: "), "{}", check.found);
    }
}
