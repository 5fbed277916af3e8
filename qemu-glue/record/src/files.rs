//! Records on disk: `report.json`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use foreign_file::Refusal;
use safe_file::Mode;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::report::{Report, SCHEMA};
use crate::series;

/// Name of a record's file.
pub const JSON: &str = "report.json";

/// Name of the file with the results of many records.
pub const RESULTS: &str = "results.json";

/// Largest record that is read: one with as many samples as are written has about 60 MB.
const MAX_BYTES: u64 = 128 << 20;
/// How deep records are looked for below a folder.
const MAX_DEPTH: u32 = 4;

/// A record that cannot be read or written.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The file or folder refused it.
    #[error("failed to access `{}`", foreign::path(.path))]
    Access {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no record.
    #[error("`{}` is no record of a migration", foreign::path(.path))]
    NoRecord {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The results of many migrations, which are made of records.
    #[error("`{}` has the results of an evaluation, and is no record of a migration", foreign::path(.path))]
    Results {
        /// Which file.
        path: PathBuf,
    },
    /// Another version made it.
    #[error("`{}` has schema {found}; this program reads schemas up to {SCHEMA}", foreign::path(.path))]
    Schema {
        /// Which file.
        path: PathBuf,
        /// Its schema.
        found: u64,
    },
    /// It is too large to be a record.
    #[error("`{}` is larger than {MAX_BYTES} bytes", foreign::path(.path))]
    TooLarge {
        /// Which file.
        path: PathBuf,
    },
    /// A folder without records.
    #[error("no {JSON} in `{}` or below", foreign::path(.path))]
    Nothing {
        /// Which folder.
        path: PathBuf,
    },
}

impl RecordError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Access { source, .. } if is_full(source) => {
                "make room there, or name another folder"
            }
            Self::Access { .. } => "check that it exists and that this user may use it",
            Self::Schema { .. } => "use the version of poolferry-host that wrote it",
            Self::Results { .. } => {
                "name the folder of the records that it was made of: results alone make no page"
            }
            Self::NoRecord { .. } | Self::TooLarge { .. } | Self::Nothing { .. } => {
                "name a folder that `poolferry-host migrate --report` wrote, or a report.json"
            }
        }
    }
}

impl Report {
    /// Writes `report.json` into `folder`, which is made when it is missing; gives its path. Rates that
    /// the samples lack are filled in.
    ///
    /// # Errors
    /// [`RecordError::Access`] names the file or folder that refused it.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, RecordError> {
        fs::create_dir_all(folder).map_err(|source| access(folder, source))?;
        let mut record = self.clone();
        series::fill_rates(&mut record.samples);
        let path = folder.join(JSON);
        // Numbers that JSON cannot hold (NaN) become null, so this does not fail but for the disk.
        let text = pretty(&record).map_err(|error| access(&path, io::Error::other(error)))?;
        replace(&path, &text)?;
        Ok(path)
    }
}

fn pretty(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    foreign::json_pretty(&mut text, value)?;
    Ok(text)
}

/// Reads one record.
///
/// # Errors
/// When the file cannot be read, is no record, or one of another schema.
pub fn read(path: &Path) -> Result<Report, RecordError> {
    let mut bytes = foreign_file::read(path, MAX_BYTES).map_err(|refusal| match refusal {
        Refusal::TooLarge { .. } => RecordError::TooLarge { path: path.to_owned() },
        other => access(path, other.into()),
    })?;
    let no_record = |source| RecordError::NoRecord { path: path.to_owned(), source };
    // No tree of values on the way, which takes up to a hundred times the bytes of the file. The schema first: a
    // later one may have another shape, and that is the better message.
    let OfSchema { schema, cells } = serde_json::from_slice(&bytes).map_err(no_record)?;
    if cells.is_some() {
        return Err(RecordError::Results { path: path.to_owned() });
    }
    // A reader of structs takes lists for them too.
    let schema = schema.filter(|_| bytes.trim_ascii_start().starts_with(b"{"));
    // Schema 1 is the same with two keys of other names, which are read for these.
    if let Some(found) = schema.filter(|schema| !(1..=u64::from(SCHEMA)).contains(schema)) {
        return Err(RecordError::Schema { path: path.to_owned(), found });
    }
    drop_nulls(&mut bytes);
    let mut report: Report = serde_json::from_slice(&bytes).map_err(no_record)?;
    report.schema = SCHEMA;
    if schema.is_none() {
        return Err(no_record(serde::de::Error::missing_field("schema")));
    }
    Ok(report)
}

