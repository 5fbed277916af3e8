//! Definitions: whether each is whole, and which version has which.

use super::*;

#[test]
fn every_definition_is_well_formed() {
    for definition in Definition::all().unwrap() {
        let name = &definition.name;
        assert!(definition.from < definition.until && !definition.families.is_empty(), "{name}");
        assert!(!definition.exports.is_empty() && !definition.sources.is_empty(), "{name}");
        let Optional { sites, fields, globals, enums } = &definition.optional;
        assert!(sites.iter().all(|role| definition.sites.contains_key(role)), "{name}");
        assert!(fields.iter().all(|role| definition.fields.contains_key(role)), "{name}");
        assert!(globals.iter().all(|role| definition.globals.contains_key(role)), "{name}");
        assert!(enums.iter().all(|name| definition.enums.contains(name)), "{name}");
        let of_rules = definition.rules.iter().map(|rule| rule.condition.field);
        let of_io = [definition.io.reading.field, definition.io.writing.field];
        for field in of_rules.chain(of_io) {
            assert!(definition.fields.contains_key(&field), "{name}: {field}");
        }
        let is_dirty = |rule: &RuleNames| rule.reason == crate::profile::RuleReason::Dirty;
        assert!(definition.rules.iter().any(is_dirty), "{name} does not say what is dirty");
        for path in definition.fields.values() {
            assert!(path.contains('.'), "{name}: {path}");
        }
    }
}

/// Whether a program that has all of `one` may have all of `other` too.
fn may_have_both(one: &Definition, other: &Definition) -> bool {
    let lacks =
        |a: &Definition, b: &Definition| a.exports.iter().any(|name| !b.exports.contains(name));
    !(lacks(one, other) && lacks(other, one))
}

/// A version of a family has one definition. Where two hold it, symbols tell them apart that no program has both of.
#[test]
fn ranges_do_not_overlap() {
    let all = Definition::all().unwrap();
    for (at, one) in all.iter().enumerate() {
        for other in &all[at + 1..] {
            let kin = one.families.iter().any(|family| other.families.contains(family));
            let overlap = one.from < other.until && other.from < one.until;
            let distinguished = !may_have_both(one, other);
            assert!(!(kin && overlap) || distinguished, "{} and {}", one.name, other.name);
        }
    }
}

/// From the first release of 5.7 to the last of 9 there is no hole but that before 8.0.11, the first release of 8.0.
#[test]
fn ranges_leave_no_hole() {
    for (family, first) in [(Family::Mysql, "5.6.0"), (Family::Percona, "5.7.9")] {
        let all = Definition::all().unwrap();
        let of_family = all.iter().filter(|one| one.families.contains(&family));
        let mut ranges: Vec<_> = of_family.map(|one| (one.from, one.until)).collect();
        ranges.sort();
        let mut end: ServerVersion = first.parse().unwrap();
        for (from, until) in ranges {
            let start_of_series =
                matches!((end, from), (ServerVersion(5, 7, 0), ServerVersion(5, 7, 9)))
                    || matches!((end, from), (ServerVersion(5, 8, 0), ServerVersion(8, 0, 11)));
            assert!(from <= end || start_of_series, "{family}: nothing from {end} to {from}");
            end = end.max(until);
        }
        assert_eq!(end, ServerVersion(10, 0, 0), "{family}");
    }
}

const DISPATCH: &str = "_Z16dispatch_commandP3THDPK8COM_DATA19enum_server_command";
const TWO_PARAMETERS: &str = "_Z20buf_page_io_completeP10buf_page_tb";
const FOUR_PARAMETERS: &str = "_Z20buf_page_io_completeP10buf_page_tbP9IORequestP10fil_node_t";

/// The definition and the version of a program that has these symbols and states these versions.
fn known(family: Family, exports: &[&str], texts: &[&str]) -> Option<(String, String)> {
    let has_all = |one: &&Definition| one.exports.iter().all(|name| exports.contains(&&**name));
    let candidates: Vec<_> = Definition::all().unwrap().iter().filter(has_all).collect();
    let text = |text: &&str| VersionText {
        version: text.split('-').next().unwrap().parse().unwrap(),
        text: (*text).to_owned(),
    };
    let mut versions: Vec<_> = texts.iter().map(text).collect();
    versions.sort();
    let stated = Stated { family, versions };
    newest(&candidates, &stated).map(|(one, found)| (one.name.clone(), found.text.clone()))
}

