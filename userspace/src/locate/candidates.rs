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
//!
//! How many names and files there are, and how long their paths, the server's owner decides: what they take is counted
//! in bytes ([`Room`]), and what there is no room for is left out and counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use foreign_file::Refusal;
use rustix::fs::{AtFlags, Dir, FileType};

use super::names::FileRole;
use crate::on_disk::{FileView, Inode, Process, ProcessError, Room, SeenFile, Stamp};

/// Longest path that a `.isl` file is believed to hold (`PATH_MAX`).
const MAX_PATH_BYTES: u64 = 4096;
/// Shortest file that has a page (the smallest pages have 1 KiB, compressed).
const LEAST_BYTES: u64 = 1024;
/// Most names in the data directory and its databases that are looked at in one look: 200,000 tables are the most that
/// were ever seen.
const MOST_NAMES: usize = 500_000;
/// What the names of a folder may take that are kept for the next look.
const LISTED_BYTES: usize = 8 << 20;
/// What the files of a look may take; those of the look before are there as well.
const FILES_BYTES: usize = 20 << 20;
/// What is kept of a name, of a folder and of a file beside their texts.
const NAME_BYTES: usize = 40;
const FOLDER_BYTES: usize = 320;
const FILE_BYTES: usize = 500;

/// One file, however many names and descriptors lead to it.
#[derive(Clone, Debug)]
pub(crate) struct FileCandidate {
    pub(crate) seen: SeenFile,
    pub(crate) role: FileRole,
}

impl FileCandidate {
    /// What it takes at most, with what is made of it: its path, and the name that is shown, which has a letter of three
    /// bytes for each byte that is none.
    fn bytes(&self) -> usize {
        let path = &self.seen.path;
        let last = path.iter().rev().take(2).map(OsStr::len).sum::<usize>();
        FILE_BYTES + path.as_os_str().len() + 3 * last
    }
}

/// The search, with the directory listings of the last look.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    listings: HashMap<PathBuf, Listing>,
    /// Names that may still be looked at in this look.
    names_left: usize,
    /// Of the names that are kept: those of the last look too, as long as they are there.
    listed: Room,
    files: Room,
    /// Names and files that the last look left out.
    pub(crate) left_out: usize,
}

/// The entries of one directory that matter.
#[derive(Clone, Debug)]
struct Listing {
    stamp: Stamp,
    tables: Vec<OsString>,
    links: Vec<OsString>,
    folders: Vec<OsString>,
    /// Names that it was too long for.
    left_out: usize,
    /// What it takes.
    bytes: usize,
}

impl Listing {
    fn names(&self) -> usize {
        self.tables.len() + self.links.len() + self.folders.len()
    }
}

type Found = HashMap<Inode, FileCandidate>;

