//! The file that an operator names for results.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use tempfile::NamedTempFile;

use crate::replace::{Mode, begin, finish};

/// Where results go. A regular file is replaced as a whole by [`Output::finish`]; what is dropped
/// before leaves the old one. A pipe, a socket or a device (`/dev/stdout`) is written to as it is.
#[derive(Debug)]
pub struct Output(Kind);

#[derive(Debug)]
enum Kind {
    New { file: NamedTempFile, path: PathBuf },
    Stream(File),
}

impl Output {
    /// Opens it.
    ///
    /// # Errors
    /// The file system's error; a link that neither root nor this user has made is not followed.
    pub fn create(path: &Path) -> io::Result<Self> {
        let ours = |uid| uid == 0 || uid == rustix::process::geteuid().as_raw();
        if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink() && !ours(found.uid())) {
            let why = "it is a link that another user has made";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
        match fs::metadata(path) {
            Ok(found) if !found.is_file() => {
                let open = OpenOptions::new()
                    .write(true)
                    .custom_flags(i32::try_from(OFlags::NOCTTY.bits()).unwrap_or_default())
                    .open(path)?;
                Ok(Self(Kind::Stream(open)))
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            found => {
                // The file behind a link of one's own is replaced, and the link stays.
                let path = match found {
                    Ok(_) => fs::canonicalize(path)?,
                    Err(_) => path.to_owned(),
                };
                Ok(Self(Kind::New { file: begin(&path, Mode::Readable)?, path }))
            }
        }
    }

    /// Puts a regular file in its place; call it when all has been written.
    ///
    /// # Errors
    /// The file system's error; the old file then stays.
    pub fn finish(self) -> io::Result<()> {
        match self.0 {
            Kind::New { file, path } => finish(file, &path),
            Kind::Stream(mut file) => file.flush(),
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Kind::New { file, .. } => file.write(bytes),
            Kind::Stream(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.0 {
            Kind::New { file, .. } => file.flush(),
            Kind::Stream(file) => file.flush(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{lchown, symlink};

    #[test]
    fn a_file_is_replaced_when_all_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.bin");
        fs::write(&path, "old").unwrap();
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"half").unwrap();
        drop(output);
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        let mut output = Output::create(&path).unwrap();
        output.write_all(b"new").unwrap();
        output.finish().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn links_of_others_are_refused_and_those_of_our_own_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "precious").unwrap();
        symlink(&file, &link).unwrap();
        let mut output = Output::create(&link).unwrap();
        output.write_all(b"new").unwrap();
        output.finish().unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        if rustix::process::geteuid().is_root() {
            lchown(&link, Some(65534), None).unwrap();
            let error = Output::create(&link).unwrap_err();
            assert!(error.to_string().contains("another user"), "{error}");
            assert_eq!(fs::read_to_string(&file).unwrap(), "new");
        }
    }

    #[test]
    fn a_device_is_written_to() {
        let mut output = Output::create(Path::new("/dev/null")).unwrap();
        output.write_all(b"away").unwrap();
        output.finish().unwrap();
    }
}
