//! Compares the storage's bytes with the source's hashes, and installs the pages that match.

use crate::channel::{NotInstalled, SetRange};
use crate::dest::controller::{Counters, Fate, InstallTrouble, Job, SettledPages, Verified};
use crate::dest::memory::{InstallOutcome, PAGE, Target};
use crate::page_hash::hash_pages;

/// The job's pages, verified with the bytes `read` and installed: an answer for every page.
///
/// The bytes are ours alone, so what is hashed is what is installed. `stopped` is checked before each
/// installation.
pub(super) fn verify(
    job: &Job,
    read: &[u8],
    target: &Target,
    stopped: impl Fn() -> bool,
) -> Verified {
    let Verified { mut answers, mut counters } = Verified::default();
    let mut matches = matches(job, read).into_iter();
    for piece in &job.request.pieces {
        let from = usize::try_from(piece.at).unwrap_or(usize::MAX);
        let mut page = 0;
        let matches: Vec<_> = matches.by_ref().take(piece.pages as usize).collect();
        for stretch in matches.chunk_by(|one, next| one == next) {
            let pages = u32::try_from(stretch.len()).unwrap_or(u32::MAX);
            let first = piece.first.0 + page;
            let range = SetRange { first, count: pages };
            let start = from + page as usize * PAGE;
            let mut give_up = |reason| {
                counters.not_installed += u64::from(pages);
                answers.push((Fate::NotInstalled(reason), range));
            };
            match stretch[0] {
                // The storage ended before them.
                None => give_up(NotInstalled::ReadFailed),
                Some(false) => give_up(NotInstalled::Differs),
                Some(true) if stopped() => give_up(NotInstalled::TooLate),
                Some(true) => {
                    let offset = piece.offset + u64::from(page) * PAGE as u64;
                    let bytes = &read[start..start + stretch.len() * PAGE];
                    install(target, piece.block, offset, bytes, first, &mut counters, &mut answers);
                }
            }
            page += pages;
        }
    }
    Verified { answers, counters }
}

/// By page of the job: whether what was read has its hash; `None` where nothing was read. What is hashed is what the
/// caller installs.
fn matches(job: &Job, read: &[u8]) -> Vec<Option<bool>> {
    let mut pages = Vec::with_capacity(job.hashes.len());
    for piece in &job.request.pieces {
        let from = usize::try_from(piece.at).unwrap_or(usize::MAX);
        let page = |number: usize| read.get(from.checked_add(number * PAGE)?..)?.first_chunk();
        pages.extend((0..piece.pages as usize).map(page));
    }
    let mut found = Vec::with_capacity(pages.len());
    hash_pages(pages.iter().copied().flatten(), &mut found);
    let mut found = found.into_iter();
    let verdict = |(number, page): (usize, Option<_>)| {
        page.and_then(|_: &[u8; PAGE]| Some(found.next()? == *job.hashes.get(number)?))
    };
    pages.into_iter().enumerate().map(verdict).collect()
}

fn install(
    target: &Target,
    block: u16,
    offset: u64,
    bytes: &[u8],
    mut first: u32,
    counters: &mut Counters,
    answers: &mut Vec<SettledPages>,
) {
    target.install(block, offset, bytes, |installed, count| {
        let range = SetRange { first, count };
        first += count;
        let fate = match installed {
            InstallOutcome::Installed => {
                counters.installed += u64::from(count);
                Fate::Installed
            }
            InstallOutcome::AlreadyPresent => {
                counters.already_present += u64::from(count);
                Fate::Installed
            }
            InstallOutcome::Failed(error) => {
                counters.not_installed += u64::from(count);
                counters.warn(&InstallTrouble::InstallFailed(error.into()));
                Fate::NotInstalled(NotInstalled::InstallFailed)
            }
        };
        answers.push((fate, range));
    });
}
