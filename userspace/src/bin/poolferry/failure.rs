//! Errors as the user reads them: what failed, the chain of causes, and what to do.

use std::error::Error;
use std::fmt;
use std::io;

use userspace::choose::ChooseError;
use userspace::locate::LocateError;
use userspace::observer::ObserveError;
use userspace::openmetrics::MetricsError;
use userspace::page_list::BuildError;
use userspace::server::ServerError;
use userspace::stream::StreamError;
use userspace::viewer::ViewerError;

/// The remedy where frames cannot be found.
const FRAMES_HINT: &str =
    "frame numbers need CAP_SYS_ADMIN; run as root, or see `poolferry doctor`";

/// Why a command ended early.
pub(crate) enum Failure {
    /// The reader of our output is gone, which is no failure.
    BrokenPipe,
    /// Something failed.
    Error {
        /// The error with its sources.
        error: Box<dyn Error + Send + Sync>,
        /// What it is about, a line each.
        details: Vec<String>,
        /// The remedy.
        hint: Option<String>,
    },
}

impl Failure {
    pub(crate) fn new(error: impl Error + Send + Sync + 'static, hint: Option<String>) -> Self {
        Self::Error { error: Box::new(error), details: Vec::new(), hint }
    }

    /// Prints it on standard error.
    pub(crate) fn report(&self) {
        outlet::stderr().push(self.to_string().as_bytes());
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Error { error, details, hint } = self else { return Ok(()) };
        writeln!(f, "error: {:#}", foreign::Chain(error.as_ref()))?;
        for detail in details {
            writeln!(f, "  {}", foreign::shown(detail))?;
        }
        if let Some(hint) = hint {
            writeln!(f, "hint: {}", foreign::shown(hint))?;
        }
        Ok(())
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::BrokenPipe;
        }
        Self::new(error, None)
    }
}

impl From<ChooseError> for Failure {
    fn from(error: ChooseError) -> Self {
        let (details, hint) = (error.details(), error.hint());
        Self::Error { error: Box::new(error), details, hint }
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        match error {
            BuildError::Write(error) => error.into(),
            BuildError::Encode(page_wire::EncodeError::Io(error)) => error.into(),
            other => {
                let hint = match &other {
                    BuildError::Scan(error) => error.hint().map(str::to_owned),
                    BuildError::Frames(_) => Some(FRAMES_HINT.to_owned()),
                    BuildError::Locate(error) => error.hint().map(str::to_owned),
                    _ => None,
                };
                Self::new(other, hint)
            }
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        if error.io_error_kind() == Some(io::ErrorKind::BrokenPipe) {
            return Self::BrokenPipe;
        }
        Self::new(error, None)
    }
}

macro_rules! failures {
    ($($error:ty: $hint:expr,)+) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                let hint: Option<String> = ($hint)(&error);
                Self::new(error, hint)
            }
        }
    )+};
}

failures! {
    ServerError: |e: &ServerError| e.hint(),
    ObserveError: |e: &ObserveError| e.hint(),
    LocateError: |e: &LocateError| e.hint().map(str::to_owned),
    userspace::agent::PortError: |e: &userspace::agent::PortError| e.hint().map(str::to_owned),
    userspace::frames::FramesError: |_: &userspace::frames::FramesError| {
        Some(FRAMES_HINT.to_owned())
    },
    symbols::Error: |e: &symbols::Error| e.hint().map(str::to_owned),
    ViewerError: |e: &ViewerError| e.hint().map(str::to_owned),
    MetricsError: |e: &MetricsError| e.hint().map(str::to_owned),
    StreamError: |_: &StreamError| None,
}

/// Sends log records to standard error; those that come while the viewer has the screen, afterwards.
pub(crate) fn log_to_stderr(verbose: u8) {
    foreign::logger(verbose)
        .target(env_logger::Target::Pipe(Box::new(userspace::viewer::LogSink)))
        .init();
}
