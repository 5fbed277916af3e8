//! Which files may be data files of the server: what it holds open, what lies in its data directory,
//! and what `.isl` files point to.
//!
//! InnoDB opens table files on demand and closes the least recently used (`innodb_open_files`), but
//! keeps the system and undo tablespaces open while it runs; so tables are also looked for by name,
//! and the others are believed only when open, whatever their names. A table outside the data directory
//! that was seen open stays known by its path until that path leads elsewhere.
//!
//! A file below the data directory is called by its path there, which is the name that the server has
//! for it: a database may be a link to a folder elsewhere.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use foreign_file::Refusal;
use rustix::fs::{AtFlags, Dir, FileType};

use super::error::LocateError;
use super::names::Role;
use super::process::{Process, View};
use super::stamp::{Inode, Stamp};

/// Longest path that a `.isl` file is believed to hold (`PATH_MAX`).
const MAX_PATH_BYTES: u64 = 4096;
/// Shortest file that has a page (the smallest pages have 1 KiB, compressed).
const LEAST_BYTES: u64 = 1024;
/// Most names in the data directory and its databases that are looked at: 200,000 tables are the most
/// that were ever heard of.
const MOST_NAMES: usize = 500_000;

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
    /// Opens the file for reading; `None` where it is another one by now.
    pub(crate) fn open(&self, process: &Process, view: &View) -> Result<Option<File>, Refusal> {
        let found = match self.fd {
            Some(number) => process.find_fd(number, view)?,
            None => view.find(&self.path)?,
        };
        let same = Stamp::of_found(&found)?.inode == self.stamp.inode;
        if same { found.open().map(Some) } else { Ok(None) }
    }
}

/// The search, with the directory listings of the last look.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    listings: HashMap<PathBuf, Listing>,
    /// Names that may still be looked at in this look.
    names_left: usize,
    /// True when the last look left names out.
    pub(crate) some_left_out: bool,
}

/// The entries of one directory that matter.
#[derive(Clone, Debug)]
struct Listing {
    stamp: Stamp,
    tables: Vec<OsString>,
    links: Vec<OsString>,
    folders: Vec<OsString>,
}

impl Listing {
    fn names(&self) -> usize {
        self.tables.len() + self.links.len() + self.folders.len()
    }
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
            // What is no file, or lies where nothing is read.
            let Ok(opened) = process.find_fd(file.number, view) else { continue };
            let Ok(stamp) = Stamp::of_found(&opened) else { continue };
            let role = Role::of(&file.path);
            add(
                &mut found,
                view,
                Candidate { stamp, path: file.path, role, fd: Some(file.number) },
            );
        }
        (self.names_left, self.some_left_out) = (MOST_NAMES, false);
        let mut listings = HashMap::new();
        for folder in self.walk(view, &view.datadir, &mut listings, &mut found) {
            self.walk(view, &view.datadir.join(folder), &mut listings, &mut found);
        }
        self.listings = listings;
        for old in known {
            if old.role == Role::Tablespace && !found.contains_key(&old.stamp.inode) {
                let Ok(stamp) = view.stamp(&old.path) else { continue };
                if stamp.inode == old.stamp.inode {
                    add(&mut found, view, Candidate { stamp, fd: None, ..old.clone() });
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
        let Ok(opened) = view.find(folder).and_then(|folder| folder.open_folder()) else {
            return Vec::new();
        };
        let Ok(listing) = self.list(&opened, folder) else { return Vec::new() };
        let mut add_table = |stamp: Stamp, path: PathBuf| {
            // A file without a page is none of the server's yet, and there may be very many.
            if stamp.size_bytes >= LEAST_BYTES {
                add(found, view, Candidate { stamp, path, role: Role::Tablespace, fd: None });
            }
        };
        for name in &listing.tables {
            let Ok(stamp) = Stamp::of(&opened, name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            match stamp.kind {
                FileType::RegularFile => add_table(stamp, folder.join(name)),
                FileType::Symlink => {
                    let path = folder.join(name);
                    if let Ok(stamp) = view.stamp(&path) {
                        add_table(stamp, path);
                    }
                }
                _ => {}
            }
        }
        for name in &listing.links {
            let Ok(path) = linked(view, &folder.join(name)) else { continue };
            let Ok(stamp) = view.stamp(&path) else { continue };
            add_table(stamp, path);
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
            && self.names_left >= old.names()
        {
            self.names_left -= old.names();
            return Ok(old);
        }
        let (mut tables, mut links, mut folders) = (Vec::new(), Vec::new(), Vec::new());
        for entry in Dir::read_from(opened.as_fd())? {
            let entry = entry?;
            if self.names_left == 0 {
                self.some_left_out = true;
                break;
            }
            let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
            match (Path::new(&name).extension().map(OsStrExt::as_bytes), entry.file_type()) {
                (_, FileType::Directory) if name == "." || name == ".." => continue,
                // A database may be a symbolic link to a directory; files fail to open as one.
                (None, FileType::Directory | FileType::Symlink | FileType::Unknown) => {
                    folders.push(name);
                }
                (Some(_), FileType::Directory) => folders.push(name),
                (Some(b"ibd"), _) => tables.push(name),
                (Some(b"isl"), _) => links.push(name),
                _ => continue,
            }
            self.names_left -= 1;
        }
        Ok(Listing { stamp, tables, links, folders })
    }
}

/// Reads a `.isl` file: the absolute path of a table made with `DATA DIRECTORY` (MySQL up to 5.7,
/// MariaDB).
fn linked(view: &View, link: &Path) -> Result<PathBuf, Refusal> {
    let text = foreign_file::read_from(view.find(link)?.open()?, MAX_PATH_BYTES)?;
    let target = PathBuf::from(OsString::from_vec(text.trim_ascii().to_vec()));
    match target.is_absolute() && Role::of(&target) == Role::Tablespace {
        true => Ok(target),
        false => Err(Refusal::NoFile { path: link.to_owned() }),
    }
}

/// Adds a regular file, or another name of one that is open.
fn add(found: &mut Found, view: &View, candidate: Candidate) {
    if candidate.stamp.kind != FileType::RegularFile {
        return;
    }
    match found.entry(candidate.stamp.inode) {
        Entry::Vacant(entry) => drop(entry.insert(candidate)),
        Entry::Occupied(mut entry) => {
            let known = entry.get_mut();
            let inside = |path: &Path| path.starts_with(&view.datadir);
            if known.fd.is_some() && !inside(&known.path) && inside(&candidate.path) {
                known.path = candidate.path;
                known.role = candidate.role;
            }
        }
    }
}
