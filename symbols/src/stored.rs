//! Stored profiles, for builds whose debug information is not to be had: `profiles/*.json`.
//!
//! A stored profile is believed for exactly its build id, and for exactly its content where it states
//! one; only when every address of it that the program's own symbols can confirm is confirmed.

mod examined;
mod format2;

use std::path::Path;

use crate::addr::LinkAddr;
use crate::debug_file::DebugFileRefusal;
use crate::debug_file::files::FileProvider;
use crate::elf::Program;
use crate::error::{Error, Mismatch};
use crate::kin::{self, Fingerprint, KinError, Kinship};
use crate::profile::{BinaryId, Profile, ServerId, Source};
use crate::server::Definition;
use crate::symbol_list::{SymbolList, SymbolListError, SymbolListUse};
use crate::text::{ProgramText, TextError};
use examined::{ExamineError, Examined, OpenProgram};

/// A profile that ships with this program.
struct Embedded {
    build_id: &'static str,
    name: &'static str,
    /// The definition that it was made by.
    definition: &'static str,
    json: &'static str,
    /// The code of the build, by which its kin are known.
    code: Option<&'static [u8]>,
}

const EMBEDDED: [Embedded; 3] = [
    Embedded {
        build_id: "cc8a18826385d7182761a4a8f41044748267244d",
        name: "mysql-9.7.4-debian-amd64",
        definition: "mysql-9",
        json: include_str!("../profiles/mysql-9.7.4-debian-amd64.json"),
        code: None,
    },
    Embedded {
        build_id: "7a14d39cfbfbf90a1d0deaf338d76b741ca05e3b",
        name: "mariadb-10.11.18-bookworm-amd64",
        definition: "mariadb-10.11",
        json: include_str!("../profiles/mariadb-10.11.18-bookworm-amd64.json"),
        code: Some(include_bytes!("../profiles/mariadb-10.11.18-bookworm-amd64.kin")),
    },
    Embedded {
        build_id: "2709f499a097a419b25142742f24e79f0a243149",
        name: "mariadb-11.8.6-trixie-amd64",
        definition: "mariadb-11.8",
        json: include_str!("../profiles/mariadb-11.8.6-trixie-amd64.json"),
        code: Some(include_bytes!("../profiles/mariadb-11.8.6-trixie-amd64.kin")),
    },
];

/// Whether there is a stored profile for the program, true of it or not.
pub(crate) fn exists(binary: &BinaryId, files: &dyn FileProvider) -> bool {
    embedded(binary).is_some() || binary.names().any(|name| files.stored(&name).is_some())
}

fn embedded(binary: &BinaryId) -> Option<&'static Embedded> {
    let id = binary.build_id.as_deref()?;
    EMBEDDED.iter().find(|embedded| embedded.build_id == id)
}

/// The stored profile of the program, checked against it: the operator's (`BUILD-ID.json` or
/// `blake3-HASH.json` in one of his folders), else an embedded one. None when there is none.
///
/// # Errors
/// There is one, but it cannot be read, strangers may write it, or it is not true of the program.
pub(crate) fn find(
    program: &Program,
    binary: &BinaryId,
    files: &dyn FileProvider,
) -> Result<Option<Profile>, Error> {
    let operators = binary.names().find_map(|name| files.stored(&name));
    let found = operators.or_else(|| of_us(binary));
    let Some(found) = found else { return Ok(None) };
    let profile = read(found)?;
    match check(program, binary, &profile) {
        Ok(()) => Ok(Some(Profile { binary: binary.clone(), ..profile })),
        Err(ExamineError::Other(error)) => Err(*error),
    }
}