impl Candidates {
    /// Looks at everything once. `known` are the files of the last look.
    ///
    /// # Errors
    /// When the process is gone or may not be looked at. A directory or file that cannot be read is
    /// left out.
    pub(crate) fn look<'a>(
        &mut self,
        process: &Process,
        view: &FileView,
        known: impl Iterator<Item = &'a FileCandidate>,
    ) -> Result<Found, ProcessError> {
        let mut found = Found::new();
        (self.names_left, self.left_out) = (MOST_NAMES, 0);
        self.files = Room::of(FILES_BYTES);
        self.listed = Room::of(LISTED_BYTES);
        self.listed.take(self.listings.values().map(|listing| listing.bytes).sum());
        process.for_each_fd(|number| self.add_open(number, process, view, &mut found))?;
        let mut listings = HashMap::new();
        for folder in self.walk(view, &view.cwd, &mut listings, &mut found) {
            self.walk(view, &view.cwd.join(folder), &mut listings, &mut found);
        }
        self.listings = listings;
        for old in known {
            if old.role == FileRole::Tablespace && !found.contains_key(&old.seen.stamp.inode) {
                let Ok(seen) = SeenFile::at(view, &old.seen.path) else { continue };
                if seen.stamp.inode == old.seen.stamp.inode {
                    self.add(&mut found, view, FileCandidate { seen, role: old.role });
                }
            }
        }
        Ok(found)
    }

    /// Adds a file that the server holds open, by whichever of its descriptors comes first.
    fn add_open(&mut self, number: u32, process: &Process, view: &FileView, found: &mut Found) {
        // Sockets and pipes, of which a server may have very many, have no path; to sort what they lie on takes long.
        let Some(path) = process.path_of_fd(number, view) else { return };
        // What is no file, or lies where nothing is read.
        let Ok(opened) = process.find_fd(number, view) else { return };
        let Ok(stamp) = Stamp::of_found(&opened) else { return };
        // Very many descriptors may lead to one file.
        if stamp.kind != FileType::RegularFile || found.contains_key(&stamp.inode) {
            return;
        }
        let role = FileRole::of(&path);
        let seen = SeenFile { stamp, path, fd: Some(number) };
        self.add(found, view, FileCandidate { seen, role });
    }

    /// Adds the tables of one directory; answers its subdirectories.
    fn walk(
        &mut self,
        view: &FileView,
        folder: &Path,
        listings: &mut HashMap<PathBuf, Listing>,
        found: &mut Found,
    ) -> Vec<OsString> {
        let Ok(opened) = view.find(folder).and_then(|folder| folder.open_folder()) else {
            return Vec::new();
        };
        let Ok(listing) = self.list(&opened, folder) else { return Vec::new() };
        self.left_out += listing.left_out;
        let mut add_table = |stamp: Stamp, path: PathBuf| {
            // A file without a page is none of the server's yet, and there may be very many.
            if stamp.size_bytes >= LEAST_BYTES {
                let seen = SeenFile { stamp, path, fd: None };
                self.add(found, view, FileCandidate { seen, role: FileRole::Tablespace });
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
        if let Some(old) = self.listings.remove(folder) {
            // What was left out may have room now.
            if stamp.proves_unchanged_since(&old.stamp)
                && self.names_left >= old.names()
                && old.left_out == 0
            {
                self.names_left -= old.names();
                return Ok(old);
            }
            self.listed.give_back(old.bytes);
        }
        let (tables, links, folders) = (Vec::new(), Vec::new(), Vec::new());
        let mut listing = Listing { stamp, tables, links, folders, left_out: 0, bytes: 0 };
        if !self.has_room_for(&mut listing, FOLDER_BYTES + folder.as_os_str().len()) {
            listing.left_out += 1;
            return Ok(listing);
        }
        for entry in Dir::read_from(opened.as_fd())? {
            let entry = entry?;
            if self.names_left == 0 {
                listing.left_out += 1;
                break;
            }
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            let extension = Path::new(name).extension().map(OsStrExt::as_bytes);
            let kept = match (extension, entry.file_type()) {
                (_, FileType::Directory) if name == "." || name == ".." => continue,
                // A database may be a symbolic link to a directory; files fail to open as one.
                (None, FileType::Directory | FileType::Symlink | FileType::Unknown)
                | (Some(_), FileType::Directory) => Kept::Folder,
                (Some(b"ibd"), _) => Kept::Table,
                (Some(b"isl"), _) => Kept::Link,
                _ => continue,
            };
            self.names_left -= 1;
            // The folders of the data directory are copied once more.
            let copies = if kept == Kept::Folder { 2 } else { 1 };
            if !self.has_room_for(&mut listing, copies * (name.len() + NAME_BYTES)) {
                listing.left_out += 1;
                continue;
            }
            let list = match kept {
                Kept::Table => &mut listing.tables,
                Kept::Link => &mut listing.links,
                Kept::Folder => &mut listing.folders,
            };
            list.push(name.to_owned());
        }
        Ok(listing)
    }

    /// Room for what a listing grows by; that of the last look goes first.
    fn has_room_for(&mut self, listing: &mut Listing, bytes: usize) -> bool {
        if !self.listed.has(bytes) {
            let old = self.listings.drain().map(|(_, listing)| listing.bytes).sum();
            self.listed.give_back(old);
        }
        let has_room = self.listed.take(bytes);
        if has_room {
            listing.bytes += bytes;
        }
        has_room
    }

    /// Adds a regular file, or another name of one that is open.
    fn add(&mut self, found: &mut Found, view: &FileView, candidate: FileCandidate) {
        if candidate.seen.stamp.kind != FileType::RegularFile {
            return;
        }
        match found.entry(candidate.seen.stamp.inode) {
            Entry::Vacant(entry) => {
                if self.files.take(candidate.bytes()) {
                    entry.insert(candidate);
                } else {
                    self.left_out += 1;
                }
            }
            Entry::Occupied(mut entry) => {
                let known = entry.get_mut();
                // mysqld makes its data directory current.
                let inside = |path: &Path| path.starts_with(&view.cwd);
                if known.seen.fd.is_some()
                    && !inside(&known.seen.path)
                    && inside(&candidate.seen.path)
                    && self.files.take(candidate.bytes())
                {
                    known.seen.path = candidate.seen.path;
                    known.role = candidate.role;
                }
            }
        }
    }
}

/// What a name in a directory is kept as.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kept {
    Table,
    Link,
    Folder,
}

/// Reads a `.isl` file: the absolute path of a table made with `DATA DIRECTORY` (MySQL up to 5.7,
/// MariaDB).
fn linked(view: &FileView, link: &Path) -> Result<PathBuf, Refusal> {
    let text = foreign_file::read_from(view.find(link)?.open()?, MAX_PATH_BYTES)?;
    let target = PathBuf::from(OsString::from_vec(text.trim_ascii().to_vec()));
    match target.is_absolute() && FileRole::of(&target) == FileRole::Tablespace {
        true => Ok(target),
        false => Err(Refusal::NoFile { path: link.to_owned() }),
    }
}
