//! Whether a file that was found is the one that is wanted.

use object::{Object, ObjectSection};

use super::attempt::{DebugFileRefusal, WantedFile};
use super::link::BuildId;
use crate::elf::Program;
use crate::reason::UnresolvedReason;

/// What proves that a debug file belongs to a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DebugIdentity {
    /// Both must have this build id. It stands above the CRC: dwz and other tools rewrite a debug
    /// file after the link to it was written, and leave the id alone.
    Build(BuildId),
    /// The program has no build id; the debug file's bytes must have this CRC-32.
    Crc(u32),
}

impl DebugIdentity {
    /// Checks that `found` is the wanted build and usable as `wanted`. A CRC reads all of it.
    pub(super) fn check(
        &self,
        found: &Program,
        wanted: WantedFile,
    ) -> Result<(), DebugFileRefusal> {
        self.check_build(found)?;
        let has_dwarf = has_dwarf(found)?;
        // The stripped program passes for its own debug file by its build id. An alternate may hold
        // shared strings only.
        if wanted == WantedFile::DebugFile && !has_dwarf {
            return Err(DebugFileRefusal::NoDebugInfo);
        }
        Ok(())
    }

    fn check_build(&self, found: &Program) -> Result<(), DebugFileRefusal> {
        match self {
            Self::Build(wanted) if found.build_id_hex() == Some(wanted.hex()) => Ok(()),
            Self::Build(wanted) => {
                Err(DebugFileRefusal::OtherBuild(UnresolvedReason::BuildIdMismatch {
                    binary: wanted.hex(),
                    debug: found.build_id_hex().unwrap_or_else(|| String::from("none")),
                }))
            }
            Self::Crc(wanted) => match crc32fast::hash(found.bytes()) {
                crc if crc == *wanted => Ok(()),
                found => Err(DebugFileRefusal::OtherCrc { wanted: *wanted, found }),
            },
        }
    }
}

/// True when the file has a `.debug_info` with bytes. Nothing is decompressed.
///
/// # Errors
/// A section lies outside of the file, as in one that was cut short.
pub(super) fn has_dwarf(program: &Program) -> Result<bool, DebugFileRefusal> {
    let elf = program.elf().map_err(DebugFileRefusal::from_elf)?;
    let mut found = false;
    for section in elf.sections() {
        let malformed = |error: object::Error| DebugFileRefusal::Elf(Some(error.into()));
        let bytes = section.compressed_data().map_err(malformed)?;
        let name = section.name_bytes().map_err(malformed)?;
        found |= matches!(name, b".debug_info" | b".zdebug_info") && !bytes.data.is_empty();
    }
    Ok(found)
}
