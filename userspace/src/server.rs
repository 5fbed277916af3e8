//! A server whose profile is resolved, compiled and proven: all that can be known without a probe.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use symbols::profile::Profile;
use symbols::{BudgetShare, Options, Resolved};
use thiserror::Error;

use crate::field_layout::{FieldLayout, LayoutError};
use crate::memory::Memory;
use crate::pool_map::{PoolMap, PoolMapError};
use crate::target::{LoadBias, Target, TargetError};
use crate::validation::{self, Validation, ValidationError, validate};

/// How long a server that is starting or resizing is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// And a pool that may be growing or shrinking, where nothing says so.
const RESIZE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(50);

/// The server cannot be observed.
#[derive(Debug, Error)]
pub enum ServerError {
    /// No process, or too many.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No profile.
    #[error(transparent)]
    Symbols(#[from] symbols::Error),
    /// The profile lacks something.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The pool could not be found.
    #[error(transparent)]
    PoolMap(#[from] PoolMapError),
    /// The profile is wrong.
    #[error(transparent)]
    Validation(#[from] ValidationError),
}

impl ServerError {
    /// True when the same call may succeed a little later: the server is starting, or its pool is being resized.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::PoolMap(error) => error.is_passing(),
            Self::Validation(error) => matches!(error, ValidationError::Empty),
            _ => false,
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Target(error) => error.hint().map(str::to_owned),
            Self::Symbols(error) => error.hint().map(str::to_owned),
            Self::Layout(error) => Some(error.hint().to_owned()),
            Self::PoolMap(PoolMapError::Memory { source, .. }) => {
                validation::hint_for(source).map(str::to_owned)
            }
            Self::PoolMap(error) if error.is_passing() => {
                Some("try again when the server has started, or its resize is over".to_owned())
            }
            Self::PoolMap(_) => Some(validation::OTHER_BUILD.to_owned()),
            Self::Validation(error) => error.hint().map(str::to_owned),
        }
    }
}

/// A server that can be observed.
pub struct Server {
    /// The process.
    pub target: Target,
    /// Its profile, and where that came from.
    pub resolved: Resolved,
    /// The compiled profile.
    pub layout: FieldLayout,
    /// Where the program was loaded.
    pub bias: LoadBias,
    /// Where the pool lies.
    pub pool_map: PoolMap,
    /// How well the profile fits.
    pub validation: Validation,
}

impl Server {
    /// Resolves, compiles and proves.
    ///
    /// # Errors
    /// When any stage fails; a server that is just starting is waited for a little.
    pub fn open(target: Target, options: &Options) -> Result<Self, ServerError> {
        let resolved = resolve(&target, options)?;
        let layout = FieldLayout::compile(&resolved.profile)?;
        let bias = target.load_bias(resolved.profile.binary.pie)?;
        let memory = target.memory();
        let profile = &resolved.profile;
        let (pool_map, validation) = patiently(|| {
            let pool_map = PoolMap::read(profile, &layout, memory, bias)?;
            let validation = validate(memory, &layout, &pool_map)?;
            Ok((pool_map, validation))
        })?;
        Ok(Self { target, resolved, layout, bias, pool_map, validation })
    }

    /// The profile.
    #[must_use]
    pub const fn profile(&self) -> &Profile {
        &self.resolved.profile
    }

    /// The server's memory.
    #[must_use]
    pub const fn memory(&self) -> Memory {
        self.target.memory()
    }

    /// Where the pool lies now.
    ///
    /// # Errors
    /// While a resize is under way, or when the server is gone.
    pub fn current_pool_map(&self) -> Result<PoolMap, PoolMapError> {
        PoolMap::read(self.profile(), &self.layout, self.memory(), self.bias)
    }

    /// Takes a pool map that has changed, on which the profile was proven again.
    pub fn adopt(&mut self, pool_map: PoolMap, validation: Validation) {
        self.pool_map = pool_map;
        self.validation = validation;
    }

    /// Family and version, e.g. `mysql 5.6.24`.
    #[must_use]
    pub fn version(&self) -> String {
        let server = &self.profile().server;
        format!("{} {}", server.family, server.version)
    }
}

/// Resolves the program of a process; ends at once when that has.
///
/// # Errors
/// When it is no server that can be observed, or gone.
pub fn resolve(target: &Target, options: &Options) -> Result<Resolved, ServerError> {
    let (program, root) = (target.program(), target.root());
    let end = Arc::new(target.pidfd()?);
    let mut options = Options { ends: options.ends.clone().and(end), ..options.clone() };
    options.debug_files.users = Some(target.trusted_users());
    // Strangers' programs leave room for that of the machine's own server.
    options.share = if target.is_likely() { BudgetShare::Whole } else { BudgetShare::Half };
    let resolved =
        symbols::resolve(&symbols::ProgramPaths { program: &program, root: &root }, &options);
    match resolved {
        Err(symbols::Error::Ended { .. }) if !target.is_alive() => {
            Err(TargetError::Gone { pid: target.pid }.into())
        }
        other => Ok(other?),
    }
}

/// Tries again while the server is starting or resizing.
fn patiently<T>(mut attempt: impl FnMut() -> Result<T, ServerError>) -> Result<T, ServerError> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(ServerError::PoolMap(error))
                if error.is_passing() && start.elapsed() < PATIENCE =>
            {
                sleep(PAUSE);
            }
            Err(ServerError::Validation(ValidationError::Empty)) if start.elapsed() < PATIENCE => {
                sleep(PAUSE);
            }
            // The pool map is read again.
            Err(ServerError::Validation(error))
                if error.may_be_a_resize() && start.elapsed() < RESIZE =>
            {
                sleep(PAUSE);
            }
            other => return other,
        }
    }
}
