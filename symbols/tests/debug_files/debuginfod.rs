//! Debug files from a debuginfod server, and what is made of a server that misbehaves.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use symbols::debug_file::{
    Attempt, DebugFileRefusal, Debuginfod, FetchError, SearchOptions, SearchPlace,
};

use crate::http::{Answer, Server};
use crate::lab::{Lab, assert_refused, list};

const TOOLS: [&str; 3] = ["gcc", "objcopy", "strip"];

/// An installed program and its debug file, which only the server has.
struct Case {
    lab: Lab,
    debug: Vec<u8>,
}

impl Case {
    fn new() -> Option<Self> {
        let lab = Lab::with(&TOOLS)?;
        let debug = fs::read(lab.install(&[])).unwrap();
        Some(Self { lab, debug })
    }

    fn cache(&self) -> PathBuf {
        self.lab.path("cache")
    }

    fn cached(&self) -> PathBuf {
        let path = self.lab.build_id_path();
        self.cache().join(path.strip_prefix("/usr/lib/debug/").unwrap())
    }

    fn options(&self, servers: &[&Server]) -> SearchOptions {
        let urls = servers.iter().map(|server| server.url.clone()).collect();
        let limits = Debuginfod {
            urls,
            cache_dir: Some(self.cache()),
            timeout: Duration::from_secs(1),
            max_time: Duration::from_secs(20),
            max_bytes: 1 << 20,
        };
        SearchOptions { debuginfod: limits, ..SearchOptions::default() }
    }

    /// Searches with one misbehaving server; the file must be refused with `why`, in time, and
    /// nothing may stay in the cache.
    fn assert_server_refused(&self, answer: Answer, why: &str) -> DebugFileRefusal {
        let server = Server::start(answer);
        let start = Instant::now();
        let files = self.lab.find_with(&self.options(&[&server]));
        assert!(start.elapsed() < Duration::from_secs(10), "took {:?}", start.elapsed());
        assert_refused(&files, &server.url, why);
        let kept = fs::read_dir(self.cache()).map_or(0, Iterator::count);
        assert_eq!(kept, 0, "something stayed in the cache");
        let at_server = |a: &Attempt| matches!(a.place, SearchPlace::Url(_));
        let attempt = files.tried.into_iter().find(at_server).expect("the server was asked");
        attempt.outcome.expect_err("refused")
    }
}

#[test]
fn found_checked_and_kept() {
    let Some(case) = Case::new() else { return };
    let server = Server::start(Answer::File(case.debug.clone()));
    let options = case.options(&[&server]);
    let files = case.lab.find_with(&options);
    let found = files.debug.as_ref().unwrap_or_else(|| panic!("{}", list(&files)));
    assert_eq!(found.elf.bytes(), case.debug);
    let id = case.lab.program().build_id_hex().unwrap();
    assert_eq!(found.place, SearchPlace::Url(format!("{}/buildid/{id}/debuginfo", server.url)));
    assert_eq!(server.requests(), [format!("GET /buildid/{id}/debuginfo HTTP/1.1")]);

    let again = case.lab.find_with(&options);
    assert_eq!(again.debug.expect("from the cache").place, SearchPlace::File(case.cached()));
    assert_eq!(server.requests().len(), 1, "asked again in spite of the cache");
}

#[test]
fn a_spoilt_cache_is_fetched_anew() {
    let Some(case) = Case::new() else { return };
    let server = Server::start(Answer::File(case.debug.clone()));
    fs::create_dir_all(case.cached().parent().unwrap()).unwrap();
    fs::write(case.cached(), &case.debug[..case.debug.len() / 2]).unwrap();
    let files = case.lab.find_with(&case.options(&[&server]));
    assert!(files.debug.is_some(), "{}", list(&files));
    assert_eq!(fs::read(case.cached()).unwrap(), case.debug);
}

#[test]
fn without_a_cache_folder_nothing_stays() {
    let Some(case) = Case::new() else { return };
    let server = Server::start(Answer::File(case.debug.clone()));
    let mut options = case.options(&[&server]);
    options.debuginfod.cache_dir = None;
    let files = case.lab.find_with(&options);
    assert_eq!(files.debug.expect("found").elf.bytes(), case.debug);
    assert!(!case.cache().exists());
}

#[test]
fn the_next_server_is_asked() {
    let Some(case) = Case::new() else { return };
    let lacking = Server::start(Answer::Status(404));
    let having = Server::start(Answer::File(case.debug.clone()));
    let files = case.lab.find_with(&case.options(&[&lacking, &having]));
    assert!(files.debug.is_some(), "{}", list(&files));
    assert_eq!((lacking.requests().len(), having.requests().len()), (1, 1));
}

#[test]
fn no_server_is_asked_when_a_folder_has_the_file() {
    let Some(case) = Case::new() else { return };
    let server = Server::start(Answer::File(case.debug.clone()));
    let path = case.lab.inside(&case.lab.build_id_path());
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, &case.debug).unwrap();
    assert!(case.lab.find_with(&case.options(&[&server])).debug.is_some());
    assert_eq!(server.requests(), [""; 0]);
}

#[test]
fn not_known_there() {
    let Some(case) = Case::new() else { return };
    case.assert_server_refused(Answer::Status(404), "does not know this build");
    case.assert_server_refused(Answer::Status(503), "HTTP status 503");
}

#[test]
fn another_build() {
    let Some(case) = Case::new() else { return };
    let other = case.lab.compile("other", 2, &[]);
    let (_, other_debug) = case.lab.part(&other, "other-parted");
    let answer = Answer::File(fs::read(other_debug).unwrap());
    let refusal = case.assert_server_refused(answer, "build-id mismatch");
    assert!(matches!(refusal, DebugFileRefusal::OtherBuild(_)), "{refusal:?}");
}

#[test]
fn cut_short() {
    let Some(case) = Case::new() else { return };
    let half = case.debug.len() / 2;
    let refusal =
        case.assert_server_refused(Answer::BreakOff(case.debug.clone(), half), "transfer failed");
    assert!(matches!(refusal, DebugFileRefusal::Fetch(FetchError::Transfer(_))), "{refusal:?}");
    let refusal =
        case.assert_server_refused(Answer::Unmeasured(case.debug.clone(), half), "not a usable");
    assert!(matches!(refusal, DebugFileRefusal::Elf(_)), "{refusal:?}");
}

#[test]
fn without_end_or_too_long() {
    let Some(case) = Case::new() else { return };
    for answer in [Answer::Endless, Answer::Length(1 << 40)] {
        let refusal = case.assert_server_refused(answer, "larger than 1048576 bytes");
        assert!(refusal.hint().unwrap().contains("DEBUGINFOD_MAXSIZE"));
    }
}

#[test]
fn slow() {
    let Some(case) = Case::new() else { return };
    for answer in [Answer::Silent, Answer::Slow, Answer::Length(1000)] {
        let refusal = case.assert_server_refused(answer, "too slow");
        assert!(refusal.hint().unwrap().contains("DEBUGINFOD_TIMEOUT"));
    }
}

#[test]
fn not_a_server() {
    let Some(case) = Case::new() else { return };
    let mut options = case.options(&[]);
    // Port 1 of loopback: nobody listens there.
    options.debuginfod.urls =
        ["http://127.0.0.1:1", "ftp://127.0.0.1", "nonsense"].map(str::to_owned).to_vec();
    let files = case.lab.find_with(&options);
    for url in &options.debuginfod.urls {
        assert_refused(&files, url, "transfer failed");
    }
    assert!(files.hint().contains("DEBUGINFOD_URLS"), "{}", files.hint());
}
