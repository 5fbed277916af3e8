//! Programs that have no profile, and what the error says.

use std::fs;

use symbols::profile::ServerId;
use symbols::report::ProfileReport;
use symbols::role::SiteRole;
use symbols::{Error, Options, ProgramPaths, resolve};

use crate::build::{Build, profile};

#[test]
fn not_a_server() {
    let own = std::env::current_exe().unwrap();
    let error = profile(&own).unwrap_err();
    assert!(matches!(error, Error::NotAServer { .. }), "{error}");
    assert!(error.hint().unwrap().contains("mysqld"));
}

#[test]
fn not_an_elf() {
    let Some(build) = Build::with(&[], &[("mysqld_safe", "#!/bin/sh\nexec mysqld\n")]) else {
        return;
    };
    let error = profile(&build.path("mysqld_safe")).unwrap_err();
    assert!(error.to_string().contains("not a 64-bit little-endian ELF"), "{error}");
    assert!(error.hint().unwrap().contains("wrapper script"));
    let error = profile(&build.path("absent")).unwrap_err();
    assert!(error.to_string().contains("cannot open"), "{error}");
}

#[test]
fn of_another_machine() {
    let Some(build) = Build::with(&[], &[]) else { return };
    let mut bytes = fs::read(std::env::current_exe().unwrap()).unwrap();
    bytes[18..20].copy_from_slice(&183_u16.to_le_bytes()); // e_machine: AArch64
    fs::write(build.path("server"), bytes).unwrap();
    let error = profile(&build.path("server")).unwrap_err();
    assert!(error.to_string().contains("for machine 183"), "{error}");
}

/// A server's dispatch function, and its version.
fn server(version: &str) -> String {
    let body = "enum enum_server_command { COM_QUERY }; struct THD; unsigned used;
        bool dispatch_command(enum_server_command, THD *, char *, unsigned) { return used++; }
        int main() { return version[0]; }";
    format!("extern const char version[] = \"{version}\";\n{body}")
}

#[test]
fn of_an_unknown_version() {
    let source = server("5.5.62");
    let Some(build) = Build::with(&["g++"], &[("main.cc", &source)]) else { return };
    let error = profile(&build.compile(&["-g"], &["main.cc"])).unwrap_err();
    assert!(matches!(error, Error::UnknownVersion { .. }), "{error}");
    assert!(error.to_string().contains("5.5.62"), "{error}");
}

/// Forks that export MySQL's functions and state its version.
#[test]
fn of_a_fork() {
    let comment = |text: &str| format!("extern const char comment[] = \"{text}\";\n");
    for (version, comment, fork) in [
        ("5.6.49-MariaDB", comment("mariadb.org binary distribution"), "MariaDB"),
        (
            "5.6.24-72.2",
            comment("Percona Server (GPL), Release 72.2, Revision 8d0f85b"),
            "Percona Server",
        ),
        (
            "5.6.24-25.11",
            comment("Percona XtraDB Cluster (GPL), Release rel72.2"),
            "Percona Server",
        ),
    ] {
        let source = comment + &server(version);
        let Some(build) = Build::with(&["g++"], &[("main.cc", &source)]) else { return };
        let error = profile(&build.compile(&["-g"], &["main.cc"])).unwrap_err();
        assert!(matches!(error, Error::UnknownFork { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(fork) && text.contains(version), "{error}");
        assert!(error.hint().unwrap().contains("a file in symbols/servers"));
    }
    let oracle = comment("MySQL Community Server (GPL)") + &server("5.6.24");
    let Some(build) = Build::with(&["g++"], &[("main.cc", &oracle)]) else { return };
    let profile = profile(&build.compile(&["-g"], &["main.cc"])).unwrap();
    assert_eq!(profile.server.family, "mysql");
}

/// Percona Server of a version that a definition covers is observed, and named as what it is.
#[test]
fn of_a_fork_that_is_known() {
    let source = "extern const char version[] = \"5.7.44-48\";
        extern const char comment[] = \"Percona Server (GPL), Release 48, Revision 497f936a373\";
        unsigned long srv_file_format; enum enum_server_command { COM_QUERY };
        struct THD; union COM_DATA; struct buf_page_t; unsigned used;
        bool dispatch_command(THD *, const COM_DATA *, enum_server_command) { return used++; }
        bool buf_page_io_complete(buf_page_t *, bool) { return used++; }
        int main() { return version[0] + comment[0]; }";
    let Some(build) = Build::with(&["g++"], &[("main.cc", source)]) else { return };
    let profile = profile(&build.compile(&["-g"], &["main.cc"])).unwrap();
    let ServerId { family, version, definition } = &profile.server;
    assert_eq!([family, version, definition], ["percona", "5.7.44-48", "mysql-5.7"]);
    let report = ProfileReport(&profile).to_string();
    assert!(report.contains("percona 5.7.44-48 (mysql-5.7)"), "{report}");
    assert!(profile.sites.contains_key(&SiteRole::PageIoComplete), "{report}");
}

#[test]
fn stripped_without_a_stored_profile() {
    let source = server("5.6.24");
    let Some(build) = Build::with(&["g++", "strip"], &[("main.cc", &source)]) else { return };
    let program = build.compile(&["-g", "-Wl,--build-id=sha1"], &["main.cc"]);
    build.try_run("strip", &["server"]).unwrap();
    let error = profile(&program).unwrap_err();
    let Error::NoDebugInfo(missing) = &error else { panic!("{error}") };
    assert_eq!(missing.reason, symbols::reason::UnresolvedReason::Stripped);
    assert!(error.hint().unwrap().contains("debug symbols"), "{:?}", error.hint());
}

#[test]
fn with_a_stored_profile_that_is_not_true() {
    let source = server("5.6.24");
    let Some(build) = Build::with(&["g++", "strip"], &[("main.cc", &source)]) else { return };
    let program = build.compile(&["-g", "-Wl,--build-id=sha1", "-no-pie"], &["main.cc"]);
    let mut stored = profile(&program).unwrap();
    build.try_run("strip", &["server"]).unwrap();
    stored.binary.size = fs::metadata(&program).unwrap().len();
    stored.binary.content_hash = None;
    let options =
        Options { cache_dir: None, profile_dirs: vec![build.path("")], ..Options::default() };
    let target = ProgramPaths { program: &program, root: &build.path("") };
    let id = stored.binary.build_id.clone().unwrap();
    let store = |profile: &symbols::Profile| {
        fs::write(build.path(&format!("{id}.json")), serde_json::to_vec(profile).unwrap()).unwrap();
    };
    store(&stored);
    let resolved = resolve(&target, &options).unwrap();
    assert_eq!(resolved.profile.sites, stored.sites);

    let mut moved = stored.clone();
    moved.sites.get_mut(&SiteRole::Query).unwrap()[0].entry.0 += 16;
    store(&moved);
    let error = resolve(&target, &options).unwrap_err();
    assert!(error.to_string().contains("`_Z16dispatch_command"), "{error}");

    let mut other = stored.clone();
    other.sites.get_mut(&SiteRole::Query).unwrap()[0].text = String::from("push %r15");
    store(&other);
    let error = resolve(&target, &options).unwrap_err();
    assert!(error.to_string().contains("the instruction at"), "{error}");

    fs::write(build.path(&format!("{id}.json")), "{").unwrap();
    let error = resolve(&target, &options).unwrap_err();
    assert!(matches!(error, Error::StoredUnreadable { .. }), "{error}");
}