#[test]
fn each_version_has_its_definition() {
    let exports_5_6 = ["_Z16dispatch_command19enum_server_commandP3THDPcj"];
    let exports_5_7 = [DISPATCH, TWO_PARAMETERS, "srv_file_format"];
    let exports_8_0 = [DISPATCH, TWO_PARAMETERS, "srv_dedicated_server"];
    let bump = "_ZN11fil_space_t12bump_versionEv";
    let exports_8_0_23 = [DISPATCH, TWO_PARAMETERS, "srv_dedicated_server", bump];
    let exports_8_3 = [DISPATCH, FOUR_PARAMETERS, "srv_dedicated_server", bump];
    let (mysql, percona) = (Family::Mysql, Family::Percona);
    for (family, exports, texts, wanted) in [
        (mysql, &exports_5_6[..], &["5.6.3", "5.6.49", "5.7.6"][..], Some(("mysql-5.6", "5.6.49"))),
        (mysql, &exports_5_7, &["5.6.24", "5.7.36", "8.0.11"], Some(("mysql-5.7", "5.7.36"))),
        (mysql, &exports_5_7, &["5.7.44-log"], Some(("mysql-5.7", "5.7.44-log"))),
        (percona, &exports_5_7, &["5.7.44-48"], Some(("mysql-5.7", "5.7.44-48"))),
        (mysql, &exports_8_0, &["8.0.11"], Some(("mysql-8.0.11", "8.0.11"))),
        (mysql, &exports_8_0, &["5.7.9", "8.0.14", "8.0.22"], Some(("mysql-8.0.11", "8.0.22"))),
        (percona, &exports_8_0, &["8.0.22-13"], Some(("mysql-8.0.11", "8.0.22-13"))),
        // Messages name older versions, which an older definition holds.
        (mysql, &exports_8_0_23, &["8.0.19", "8.0.23"], Some(("mysql-8.0.23", "8.0.23"))),
        (
            mysql,
            &exports_8_0_23,
            &["8.0.11", "8.0.36-0ubuntu0.22.04.1"],
            Some(("mysql-8.0.23", "8.0.36-0ubuntu0.22.04.1")),
        ),
        (percona, &exports_8_0_23, &["8.0.11", "8.0.36-28"], Some(("mysql-8.0.23", "8.0.36-28"))),
        (percona, &exports_8_0_23, &["8.0.36-28.1"], Some(("mysql-8.0.23", "8.0.36-28.1"))),
        // An innovation release: the exports tell which.
        (mysql, &exports_8_0_23, &["8.1.0"], Some(("mysql-8.0.23", "8.1.0"))),
        (mysql, &exports_8_0_23, &["8.2.0"], Some(("mysql-8.0.23", "8.2.0"))),
        (mysql, &exports_8_3, &["8.0.30", "8.2.0"], Some(("mysql-9", "8.2.0"))),
        (mysql, &exports_8_3, &["8.0.30", "8.4.8"], Some(("mysql-9", "8.4.8"))),
        (percona, &exports_8_3, &["8.0.30", "8.4.8-9"], Some(("mysql-9", "8.4.8-9"))),
        (mysql, &exports_8_3, &["8.0.30", "9.7.4"], Some(("mysql-9", "9.7.4"))),
        // A version that its symbols deny, and what no definition is for.
        (mysql, &exports_8_3, &["8.0.36"], None),
        (mysql, &exports_5_7, &["5.7.8"], None),
        (mysql, &exports_8_0, &["8.0.4"], None),
        (mysql, &exports_8_3, &["10.0.0"], None),
        (percona, &exports_5_6, &["5.6.24-72.2"], None),
        // MariaDB 10.0 and 10.1 state the version of their InnoDB too.
        (Family::Mariadb, &exports_5_6, &["5.6.49", "10.1.48-MariaDB"], None),
    ] {
        let found = known(family, exports, texts);
        let found = found.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        assert_eq!(found, wanted, "{family} {texts:?}");
    }
}
