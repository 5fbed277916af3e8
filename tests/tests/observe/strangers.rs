//! What cannot be observed: the error says what is wrong and what would help.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use symbols::profile::Source;
use symbols::role::{FieldRole, GlobalRole, SiteRole, SizeRole};
use symbols::{Options, Profile, ProgramPaths};
use test_servers::{Config, Installed, Release, Server, command, skipped};
use userspace::observer::{ObserveError, ObserveOptions, Observer};
use userspace::target::Target;

use crate::agent::{Agent, complaint};
use crate::lab::{open, run, start, target};
use crate::text::{Text, assert_unharmed};

/// Nothing of earlier runs, nothing from elsewhere.
pub(crate) fn bare() -> Options {
    let mut options = Options { cache_dir: None, ..Options::default() };
    options.debug_files.debuginfod.urls.clear();
    options.debug_files.debuginfod.cache_dir = None;
    options
}

/// Tries to attach, which must fail with a text and a remedy; gives both.
fn refusal(target: Target, options: &Options) -> (ObserveError, String) {
    let Err(error) = Observer::attach(target, options, ObserveOptions::default()) else {
        panic!("a stranger was attached to")
    };
    let hint = error.hint().unwrap_or_else(|| panic!("no remedy: {error}"));
    println!("{error}\nhint: {hint}");
    (error, hint)
}

#[test]
fn a_program_that_is_no_server_is_refused() {
    run("a_program_that_is_no_server_is_refused", Release::Mysql56, |_| {
        let mut sleep = Command::new("sleep").arg("1000").spawn().unwrap();
        let (error, hint) = refusal(Target::of(sleep.id()).unwrap(), &bare());
        assert!(error.to_string().contains("no database server"), "{error}");
        assert!(hint.contains("mysqld"), "{hint}");
        assert_eq!(sleep.try_wait().unwrap(), None, "it goes on");
        sleep.kill().unwrap();
        sleep.wait().unwrap();
    });
}

/// The program of a server, with one field moved in one function on which a stored profile rests: a store of
/// `recv_recover_page`, which runs in recovery only.
fn with_one_function_changed(installed: &Installed, folder: &Path) -> Installed {
    let root = installed.root.as_ref().unwrap();
    let copy = folder.join("root");
    let mut links = Command::new("cp");
    assert!(links.args(["-al"]).args([root, &copy]).status().unwrap().success());
    let program = copy.join(installed.program.strip_prefix(root).unwrap());
    let paths = ProgramPaths { program: &installed.program, root };
    let profile = symbols::resolve(&paths, &bare()).unwrap().profile;
    let mut dirty = profile.sites[&SiteRole::PageDirty].iter();
    let site = dirty.find(|site| site.function == "recv_recover_page").unwrap();
    let mut bytes = fs::read(&installed.program).unwrap();
    let at = usize::try_from(site.file_offset.0).unwrap();
    assert_eq!(bytes[at + 3], 0x10, "`{}`", site.text);
    bytes[at + 3] = 0x18;
    fs::remove_file(&program).unwrap();
    fs::write(&program, bytes).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    Installed { release: installed.release, program, root: Some(copy) }
}

/// Stripped, and of a known series; but not all of its code is that of the build whose profile is stored.
#[test]
fn a_stripped_server_without_profile_is_refused() {
    const TEST: &str = "a_stripped_server_without_profile_is_refused";
    run(TEST, Release::MariadbSecurity, |release| {
        let cache = test_servers::cache::Cache::open().unwrap();
        let folder = tempfile::tempdir_in(cache.root()).unwrap();
        let changed = with_one_function_changed(&release.installed().unwrap(), folder.path());
        let server = Server::start_installed(changed, Config::new().pool_mib(32)).unwrap();
        let (error, hint) = refusal(target(&server), &bare());
        let text = error.to_string();
        assert!(text.contains("mariadbd") || text.contains("/exe"), "{text}");
        assert!(
            text.contains("1 of 624 functions") && text.contains("recv_recover_page"),
            "{text}"
        );
        assert!(hint.to_lowercase().contains("mysql") || hint.contains("debug"), "{hint}");
        assert_eq!(server.query_one("SELECT 1").unwrap(), "1");
        let Some(agent) = Agent::find(TEST) else { return };
        let output = agent.try_run(&["pages", "--pid", &server.pid().to_string()]);
        let message = complaint(&output);
        assert!(!output.status.success() && output.stdout.is_empty());
        assert!(message.starts_with("error: ") && message.contains("\nhint: "), "{message}");
    });
}

