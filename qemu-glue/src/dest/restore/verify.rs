//! Holds bytes of the storage against the source's hashes, and installs those that are equal.

use rustix::io::Errno;

use crate::channel::{NotPlaced, PageRange};
use crate::dest::controller::{Answer, Counts, Fate, Job, Proof};
use crate::dest::memory::{PAGE, Placed, Target};
use crate::page_hash::hash_pages;

/// The job's pages, proven with the bytes `read` and installed: an answer for every page.
///
/// The bytes are ours alone, so what is hashed is what is installed. `stopped` is asked before each
/// installation.
pub(super) fn prove(job: &Job, read: &[u8], target: &Target, stopped: impl Fn() -> bool) -> Proof {
    let Proof { mut answers, mut counts } = Proof::default();
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
                counts.not_placed += u64::from(pages);
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
                    install(target, piece.block, offset, bytes, first, &mut counts, &mut answers);
                }
            }
            page += pages;
        }
    }
    Proof { answers, counts }
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
    counts: &mut Counts,
    answers: &mut Vec<Answer>,
) {
    target.place(block, offset, bytes, |placed, count| {
        let range = PageRange { first, count };
        first += count;
        let fate = match placed {
            Placed::Installed => {
                counts.installed += u64::from(count);
                Fate::Placed
            }
            Placed::Delivered => {
                counts.delivered += u64::from(count);
                Fate::Placed
            }
            Placed::Failed(error) => {
                counts.not_placed += u64::from(count);
                counts.warn(failure(error));
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
