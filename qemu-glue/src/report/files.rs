//! Records on disk: `report.json`, and the page beside it.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use foreign_file::Refusal;
use safe_file::Mode;
use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use super::{Report, SCHEMA, series};

/// Name of a record's file.
pub const JSON: &str = "report.json";
/// Name of the page's file.
pub const HTML: &str = "report.html";

/// Largest record that is read: a day of samples has about 30 MB.
const MAX_BYTES: u64 = 256 << 20;
/// How deep records are looked for below a folder.
const MAX_DEPTH: u32 = 4;

/// A record that cannot be read or written.
#[derive(Debug, Error)]
pub enum ReportError {
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
    /// Another version made it.
    #[error("`{}` has schema {found}; this program reads schema {SCHEMA}", foreign::path(.path))]
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

impl ReportError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Access { source, .. } if is_full(source) => {
                "make room there, or name another folder"
            }
            Self::Access { .. } => "check that it exists and that this user may use it",
            Self::Schema { .. } => "use the version of poolferry-host that wrote it",
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
    /// [`ReportError::Access`] names the file or folder that refused it.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, ReportError> {
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

/// Writes the page of these records to `folder/report.html`; gives its path.
///
/// # Errors
/// [`ReportError::Access`] names the file that refused it.
pub fn write_page(folder: &Path, reports: &[Report]) -> Result<PathBuf, ReportError> {
    let path = folder.join(HTML);
    replace(&path, super::html(reports).as_bytes())?;
    Ok(path)
}

/// Writes `results.json` of these records into `folder`; gives its path.
///
/// # Errors
/// [`ReportError::Access`] names the file that refused it.
pub fn write_results(folder: &Path, reports: &[Report]) -> Result<PathBuf, ReportError> {
    let path = folder.join(super::RESULTS);
    let text = pretty(&super::Results::of(reports))
        .map_err(|error| access(&path, io::Error::other(error)))?;
    replace(&path, &text)?;
    Ok(path)
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
pub fn read(path: &Path) -> Result<Report, ReportError> {
    let bytes = foreign_file::read(path, MAX_BYTES).map_err(|refusal| match refusal {
        Refusal::TooLarge { .. } => ReportError::TooLarge { path: path.to_owned() },
        other => access(path, other.into()),
    })?;
    let no_record = |source| ReportError::NoRecord { path: path.to_owned(), source };
    let mut value: Value = serde_json::from_slice(&bytes).map_err(no_record)?;
    // The schema first: a later one may have another shape, and that is the better message.
    let schema = value.get("schema").and_then(Value::as_u64);
    if let Some(found) = schema.filter(|schema| *schema != u64::from(SCHEMA)) {
        return Err(ReportError::Schema { path: path.to_owned(), found });
    }
    drop_nulls(&mut value);
    let report: Report = serde_json::from_value(value).map_err(no_record)?;
    if schema.is_none() {
        return Err(no_record(serde::de::Error::missing_field("schema")));
    }
    Ok(report)
}

/// A key whose value is null is as good as missing. (A number that JSON cannot hold is written as
/// null too.)
fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Paths of all records in `place` (a folder, or a record itself) and below it, in order of name.
///
/// # Errors
/// When a folder cannot be read, or there is none.
pub fn find(place: &Path) -> Result<Vec<PathBuf>, ReportError> {
    if place.is_file() {
        return Ok(vec![place.to_owned()]);
    }
    let mut found = Vec::new();
    look(place, MAX_DEPTH, &mut found)?;
    if found.is_empty() {
        return Err(ReportError::Nothing { path: place.to_owned() });
    }
    found.sort();
    Ok(found)
}

fn look(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<(), ReportError> {
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

fn replace(path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
    safe_file::replace(path, Mode::Readable, |file| file.write_all(bytes))
        .map_err(|source| access(path, source))
}

fn access(path: &Path, source: io::Error) -> ReportError {
    ReportError::Access { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Sample, Status};

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_record_comes_back_with_its_rates() {
        let folder = folder();
        let sample = Sample { at_s: 2.0, network_bytes: 10, ..Sample::default() };
        let report = Report {
            status: Status::Completed,
            samples: vec![sample],
            downtime_ms: f64::NAN, // no number of JSON's
            ..Report::default()
        };
        let path = report.write(&folder.path().join("a/b")).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("\"downtime_ms\": null"), "{text}");
        let back = find(folder.path()).and_then(|paths| read(&paths[0])).unwrap();
        assert_eq!(back.samples[0].network_bytes_per_s, Some(5.0));
        assert_eq!((back.status, back.downtime_ms), (Status::Completed, 0.0));
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
        for name in ["report.new", "report.json.new", JSON, HTML] {
            std::os::unix::fs::symlink(&victim, folder.path().join(name)).unwrap();
        }
        Report::default().write(folder.path()).unwrap();
        write_page(folder.path(), &[Report::default()]).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(read(&folder.path().join(JSON)).is_ok());
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let folder = folder();
        let path = folder.path().join(JSON);
        assert!(matches!(find(folder.path()), Err(ReportError::Nothing { .. })));
        fs::write(&path, "[]").unwrap();
        assert!(matches!(read(&path), Err(ReportError::NoRecord { .. })));
        fs::write(&path, "{\"schema\": 2, \"pages\": 7}").unwrap();
        assert!(matches!(read(&path), Err(ReportError::Schema { found: 2, .. })));
        fs::write(&path, "{\"schema\": 1, \"pages\": 7}").unwrap();
        assert!(matches!(read(&path), Err(ReportError::NoRecord { .. })));
        fs::write(&path, "{\"schema\": 1, \"later\": 7}").unwrap();
        assert_eq!(read(&path).unwrap(), Report::default());
        assert!(matches!(read(folder.path()), Err(ReportError::Access { .. })));
    }
}
