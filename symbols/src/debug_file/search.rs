//! One search: folders first, then what earlier runs fetched, then the servers.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::attempt::{Attempt, DebugFileRefusal, SearchPlace, WantedFile};
use super::candidates;
use super::debug_elf::DebugElf;
use super::files::FileProvider;
use super::found::RootPlace;
use super::identity::DebugIdentity;
use super::link::{AltLink, BuildId, DebugLink};
use super::options::{Debuginfod, SearchOptions};
use super::places::SearchPaths;
use crate::elf::{FileSnapshot, Program};

pub(super) struct DebugSearch<'a> {
    places: SearchPaths,
    servers: &'a Debuginfod,
    tried: Vec<Attempt>,
}

impl<'a> DebugSearch<'a> {
    pub(super) fn new(
        program: &Program,
        files: Rc<dyn FileProvider>,
        options: &'a SearchOptions,
    ) -> Self {
        let places = SearchPaths::new(files, &options.debug_dirs, program.budget());
        Self { places, servers: &options.debuginfod, tried: Vec::new() }
    }

    pub(super) fn into_parts(self) -> (SearchPaths, Vec<Attempt>) {
        (self.places, self.tried)
    }

    /// The separate debug file of a program that has no DWARF.
    pub(super) fn debug_file(&mut self, program: &Program) -> Option<DebugElf> {
        let (id, link) = (BuildId::of(program), DebugLink::of(program));
        let identity = match (&id, &link) {
            (Some(id), _) => DebugIdentity::Build(id.clone()),
            (None, Some(link)) => DebugIdentity::Crc(link.crc),
            (None, None) => return None, // nothing names a file, and nothing could prove one
        };
        let paths = |root: &RootPlace, dirs: &[PathBuf]| {
            candidates::debug_file(id.as_ref(), link.as_ref(), root.program_dir(), dirs)
        };
        let check = |elf: &Program| identity.check(elf, WantedFile::DebugFile);
        self.places
            .look(WantedFile::DebugFile, paths, check, &mut self.tried)
            .or_else(|| self.request(WantedFile::DebugFile, id.as_ref()?))
    }

    /// The dwz alternate that `holder` names. `holder_dirs` are the folders that a relative name
    /// starts from: those of the debug file, else (empty) that of the program.
    pub(super) fn alternate(
        &mut self,
        holder: &Program,
        holder_dirs: &[PathBuf],
    ) -> Option<DebugElf> {
        let link = AltLink::of(holder)?;
        let paths = |root: &RootPlace, dirs: &[PathBuf]| match holder_dirs {
            [] => candidates::alternate(&link, &[root.program_dir().to_owned()], dirs),
            holders => candidates::alternate(&link, holders, dirs),
        };
        let identity = DebugIdentity::Build(link.id.clone());
        let check = |elf: &Program| identity.check(elf, WantedFile::Alternate);
        self.places
            .look(WantedFile::Alternate, paths, check, &mut self.tried)
            .or_else(|| self.request(WantedFile::Alternate, &link.id))
    }

    /// What an earlier run fetched, else the servers in their order.
    fn request(&mut self, wanted: WantedFile, id: &BuildId) -> Option<DebugElf> {
        let identity = DebugIdentity::Build(id.clone());
        let check = |elf: &Program| identity.check(elf, wanted);
        if let (Some(path), Some(read)) = (self.servers.cached(id), self.places.files().fetched(id))
        {
            let outcome = self.believe(&path, read, check);
            if let Some(elf) = self.note(wanted, SearchPlace::File(path.clone()), outcome) {
                return Some(DebugElf::new(SearchPlace::File(path), elf));
            }
        }
        for server in 0..self.servers.urls.len() {
            let Some(url) = self.servers.url(server, id) else { continue };
            let read = self.places.files().fetch(server, id);
            let outcome = self.believe(Path::new(&url), read, check);
            self.places.files().settle(id, outcome.is_ok());
            if let Some(elf) = self.note(wanted, SearchPlace::Url(url.clone()), outcome) {
                return Some(DebugElf::new(SearchPlace::Url(url), elf));
            }
        }
        None
    }

    fn believe(
        &self,
        path: &Path,
        read: Result<FileSnapshot, DebugFileRefusal>,
        check: impl Fn(&Program) -> Result<(), DebugFileRefusal>,
    ) -> Result<Program, DebugFileRefusal> {
        let elf = self.places.parse(path, read?)?;
        check(&elf).map(|()| elf)
    }

    fn note<T>(
        &mut self,
        wanted: WantedFile,
        place: SearchPlace,
        outcome: Result<T, DebugFileRefusal>,
    ) -> Option<T> {
        let (found, outcome) = match outcome {
            Ok(found) => (Some(found), Ok(())),
            Err(refusal) => (None, Err(refusal)),
        };
        self.tried.push(Attempt { wanted, place, outcome });
        found
    }
}
