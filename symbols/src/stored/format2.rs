//! Stored profiles of format 2, which operators may still have: the facts of a build are the same, and what they
//! mean is taken from the definition that the profile names.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::profile::{
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

/// Reads a stored profile of this format or of that one, as if it had been made now, and checks it.
///
/// # Errors
/// As [`Profile::from_json`]; also where a profile of format 2 names a definition that is not known.
pub(super) fn read(bytes: &[u8]) -> Result<Profile, ProfileError> {
    match Profile::from_json(bytes) {
        Err(ProfileError::Format { found: 2 }) => {
            let profile = of_format_2(bytes)?;
            profile.check().map(|()| profile)
        }
        other => other,
    }
}

fn of_format_2(bytes: &[u8]) -> Result<Profile, ProfileError> {
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
        off_flush_list: definition.off_flush_list,
        missing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operator may have stored profiles before the format changed.
    #[test]
    fn a_profile_of_format_2_means_what_its_definition_says() {
        let text = include_bytes!("../../profiles/mysql-9.7.4-debian-amd64.json");
        let now = Profile::from_json(text).unwrap();
        let mut old = serde_json::to_value(&now).unwrap();
        let rule = serde_json::json!({
            "field": "block.oldest_lsn", "op": "eq", "value": 0, "reason": "dirty"
        });
        old["format"] = 2.into();
        old["states"] = serde_json::json!({"5": "page"});
        old["rules"] = serde_json::json!([rule]);
        for new in ["io", "off_flush_list", "topology"] {
            old.as_object_mut().unwrap().remove(new);
        }
        let reread = |old: &serde_json::Value| read(old.to_string().as_bytes());
        assert_eq!(reread(&old).unwrap(), now);
        old["enums"].as_object_mut().unwrap().remove("BUF_IO_READ");
        let lacking = reread(&old).unwrap();
        assert!(lacking.io.is_none() && !lacking.is_complete());
        old["server"]["definition"] = "mysql-4".into();
        let error = reread(&old).unwrap_err().to_string();
        assert!(error.contains("`mysql-4`"), "{error}");
    }
}
