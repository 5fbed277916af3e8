//! Kin builds: the profile of a known build carried over to another one of the same source code.
//!
//! Servers of distributions are stripped, and built anew every month: a profile for one build id is stale with the next
//! security update, though the code on which it rests is mostly the same. So what is stored of a known build is its
//! profile and the masked code of the sources that hold the buffer pool ([`Fingerprint`]). A build that has all of that code has the
//! same types and the same functions, elsewhere.
//!
//! ```text
//! function   functions of a stripped program, by its unwind table
//! code       code of a function, masked: without addresses and line numbers; what it uses
//! fingerprint  the stored code of a known build
//! matching   which function is which: by code that is only once, and by what those functions use
//! translate  the known profile with the places of this build
//! known      how profile and fingerprint of a known build are made
//! identity   whether the program that was made again for that is the distributed one
//! ```
//!
//! Every function of those sources must be there, or nothing is believed: a member that has moved changes a displacement in
//! the code. What cannot be seen here is a change of meaning that leaves the code as it was; the checks at attach are for that.

mod code;
mod error;
mod fingerprint;
mod function;
mod identity;
mod known;
mod matching;
mod translate;

pub use error::{KinError, Unconfirmed};
pub use fingerprint::Fingerprint;
pub use identity::{Identity, same_program};
pub use known::{Known, describe};

use fingerprint::Build;
use matching::Match;
use translate::Translation;

use crate::cause::Cause;
use crate::elf::Program;
use crate::profile::Profile;
use crate::server::Definition;
use crate::symbol_list::SymbolList;

/// Most names of changed functions that an error has.
const MOST_NAMES: usize = 5;

/// The functions of a program, in the order of their addresses, by a look at its whole unwind table.
#[cfg(test)]
pub(crate) fn functions_of(program: &Program) -> Result<Vec<std::ops::Range<u64>>, KinError> {
    let table = function::FunctionTable::of(program)?;
    Ok(table.as_slice().iter().map(|of| of.start..of.end).collect())
}

/// How a profile was carried over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinship {
    /// Version of the known build.
    pub version: String,
    /// Functions whose code was compared, all of them alike.
    pub compared: usize,
    /// Of these, how many stand at other lines of their sources.
    pub moved_lines: usize,
}

/// The profile of the known build `name`, made true of `program`; with the list of its names, where there is one.
///
/// # Errors
/// `program` has not all of the code, a place was not found again, or the list has it elsewhere.
pub fn carry_over(
    name: &str,
    profile: &Profile,
    known: &Fingerprint,
    program: &Program,
    list: Option<&SymbolList>,
) -> Result<(Profile, Kinship), KinError> {
    let build = Build::of(program)?;
    let matching = matching::pair(known, &build, program);
    let required = known.functions.iter().zip(&matching.found).filter(|(f, _)| f.source.is_some());
    let changed: Vec<_> = required.filter(|(_, found)| **found == Match::None).collect();
    if !changed.is_empty() {
        let names = changed.iter().take(MOST_NAMES).map(|(function, _)| match &*function.name {
            "" => format!("{:#x}", function.start),
            name => name.to_owned(),
        });
        return Err(KinError::Changed {
            known: name.to_owned(),
            count: changed.len(),
            of: known.required(),
            names: names.collect(),
        });
    }
    let translation =
        Translation { name, known, program, build: &build, matching: &matching, list };
    let definition = Definition::named(&profile.server.definition).ok_or_else(|| {
        let source = Cause::new(&"its definition is not known");
        KinError::Unreadable { known: name.to_owned(), source }
    })?;
    let made = translation.of(profile, &definition)?;
    let kinship = Kinship {
        version: known.version.clone(),
        compared: known.required(),
        moved_lines: matching.moved_lines,
    };
    Ok((made, kinship))
}