/// The same of a program that is open and not in memory: only what the checks need is read of it, some kilobytes, and all
/// of it only where the profile is of one content alone. None too where the file cannot be read so: whoever reads the
/// whole of it gets the reason.
///
/// # Errors
/// As [`find`].
pub(crate) fn find_in(
    path: &Path,
    text: &ProgramText,
    files: &dyn FileProvider,
) -> Result<Option<Profile>, Error> {
    let program = OpenProgram { path, text };
    match search(&program, files) {
        Err(ExamineError::Text(error)) => {
            log::debug!("`{}` is to be read whole: {error}", foreign::path(path));
            Ok(None)
        }
        Err(ExamineError::Other(error)) => Err(*error),
        Ok(profile) => Ok(profile.filter(Profile::is_complete)),
    }
}

fn search(
    program: &OpenProgram<'_>,
    files: &dyn FileProvider,
) -> Result<Option<Profile>, ExamineError<TextError>> {
    let mut binary = program.identity()?;
    let mut found = binary.names().find_map(|name| files.stored(&name));
    if found.is_none() && files.has_stored() {
        binary.content_hash = Some(program.text.hash()?);
        found = binary.names().find_map(|name| files.stored(&name));
    }
    let Some(found) = found.or_else(|| of_us(&binary)) else { return Ok(None) };
    let profile = read(found).map_err(Box::new)?;
    if profile.binary.content_hash.is_some() && binary.content_hash.is_none() {
        binary.content_hash = Some(program.text.hash()?);
    }
    check(program, &binary, &profile)?;
    Ok(Some(Profile { binary, ..profile }))
}

/// Whether a profile is one that is stored, with nothing changed but which program it is of.
pub(crate) fn is_stored(profile: &Profile, files: &dyn FileProvider) -> bool {
    let of_operator = profile.binary.names().find_map(|name| files.stored(&name));
    let found = of_operator.or_else(|| of_us(&profile.binary));
    let stored = found.and_then(|found| read(found).ok());
    stored.is_some_and(|stored| Profile { binary: profile.binary.clone(), ..stored } == *profile)
}

/// A stored profile: its name, and its text where that can be read.
type StoredText = (String, Result<String, DebugFileRefusal>);

fn of_us(binary: &BinaryId) -> Option<StoredText> {
    embedded(binary).map(|of| (of.name.to_owned(), Ok(of.json.to_owned())))
}

fn read((name, text): StoredText) -> Result<Profile, Error> {
    let text = text.map_err(|source| Error::StoredRefused { profile: name.clone(), source })?;
    let profile = format2::read(text.as_bytes())
        .map_err(|e| Error::StoredUnreadable { profile: name.clone(), source: e.into() })?;
    Ok(Profile { source: Source::Stored { name }, ..profile })
}

/// The profile of a program without one of its own, carried over from a known build whose code it has; else why each build
/// of the same definition is no kin.
pub(crate) fn kin(
    program: &Program,
    binary: &BinaryId,
    server: &ServerId,
    files: &dyn FileProvider,
) -> Result<Profile, Vec<KinError>> {
    let of_definition = EMBEDDED.iter().filter(|of| of.definition == server.definition);
    let mut refused = Vec::new();
    for (embedded, code) in of_definition.filter_map(|of| Some((of, of.code?))) {
        match carried_over(program, embedded, code, files) {
            Ok((profile, Kinship { version, compared, moved_lines }, symbol_list)) => {
                let name = embedded.name.to_owned();
                let source = Source::Kin { name, version, compared, moved_lines, symbol_list };
                let (server, binary) = (server.clone(), binary.clone());
                return Ok(Profile { server, binary, source, ..profile });
            }
            Err(error) => refused.push(error),
        }
    }
    Err(refused)
}

fn carried_over(
    program: &Program,
    embedded: &Embedded,
    code: &[u8],
    files: &dyn FileProvider,
) -> Result<(Profile, Kinship, SymbolListUse), KinError> {
    let Embedded { name, json, .. } = *embedded;
    let unreadable = |source| KinError::Unreadable { known: name.to_owned(), source };
    let profile = format2::read(json.as_bytes()).map_err(|error| unreadable(error.into()))?;
    let (list, used) = listed(program, &profile, files);
    let known = Fingerprint::from_bytes(name, code)?;
    let (profile, kinship) = kin::carry_over(name, &profile, &known, program, list.as_ref())?;
    Ok((profile, kinship, used))
}