/// What a record of any schema has, and what distinguishes one from results.
#[derive(Deserialize)]
struct OfSchema {
    #[serde(default)]
    schema: Option<u64>,
    /// What results have instead.
    #[serde(default)]
    cells: Option<IgnoredAny>,
}

/// A key whose value is null is as good as missing. (A number that JSON cannot hold is written as null too.) In
/// `json`, which is JSON, such keys of objects become underscores, a name that no record has; maps leave such
/// members out by themselves.
fn drop_nulls(json: &mut [u8]) {
    // The string before `at`, without its quotes, and the byte before that is no blank.
    let (mut string, mut before, mut at) = (0..0, 0, 0);
    while let Some(&byte) = json.get(at) {
        match byte {
            b'"' => {
                let start = at + 1;
                at = start;
                while let Some(&byte) = json.get(at)
                    && byte != b'"'
                {
                    at += if byte == b'\\' { 2 } else { 1 };
                }
                string = start..at;
            }
            b'n' if before == b':' => {
                if let Some(key) = json.get_mut(string.clone()) {
                    key.fill(b'_');
                }
            }
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = byte;
        }
        at += 1;
    }
}

/// Paths of all records in `place` (a folder, or a record itself) and below it, in order of name.
///
/// # Errors
/// When a folder cannot be read, or there is none.
pub fn find(place: &Path) -> Result<Vec<PathBuf>, RecordError> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let mut found = Vec::new();
    look(place, MAX_DEPTH, &mut found)?;
    if found.is_empty() {
        let results = place.join(RESULTS);
        if results.is_file() {
            return Err(RecordError::Results { path: results });
        }
        return Err(RecordError::Nothing { path: place.to_owned() });
    }
    found.sort();
    Ok(found)
}

