//! Pools in memory of this process, beside what their server would say of them.

use symbols::Profile;
use symbols::profile::Field;
use symbols::role::{FieldRole, SizeRole};

use super::*;
use crate::memory::ServerAddr;
use crate::pool_map::Chunk;

const PAGE: usize = 4096;
const BLOCKS: usize = 500;
/// `buf_page_t::state` of MySQL 9.7.4.
const FREE: u8 = 3;
const FILE_PAGE: u8 = 5;

/// A pool of one chunk, and the lengths of its lists.
struct Pool {
    layout: FieldLayout,
    descriptors: Vec<u8>,
    frames: Vec<u8>,
    /// The object of the tablespace that all pages are of.
    tablespace: Vec<u8>,
    /// Where a tablespace has its id, and a descriptor the version of its tablespace.
    id_offset: u64,
    version_offset: u64,
    /// Of the list by use, of free blocks, of pages with unwritten changes.
    lengths: [u64; 3],
}

impl Pool {
    /// `pages` clean pages, the rest free, and lists as they are then.
    fn with(pages: usize) -> Self {
        let text = include_str!("../../../symbols/profiles/mysql-9.7.4-debian-amd64.json");
        let mut profile = Profile::from_json(text.as_bytes()).unwrap();
        let lists = [FieldRole::PoolLruCount, FieldRole::PoolFreeCount, FieldRole::PoolFlushCount];
        for (number, role) in (0..).zip(lists) {
            let path = role.name().to_owned();
            profile.fields.insert(role, Field { path, offset: number * 8, size: 8, bits: None });
        }
        let most = profile.sizes[&SizeRole::Pool];
        assert!(most > 24);
        let layout = FieldLayout::compile(&profile).unwrap();
        let stride = layout.block.stride;
        let at = |role| usize::try_from(profile.fields[&role].offset).unwrap();
        let mut tablespace = vec![0; 4096];
        for (role, value) in [(FieldRole::SpaceId, 7_u32), (FieldRole::SpaceVersion, 3)] {
            tablespace[at(role)..at(role) + 4].copy_from_slice(&value.to_le_bytes());
        }
        let mut pool = Self {
            tablespace,
            id_offset: profile.fields[&FieldRole::SpaceId].offset,
            version_offset: profile.fields[&FieldRole::BlockSpaceVersion].offset,
            descriptors: vec![0; stride * BLOCKS],
            frames: vec![0; PAGE * BLOCKS],
            layout,
            lengths: [pages as u64, (BLOCKS - pages) as u64, 0],
        };
        for block in 0..BLOCKS {
            let frame = pool.frames.as_ptr().addr() + block * PAGE;
            pool.set(block, 0x100, &frame.to_le_bytes());
            pool.set(block, 0x88, &0x2000_0000_u32.to_le_bytes());
            pool.set(block, 0x15, &[if block < pages { FILE_PAGE } else { FREE }]);
            if block < pages {
                let page = u32::try_from(block).unwrap();
                pool.set(block, 0, &7_u32.to_le_bytes());
                pool.set(block, 4, &page.to_le_bytes());
                let object = pool.tablespace.as_ptr().addr();
                pool.set(block, at(FieldRole::BlockSpacePtr), &object.to_le_bytes());
                pool.set(block, at(FieldRole::BlockSpaceVersion), &3_u32.to_le_bytes());
                pool.frames[block * PAGE + 4..][..4].copy_from_slice(&page.to_be_bytes());
                pool.frames[block * PAGE + 34..][..4].copy_from_slice(&7_u32.to_be_bytes());
            }
        }
        pool
    }

