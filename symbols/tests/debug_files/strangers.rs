//! Files of somebody who is neither root nor the server's user: what they say is not believed, wherever they
//! lie and whatever build id they state.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use symbols::debug_file::SearchOptions;
use symbols::profile::Source;
use symbols::role::GlobalRole;
use symbols::{Options, Origin, ProgramPaths, Resolved, resolve};

use crate::common::skip;
use crate::lab::{Lab, PROGRAM, assert_found_at, assert_refused};
use crate::model::compile;

const TOOLS: [&str; 4] = ["gcc", "g++", "objcopy", "strip"];

/// Somebody else (`nobody`).
const STRANGER: u32 = 65534;

fn lab() -> Option<Lab> {
    if !rustix::process::geteuid().is_root() {
        skip("a file is given to another user by root only");
        return None;
    }
    Lab::with(&TOOLS)
}

fn set(path: &Path, (uid, gid): (u32, u32), mode: u32) {
    chown(path, Some(uid), Some(gid)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_debug_file_is_as_trusted_as_whoever_can_write_it() {
    let Some(lab) = lab() else { return };
    let debug = lab.install(&[]);
    let places = [lab.build_id_path(), String::from("/usr/sbin/.debug/server.debug")];
    for place in &places {
        lab.put(&debug, place);
        let file = lab.inside(place);
        set(&file, (STRANGER, STRANGER), 0o644);
        assert_refused(&lab.find(), place, "belongs to user 65534");
        assert!(lab.find().hint().contains("chown root"), "{}", lab.find().hint());
        set(&file, (0, 0), 0o666);
        assert_refused(&lab.find(), place, "may be written by others than its owner");
        set(&file, (0, STRANGER), 0o664);
        assert_refused(&lab.find(), place, "may be written by others than its owner");
        set(&file, (0, STRANGER), 0o644);
        assert_found_at(&lab.find(), &file);
        fs::remove_file(&file).unwrap();
    }
    // In a folder that everybody may write to, what somebody puts there is his.
    let place = &places[1];
    lab.put(&debug, place);
    let file = lab.inside(place);
    set(file.parent().unwrap(), (0, 0), 0o1777);
    set(&file, (STRANGER, STRANGER), 0o644);
    assert_refused(&lab.find(), place, "belongs to user 65534");
}

#[test]
fn what_was_fetched_is_this_users_own() {
    let Some(lab) = lab() else { return };
    let debug = lab.install(&[]);
    let cache = lab.path("fetched");
    let place = lab.build_id_path();
    let name = place.strip_prefix("/usr/lib/debug/").unwrap();
    crate::lab::put(&debug, &cache.join(name));
    let mut options = SearchOptions::default();
    options.debuginfod.cache_dir = Some(cache.clone());
    assert_found_at(&lab.find_with(&options), &cache.join(name));
    set(&cache.join(name), (STRANGER, STRANGER), 0o644);
    assert_refused(&lab.find_with(&options), name, "belongs to user 65534");
}

/// The stripped model of a server with its debug file at `place`.
fn installed(lab: &Lab, place: &str) {
    let whole = compile(lab, "whole", &[]);
    fs::create_dir_all(lab.path("parts")).unwrap();
    let (stripped, debug) = lab.part(&whole, "parts/server");
    fs::rename(stripped, lab.inside(PROGRAM)).unwrap();
    lab.put(&debug, place);
}

fn resolved(lab: &Lab, options: &Options) -> Resolved {
    resolve(&ProgramPaths { program: &lab.inside(PROGRAM), root: &lab.root() }, options).unwrap()
}

fn kept_in(lab: &Lab) -> Options {
    Options {
        cache_dir: Some(lab.path("cache")),
        debug_files: SearchOptions::default(),
        ..Options::default()
    }
}

#[test]
fn what_ships_beats_what_is_found_on_the_way() {
    let Some(lab) = lab() else { return };
    installed(&lab, "/usr/sbin/.debug/server.debug");
    let found = resolved(&lab, &kept_in(&lab)).profile;
    assert!(matches!(found.source, Source::DebugFile { .. }), "{:?}", found.source);
    let mut stored = found.clone();
    stored.globals.get_mut(&GlobalRole::Pool).unwrap().size = 77;
    let id = stored.binary.build_id.clone().unwrap();
    let place = lab.path(&format!("{id}.json"));
    fs::write(&place, serde_json::to_vec(&stored).unwrap()).unwrap();
    let options = Options { profile_dirs: vec![lab.path("")], ..kept_in(&lab) };
    let shipped = resolved(&lab, &options).profile;
    assert_eq!(shipped.globals[&GlobalRole::Pool].size, 77, "{:?}", shipped.source);
    assert!(matches!(shipped.source, Source::Stored { .. }), "{:?}", shipped.source);
    // Also by the program's whole content.
    let hash = stored.binary.content_hash.clone().unwrap();
    fs::rename(&place, lab.path(&format!("blake3-{hash}.json"))).unwrap();
    assert_eq!(resolved(&lab, &options).profile.globals[&GlobalRole::Pool].size, 77);
    // Unless a stranger wrote it.
    set(&lab.path(&format!("blake3-{hash}.json")), (STRANGER, STRANGER), 0o644);
    let target = ProgramPaths { program: &lab.inside(PROGRAM), root: &lab.root() };
    let error = resolve(&target, &options).unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("belongs to user 65534"), "{error}: {cause}");
}

#[test]
fn an_entry_holds_while_every_file_is_what_it_was() {
    let Some(lab) = lab() else { return };
    let place = "/usr/sbin/.debug/server.debug";
    installed(&lab, place);
    let (options, file) = (kept_in(&lab), lab.inside(place));
    let origin = || resolved(&lab, &options).origin;
    assert_eq!([origin(), origin()], [Origin::Computed, Origin::Cached]);
    // Another content under the same name: one byte more at its end.
    let mut bytes = fs::read(&file).unwrap();
    bytes.push(0);
    fs::write(&file, bytes).unwrap();
    assert_eq!([origin(), origin()], [Origin::Computed, Origin::Cached]);
    // Where strangers may put another in its place, nothing is kept.
    fs::remove_dir_all(lab.path("cache")).unwrap();
    set(file.parent().unwrap(), (0, 0), 0o777);
    assert_eq!([origin(), origin()], [Origin::Computed, Origin::Computed]);
}

#[test]
fn the_servers_user_is_believed_of_its_own_server() {
    let Some(lab) = lab() else { return };
    let debug = lab.install(&[]);
    let place = lab.build_id_path();
    lab.put(&debug, &place);
    set(&lab.inside(&place), (STRANGER, STRANGER), 0o644);
    let options = |users| SearchOptions { users, ..SearchOptions::default() };
    assert_found_at(&lab.find_with(&options(Some(vec![STRANGER]))), &lab.inside(&place));
    assert_refused(&lab.find_with(&options(Some(vec![27]))), &place, "belongs to user 65534");
    // No server runs: the owner of the program.
    set(&lab.inside(PROGRAM), (STRANGER, STRANGER), 0o755);
    assert_found_at(&lab.find_with(&options(None)), &lab.inside(&place));
}