/// Lies where the debug file of 9.7 would lie, with its build id, which anybody can write: what ships with
/// this program comes first, and the file is not even looked at.
#[test]
fn a_debug_file_on_the_way_does_not_beat_what_ships() {
    const TEST: &str = "a_debug_file_on_the_way_does_not_beat_what_ships";
    run(TEST, Release::Mysql97, |release| {
        if !command::exists("g++") {
            return skipped(TEST, "`g++` is not installed");
        }
        let server = start(release, Config::new().pool_mib(32));
        let right = open(&server).profile().clone();
        let build_id = right.binary.build_id.clone().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (first, rest) = build_id.split_at(2);
        let place = folder.path().join(".build-id").join(first);
        fs::create_dir_all(&place).unwrap();
        let (source, debug) = (folder.path().join("t.cc"), place.join(format!("{rest}.debug")));
        fs::write(&source, "struct buf_block_t { int page; } block; int main() {}").unwrap();
        let mut compiler = Command::new("g++");
        compiler.args(["-g", &format!("-Wl,--build-id=0x{build_id}"), "-o"]);
        compiler.args([&debug, &source]);
        assert!(compiler.status().unwrap().success());
        let mut options = bare();
        options.debug_files.debug_dirs = vec![folder.path().to_owned()];
        let observed = userspace::server::Server::open(target(&server), &options).unwrap();
        assert_eq!(observed.profile(), &right);
        assert!(matches!(right.source, Source::Stored { .. }), "{:?}", right.source);
        assert!(observed.resolved.tried.is_empty(), "{:?}", observed.resolved.tried);
    });
}

/// Keeps a profile in `folder` as one that the operator stored for its build.
fn store(folder: &Path, profile: &Profile) -> Options {
    let name = format!("{}.json", profile.binary.build_id.as_ref().unwrap());
    fs::write(folder.join(name), serde_json::to_string(profile).unwrap()).unwrap();
    Options { profile_dirs: vec![folder.to_owned()], ..bare() }
}

/// A profile that is wrong in one number does not pass the proof, whichever the number is.
#[test]
fn a_profile_that_does_not_fit_is_refused() {
    run("a_profile_that_does_not_fit_is_refused", Release::Mysql97, |release| {
        // Two chunks, or the size of one would not matter.
        let chunks = "innodb_buffer_pool_chunk_size=16M";
        let server = start(release, Config::new().pool_mib(32).option(chunks));
        let observed = open(&server);
        let text = Text::of(&observed);
        let folder = tempfile::tempdir().unwrap();
        let right = observed.profile();
        assert_eq!(
            attach(&server, &store(folder.path(), right)).err().map(|e| e.to_string()),
            None
        );
        use FieldRole::{BlockFrame, BlockPage, BlockSpace, ChunkBlocks};
        for role in [BlockSpace, BlockPage, BlockFrame, ChunkBlocks] {
            let mut wrong = right.clone();
            wrong.fields.get_mut(&role).unwrap().offset += 4;
            println!("{role} 4 bytes too far:");
            refusal(target(&server), &store(folder.path(), &wrong));
        }
        for role in [SizeRole::Block, SizeRole::Chunk] {
            let mut wrong = right.clone();
            *wrong.sizes.get_mut(&role).unwrap() += 8;
            println!("{role} 8 bytes too large:");
            refusal(target(&server), &store(folder.path(), &wrong));
        }
        for role in [GlobalRole::Pool, GlobalRole::PageSize] {
            let mut wrong = right.clone();
            wrong.globals.get_mut(&role).unwrap().addr.0 += 8;
            println!("{role} 8 bytes too far:");
            refusal(target(&server), &store(folder.path(), &wrong));
        }
        assert_unharmed(&server, server.pid(), &text);
    });
}

fn attach(server: &Server, options: &Options) -> Result<Observer, ObserveError> {
    Observer::attach(target(server), options, ObserveOptions::default())
}