    fn set(&mut self, block: usize, at: usize, bytes: &[u8]) {
        let at = block * self.layout.block.stride + at;
        self.descriptors[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes the first pages dirty; the list does not learn of it.
    fn dirty(&mut self, pages: usize) {
        for block in 0..pages {
            self.set(block, 0x38, &99_u64.to_le_bytes());
        }
    }

    fn validate(&self) -> Result<Validation, ValidationError> {
        let addr = |bytes: *const u8| ServerAddr(bytes.addr() as u64);
        let chunk = Chunk {
            descriptors: addr(self.descriptors.as_ptr()),
            frames: addr(self.frames.as_ptr()),
            blocks: u32::try_from(BLOCKS).unwrap(),
            first: 0,
            instance: 0,
        };
        let pools = vec![addr(self.lengths.as_ptr().cast())];
        let pool_map = PoolMap { page_size: 4096, pools, chunks: vec![chunk] };
        validate(Memory::of(std::process::id()), &self.layout, &pool_map)
    }

    #[track_caller]
    fn assert_refused(&self, what: &str) {
        let error = self.validate().unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(error.hint().is_some());
    }
}

#[test]
fn a_pool_that_agrees_is_believed() {
    let mut pool = Pool::with(300);
    assert_eq!(pool.validate().unwrap(), Validation { compared: 300, wrong: 0 });
    pool.dirty(100);
    pool.lengths[2] = 100;
    assert_eq!(pool.validate().unwrap().compared, 300, "dirty pages have their identity too");
    // Blocks on their way.
    pool.lengths = [310, 190, 90];
    assert!(pool.validate().is_ok());
}

/// After a restart all pages may be dirty.
#[test]
fn a_pool_without_a_clean_page_is_believed() {
    let mut pool = Pool::with(40);
    pool.dirty(40);
    pool.lengths[2] = 40;
    assert_eq!(pool.validate().unwrap(), Validation { compared: 40, wrong: 0 });
    assert!(matches!(Pool::with(0).validate(), Err(ValidationError::Empty)));
}

#[test]
fn lists_of_another_length_are_not() {
    let mut pool = Pool::with(300);
    pool.lengths[1] = 100;
    pool.assert_refused("200 blocks are free, and the server's list of them has 100");
    pool.lengths = [200, 200, 0];
    pool.assert_refused("300 blocks are pages, and the server's list of them has 200");
    pool.lengths = [300, 200, 100];
    pool.assert_refused("0 blocks are dirty, and the server's list of them has 100");
    // Compressed pages without a frame are on both lists, and in no block.
    pool.lengths = [400, 200, 100];
    assert!(pool.validate().is_ok());
    pool.dirty(200);
    pool.assert_refused("200 blocks are dirty, and the server's list of them has 100");
}

#[test]
fn a_pool_of_no_tablespace_is_not() {
    let mut pool = Pool::with(300);
    let id = usize::try_from(pool.id_offset).unwrap();
    pool.tablespace[id] ^= 1;
    pool.assert_refused("0 of 300 pages point to their tablespace");
}

/// Pages stay in the pool until their frames are wanted.
#[test]
fn a_pool_of_dropped_tables_is_believed() {
    let mut pool = Pool::with(300);
    let version = usize::try_from(pool.version_offset).unwrap();
    for block in 0..300 {
        pool.set(block, version, &2_u32.to_le_bytes());
    }
    assert!(pool.validate().is_ok());
}

/// As MariaDB makes one: descriptors of zeros, which are free blocks without a frame, and lists that are not filled yet.
#[test]
fn a_pool_that_is_being_made_is_waited_for() {
    let mut pool = Pool::with(0);
    for block in 250..BLOCKS {
        pool.set(block, 0x100, &0_u64.to_le_bytes());
    }
    pool.lengths = [0, 250, 0];
    assert!(matches!(pool.validate(), Err(ValidationError::Empty)));
}

#[test]
fn changes_that_are_addresses_are_not() {
    let mut pool = Pool::with(300);
    pool.lengths[2] = 100;
    let first = pool.descriptors.as_ptr().addr() as u64;
    for block in 0..100 {
        let lsn = if block < 60 { first + block as u64 * 64 } else { 99 };
        pool.set(block, 0x38, &lsn.to_le_bytes());
    }
    pool.assert_refused("60 of 100 LSNs of changes are addresses");
}

#[test]
fn lengths_that_are_addresses_are_not() {
    let mut pool = Pool::with(300);
    pool.lengths[0] = 0x7f12_3456_7890;
    pool.assert_refused("300 blocks are pages");
}

#[test]
fn frames_elsewhere_are_not() {
    let mut pool = Pool::with(300);
    for block in 400..410 {
        pool.set(block, 0x100, &4096_u64.to_le_bytes());
    }
    pool.assert_refused("the frames of 10 of 500 blocks are not where they must be");
}

#[test]
fn states_that_nobody_knows_are_not() {
    let mut pool = Pool::with(300);
    for block in 0..10 {
        pool.set(block, 0x15, &[99]);
    }
    pool.assert_refused("10 of 500 blocks are in no known state");
}

#[test]
fn frames_with_other_pages_are_not() {
    let mut pool = Pool::with(300);
    for block in 0..10 {
        pool.frames[block * PAGE + 4] ^= 1;
    }
    pool.assert_refused("10 of 300 descriptors disagree");
}