/// What the list of the program's names says of those in `profile`, and what became of it: the first list that is
/// the program's, below its own root and then below ours.
fn listed(
    program: &Program,
    profile: &Profile,
    files: &dyn FileProvider,
) -> (Option<SymbolList>, SymbolListUse) {
    let functions = profile.sites.values().flatten().map(|site| &*site.function);
    let globals = profile.globals.values().map(|global| &*global.name);
    let names: Vec<&str> = functions.chain(globals).collect();
    let mut used = SymbolListUse::Absent;
    let definition = Definition::named(&profile.server.definition);
    let Some(path) = definition.and_then(|definition| definition.symbol_list) else {
        return (None, used);
    };
    for (number, root) in files.roots().iter().enumerate() {
        let found = files.symbol_list(number, &path);
        let read = match found {
            Err(DebugFileRefusal::Absent) => continue,
            other => other.map_err(SymbolListError::from),
        };
        match read.and_then(|list| SymbolList::read(list.reader(), program, &names)) {
            Ok(list) => {
                let symbols = list.agreed;
                return (Some(list), SymbolListUse::Agreed { symbols });
            }
            Err(error) => {
                let why = foreign::Chain(&error).to_string();
                let shown = foreign::path(&root.shown);
                log::warn!("the list of the program's names below `{shown}` is not used: it {why}");
                used = SymbolListUse::Unused { why };
            }
        }
    }
    (None, used)
}

/// Whether the profile is true of the program, as far as the program itself says it.
fn check<P: Examined>(
    program: &P,
    binary: &BinaryId,
    profile: &Profile,
) -> Result<(), ExamineError<P::Error>> {
    let name = match &profile.source {
        Source::Stored { name } => name.as_str(),
        _ => "",
    };
    let same = |what: String, stored: String, found: String| match stored == found {
        true => Ok(()),
        false => {
            let (profile, path) = (name.to_owned(), program.path().to_owned());
            let mismatch = Mismatch { profile, path, what, stored, found };
            Err(Box::new(Error::from(Box::new(mismatch))))
        }
    };
    let text = |id: &Option<String>| id.clone().unwrap_or_else(|| "none".to_owned());
    same("the build id".into(), text(&profile.binary.build_id), text(&binary.build_id))?;
    if profile.binary.content_hash.is_some() {
        let hash = |of: &BinaryId| text(&of.content_hash);
        same("the hash".into(), hash(&profile.binary), hash(binary))?;
    }
    same("the size".into(), profile.binary.size.to_string(), binary.size.to_string())?;
    same("PIE".into(), profile.binary.pie.to_string(), binary.pie.to_string())?;
    let functions = profile.sites.values().flatten().map(|site| (&*site.function, site.entry));
    let globals = profile.globals.values().map(|global| (&*global.name, global.addr));
    let stored: Vec<(&str, LinkAddr)> = functions.chain(globals).collect();
    let names: Vec<&str> = stored.iter().map(|(name, _)| *name).collect();
    let symbols = program.addresses(&names)?;
    for (symbol, addr) in stored {
        let exported = symbols.get(symbol).map_or(&[][..], Vec::as_slice);
        if let Some(first) = exported.first()
            && !exported.contains(&addr)
        {
            same(format!("`{symbol}`"), addr.to_string(), first.to_string())?;
        }
    }
    for site in profile.sites.values().flatten() {
        let found = program.instruction(site.probe)?;
        let what = format!("the instruction at {} of `{}`", site.probe, site.function);
        same(what, site.text.clone(), found.as_ref().map_or("no code".into(), |p| p.text.clone()))?;
        let what = format!("the file offset of {}", site.probe);
        let offset = found.map_or("none".into(), |p| p.file_offset.to_string());
        same(what, site.file_offset.to_string(), offset)?;
    }
    Ok(())
}
