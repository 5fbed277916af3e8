//! Made-up descriptors of both families: what a field means is data.

use symbols::Profile;
use symbols::profile::{CleanRule, Condition, Field, Io, Op, States};
use symbols::role::FieldRole;

use super::*;
use crate::field_layout::FieldLayout;
use crate::pool_map::{Chunk, PoolMap};
use crate::scan::scan;

fn mysql() -> Profile {
    let text = include_str!("../../../symbols/profiles/mysql-9.7.4-debian-amd64.json");
    Profile::from_json(text.as_bytes()).unwrap()
}

/// MariaDB 10.11.12 and later: one word has state, I/O and fix count in ranges, another space and page, and a page
/// that was written stays on the flush list with an LSN of 1.
fn mariadb() -> Profile {
    let mut profile = mysql();
    let mut place = |role, offset, size| {
        profile.fields.insert(role, Field { path: "buf_page_t".into(), offset, size, bits: None });
    };
    place(FieldRole::BlockState, 0x44, 4);
    place(FieldRole::BlockOldestLsn, 0x10, 8);
    place(FieldRole::BlockLatch, 0x18, 4);
    place(FieldRole::BlockZipData, 0x38, 8);
    place(FieldRole::BlockFrame, 0x30, 8);
    place(FieldRole::BlockId, 0, 8);
    profile.fields.remove(&FieldRole::BlockPage);
    profile.fields.remove(&FieldRole::BlockSpace);
    let states = |first, last, holds| States { mask: None, first, last, holds };
    // The low 29 bits count users.
    let in_use = Some(0xe000_0000);
    profile.states = vec![
        states(0, 0, PageState::Free),
        states(1, 1, PageState::Memory),
        states(2, 2, PageState::Evicting),
        states(3, 0x1fff_ffff, PageState::Page),
        States { mask: in_use, ..states(0x2000_0000, 0xe000_0000, PageState::Page) },
    ];
    let within = |first, last| Condition {
        field: FieldRole::BlockState,
        op: Op::Within,
        value: first,
        last: Some(last),
        mask: None,
    };
    let compared = |field, op, value| Condition { field, op, value, last: None, mask: None };
    let rule = |condition, reason| CleanRule { condition, reason };
    profile.rules = vec![
        rule(compared(FieldRole::BlockZipData, Op::Eq, 0), RuleReason::Compressed),
        rule(within(0x2000_0000, 0xffff_ffff), RuleReason::Freed),
        rule(within(3, 0x7fff_ffff), RuleReason::Io),
        rule(compared(FieldRole::BlockOldestLsn, Op::Le, 1), RuleReason::Dirty),
        rule(compared(FieldRole::BlockLatch, Op::Eq, 0), RuleReason::Latched),
    ];
    profile.io = Some(Io {
        reading: within(0x8000_0000, 0x9fff_ffff),
        writing: within(0xa000_0000, 0xffff_ffff),
    });
    profile
}

/// What is said of descriptors that have these values at these places; their frames are at 0.
fn classes(profile: &Profile, blocks: &[&[(usize, u64, usize)]]) -> Vec<(Class, Option<Resident>)> {
    let layout = FieldLayout::compile(profile).unwrap();
    let stride = layout.block.stride;
    let mut bytes = vec![0_u8; stride * blocks.len()];
    for (descriptor, values) in bytes.chunks_exact_mut(stride).zip(blocks) {
        for (at, value, size) in *values {
            descriptor[*at..at + size].copy_from_slice(&value.to_le_bytes()[..*size]);
        }
    }
    let chunk = Chunk {
        descriptors: ServerAddr(bytes.as_ptr().addr() as u64),
        frames: ServerAddr(0),
        blocks: u32::try_from(blocks.len()).unwrap(),
        first: 0,
        instance: 0,
    };
    let pool_map = PoolMap { page_size: 0, pools: Vec::new(), chunks: vec![chunk] };
    let mut found = Vec::new();
    scan(Memory::of(std::process::id()), &layout, &pool_map, |block| {
        let class = described(&block);
        found.push((class, expected(&block, &class)));
    })
    .unwrap();
    found
}

fn entry(state: u32, space: u32, page: u32) -> Resident {
    Resident { state, space, page }
}

/// A page by its state, by what speaks against it, and by what the table must say.
fn page(
    state: State,
    reason: Option<Reason>,
    entry: Option<Resident>,
) -> (Class, Option<Resident>) {
    (Class { state, reason }, entry)
}

