//! Which units matter.

use std::time::{Duration, Instant};

use super::DebugInfo;
use super::info::UnitId;

/// Longest look at the roots of all units. The largest server has some thousand units and takes
/// 0.1 s; only a file made to waste time comes near.
const TIME_LIMIT: Duration = Duration::from_secs(30);

/// Name of the units that link-time optimisation makes; they hold the code of all sources.
const LTO_UNIT: &str = "<artificial>";

/// Units compiled from one of `sources` (file names, `buf0buf.cc`), and those of link-time
/// optimisation. Only the root entry of each unit is read.
pub(crate) fn choose(info: &DebugInfo<'_>, sources: &[String]) -> Vec<UnitId> {
    let start = Instant::now();
    let mut chosen = Vec::new();
    for unit in info.units() {
        if start.elapsed() > TIME_LIMIT {
            log::warn!("the search for units ends after {TIME_LIMIT:?}: too many of them");
            break;
        }
        if matters(info, unit, sources) {
            chosen.push(unit);
        }
    }
    chosen
}

fn matters(info: &DebugInfo<'_>, id: UnitId, sources: &[String]) -> bool {
    let Some(root) = info.root(id) else { return false };
    let Some(name) = root.name else {
        // A skeleton of DWARF 5 has no name, only that of its split file: `buf0buf.cc.dwo`.
        return root.split.is_some_and(|name| {
            let name = String::from_utf8_lossy(&name);
            let file = file_name(&name);
            sources.iter().any(|source| stem(file) == stem(source))
        });
    };
    name == LTO_UNIT || sources.iter().any(|source| file_name(&name) == source)
}

fn file_name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}

fn stem(name: &str) -> &str {
    name.split_once('.').map_or(name, |(stem, _)| stem)
}
