//! What there is to skip: the guest's list, made into a set.
//!
//! Whatever fails here costs speed only: the migration is then a stock one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use foreign::Text;
use page_wire::{Bounds, List};
use thiserror::Error;
use tokio::task::{JoinError, spawn_blocking};

use crate::agent::{Agent, AgentError, How, Telemetry};
use crate::guest::disks::Disk;
use crate::guest::{GuestError, GuestRam, disks};
use crate::qmp::{Qmp, QmpError};
use crate::set::SetError;
use crate::shim::{Shim, ShimError};
use crate::source::options::Route;
use crate::source::planning::plan::{self, Plan};
use crate::source::planning::preflight::Checked;
use crate::source::record::ReportBuilder;
use crate::source::zero::{self, Stretch};

/// How long zero pages are looked for after the list has come: what is not found by then costs QEMU less.
const ZEROS: Duration = Duration::from_millis(200);

/// The set, and what is needed to skip it.
pub(in crate::source) struct PlannedSkip {
    pub(in crate::source) shim: Shim,
    pub(in crate::source) ram: Arc<GuestRam>,
    pub(in crate::source) plan: Plan,
    /// From here on the guest gets requests for its status.
    pub(in crate::source) telemetry: Telemetry,
}

/// Why nothing is skipped.
#[derive(Debug, Error)]
pub(in crate::source) enum PlanError {
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Shim(#[from] ShimError),
    #[error(transparent)]
    Agent(#[from] AgentError),
    #[error("the guest's page list is malformed: {0}")]
    List(#[from] page_wire::ListError),
    #[error("the guest's page list makes no set: {0}")]
    Set(#[from] SetError),
    #[error("making a set of the guest's page list ended badly")]
    Fell(#[source] JoinError),
    #[error("no page of the guest's list can be skipped{}", reasons(.0))]
    Empty(BTreeMap<plan::LeftOut, u64>),
}

fn reasons(left_out: &BTreeMap<plan::LeftOut, u64>) -> String {
    let reasons = left_out.iter().map(|(reason, pages)| format!("{pages} {}", name(reason)));
    let reasons = reasons.collect::<Vec<_>>().join(", ");
    if reasons.is_empty() { ": it is empty".to_owned() } else { format!(" ({reasons})") }
}

/// The reason as it stands in reports.
fn name(reason: &plan::LeftOut) -> String {
    let name = serde_json::to_value(reason).ok();
    name.and_then(|name| name.as_str().map(str::to_owned)).unwrap_or_default()
}

impl PlanError {
    pub(in crate::source) fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::Qmp(error) => error.hint(),
            Self::Guest(error) => error.hint(),
            Self::Shim(error) => error.hint(),
            Self::Agent(error) => return error.hint(),
            Self::List(_) => Some("install the same version of Poolferry in the guest and here"),
            Self::Set(_) | Self::Fell(_) => None,
            Self::Empty(_) => Some("`poolferry pages` in the guest shows the reason for each page"),
        };
        hint.map(Text::from)
    }
}

/// Requests the guest's list, and makes the set.
pub(in crate::source) async fn prepare(
    qmp: &Qmp,
    route: &Route,
    checked: &mut Checked,
    record: &mut ReportBuilder<'_>,
) -> Result<PlannedSkip, PlanError> {
    let pid = qmp.peer_pid()?;
    let shim = Shim::find(pid).await?;
    let ram = Arc::new(GuestRam::of(qmp, pid).await?);
    let zeros = zero::search(&ram);
    let disks = disks::of(qmp).await?;
    checked.disks(&disks);
    let mut agent = Agent::connect(&route.agent).await?;
    record.begin("list");
    let listed = agent.page_list(&*ram, route.list_timeout).await;
    record.end("list");
    let listed = listed?;
    record.list(&listed.steps, matches!(listed.how, How::InPlace));
    if listed.steps.waited_s >= 0.1 {
        let waited = listed.steps.waited_s;
        record.warn(format!("the guest's agent had a server to list after {waited:.1} s only"));
    }
    if let How::Copied(why) = &listed.how {
        record.warn(format!("the page list was copied over the port: {why}"));
    }
    record.begin("plan");
    // Without them the migration is as right, and a little slower.
    let zeros = zeros.within(ZEROS).await;
    let plan = planned(listed.bytes, Arc::clone(&ram), disks, zeros).await?;
    record.end("plan");
    for (reason, pages) in &plan.left_out {
        record.warn(format!("{pages} listed pages are not skipped: {}", name(reason)));
    }
    if plan.set.pages() == plan.set.zero_pages() {
        return Err(PlanError::Empty(plan.left_out));
    }
    Ok(PlannedSkip { shim, ram, plan, telemetry: Telemetry::begin(agent) })
}

/// Makes the set in a thread of its own: a guest may have a list of millions of runs. Who waits for it no more ends it.
async fn planned(
    bytes: Vec<u8>,
    ram: Arc<GuestRam>,
    disks: Vec<Disk>,
    zeros: Vec<Stretch>,
) -> Result<Plan, PlanError> {
    let enough = Enough::default();
    let until = Arc::clone(&enough.0);
    let work = spawn_blocking(move || {
        let list = List::parse(&bytes, Bounds::of_ram(ram.total_bytes()))?;
        let planner = plan::read(&list, &ram, &disks, &until);
        drop(list);
        // A list of pages that are all apart is as long as half of what is made of it.
        drop(bytes);
        Ok(planner.finish(&zeros)?)
    });
    work.await.map_err(PlanError::Fell)?
}

/// Ends a thread when it is dropped.
#[derive(Default)]
struct Enough(Arc<AtomicBool>);

impl Drop for Enough {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use page_wire::{Device, Facts, Run, encode};
    use tokio::time::timeout;

    use super::*;

    /// Somebody who gives up waits for no plan, and the thread ends.
    #[tokio::test]
    async fn planning_ends_when_nobody_waits() {
        const PAGES: u64 = 1 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(PAGES * 4096).unwrap();
        let ram = Arc::new(GuestRam::of_files(vec![("mem0".into(), file, PAGES * 4096)]));
        let devices = [Device::Disk("serial:a".into())];
        let runs = (256..PAGES).filter_map(|page| Run::new(page, 1, 0, page * 16));
        let mut bytes = Vec::new();
        encode(&mut bytes, &Facts::default(), &devices, PAGES - 256, runs).unwrap();
        let begun = Instant::now();
        let whole = planned(bytes.clone(), Arc::clone(&ram), Vec::new(), Vec::new()).await;
        let (whole, took) = (whole.unwrap(), begun.elapsed());
        assert_eq!(whole.listed, PAGES - 256);
        let begun = Instant::now();
        let planning = planned(bytes, Arc::clone(&ram), Vec::new(), Vec::new());
        assert!(timeout(Duration::ZERO, planning).await.is_err(), "it was waited for");
        while Arc::strong_count(&ram) > 1 {
            assert!(begun.elapsed() < took + Duration::from_secs(10), "the thread goes on");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        println!("{took:?} for all of it, {:?} when nobody waits", begun.elapsed());
    }
}
