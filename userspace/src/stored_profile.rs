//! A profile that ships with the program, for tests that change one.

use symbols::profile::Profile;

/// Of MySQL 9.7.4.
pub(crate) fn stored() -> Profile {
    let text = include_str!("../../symbols/profiles/mysql-9.7.4-debian-amd64.json");
    serde_json::from_str(text).unwrap()
}
