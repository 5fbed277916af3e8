//! Why a place in a program's text is not probed.

use std::io;
use std::path::PathBuf;

use crate::addr::{FileOff, LinkAddr};

/// The program's text cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The file cannot be opened.
    #[error("cannot open `{path}`")]
    Open {
        /// The file.
        path: PathBuf,
        /// The kernel's error.
        source: io::Error,
    },
    /// The file cannot be read, or is cut short.
    #[error("cannot read {len} bytes at {at:#x} of the program")]
    Read {
        /// Where, in bytes from the start of the file.
        at: u64,
        /// How many bytes.
        len: usize,
        /// The kernel's error.
        source: io::Error,
    },
    /// It lies where somebody else decides whether a read ever ends.
    #[error("`{path}` lies on {fstype}, which is not read")]
    FileSystem {
        /// The file.
        path: PathBuf,
        /// The file system's type, and who has mounted it where that is why.
        fstype: String,
    },
    /// A folder, pipe, socket or device.
    #[error("`{path}` is not a regular file")]
    NotAFile {
        /// The file.
        path: PathBuf,
    },
    /// Its tables are larger than those of any server.
    #[error("more than {limit} bytes of the program would have to be read")]
    TooMuch {
        /// What is read at most.
        limit: u64,
    },
    /// Its process is gone, or it is not needed any more.
    #[error("stopped while the program was read")]
    Ended,
    /// Not an ELF of x86-64, or one with headers that no linker makes.
    #[error("the program is not a usable x86-64 ELF file: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
}

impl TextError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run as root, or with CAP_SYS_PTRACE"
            }
            Self::Open { .. } => "check that the process still runs",
            Self::FileSystem { .. } => foreign_file::OTHER_FILE_SYSTEM,
            Self::Ended => "check that the process still runs",
            Self::Read { .. }
            | Self::NotAFile { .. }
            | Self::TooMuch { .. }
            | Self::Malformed { .. } => {
                "the server's program is damaged or was changed while it runs: reinstall it"
            }
        }
    }
}

/// A site of a profile that is not true of the program. No probe is set on it.
#[derive(Debug, thiserror::Error)]
#[error("the site at {probe} of `{function}` is not probed: {why}")]
pub struct SiteError {
    /// The function that the profile names.
    pub function: String,
    /// The instruction that the profile names.
    pub probe: LinkAddr,
    /// What is wrong; part of the text.
    pub why: Why,
}

/// What is wrong with a site.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Why {
    /// The program cannot be looked at.
    #[error(transparent)]
    Text(#[from] TextError),
    /// No executable segment of the program holds it.
    #[error("the program has no code there")]
    NoCode,
    /// The profile gives it another place in the file than the program's segments do.
    #[error("it lies at {found} of the file, the profile has {stored}")]
    OtherOffset {
        /// By the profile.
        stored: FileOff,
        /// By the program.
        found: FileOff,
    },
    /// The program's symbols give the start another name.
    #[error("the program's own name for the function there is `{found}`")]
    OtherFunction {
        /// A name of the program's.
        found: String,
    },
    /// Neither a symbol nor the unwind table of the program has a function that starts there.
    #[error("no function of the program starts at {entry}")]
    NoFunction {
        /// Where the profile lets the function start.
        entry: LinkAddr,
    },
    /// The unwind table of the program has another function around it, which starts before it.
    #[error("the program's unwind table has no function that starts there, and one around it")]
    MidFunction,
    /// The program's symbols have the function at two places.
    #[error("the program has two functions of that name")]
    Twice,
    /// Decoded from the start of its function, no instruction begins there.
    #[error("it is the middle of an instruction")]
    MidInstruction,
    /// The function has something between its start and the place that does not decode.
    #[error("the code before it cannot be decoded")]
    Undecodable,
    /// The function could leave the straight line, or loop, before it reaches the place.
    #[error("it does not lie in the straight line that the function begins with")]
    NotInPrologue,
    /// Too far from the start of its function for a proof.
    #[error("it is {bytes} bytes from the start of its function, which is too far to be verified")]
    TooFar {
        /// The distance.
        bytes: u64,
    },
    /// The bytes are not those that the profile was made from.
    #[error("the program has the bytes {found} there, the profile has {stored}")]
    OtherBytes {
        /// By the profile, hexadecimal.
        stored: String,
        /// By the program, hexadecimal.
        found: String,
    },
}

impl SiteError {
    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match &self.why {
            Why::Text(error) => error.hint(),
            _ => {
                "the profile is not true of this program: remove the stored profile or debug file that \
                 it came from (`poolferry symbols` names it), and clear the profile cache"
            }
        }
    }
}
