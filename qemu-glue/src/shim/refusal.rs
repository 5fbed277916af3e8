//! Why the library hints nothing, in words.

use std::fmt;

use shim_abi::{RefusalReason, SETTINGS, SYMBOLS};

/// Why the library hints nothing. The migration goes on as a stock one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryRefusal {
    reason: Option<RefusalReason>,
    /// Name of the block that the reason is about.
    block: Option<String>,
}

impl LibraryRefusal {
    /// `None` for the reason is a code that this program does not know; `block_name` names blocks by
    /// their index.
    pub(super) fn new(
        reason: Option<RefusalReason>,
        block_name: impl Fn(usize) -> Option<String>,
    ) -> Self {
        let index = match reason {
            Some(
                RefusalReason::UnknownBlock(block)
                | RefusalReason::NotMigratable(block)
                | RefusalReason::NotShared(block)
                | RefusalReason::PageSize { block, .. }
                | RefusalReason::Length { block, .. },
            ) => usize::try_from(block).ok(),
            _ => None,
        };
        Self { reason, block: index.and_then(block_name) }
    }

    /// The reason as the library gives it; `None` if this program does not know it.
    #[must_use]
    pub fn reason(&self) -> Option<RefusalReason> {
        self.reason
    }

    /// What the operator can do, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self.reason? {
            RefusalReason::UnknownVersion { .. } => {
                "QEMU 7.2 to 11.1 are known; get a release of Poolferry that knows this one"
            }
            RefusalReason::MissingSymbol(_) => {
                "use a QEMU built with modules (as Debian, Ubuntu and Fedora do), which exports its \
                 functions"
            }
            RefusalReason::Setting(_) => "switch it off for this migration",
            RefusalReason::NotRunning => "resume the VM, or migrate it without Poolferry",
            RefusalReason::NotShared(_) => "give the VM memory-backend-memfd with share=on",
            RefusalReason::PageSize { .. } => "use memory of 4 KiB pages",
            RefusalReason::Late | RefusalReason::Ended | RefusalReason::Abandoned => {
                "try the migration again"
            }
            _ => return None,
        })
    }
}

impl fmt::Display for LibraryRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let block = self.block.as_deref().unwrap_or("?");
        let Some(reason) = self.reason else {
            return f.write_str("for a reason that this program does not know");
        };
        match reason {
            RefusalReason::UnknownVersion { major, minor } => {
                write!(f, "QEMU {major}.{minor} is not a version that it knows")
            }
            RefusalReason::MissingSymbol(index) => {
                write!(f, "QEMU does not export `{}`", symbol(index))
            }
            RefusalReason::NoMemory { bytes, errno } => {
                let error = i32::try_from(errno).map(std::io::Error::from_raw_os_error);
                write!(f, "it got no {bytes} bytes of memory")?;
                error.map_or(Ok(()), |error| write!(f, ": {error}"))
            }
            RefusalReason::Setting(index) => {
                let name = usize::try_from(index).ok().and_then(|index| SETTINGS.get(index));
                write!(f, "the migration's setting `{}` forbids it", name.unwrap_or(&"?"))
            }
            RefusalReason::NotRunning => f.write_str("the VM does not run"),
            RefusalReason::Late => f.write_str("it was armed after the migration had begun"),
            RefusalReason::Ended => f.write_str("the migration ended before its first pass"),
            RefusalReason::Counts => f.write_str("the set is empty or too large"),
            RefusalReason::UnknownBlock(_) => write!(f, "QEMU has no RAM block `{block}`"),
            RefusalReason::NotMigratable(_) => write!(f, "RAM block `{block}` is not migrated"),
            RefusalReason::NotShared(_) => write!(f, "RAM block `{block}` is not shared"),
            RefusalReason::PageSize { bytes, .. } => {
                write!(f, "RAM block `{block}` has pages of {bytes} bytes")
            }
            RefusalReason::Length { bytes, .. } => {
                write!(f, "RAM block `{block}` has {bytes} bytes, other than the set says")
            }
            RefusalReason::Unaligned(run) => write!(f, "run {run} is empty or not aligned"),
            RefusalReason::RunOfNoBlock(run) => write!(f, "run {run} is in no RAM block"),
            RefusalReason::Beyond(run) => write!(f, "run {run} reaches beyond its RAM block"),
            RefusalReason::Order(run) => write!(f, "run {run} overlaps the one before it"),
            RefusalReason::Numbers(run) => write!(f, "page numbers of run {run} are used twice"),
            RefusalReason::Missing(pages) => write!(f, "{pages} pages of the set are in no run"),
            RefusalReason::Abandoned => f.write_str("the program that armed it is gone"),
            RefusalReason::ThrottlePages => {
                f.write_str("the set has a page that keeps QEMU from the switchover")
            }
        }
    }
}

impl std::error::Error for LibraryRefusal {}

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
        let text = |reason| LibraryRefusal::new(Some(reason), name).to_string();
        assert_eq!(text(RefusalReason::UnknownBlock(1)), "QEMU has no RAM block `mem1`");
        assert_eq!(
            text(RefusalReason::Setting(0)),
            "the migration's setting `postcopy-ram` forbids it"
        );
        assert_eq!(
            text(RefusalReason::MissingSymbol(0)),
            "QEMU does not export `precopy_add_notifier`"
        );
        assert_eq!(text(RefusalReason::Setting(99)), "the migration's setting `?` forbids it");
    }

    #[test]
    fn an_operator_is_told_what_to_do_about_every_setting() {
        let refusal = LibraryRefusal::new(Some(RefusalReason::Setting(2)), |_| None);
        assert_eq!(refusal.hint(), Some("switch it off for this migration"));
        assert_eq!(LibraryRefusal::new(None, |_| None).hint(), None);
    }

    #[test]
    fn an_operator_is_told_which_versions_are_known() {
        let refusal =
            LibraryRefusal::new(Some(RefusalReason::UnknownVersion { major: 6, minor: 2 }), |_| {
                None
            });
        let ((oldest, minor), (newest, last)) = (shim_abi::OLDEST_QEMU, shim_abi::NEWEST_QEMU);
        let known = format!("QEMU {oldest}.{minor} to {newest}.{last} are known");
        assert!(refusal.hint().is_some_and(|hint| hint.contains(&known)), "{known}");
    }
}
