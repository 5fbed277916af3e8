//! What there is to leave behind: the guest's list, made into a set.
//!
//! Whatever fails here costs speed only: the migration is then a stock one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use foreign::Text;
use page_wire::{Bounds, List};
use thiserror::Error;

use super::options::Route;
use super::plan::{self, Plan};
use super::preflight::Checked;
use super::record::Record;
use super::zero;
use crate::agent::{Agent, AgentError, How, ListSteps, Visit};
use crate::channel::MAX_SECONDS;
use crate::guest::{GuestError, GuestRam, disks};
use crate::qmp::{Qmp, QmpError};
use crate::set::SetError;
use crate::shim::{Shim, ShimError};

/// How long zero pages are looked for after the list has come: what is not found by then costs QEMU less.
const ZEROS: Duration = Duration::from_millis(200);

/// The set, and what is needed to leave it behind.
pub(super) struct Prepared {
    pub(super) shim: Shim,
    pub(super) ram: Arc<GuestRam>,
    pub(super) plan: Plan,
    /// From here on the guest is asked how it is.
    pub(super) visit: Visit,
}

/// Why nothing is left behind.
#[derive(Debug, Error)]
pub(super) enum NotPrepared {
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
    #[error("no page of the guest's list can be left behind{}", reasons(.0))]
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

impl NotPrepared {
    pub(super) fn hint(&self) -> Option<Text> {
        let hint = match self {
            Self::Qmp(error) => error.hint(),
            Self::Guest(error) => error.hint(),
            Self::Shim(error) => error.hint(),
            Self::Agent(error) => return error.hint(),
            Self::List(_) => Some("install the same version of Poolferry in the guest and here"),
            Self::Set(_) => None,
            Self::Empty(_) => Some("`poolferry pages` in the guest tells of each page why"),
        };
        hint.map(Text::from)
    }
}

/// Asks the guest, and makes the set.
pub(super) async fn prepare(
    qmp: &Qmp,
    route: &Route,
    checked: &mut Checked,
    record: &mut Record<'_>,
) -> Result<Prepared, NotPrepared> {
    let pid = qmp.peer_pid()?;
    let shim = Shim::open(pid)?;
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
        record.remark(format!("the guest's agent had a server to list after {waited:.1} s only"));
    }
    if let How::Copied(why) = &listed.how {
        record.remark(format!("the page list was copied over the port: {why}"));
    }
    record.begin("plan");
    // Without them the migration is as right, and a little slower.
    let zeros = zeros.within(ZEROS).await;
    let list = List::parse(&listed.bytes, Bounds::of_ram(ram.total_bytes()))?;
    let planner = plan::read(&list, &ram, &disks);
    drop(list);
    // A list of pages that are all apart is as long as half of what is made of it.
    drop(listed);
    let plan = planner.finish(&zeros)?;
    record.end("plan");
    for (reason, pages) in &plan.left_out {
        record.remark(format!("{pages} listed pages are not skipped: {}", name(reason)));
    }
    if plan.set.pages() == plan.set.zero_pages() {
        return Err(NotPrepared::Empty(plan.left_out));
    }
    Ok(Prepared { shim, ram, plan, visit: Visit::begin(agent) })
}

/// Steps of the list as the report names them, in seconds.
pub(super) fn steps(steps: &ListSteps) -> BTreeMap<Text, f64> {
    let mut named = BTreeMap::from([
        ("transfer".into(), steps.transfer_s),
        ("verify".into(), steps.hash_s),
        ("total".into(), steps.total_s),
    ]);
    if let Ok(serde_json::Value::Object(steps)) = serde_json::to_value(steps.guest) {
        for (name, seconds) in steps {
            let name = name.trim_end_matches("_s");
            if let Some(seconds) = seconds.as_f64().filter(|_| name != "total") {
                named.insert(name.into(), seconds.clamp(0.0, MAX_SECONDS));
            }
        }
    }
    named
}