#[test]
fn descriptors_of_mysql_are_classified() {
    let id = [(0, 7, 4), (4, 9, 4)];
    let of = |state: u64, more: &[(usize, u64, usize)]| {
        [&id[..], &[(0x15, state, 1), (0x88, 0x2000_0000, 4)], more].concat()
    };
    let (zip, oldest, io, fixed) = ((0x50, 1, 8), (0x38, 5, 8), 0x14, (0x10, 1, 4));
    let blocks = [
        of(5, &[]),
        of(5, &[oldest]),
        of(5, &[oldest, (io, 2, 1)]),
        of(5, &[(io, 1, 1)]),
        of(5, &[zip, oldest]),
        of(5, &[fixed]),
        of(5, &[oldest, fixed]),
        of(5, &[(0x88, 0x1000_0000, 4)]),
        of(5, &[(0x100, 64, 8)]),
        of(3, &[]),
        of(6, &[]),
        of(7, &[]),
        of(1, &[]),
        of(9, &[]),
    ];
    let blocks: Vec<&[_]> = blocks.iter().map(Vec::as_slice).collect();
    let rule = |reason| Some(Reason::Rule(reason));
    let (clean, dirty) = (Some(entry(state::CLEAN, 7, 9)), Some(entry(state::DIRTY, 7, 9)));
    let no_page = |state, entry| page(state, Some(Reason::State(state)), entry);
    let free = Some(Resident::FREE);
    let wanted = [
        page(State::Clean, None, clean),
        page(State::Dirty, rule(RuleReason::Dirty), dirty),
        page(State::Io, rule(RuleReason::Io), dirty),
        page(State::Io, rule(RuleReason::Io), None),
        page(State::Dirty, rule(RuleReason::Compressed), None),
        page(State::Clean, rule(RuleReason::Fixed), clean),
        page(State::Dirty, rule(RuleReason::Dirty), dirty),
        page(State::Clean, rule(RuleReason::Latched), clean),
        page(State::Clean, Some(Reason::FrameElsewhere), clean),
        no_page(State::Free, free),
        no_page(State::Memory, free),
        no_page(State::Evicting, None),
        no_page(State::NoFrame, free),
        no_page(State::Unknown, free),
    ];
    for (number, (found, wanted)) in classes(&mysql(), &blocks).iter().zip(&wanted).enumerate() {
        assert_eq!(found, wanted, "block {number}");
    }
}

/// A server that leaves written pages on its flush list for a while marks them by an LSN of 1 (MariaDB 10.5 on): what
/// is dirty, and what a state word says, is for its definition to say.
#[test]
fn descriptors_of_mariadb_are_classified() {
    let of = |state: u64, more: &[(usize, u64, usize)]| {
        [&[(0, 9, 4), (4, 7, 4), (0x44, state, 4)], more].concat()
    };
    let (written, oldest, latched) = ((0x10, 1, 8), (0x10, 2, 8), (0x18, 0x8000_0001, 4));
    let blocks = [
        of(0x2000_0000, &[]),
        of(0x2000_0003, &[written]),
        of(0x4000_0000, &[written]),
        of(0x6000_0000, &[oldest]),
        of(0x2000_0000, &[written, latched]),
        of(0xa000_0001, &[oldest, latched]),
        of(0x8000_0001, &[latched]),
        of(5, &[written]),
        of(0, &[]),
        of(1, &[]),
        of(2, &[]),
    ];
    let blocks: Vec<&[_]> = blocks.iter().map(Vec::as_slice).collect();
    let rule = |reason| Some(Reason::Rule(reason));
    let (clean, dirty) = (Some(entry(state::CLEAN, 7, 9)), Some(entry(state::DIRTY, 7, 9)));
    let no_page = |state, entry| page(state, Some(Reason::State(state)), entry);
    let wanted = [
        page(State::Clean, None, clean),
        page(State::Clean, None, clean),
        page(State::Clean, None, clean),
        page(State::Dirty, rule(RuleReason::Dirty), dirty),
        page(State::Clean, rule(RuleReason::Latched), clean),
        page(State::Io, rule(RuleReason::Io), dirty),
        page(State::Io, rule(RuleReason::Io), None),
        page(State::Clean, rule(RuleReason::Freed), clean),
        no_page(State::Free, Some(Resident::FREE)),
        no_page(State::Memory, Some(Resident::FREE)),
        no_page(State::Evicting, None),
    ];
    for (number, (found, wanted)) in classes(&mariadb(), &blocks).iter().zip(&wanted).enumerate() {
        assert_eq!(found, wanted, "block {number}");
    }
}

#[test]
fn only_contradictions_differ() {
    let clean = entry(state::CLEAN, 5, 7);
    assert_eq!(compare(&clean, &clean), Agreement::Agrees);
    assert_eq!(compare(&clean, &entry(state::DIRTY, 5, 7)), Agreement::Detached);
    assert_eq!(compare(&entry(state::DIRTY, 5, 7), &clean), Agreement::Differs);
    assert_eq!(compare(&clean, &entry(state::CLEAN, 5, 8)), Agreement::Differs);
    assert_eq!(compare(&clean, &entry(state::FREE, 5, 7)), Agreement::Differs);
    assert_eq!(compare(&Resident::FREE, &clean), Agreement::Differs);
    assert_eq!(compare(&Resident::FREE, &entry(state::UNSEEN, 0, 0)), Agreement::Agrees);
    let left = entry(state::FREE, 9, 9);
    assert_eq!(compare(&Resident::FREE, &left), Agreement::Agrees, "what left does not matter");
}

#[test]
fn what_the_table_says_and_what_the_map_shows_follow_from_the_class() {
    let cell = |state| recorded(&entry(state, 1, 2)).cell();
    assert_eq!(
        [state::UNSEEN, state::FREE, state::CLEAN, state::DIRTY].map(cell),
        [Cell::Free, Cell::Free, Cell::Clean, Cell::Dirty]
    );
    let stale = Class { state: State::Clean, reason: None }.or(Some(Reason::Stale));
    assert_eq!(stale.cell(), Cell::Ineligible);
    assert_eq!(stale.or(Some(Reason::Detached)).reason, Some(Reason::Stale), "the first counts");
}
