//! Which files may be data files of the server: what it holds open, what lies in its data directory,
//! and what `.isl` files point to.
//!
//! InnoDB opens table files on demand and closes the least recently used (`innodb_open_files`), but
//! keeps the system and undo tablespaces open while it runs; so tables are also looked for by name,
//! and the others are believed only when open. A table outside the data directory that was seen
//! open stays known by its path until that path leads elsewhere.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, OFlags};

use super::error::LocateError;
use super::names::Role;
use super::process::{Process, View};
use super::stamp::{Inode, Stamp};

/// Longest path that a `.isl` file is believed to hold (`PATH_MAX`).
const MAX_PATH_BYTES: u64 = 4096;

/// One file, however many names and descriptors lead to it.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) stamp: Stamp,
    /// As the server sees it.
    pub(crate) path: PathBuf,
    pub(crate) role: Role,
    /// A descriptor by which the server holds it open.
    pub(crate) fd: Option<u32>,
}

impl Candidate {
    /// Opens the file for reading, and makes sure that it is still the same one.
    pub(crate) fn open(&self, process: &Process, view: &View) -> io::Result<Option<File>> {
        let file = match self.fd {
            Some(number) => process.open_fd(number)?,
            None => view.open(&self.path, OFlags::empty())?.into(),
        };
        let same = Stamp::of_file(&file)?.inode == self.stamp.inode;
        Ok(same.then_some(file))
    }
}

/// The search, with the directory listings of the last look.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    listings: HashMap<PathBuf, Listing>,
}

/// The entries of one directory that matter.
#[derive(Clone, Debug)]
struct Listing {
    stamp: Stamp,
    tables: Vec<OsString>,
    links: Vec<OsString>,
    folders: Vec<OsString>,
}

type Found = HashMap<Inode, Candidate>;

impl Candidates {
    /// Looks at everything once. `known` are the files of the last look.
    ///
    /// # Errors
    /// When the process is gone or may not be looked at. A directory or file that cannot be read is
    /// left out.
    pub(crate) fn look<'a>(
        &mut self,
        process: &Process,
        view: &View,
        known: impl Iterator<Item = &'a Candidate>,
    ) -> Result<Found, LocateError> {
        let mut found = Found::new();
        for file in process.open_files(view)? {
            let role = Role::of(&file.path);
            if role == Role::Foreign {
                continue;
            }
            let Ok(stamp) = process.stamp_of_fd(file.number) else { continue };
            add(&mut found, Candidate { stamp, path: file.path, role, fd: Some(file.number) });
        }
        let mut listings = HashMap::new();
        for folder in self.walk(view, &view.datadir, &mut listings, &mut found) {
            self.walk(view, &view.datadir.join(folder), &mut listings, &mut found);
        }
        self.listings = listings;
        for old in known {
            if old.role == Role::Tablespace && !found.contains_key(&old.stamp.inode) {
                let Ok(stamp) = view.stamp(&old.path) else { continue };
                if stamp.inode == old.stamp.inode {
                    add(&mut found, Candidate { stamp, fd: None, ..old.clone() });
                }
            }
        }
        Ok(found)
    }

    /// Adds the tables of one directory; answers its subdirectories.
    fn walk(
        &mut self,
        view: &View,
        folder: &Path,
        listings: &mut HashMap<PathBuf, Listing>,
        found: &mut Found,
    ) -> Vec<OsString> {
        let Ok(opened) = view.open(folder, OFlags::DIRECTORY) else { return Vec::new() };
        let Ok(listing) = self.list(&opened, folder) else { return Vec::new() };
        for name in &listing.tables {
            let path = folder.join(name);
            let Ok(mut stamp) = Stamp::of(&opened, name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            if stamp.kind == FileType::Symlink {
                let Ok(target) = view.stamp(&path) else { continue };
                stamp = target;
            }
            add(found, Candidate { stamp, path, role: Role::Tablespace, fd: None });
        }
        for name in &listing.links {
            let Ok(path) = linked(view, &folder.join(name)) else { continue };
            let Ok(stamp) = view.stamp(&path) else { continue };
            add(found, Candidate { stamp, path, role: Role::Tablespace, fd: None });
        }
        let folders = listing.folders.clone();
        listings.insert(folder.to_path_buf(), listing);
        folders
    }

    /// Reads a directory, unless its change time proves that it is as it was.
    fn list(&mut self, opened: &OwnedFd, folder: &Path) -> io::Result<Listing> {
        let stamp = Stamp::of_file(opened)?;
        if let Some(old) = self.listings.remove(folder)
            && stamp.proves_unchanged_since(&old.stamp)
        {
            return Ok(old);
        }
        let (mut tables, mut links, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        for entry in Dir::read_from(opened.as_fd())? {
            let entry = entry?;
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            match (Path::new(&name).extension().map(OsStrExt::as_bytes), entry.file_type()) {
                (_, FileType::Directory) if name == "." || name == ".." => {}
                // A database may be a symbolic link to a directory; files fail to open as one.
                (None, FileType::Directory | FileType::Symlink | FileType::Unknown) => {
                    folders.push(name);
                }
                (Some(_), FileType::Directory) => folders.push(name),
                (Some(b"ibd"), _) => tables.push(name),
                (Some(b"isl"), _) => links.push(name),
                _ => {}
            }
        }
        Ok(Listing { stamp, tables, links, folders })
    }
}

/// Reads a `.isl` file: the absolute path of a table made with `DATA DIRECTORY` (MySQL up to 5.7,
/// MariaDB).
fn linked(view: &View, link: &Path) -> io::Result<PathBuf> {
    let file = File::from(view.open(link, OFlags::NOFOLLOW)?);
    if Stamp::of_file(&file)?.kind != FileType::RegularFile {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = Vec::new();
    file.take(MAX_PATH_BYTES).read_to_end(&mut text)?;
    let target = PathBuf::from(OsString::from_vec(text.trim_ascii().to_vec()));
    match target.is_absolute() && Role::of(&target) == Role::Tablespace {
        true => Ok(target),
        false => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// Adds a regular file; an open descriptor, found first, keeps its path and number.
fn add(found: &mut Found, candidate: Candidate) {
    if candidate.stamp.kind == FileType::RegularFile {
        found.entry(candidate.stamp.inode).or_insert(candidate);
    }
}
