//! QEMU's version: which are known, and which number a plugin has to show.

use shim_abi::{NEWEST_QEMU, OLDEST_QEMU};

/// As `qmp_query_version` reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) micro: u32,
}

impl Version {
    /// Whether order of calls, locks and layouts are known to be those that this library relies on.
    pub(crate) fn is_known(self) -> bool {
        (OLDEST_QEMU..=NEWEST_QEMU).contains(&(self.major, self.minor))
    }

    /// A plugin interface number within the range that this version accepts (`plugins/loader.c` and
    /// `include/qemu/qemu-plugin.h`: 0..=1 up to 8.2, 2..=4 or more for 9.0 to 11.0, 7 only in 11.1).
    /// For a later version it is a guess; QEMU itself reports it at its start if the guess is wrong.
    pub(crate) fn plugin_interface(self) -> i32 {
        match (self.major, self.minor) {
            (..=8, _) => 1,
            (9..=10, _) | (11, 0) => 2,
            _ => 7,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Version;

    #[test]
    fn only_versions_between_the_first_and_the_last_are_known() {
        let version = |major, minor| Version { major, minor, micro: 5 };
        let known = [(7, 2), (8, 2), (9, 0), (10, 0), (11, 1)];
        assert!(known.iter().all(|(major, minor)| version(*major, *minor).is_known()));
        let strange = [(0, 0), (6, 2), (7, 1), (11, 2), (12, 0)];
        assert!(!strange.iter().any(|(major, minor)| version(*major, *minor).is_known()));
    }

    #[test]
    fn each_version_accepts_its_interface_number() {
        let number = |major, minor| Version { major, minor, micro: 0 }.plugin_interface();
        assert_eq!([number(7, 2), number(8, 2)], [1, 1]);
        assert_eq!([number(9, 2), number(10, 0), number(11, 0)], [2, 2, 2]);
        assert_eq!([number(11, 1), number(12, 0)], [7, 7]);
    }
}
