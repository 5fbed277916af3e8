//! Why a list of names is not used.

use serde::{Deserialize, Serialize};

use crate::cause::Cause;
use crate::debug_file::DebugFileRefusal;

/// A list of names is not used.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SymbolListError {
    /// It cannot be read, or strangers may have written it.
    #[error(transparent)]
    Refused(#[from] DebugFileRefusal),
    /// It is not compressed by gzip, or damaged.
    #[error("cannot be decompressed by gzip")]
    Broken(#[source] Cause),
    /// It is longer than any is.
    #[error("has more than {limit} bytes once it is decompressed")]
    TooLong {
        /// What is read at most, in bytes.
        limit: u64,
    },
    /// It has a line that `nm` does not write.
    #[error("line {number} is none of `nm`")]
    Line {
        /// Its number, from 1.
        number: usize,
    },
    /// The program exports too little to tell whose list it is.
    #[error("the program exports too few symbols to tell whose list it is")]
    NoExports,
    /// It is the list of another program.
    #[error(
        "is of another build: {agree} of the {of} symbols that the program exports stand in it"
    )]
    OtherBuild {
        /// How many are at the same address in both.
        agree: usize,
        /// How many the program exports.
        of: usize,
    },
}
