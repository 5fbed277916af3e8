//! The VM of a series: booted when it is needed, and anew for a mode that needs another.

use anyhow::Result;
use test_servers::cache::Cache;

use crate::laboratory::Laboratory;
use crate::mode::Mode;
use crate::setup::{Programs, Setup};
use crate::workload::Workload;

/// Keeps one laboratory at a time: two do not fit.
pub(crate) struct Berth<'a> {
    cache: &'a Cache,
    setup: &'a Setup,
    programs: &'a Programs,
    agent: bool,
    lab: Option<Laboratory>,
    /// Whether the pool of its server was thrown away.
    cold: bool,
}

impl<'a> Berth<'a> {
    /// For migrations in these modes.
    pub(crate) fn new(
        cache: &'a Cache,
        setup: &'a Setup,
        programs: &'a Programs,
        modes: &[Mode],
    ) -> Self {
        let agent = modes.iter().any(|mode| mode.is_poolferry());
        Self { cache, setup, programs, agent, lab: None, cold: false }
    }

    /// The laboratory for a migration in `mode`, with its load and a full pool.
    pub(crate) fn of(&mut self, mode: Mode) -> Result<&mut Laboratory> {
        let other = self.lab.as_ref().is_some_and(|lab| lab.has_balloon() != mode.has_balloon());
        if other {
            self.leave();
        }
        let mut lab = match self.lab.take() {
            Some(lab) => lab,
            None => self.boot(mode)?,
        };
        if std::mem::take(&mut self.cold) {
            lab.load(Workload::Idle)?;
            lab.fill_pool()?;
        }
        lab.load(self.setup.workload)?;
        self.cold = mode == Mode::ColdPool;
        Ok(self.lab.insert(lab))
    }

    fn boot(&self, mode: Mode) -> Result<Laboratory> {
        let setup = Setup { balloon: mode.has_balloon(), ..self.setup.clone() };
        let mut lab = Laboratory::boot(self.cache, setup, self.programs.clone())?;
        lab.busy()?;
        if self.agent {
            lab.start_agent()?;
        }
        Ok(lab)
    }

    /// Ends the laboratory.
    pub(crate) fn leave(&mut self) {
        self.lab = None;
        self.cold = false;
    }

    /// The laboratory of the last migration.
    pub(crate) fn lab(&mut self) -> Option<&mut Laboratory> {
        self.lab.as_mut()
    }
}
