//! The resident pages as each witness reports them: descriptors, list, table, and the server itself.

use std::collections::HashSet;

use anyhow::{Context, Result, ensure};
use probe_abi::state;
use symbols::profile::RuleReason;
use userspace::classify::described;
use userspace::frames::Frames;
use userspace::locate::Locator;
use userspace::page_list::{self, Filter};
use userspace::residency::Residency;
use userspace::scan::scan;
use userspace::server::Server;

/// A page in the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Resident {
    space: u32,
    page: u32,
    dirty: bool,
}

/// All of them.
pub(crate) type Pages = HashSet<Resident>;

/// Pages that only one of the two knows, or that they do not agree on.
pub(crate) fn differences(a: &Pages, b: &Pages) -> u64 {
    a.symmetric_difference(b).count() as u64
}

/// As the descriptors have it.
pub(crate) fn by_descriptors(server: &Server) -> Result<Pages> {
    let mut pages = Pages::new();
    scan(server.memory(), &server.layout, &server.pool_map, |block| {
        if described(&block).state.is_page() {
            let (space, page) = (block.space(), block.page());
            pages.insert(Resident { space, page, dirty: block.fails(RuleReason::Dirty) });
        }
    })?;
    Ok(pages)
}

/// As the rows of the list have it, and how many of them are eligible.
pub(crate) fn by_list(
    server: &Server,
    residency: &Residency,
    locator: &mut Locator,
    frames: &mut Frames,
) -> Result<(Pages, u64)> {
    let (mut pages, mut eligible) = (Pages::new(), 0);
    let all = Filter::default();
    page_list::rows(server, Some(residency), locator, frames, all, |row| {
        if let (Some(space), Some(page)) = (row.space, row.page) {
            pages.insert(Resident { space, page, dirty: row.oldest_lsn != 0 });
        }
        eligible += u64::from(row.eligible);
        Ok(())
    })?;
    Ok((pages, eligible))
}

/// As the probes' table has it.
pub(crate) fn by_table(residency: &Residency) -> Pages {
    (0..residency.table().blocks())
        .map(|block| residency.get(block))
        .filter(|known| matches!(known.state, state::CLEAN | state::DIRTY))
        .map(|known| Resident {
            space: known.space,
            page: known.page,
            dirty: known.state == state::DIRTY,
        })
        .collect()
}

/// As the server's own `INNODB_BUFFER_PAGE` has it.
pub(crate) fn by_server(server: &test_servers::Server) -> Result<Pages> {
    let rows = server.query(
        "SELECT SPACE, PAGE_NUMBER, OLDEST_MODIFICATION <> 0 \
         FROM information_schema.INNODB_BUFFER_PAGE WHERE PAGE_STATE = 'FILE_PAGE'",
    )?;
    let mut pages = Pages::new();
    for row in &rows {
        let [space, page, dirty] = row.as_slice() else {
            anyhow::bail!("INNODB_BUFFER_PAGE gave a row of {} values", row.len())
        };
        let page = Resident { space: number(space)?, page: number(page)?, dirty: dirty == "1" };
        ensure!(pages.insert(page), "INNODB_BUFFER_PAGE has {page:?} twice");
    }
    Ok(pages)
}

fn number(text: &str) -> Result<u32> {
    text.parse().with_context(|| format!("`{text}` is no page or space number"))
}