fn look(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<(), RecordError> {
    let refused = |source| access(folder, source);
    for entry in fs::read_dir(folder).map_err(refused)? {
        let entry = entry.map_err(refused)?;
        let kind = entry.file_type().map_err(refused)?;
        if kind.is_dir() && depth > 0 {
            look(&entry.path(), depth - 1, found)?;
        } else if entry.file_name() == JSON {
            found.push(entry.path());
        }
    }
    Ok(())
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Writes a file that goes with a record, whole or not at all.
///
/// # Errors
/// [`RecordError::Access`] names it.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    safe_file::replace(path, Mode::Readable, |file| file.write_all(bytes))
        .map_err(|source| access(path, source))
}

fn access(path: &Path, source: io::Error) -> RecordError {
    RecordError::Access { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{MAX_MOMENTS, MigrationStatus};
    use crate::series::Sample;
    use crate::side::MAX_STEPS;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_record_comes_back_with_its_rates() {
        let folder = folder();
        let sample = Sample { at_s: 2.0, network_bytes: 10, ..Sample::default() };
        let report = Report {
            status: MigrationStatus::Completed,
            samples: vec![sample],
            downtime_ms: f64::NAN, // no number of JSON's
            ..Report::default()
        };
        let path = report.write(&folder.path().join("a/b")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"downtime_ms\": null"), "{text}");
        let back = find(folder.path()).and_then(|paths| read(&paths[0])).unwrap();
        assert_eq!(back.samples[0].network_bytes_per_s, Some(5.0));
        assert_eq!((back.status, back.downtime_ms), (MigrationStatus::Completed, 0.0));
    }

    #[test]
    fn a_full_disk_is_told_with_its_remedy() {
        let folder = folder();
        let path = folder.path().join(JSON);
        let full = io::Error::from_raw_os_error(rustix::io::Errno::NOSPC.raw_os_error());
        assert!(access(&path, full).hint().contains("make room"));
    }

    #[test]
    fn nothing_is_written_through_a_link_that_somebody_left() {
        let folder = folder();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        for name in ["report.new", "report.json.new", JSON] {
            std::os::unix::fs::symlink(&victim, folder.path().join(name)).unwrap();
        }
        Report::default().write(folder.path()).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(read(&folder.path().join(JSON)).is_ok());
    }

    #[test]
    fn what_is_null_is_as_good_as_missing() {
        let folder = folder();
        let path = folder.path().join(JSON);
        let text = r#"{"schema": 1, "total_time_s":null, "workload" : null , "status": null, "samples": null,
            "mode": "\":null", "list_s": {"a": 1.5, "b": null, "c": null}, "redirtied_by_reason": {"": null},
            "phases": [{"name": null, "begin_s": null, "end_s": null}], "pages": {"zero": null, "listed": 7},
            "links": null, "probes": {"source": null, "destination": {"functions": null, "lost": 3}},
            "warnings": ["\\", "null", "x\\\""]}"#;
        fs::write(&path, text).unwrap();
        let record = read(&path).unwrap();
        assert_eq!((&record.workload, record.total_time_s), (&"unknown".into(), 0.0));
        assert_eq!(record.mode, "\":null");
        assert_eq!(record.list_s, [("a".into(), 1.5)].into());
        assert!(record.redirtied_by_reason.is_empty() && record.samples.is_empty());
        assert_eq!((record.phases.len(), record.pages.listed), (1, 7));
        assert_eq!(record.probes.destination.unwrap().lost, 3);
        assert_eq!(record.warnings, ["\\", "null", "x\\\""]);
    }

    #[test]
    fn records_of_the_schema_before_are_read() {
        let folder = folder();
        let path = folder.path().join(JSON);
        let old = r#"{"schema": 1, "given_back_by_reason": {"differs": 7}, "remarks": ["slow"],
            "pages": {"restored": 5, "delivered": 6, "given_back": 7}, "samples": [{"placed_pages": 8}]}"#;
        fs::write(&path, old).unwrap();
        let record = read(&path).unwrap();
        let pages = record.pages;
        assert_eq!((pages.installed, pages.already_present, pages.redirtied), (5, 6, 7));
        assert_eq!(
            (record.samples[0].installed_pages, &record.warnings[..]),
            (Some(8), &["slow".into()][..])
        );
        assert_eq!(record.redirtied_by_reason, [("differs".into(), 7)].into());
        record.write(folder.path()).unwrap();
        let written = fs::read_to_string(&path).unwrap();
        assert!(written.contains("\"schema\": 2"), "{written}");
        for key in ["given_back", "remarks", "restored", "delivered", "placed"] {
            assert!(!written.contains(key), "{key}: {written}");
        }
        assert_eq!(read(&path).unwrap(), record);
    }

    #[test]
    fn a_small_file_becomes_no_large_record() {
        let folder = folder();
        let path = folder.path().join(JSON);
        let long = |key: &str, element: &str, count: usize| {
            let list = vec![element; count].join(",");
            fs::write(&path, format!("{{\"schema\": 1, \"{key}\": [{list}]}}")).unwrap();
            read(&path)
        };
        for (key, element, most) in [
            ("samples", "{}", MAX_MOMENTS),
            ("tps", "{}", MAX_MOMENTS),
            ("guest", "{}", MAX_MOMENTS),
            ("phases", "{}", MAX_STEPS),
            ("syncs", "{}", MAX_STEPS),
            ("warnings", "\"\"", MAX_STEPS),
        ] {
            assert!(long(key, element, most).is_ok(), "{key}");
            let error = long(key, element, most + 1).unwrap_err();
            assert!(matches!(error, RecordError::NoRecord { .. }), "{key}: {error}");
        }
        // What no key of a record has is not kept at all.
        assert_eq!(long("later", "{\"\":{\"\":0}}", 200_000).unwrap(), Report::default());
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let folder = folder();
        let path = folder.path().join(JSON);
        assert!(matches!(find(folder.path()), Err(RecordError::Nothing { .. })));
        fs::write(&path, "[]").unwrap();
        assert!(matches!(read(&path), Err(RecordError::NoRecord { .. })));
        fs::write(&path, "[1]").unwrap();
        assert!(matches!(read(&path), Err(RecordError::NoRecord { .. })));
        fs::write(&path, "{\"schema\": 3, \"pages\": 7}").unwrap();
        assert!(matches!(read(&path), Err(RecordError::Schema { found: 3, .. })));
        fs::write(&path, "{\"schema\": 1, \"pages\": 7}").unwrap();
        assert!(matches!(read(&path), Err(RecordError::NoRecord { .. })));
        fs::write(&path, "{\"schema\": 1, \"later\": 7}").unwrap();
        assert_eq!(read(&path).unwrap(), Report::default());
        assert!(matches!(read(folder.path()), Err(RecordError::Access { .. })));
    }
}
