//! Holds bytes of the storage against the source's hashes, and installs those that are equal.

use rustix::io::Errno;

use super::install::{PAGE, Placed, Target};
use super::queue::Job;
use super::tally::Tally;
use crate::channel::{NotPlaced, PageRange};
use crate::page_hash::hash_pages;

/// What became of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is there: installed, or delivered by QEMU.
    Placed,
    /// It is not, and must travel by network.
    NotPlaced(NotPlaced),
}

/// What became of some pages.
pub type Answer = (Fate, PageRange);

/// The job's pages, proven with the bytes `read` and installed; an answer for every page.
///
/// The bytes are ours alone, so what is hashed is what is installed. `stopped` is asked before each
/// installation.
pub(super) fn prove(
    job: &Job,
    read: &[u8],
    target: &Target,
    tally: &Tally,
    stopped: impl Fn() -> bool,
) -> Vec<Answer> {
    let mut answers = Vec::new();
    let mut verdicts = verdicts(job, read).into_iter();
    for piece in &job.request.pieces {
        let from = usize::try_from(piece.at).unwrap_or(usize::MAX);
        let mut page = 0;
        let verdicts: Vec<_> = verdicts.by_ref().take(piece.pages as usize).collect();
        for stretch in verdicts.chunk_by(|one, next| one == next) {
            let pages = u32::try_from(stretch.len()).unwrap_or(u32::MAX);
            let first = piece.first.0 + page;
            let range = PageRange { first, count: pages };
            let start = from + page as usize * PAGE;
            let mut give_up = |reason| {
                tally.not_placed(pages);
                answers.push((Fate::NotPlaced(reason), range));
            };
            match stretch[0] {
                // The storage ended before them.
                None => give_up(NotPlaced::ReadFailed),
                Some(false) => give_up(NotPlaced::Differs),
                Some(true) if stopped() => give_up(NotPlaced::TooLate),
                Some(true) => {
                    let offset = piece.offset + u64::from(page) * PAGE as u64;
                    let bytes = &read[start..start + stretch.len() * PAGE];
                    install(target, piece.block, offset, bytes, first, tally, &mut answers);
                }
            }
            page += pages;
        }
    }
    answers
}

/// By page of the job: whether what was read has its hash; `None` where nothing was read. What is hashed is what the
/// caller installs.
fn verdicts(job: &Job, read: &[u8]) -> Vec<Option<bool>> {
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
    tally: &Tally,
    answers: &mut Vec<Answer>,
) {
    target.place(block, offset, bytes, |placed, count| {
        let range = PageRange { first, count };
        first += count;
        let fate = match placed {
            Placed::Installed => {
                tally.installed(count);
                Fate::Placed
            }
            Placed::Delivered => {
                tally.delivered(count);
                Fate::Placed
            }
            Placed::Failed(error) => {
                tally.not_placed(count);
                tally.remark(failure(error));
                Fate::NotPlaced(NotPlaced::InstallFailed)
            }
        };
        answers.push((fate, range));
    });
}

fn failure(error: Errno) -> String {
    let error = std::io::Error::from(error);
    format!("failed to install a page in the guest's RAM: {error}")
}
