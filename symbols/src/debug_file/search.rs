//! One search: folders first, then what earlier runs fetched, then the servers.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::attempt::{Attempt, Place, Refusal, Wanted};
use super::candidates;
use super::debug_elf::DebugElf;
use super::files::Files;
use super::found::RootPlace;
use super::identity::Identity;
use super::link::{AltLink, BuildId, DebugLink};
use super::options::{Debuginfod, SearchOptions};
use super::places::Places;
use crate::elf::{Program, Snapshot};

pub(super) struct Search<'a> {
    places: Places,
    servers: &'a Debuginfod,
    tried: Vec<Attempt>,
}

impl<'a> Search<'a> {
    pub(super) fn new(program: &Program, files: Rc<dyn Files>, options: &'a SearchOptions) -> Self {
        let places = Places::new(files, &options.debug_dirs, program.budget());
        Self { places, servers: &options.debuginfod, tried: Vec::new() }
    }

    pub(super) fn into_parts(self) -> (Places, Vec<Attempt>) {
        (self.places, self.tried)
    }

    /// The separate debug file of a program that has no DWARF.
    pub(super) fn debug_file(&mut self, program: &Program) -> Option<DebugElf> {
        let (id, link) = (BuildId::of(program), DebugLink::of(program));
        let identity = match (&id, &link) {
            (Some(id), _) => Identity::Build(id.clone()),
            (None, Some(link)) => Identity::Crc(link.crc),
            (None, None) => return None, // nothing names a file, and nothing could prove one
        };
        let paths = |root: &RootPlace, dirs: &[PathBuf]| {
            candidates::debug_file(id.as_ref(), link.as_ref(), root.program_dir(), dirs)
        };
        let check = |elf: &Program| identity.check(elf, Wanted::DebugFile);
        self.places
            .look(Wanted::DebugFile, paths, check, &mut self.tried)
            .or_else(|| self.ask(Wanted::DebugFile, id.as_ref()?))
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
        let identity = Identity::Build(link.id.clone());
        let check = |elf: &Program| identity.check(elf, Wanted::Alternate);
        self.places
            .look(Wanted::Alternate, paths, check, &mut self.tried)
            .or_else(|| self.ask(Wanted::Alternate, &link.id))
    }

    /// What an earlier run fetched, else the servers in their order.
    fn ask(&mut self, wanted: Wanted, id: &BuildId) -> Option<DebugElf> {
        let identity = Identity::Build(id.clone());
        let check = |elf: &Program| identity.check(elf, wanted);
        if let (Some(path), Some(read)) = (self.servers.cached(id), self.places.files().fetched(id))
        {
            let outcome = self.believe(&path, read, check);
            if let Some(elf) = self.note(wanted, Place::File(path.clone()), outcome) {
                return Some(DebugElf::new(Place::File(path), elf));
            }
        }
        for server in 0..self.servers.urls.len() {
            let Some(url) = self.servers.url(server, id) else { continue };
            let read = self.places.files().fetch(server, id);
            let outcome = self.believe(Path::new(&url), read, check);
            self.places.files().settle(id, outcome.is_ok());
            if let Some(elf) = self.note(wanted, Place::Url(url.clone()), outcome) {
                return Some(DebugElf::new(Place::Url(url), elf));
            }
        }
        None
    }

    fn believe(
        &self,
        path: &Path,
        read: Result<Snapshot, Refusal>,
        check: impl Fn(&Program) -> Result<(), Refusal>,
    ) -> Result<Program, Refusal> {
        let elf = self.places.parse(path, read?)?;
        check(&elf).map(|()| elf)
    }

    fn note<T>(&mut self, wanted: Wanted, place: Place, outcome: Result<T, Refusal>) -> Option<T> {
        let (found, outcome) = match outcome {
            Ok(found) => (Some(found), Ok(())),
            Err(refusal) => (None, Err(refusal)),
        };
        self.tried.push(Attempt { wanted, place, outcome });
        found
    }
}
