//! An error of the kernel or a library as text: an error that can be sent to another process.

use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

/// Most characters of a text that are kept: a library may quote a foreign file.
const MAX_CHARS: usize = 500;

/// The cause of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    text: String,
    /// The kernel's error number, where the error is the kernel's.
    os: Option<i32>,
}

impl Cause {
    pub(crate) fn new(what: &impl fmt::Display) -> Self {
        Self { text: what.to_string().chars().take(MAX_CHARS).collect(), os: None }
    }

    /// What kind of error it is for the operating system.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.os.map_or(io::ErrorKind::Other, |os| io::Error::from_raw_os_error(os).kind())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {}

impl From<io::Error> for Cause {
    fn from(error: io::Error) -> Self {
        Self { os: error.raw_os_error(), ..Self::new(&error) }
    }
}

macro_rules! causes {
    ($($error:ty),+) => {$(
        impl From<$error> for Cause {
            fn from(error: $error) -> Self {
                Self::new(&error)
            }
        }
    )+};
}

causes!(object::Error, gimli::Error, ureq::Error, serde_json::Error, toml::de::Error);
