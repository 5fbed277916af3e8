//! The page and the table of results as files beside the records.

use std::io;
use std::path::{Path, PathBuf};

use migration_record::{RESULTS, RecordError, Report, replace};

use crate::page;
use crate::results::Results;

/// Name of the page's file.
pub const HTML: &str = "report.html";

/// Writes the page of these records to `folder/report.html`; gives its path.
///
/// # Errors
/// [`RecordError::Access`] names the file that refused it.
pub fn write_page(folder: &Path, reports: &[Report]) -> Result<PathBuf, RecordError> {
    let path = folder.join(HTML);
    replace(&path, page::html(reports).as_bytes())?;
    Ok(path)
}

/// Writes `results.json` of these records into `folder`; gives its path.
///
/// # Errors
/// [`RecordError::Access`] names the file that refused it.
pub fn write_results(folder: &Path, reports: &[Report]) -> Result<PathBuf, RecordError> {
    let path = folder.join(RESULTS);
    let mut text = Vec::new();
    foreign::json_pretty(&mut text, &Results::of(reports)).map_err(|error| {
        RecordError::Access { path: path.clone(), source: io::Error::other(error) }
    })?;
    replace(&path, &text)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nothing_is_written_through_a_link_that_somebody_left() {
        let folder = tempfile::tempdir().unwrap();
        let victim = folder.path().join("victim");
        fs::write(&victim, "precious").unwrap();
        for name in ["report.new", "report.html.new", HTML, RESULTS] {
            std::os::unix::fs::symlink(&victim, folder.path().join(name)).unwrap();
        }
        write_page(folder.path(), &[Report::default()]).unwrap();
        write_results(folder.path(), &[Report::default()]).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        assert!(
            fs::read_to_string(folder.path().join(HTML)).unwrap().contains("Live migration report")
        );
    }

    /// Taken for a record, they were replaced by a page of nothing.
    #[test]
    fn results_are_no_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = write_results(folder.path(), &[Report::default()]).unwrap();
        for place in [folder.path(), &path] {
            let read = migration_record::find(place).and_then(|found| {
                found.iter().map(|path| migration_record::read(path)).collect::<Result<Vec<_>, _>>()
            });
            let error = read.unwrap_err();
            assert!(error.to_string().contains("has the results of an evaluation"), "{error}");
            assert!(error.hint().contains("folder of the records"), "{}", error.hint());
        }
        let record = Report::default().write(folder.path()).unwrap();
        assert_eq!(migration_record::find(folder.path()).unwrap(), [record]);
    }
}
