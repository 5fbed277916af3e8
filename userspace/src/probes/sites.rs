//! Which program stands at the sites of which event.

use probe_abi::Cookie;
use symbols::profile::{ArgLoc, Missing, Profile, Site};
use symbols::role::{Role, SiteRole};

use super::error::ProbesError;

/// One program to attach: where, with which argument, at the entry or the return.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) program: &'static str,
    pub(super) event: SiteRole,
    /// Which of the site's arguments the program wants.
    pub(super) argument: Option<usize>,
    /// An event that only some versions have.
    optional: bool,
}

pub(super) const RESIDENCY: [Plan; 5] = [
    Plan {
        program: "page_io_complete",
        event: SiteRole::PageIoComplete,
        argument: Some(0),
        optional: false,
    },
    Plan { program: "page_dirty", event: SiteRole::PageDirty, argument: Some(0), optional: false },
    Plan {
        program: "page_dirty",
        event: SiteRole::PageDirtySorted,
        argument: Some(0),
        optional: true,
    },
    Plan {
        program: "page_read_failed",
        event: SiteRole::PageReadFailed,
        argument: Some(0),
        optional: true,
    },
    Plan { program: "block_free", event: SiteRole::BlockFree, argument: Some(0), optional: false },
];

pub(super) const QUERIES: [Plan; 4] = [
    Plan { program: "query_start", event: SiteRole::Query, argument: Some(0), optional: false },
    Plan { program: "query_end", event: SiteRole::Query, argument: None, optional: false },
    Plan { program: "commit_start", event: SiteRole::TrxCommit, argument: None, optional: false },
    Plan { program: "commit_end", event: SiteRole::TrxCommit, argument: None, optional: false },
];

/// Events that the residency table lives on, as far as a server has them.
pub const RESIDENCY_EVENTS: [SiteRole; 5] = {
    let [a, b, c, d, e] = &RESIDENCY;
    [a.event, b.event, c.event, d.event, e.event]
};

/// What the probes see of a server's pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Coverage {
    /// Every event that the residency table lives on.
    Events,
    /// Not all of them, which is none: a table that misses some is not true. The pool can be scanned.
    ScanOnly {
        /// The events that cannot be had, and why.
        lacking: String,
    },
}

/// Which events of the residency table the profile has sites for.
///
/// # Errors
/// [`ProbesError::NoSite`] where an event that the definition requires has no site, or a copy of its function has none.
pub fn coverage(profile: &Profile) -> Result<Coverage, ProbesError> {
    let mut lacking = Vec::new();
    for plan in &RESIDENCY {
        let is_of_event = |missing: &&Missing| missing.role == Role::Site(plan.event);
        let missing = profile.missing.iter().filter(|missing| !missing.required);
        let needed = SiteRole::RESIDENCY.contains(&plan.event);
        match missing.clone().find(is_of_event).filter(|_| needed) {
            // One that is required may be missing beside it.
            Some(_) if profile.lacking().any(|missing| is_of_event(&missing)) => {
                sites_of(profile, plan)?;
            }
            Some(missing) => lacking.push(format!("{} ({})", plan.event, missing.reason)),
            None => drop(sites_of(profile, plan)?),
        }
    }
    Ok(match lacking.is_empty() {
        true => Coverage::Events,
        false => Coverage::ScanOnly { lacking: lacking.join(", ") },
    })
}

/// The sites of an event. Some of its copies are not enough: through the others a page would become
/// dirty, or leave, unseen.
pub(super) fn sites_of<'a>(profile: &'a Profile, plan: &Plan) -> Result<&'a [Site], ProbesError> {
    let sites = profile.sites.get(&plan.event).map(Vec::as_slice).unwrap_or_default();
    let is_of_event = |missing: &&Missing| missing.role == Role::Site(plan.event);
    let lacking = profile.lacking().any(|missing| is_of_event(&missing));
    if lacking || (sites.is_empty() && !plan.optional) {
        let missing = profile.missing.iter().find(is_of_event);
        return Err(ProbesError::NoSite {
            event: plan.event,
            reason: missing.map(|m| format!("`{}`: {}", m.name, m.reason)),
        });
    }
    Ok(sites)
}

/// Packs an argument's place for the probe; `None` where the probe cannot read it.
pub(super) fn cookie(place: Option<&ArgLoc>) -> Option<u64> {
    let register = |reg: u16| u8::try_from(reg).ok().filter(|reg| *reg < 16);
    match *place? {
        ArgLoc::Register { reg } => Some(Cookie::register(register(reg)?).0),
        ArgLoc::Memory { reg, offset } => {
            Some(Cookie::memory(register(reg)?, i32::try_from(offset).ok()?).0)
        }
        ArgLoc::Constant { .. } | ArgLoc::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use symbols::reason::UnresolvedReason;

    use super::*;
    use crate::stored_profile::stored;

    #[test]
    fn an_event_that_is_covered_in_part_is_refused() {
        assert_eq!(coverage(&stored()).unwrap(), Coverage::Events);
        let lacking = |role: SiteRole, required| {
            let mut profile = stored();
            profile.missing.push(Missing {
                role: Role::Site(role),
                name: "f in g at 0x10".to_owned(),
                required,
                reason: UnresolvedReason::OptimisedOut,
            });
            coverage(&profile)
        };
        for plan in &RESIDENCY {
            let error = lacking(plan.event, true).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(plan.event.name()), "{text}");
            assert!(error.hint().contains("debug symbols"));
        }
        let text = lacking(SiteRole::PageDirty, true).unwrap_err().to_string();
        assert!(text.contains("`f in g at 0x10`"), "{text}");
        assert_eq!(lacking(SiteRole::PageDirtySorted, false).unwrap(), Coverage::Events);
        for event in SiteRole::RESIDENCY {
            // Some of its copies are as good as none.
            let Coverage::ScanOnly { lacking } = lacking(event, false).unwrap() else {
                panic!("{event} is not needed")
            };
            assert!(lacking.starts_with(&format!("{event} (")), "{lacking}");
        }
        lacking(SiteRole::Query, true).unwrap();

        let mut profile = stored();
        profile.sites.remove(&SiteRole::BlockFree);
        assert!(coverage(&profile).unwrap_err().to_string().contains("block_free"));
    }
}
