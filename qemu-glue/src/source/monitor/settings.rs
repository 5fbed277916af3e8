//! What a migration changes of QEMU's settings: noted before each change, and put back when the VM stays.
//!
//! Left as they are, they would be those of the user's next migration, which may be a stock one that meets a
//! destination without `multifd`.

use crate::multifd::Multifd;
use crate::qmp::{Qmp, QmpError};
use crate::shim::Armed;
use crate::source::cancel::{PUT_BACK, Stop};
use crate::source::controller::MigrationParameters;
use crate::source::monitor::capabilities::{self, BY_MULTIFD, LEGACY, ZERO_PAGES};
use crate::source::monitor::migration_info::MigrationInfo;
use crate::source::record::ReportBuilder;

/// The settings that were changed, as they were before.
#[derive(Debug, Default)]
pub(in crate::source) struct ChangedSettings {
    parameters: Option<MigrationParameters>,
    /// Capabilities that were off.
    capabilities: Vec<&'static str>,
    multifd: Option<Multifd>,
    /// The value of [`ZERO_PAGES`] was [`BY_MULTIFD`].
    zero_pages: bool,
}

impl ChangedSettings {
    /// The parameters change from now on.
    pub(in crate::source) fn note_parameters(&mut self, found: MigrationParameters) {
        self.parameters = Some(found);
    }

    /// Turns on migration capabilities.
    ///
    /// # Errors
    /// When QEMU refuses or the monitor fails.
    pub(in crate::source) async fn turn_on(
        &mut self,
        qmp: &Qmp,
        names: &[&'static str],
    ) -> Result<(), QmpError> {
        let on = capabilities::enabled(qmp).await?;
        let off = names.iter().copied().filter(|name| !on.iter().any(|on| on == name));
        let off: Vec<&str> = off.collect();
        self.capabilities.extend(&off);
        capabilities::set(qmp, &off, true).await
    }

    /// Turns on `multifd` as it is `wanted`.
    ///
    /// # Errors
    /// When QEMU refuses, for instance a compression that it was not built with, or the monitor fails.
    pub(in crate::source) async fn multifd(
        &mut self,
        qmp: &Qmp,
        wanted: &Multifd,
    ) -> Result<(), QmpError> {
        self.multifd = Some(Multifd::read(qmp).await?);
        wanted.set(qmp).await?;
        self.turn_on(qmp, &["multifd"]).await
    }

    /// `multifd` is as it was before [`Self::multifd`].
    ///
    /// # Errors
    /// When QEMU refuses or the monitor fails; it is still put back at the end then.
    pub(in crate::source) async fn multifd_back(&mut self, qmp: &Qmp) -> Result<(), QmpError> {
        let Some(before) = &self.multifd else { return Ok(()) };
        if self.capabilities.contains(&"multifd") {
            capabilities::set(qmp, &["multifd"], false).await?;
        }
        before.set(qmp).await?;
        self.capabilities.retain(|name| *name != "multifd");
        self.multifd = None;
        Ok(())
    }

    /// Zero pages are looked for in QEMU's migration thread, no longer [`BY_MULTIFD`].
    ///
    /// # Errors
    /// When QEMU refuses or the monitor fails.
    pub(in crate::source) async fn legacy_zero_pages(&mut self, qmp: &Qmp) -> Result<(), QmpError> {
        self.zero_pages = true;
        capabilities::set_zero_pages(qmp, LEGACY).await
    }

    /// The VM stays: all is as before, as far as QEMU still answers, and does so before `stop` is over.
    pub(in crate::source) async fn put_back(
        &self,
        qmp: &Qmp,
        stop: &mut Stop,
        record: &mut ReportBuilder<'_>,
        library: Option<&Armed>,
    ) {
        if stop.within(PUT_BACK, self.all_back(qmp, record, library)).await.is_none() {
            record.warn(
                "not all of the migration's settings were put back: QEMU does not answer"
                    .to_owned(),
            );
        }
    }

    async fn all_back(&self, qmp: &Qmp, record: &mut ReportBuilder<'_>, library: Option<&Armed>) {
        let Self { parameters, capabilities, multifd, zero_pages } = self;
        if let Some(parameters) = parameters {
            match set_parameters(qmp, parameters).await {
                Ok(()) => {
                    if let Some(library) = library {
                        library.forget();
                    }
                    record.limits(false);
                }
                Err(error) => {
                    record.warn(format!("the limits of the migration were not put back: {error}"))
                }
            }
        }
        if capabilities.is_empty() && multifd.is_none() && !zero_pages {
            return;
        }
        // QEMU reads its number of connections again and again while it migrates: more than it has begun with
        // would lead it out of bounds.
        let why_not = match MigrationInfo::of(qmp).await {
            Ok(migration) if migration.goes_on() => Some("QEMU still migrates".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why_not) = why_not {
            return record.warn(format!("the migration's settings were not put back: {why_not}"));
        }
        if let Err(error) = capabilities::set(qmp, capabilities, false).await {
            record.warn(format!("the migration capabilities were not put back: {error}"));
        }
        if let Some(multifd) = multifd
            && let Err(error) = multifd.set(qmp).await
        {
            record.warn(format!("the settings of multifd were not put back: {error}"));
        }
        if *zero_pages && let Err(error) = capabilities::set_zero_pages(qmp, BY_MULTIFD).await {
            record.warn(format!("`{ZERO_PAGES}` was not put back: {error}"));
        }
    }
}

/// The parameters that QEMU has now.
///
/// # Errors
/// When the monitor fails.
pub(in crate::source) async fn read_parameters(qmp: &Qmp) -> Result<MigrationParameters, QmpError> {
    qmp.query("query-migrate-parameters").await
}

/// Sets them.
///
/// # Errors
/// When QEMU refuses or the monitor fails.
pub(in crate::source) async fn set_parameters(
    qmp: &Qmp,
    parameters: &MigrationParameters,
) -> Result<(), QmpError> {
    qmp.execute("migrate-set-parameters", parameters.arguments()).await.map(drop)
}
