//! Stored profiles, for builds whose debug information is not to be had: `profiles/*.json`.
//!
//! A stored profile is believed for exactly its build id, and for exactly its content where it states
//! one; only when every address of it that the program's own symbols can confirm is confirmed.

mod format2;

use crate::addr::LinkAddr;
use crate::debug_file::files::FileProvider;
use crate::elf::Program;
use crate::error::{Error, Mismatch};
use crate::kin::{self, Fingerprint, KinError, Kinship};
use crate::profile::{BinaryId, Profile, ServerId, Source};
use crate::site;

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

const EMBEDDED: [Embedded; 2] = [
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
    let embedded = || embedded(binary).map(|of| (of.name.to_owned(), Ok(of.json.to_owned())));
    let Some((name, text)) = operators.or_else(embedded) else { return Ok(None) };
    let text = text.map_err(|source| Error::StoredRefused { profile: name.clone(), source })?;
    let mut profile = format2::read(text.as_bytes())
        .map_err(|e| Error::StoredUnreadable { profile: name.clone(), source: e.into() })?;
    check(program, binary, &profile, &name)?;
    // A profile for every file of a build id does not state the content; this program has one.
    profile.binary = binary.clone();
    profile.source = Source::Stored { name };
    Ok(Some(profile))
}

/// The profile of a program without one of its own, carried over from a known build whose code it has; else why each build
/// of the same definition is no kin.
pub(crate) fn kin(
    program: &Program,
    binary: &BinaryId,
    server: &ServerId,
) -> Result<Profile, Vec<KinError>> {
    let of_definition = EMBEDDED.iter().filter(|of| of.definition == server.definition);
    let mut refused = Vec::new();
    for (embedded, code) in of_definition.filter_map(|of| Some((of, of.code?))) {
        match carried_over(program, embedded, code) {
            Ok((profile, Kinship { version, compared, moved_lines })) => {
                let name = embedded.name.to_owned();
                let source = Source::Kin { name, version, compared, moved_lines };
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
) -> Result<(Profile, Kinship), KinError> {
    let Embedded { name, json, .. } = *embedded;
    let unreadable = |source| KinError::Unreadable { known: name.to_owned(), source };
    let profile = format2::read(json.as_bytes()).map_err(|error| unreadable(error.into()))?;
    kin::carry_over(name, &profile, &Fingerprint::from_bytes(name, code)?, program)
}

fn check(program: &Program, binary: &BinaryId, profile: &Profile, name: &str) -> Result<(), Error> {
    let same = |what: String, stored: String, found: String| match stored == found {
        true => Ok(()),
        false => {
            let (profile, path) = (name.to_owned(), program.path().to_owned());
            Err(Error::from(Box::new(Mismatch { profile, path, what, stored, found })))
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
    let functions = profile.sites.values().flatten().map(|site| (&site.function, site.entry));
    let globals = profile.globals.values().map(|global| (&global.name, global.addr));
    let stored: Vec<(&String, LinkAddr)> = functions.chain(globals).collect();
    let symbols = program.symbols(stored.iter().map(|(name, _)| name.as_str()))?;
    for (symbol, addr) in stored {
        let exported = symbols.get(symbol);
        if let Some(first) = exported.first()
            && exported.iter().all(|symbol| symbol.addr != addr)
        {
            same(format!("`{symbol}`"), addr.to_string(), first.addr.to_string())?;
        }
    }
    for site in profile.sites.values().flatten() {
        let found = site::probe_at(program, site.probe);
        let what = format!("the instruction at {} of `{}`", site.probe, site.function);
        same(what, site.text.clone(), found.as_ref().map_or("no code".into(), |p| p.text.clone()))?;
        let what = format!("the file offset of {}", site.probe);
        let offset = found.map_or("none".into(), |p| p.file_offset.to_string());
        same(what, site.file_offset.to_string(), offset)?;
    }
    Ok(())
}
