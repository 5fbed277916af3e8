//! Stored profiles of format 2, which operators may still have: the facts of a build are the same, and what they
//! mean is taken from the definition that the profile names.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    BinaryId, Field, Global, Missing, PROFILE_FORMAT, Profile, ProfileError, ServerId, Site, Source,
};
use crate::role::{FieldRole, GlobalRole, SiteRole, SizeRole};
use crate::server::Definition;

/// The facts; states and rules are passed over.
#[derive(Deserialize)]
struct Facts {
    server: ServerId,
    binary: BinaryId,
    source: Source,
    sites: BTreeMap<SiteRole, Vec<Site>>,
    fields: BTreeMap<FieldRole, Field>,
    sizes: BTreeMap<SizeRole, u64>,
    globals: BTreeMap<GlobalRole, Global>,
    enums: BTreeMap<String, i64>,
    missing: Vec<Missing>,
}

/// Reads one, as if it had been made now.
pub(super) fn read(bytes: &[u8]) -> Result<Profile, ProfileError> {
    let Facts { server, binary, source, sites, fields, sizes, globals, enums, mut missing } =
        serde_json::from_slice(bytes)?;
    let unknown = || ProfileError::Definition { name: server.definition.clone() };
    let definition = Definition::named(&server.definition).ok_or_else(unknown)?;
    let meaning = definition.meaning(&enums, &mut missing);
    Ok(Profile {
        format: PROFILE_FORMAT,
        server,
        binary,
        source,
        sites,
        fields,
        sizes,
        globals,
        enums,
        topology: definition.topology,
        states: meaning.states,
        rules: meaning.rules,
        io: meaning.io,
        missing,
    })
}
