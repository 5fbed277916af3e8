//! Why the library hints nothing, in words.

use std::fmt;

use shim_abi::{Reason, SETTINGS, SYMBOLS};

/// Why the library hints nothing. The migration goes on as a stock one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: Option<Reason>,
    /// Name of the block that the reason is about.
    block: Option<String>,
}

impl Refusal {
    /// `None` for the reason is a code that this program does not know; `block_name` names blocks by
    /// their index.
    pub(super) fn new(
        reason: Option<Reason>,
        block_name: impl Fn(usize) -> Option<String>,
    ) -> Self {
        let index = match reason {
            Some(
                Reason::UnknownBlock(block)
                | Reason::NotMigratable(block)
                | Reason::NotShared(block)
                | Reason::PageSize { block, .. }
                | Reason::Length { block, .. },
            ) => usize::try_from(block).ok(),
            _ => None,
        };
        Self { reason, block: index.and_then(block_name) }
    }

    /// The reason as the library gives it; `None` if this program does not know it.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// What the operator can do, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.reason? {
            Reason::UnknownVersion { .. } => {
                "QEMU 7.2 to 11.1 are known; get a release of Poolferry that knows this one"
            }
            Reason::MissingSymbol(_) => {
                "use a QEMU built with modules (as Debian, Ubuntu and Fedora do), which exports its \
                 functions"
            }
            Reason::Setting(_) => "switch it off for this migration",
            Reason::NotRunning => "resume the VM, or migrate it without Poolferry",
            Reason::NotShared(_) => "give the VM memory-backend-memfd with share=on",
            Reason::PageSize { .. } => "use memory of 4 KiB pages",
            Reason::Late | Reason::Ended | Reason::Abandoned => "try the migration again",
            _ => return None,
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let block = self.block.as_deref().unwrap_or("?");
        let Some(reason) = self.reason else {
            return f.write_str("for a reason that this program does not know");
        };
        match reason {
            Reason::UnknownVersion { major, minor } => {
                write!(f, "QEMU {major}.{minor} is not a version that it knows")
            }
            Reason::MissingSymbol(index) => {
                write!(f, "QEMU does not export `{}`", symbol(index))
            }
            Reason::NoMemory { bytes, errno } => {
                let error = i32::try_from(errno).map(std::io::Error::from_raw_os_error);
                write!(f, "it got no {bytes} bytes of memory")?;
                error.map_or(Ok(()), |error| write!(f, ": {error}"))
            }
            Reason::Setting(index) => {
                let name = usize::try_from(index).ok().and_then(|index| SETTINGS.get(index));
                write!(f, "the migration's setting `{}` forbids it", name.unwrap_or(&"?"))
            }
            Reason::NotRunning => f.write_str("the VM does not run"),
            Reason::Late => f.write_str("it was armed after the migration had begun"),
            Reason::Ended => f.write_str("the migration ended before its first pass"),
            Reason::Counts => f.write_str("the set is empty or too large"),
            Reason::UnknownBlock(_) => write!(f, "QEMU has no RAM block `{block}`"),
            Reason::NotMigratable(_) => write!(f, "RAM block `{block}` is not migrated"),
            Reason::NotShared(_) => write!(f, "RAM block `{block}` is not shared"),
            Reason::PageSize { bytes, .. } => {
                write!(f, "RAM block `{block}` has pages of {bytes} bytes")
            }
            Reason::Length { bytes, .. } => {
                write!(f, "RAM block `{block}` has {bytes} bytes, other than the set says")
            }
            Reason::Unaligned(run) => write!(f, "run {run} is empty or not aligned"),
            Reason::RunOfNoBlock(run) => write!(f, "run {run} is in no RAM block"),
            Reason::Beyond(run) => write!(f, "run {run} reaches beyond its RAM block"),
            Reason::Order(run) => write!(f, "run {run} overlaps the one before it"),
            Reason::Numbers(run) => write!(f, "page numbers of run {run} are used twice"),
            Reason::Missing(pages) => write!(f, "{pages} pages of the set are in no run"),
            Reason::Abandoned => f.write_str("the program that armed it is gone"),
            Reason::ThrottlePages => {
                f.write_str("the set has a page that keeps QEMU from the switchover")
            }
        }
    }
}

impl std::error::Error for Refusal {}

fn symbol(index: u64) -> &'static str {
    let name = usize::try_from(index).ok().and_then(|index| SYMBOLS.get(index));
    name.and_then(|name| name.to_str().ok()).unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_what_it_is_about() {
        let name = |index| (index == 1).then(|| "mem1".to_owned());
        let text = |reason| Refusal::new(Some(reason), name).to_string();
        assert_eq!(text(Reason::UnknownBlock(1)), "QEMU has no RAM block `mem1`");
        assert_eq!(text(Reason::Setting(0)), "the migration's setting `postcopy-ram` forbids it");
        assert_eq!(text(Reason::MissingSymbol(0)), "QEMU does not export `precopy_add_notifier`");
        assert_eq!(text(Reason::Setting(99)), "the migration's setting `?` forbids it");
    }

    #[test]
    fn an_operator_is_told_what_to_do_about_every_setting() {
        let refusal = Refusal::new(Some(Reason::Setting(2)), |_| None);
        assert_eq!(refusal.hint(), Some("switch it off for this migration"));
        assert_eq!(Refusal::new(None, |_| None).hint(), None);
    }

    #[test]
    fn an_operator_is_told_which_versions_are_known() {
        let refusal = Refusal::new(Some(Reason::UnknownVersion { major: 6, minor: 2 }), |_| None);
        let ((oldest, minor), (newest, last)) = (shim_abi::OLDEST_QEMU, shim_abi::NEWEST_QEMU);
        let known = format!("QEMU {oldest}.{minor} to {newest}.{last} are known");
        assert!(refusal.hint().is_some_and(|hint| hint.contains(&known)), "{known}");
    }
}
