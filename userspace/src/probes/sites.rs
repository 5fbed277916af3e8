//! Which program stands at the sites of which event.

use probe_abi::Cookie;
use symbols::profile::{ArgLoc, Profile, Site};

use super::ProbesError;

/// One program to attach: where, with which argument, at the entry or the return.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) program: &'static str,
    pub(super) event: &'static str,
    /// Which of the site's arguments the program wants.
    pub(super) argument: Option<usize>,
    /// An event that only some versions have.
    optional: bool,
}

pub(super) const RESIDENCY: [Plan; 4] = [
    Plan {
        program: "page_io_complete",
        event: "page_io_complete",
        argument: Some(0),
        optional: false,
    },
    Plan { program: "page_dirty", event: "page_dirty", argument: Some(0), optional: false },
    Plan { program: "page_dirty", event: "page_dirty_sorted", argument: Some(0), optional: true },
    Plan { program: "block_free", event: "block_free", argument: Some(0), optional: false },
];

pub(super) const QUERIES: [Plan; 4] = [
    Plan { program: "query_start", event: "query", argument: Some(0), optional: false },
    Plan { program: "query_end", event: "query", argument: None, optional: false },
    Plan { program: "commit_start", event: "trx_commit", argument: None, optional: false },
    Plan { program: "commit_end", event: "trx_commit", argument: None, optional: false },
];

/// Checks that the profile has every site of the events that the residency table lives on.
///
/// # Errors
/// [`ProbesError::NoSite`] where an event has no site, or a copy of its function has none.
pub fn check_sites(profile: &Profile) -> Result<(), ProbesError> {
    RESIDENCY.iter().try_for_each(|plan| sites_of(profile, plan).map(drop))
}

/// The sites of an event. Some of its copies are not enough: through the others a page would become
/// dirty, or leave, unseen.
pub(super) fn sites_of<'a>(profile: &'a Profile, plan: &Plan) -> Result<&'a [Site], ProbesError> {
    let sites = profile.sites.get(plan.event).map(Vec::as_slice).unwrap_or_default();
    let lacking = profile.lacking("site").any(|missing| missing.role == plan.event);
    if lacking || (sites.is_empty() && !plan.optional) {
        let mut missing = profile.missing.iter();
        let missing = missing.find(|m| m.what == "site" && m.role == plan.event);
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
    use symbols::profile::Missing;
    use symbols::reason::Reason;

    use super::*;
    use crate::stored_profile::stored;

    #[test]
    fn an_event_that_is_covered_in_part_is_refused() {
        check_sites(&stored()).unwrap();
        let lacking = |role: &str, required| {
            let mut profile = stored();
            profile.missing.push(Missing {
                what: "site".to_owned(),
                role: role.to_owned(),
                name: "f in g at 0x10".to_owned(),
                required,
                reason: Reason::OptimisedOut,
            });
            check_sites(&profile)
        };
        for plan in &RESIDENCY {
            let error = lacking(plan.event, true).unwrap_err();
            let text = error.to_string();
            assert!(text.contains(plan.event), "{text}");
            assert!(error.hint().contains("debug symbols"));
        }
        let text = lacking("page_dirty", true).unwrap_err().to_string();
        assert!(text.contains("`f in g at 0x10`"), "{text}");
        lacking("page_dirty_sorted", false).unwrap();
        lacking("query", true).unwrap();

        let mut profile = stored();
        profile.sites.remove("block_free");
        assert!(check_sites(&profile).unwrap_err().to_string().contains("block_free"));
    }
}
