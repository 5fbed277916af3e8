//! Pools in memory of this process.

use symbols::addr::LinkAddr;
use symbols::profile::{BlockTopology, Field, Global, Topology};
use symbols::role::{FieldRole, SizeRole};

use super::*;

fn mysql() -> Profile {
    let text = include_str!("../../../symbols/profiles/mysql-9.7.4-debian-amd64.json");
    Profile::from_json(text.as_bytes()).unwrap()
}

/// Words of 8 bytes that a made-up server has somewhere.
struct Words(Vec<u64>);

impl Words {
    fn addr(&self) -> u64 {
        self.0.as_ptr().addr() as u64
    }
}

/// A profile of a server whose globals and fields of the pool, all words, lie here.
fn made_up(
    topology: Topology,
    globals: &[(GlobalRole, u64)],
    fields: &[(FieldRole, u64)],
) -> Profile {
    let mut profile = mysql();
    profile.topology = topology;
    profile.globals = globals
        .iter()
        .map(|(role, addr)| {
            let name = role.name().to_owned();
            (*role, Global { name, addr: LinkAddr(*addr), size: 8 })
        })
        .collect();
    profile.fields.retain(|role, _| !role.name().starts_with("pool."));
    for (role, word) in fields {
        let path = role.name().to_owned();
        let field = Field { path, offset: word * 8, size: 8, bits: None };
        profile.fields.insert(*role, field);
    }
    profile.sizes.insert(SizeRole::Pool, 32);
    profile
}

fn read(profile: &Profile) -> Result<PoolMap, PoolMapError> {
    let layout = FieldLayout::compile(profile).unwrap();
    PoolMap::read(profile, &layout, Memory::of(std::process::id()), LoadBias(0))
}

/// One static pool, its blocks in extents (MariaDB since 10.11.12, 11.4.6 and 11.8.2).
#[test]
fn one_static_pool_with_extents_is_read() {
    let page_size = Words(vec![4096]);
    let (memory, extent, blocks) = (1_u64 << 40, 1 << 20, 600);
    let mut pool = Words(vec![memory, blocks, 0, 0]);
    let topology = Topology { pools: Pools::Object, blocks: BlockTopology::Extents(extent) };
    let globals = [(GlobalRole::PageSize, page_size.addr()), (GlobalRole::Pool, pool.addr())];
    let fields =
        [(FieldRole::PoolMemory, 0), (FieldRole::PoolNBlocks, 1), (FieldRole::PoolWithdraw, 2)];
    let profile = made_up(topology, &globals, &fields);
    let pool_map = read(&profile).unwrap();
    // 2^20 / (4096 + 368) = 234 blocks, so 22 pages of descriptors before the first frame.
    let chunk = |at: u64, blocks, first| Chunk {
        descriptors: ServerAddr(memory + at * extent),
        frames: ServerAddr(memory + at * extent + 22 * 4096),
        blocks,
        first,
        instance: 0,
    };
    assert_eq!(pool_map.chunks, [chunk(0, 234, 0), chunk(1, 234, 234), chunk(2, 132, 468)]);
    assert_eq!((pool_map.instances(), pool_map.blocks()), (1, 600));
    assert_eq!(pool_map.frame(467), Some(ServerAddr(memory + 2 * extent - 4096)), "the last");
    pool.0[2] = 7;
    assert!(matches!(read(&profile), Err(PoolMapError::Resizing)));
    (pool.0[1], pool.0[2]) = (0, 0);
    assert!(matches!(read(&profile), Err(PoolMapError::NotYet)));
    pool.0[1] = 1 << 40;
    assert!(matches!(read(&profile), Err(PoolMapError::Absurd { .. })));
}

/// The tables that the server computes for its page sizes, with descriptors of 160 bytes (10.11.18) and 152 (11.8.9).
#[test]
fn extents_hold_what_the_server_computes() {
    let extents = |stride, page_size| {
        let extents = Extents::new(8 << 20, page_size, stride).unwrap();
        (extents.blocks, extents.first_frame)
    };
    let sizes = [4096, 8192, 16384, 32768, 65536];
    assert_eq!(
        sizes.map(|size| extents(160, size)),
        [(1971, 315_392), (1004, 163_840), (507, 81_920), (254, 65_536), (127, 65_536)]
    );
    assert_eq!(
        sizes.map(|size| extents(152, size)),
        [(1974, 303_104), (1005, 155_648), (507, 81_920), (254, 65_536), (127, 65_536)]
    );
    assert!(Extents::new(4096, 4096, 160).is_err());
}

/// One static pool with chunks (MariaDB before), and an array of pools with chunks (MySQL).
#[test]
fn pools_with_chunks_are_read() {
    let page_size = Words(vec![16384]);
    let profile = mysql();
    let slot = |role| usize::try_from(profile.fields[&role].offset / 8).unwrap();
    let frame = profile.fields[&FieldRole::BlockFrame].offset / 8;
    // The first descriptor of each chunk says where its frames are.
    let descriptors = |frames| {
        let mut words = vec![0; 64];
        words[usize::try_from(frame).unwrap()] = frames;
        Words(words)
    };
    let (one, other) = (descriptors(1 << 40), descriptors(1 << 41));
    let size = usize::try_from(profile.sizes[&SizeRole::Chunk] / 8).unwrap();
    let mut chunks = Words(vec![0; 2 * size]);
    for (chunk, (descriptors, blocks)) in [(&one, 10), (&other, 20)].into_iter().enumerate() {
        chunks.0[chunk * size + slot(FieldRole::ChunkBlocks)] = descriptors.addr();
        chunks.0[chunk * size + slot(FieldRole::ChunkSize)] = blocks;
    }
    let second = chunks.addr() + 8 * size as u64;
    let fields = [(FieldRole::PoolNChunks, 0), (FieldRole::PoolChunks, 1)];
    let chunk = |descriptors: &Words, frames, blocks, first, instance| Chunk {
        descriptors: ServerAddr(descriptors.addr()),
        frames: ServerAddr(frames),
        blocks,
        first,
        instance,
    };

    let pool = Words(vec![2, chunks.addr(), 0, 0]);
    let globals = [(GlobalRole::PageSize, page_size.addr()), (GlobalRole::Pool, pool.addr())];
    let topology = Topology { pools: Pools::Object, blocks: BlockTopology::Chunks };
    let pool_map = read(&made_up(topology, &globals, &fields)).unwrap();
    let wanted = [chunk(&one, 1 << 40, 10, 0, 0), chunk(&other, 1 << 41, 20, 10, 0)];
    assert_eq!(pool_map.chunks, wanted);

    let pools = Words(vec![1, chunks.addr(), 0, 0, 1, second, 0, 0]);
    let (pointer, instances) = (Words(vec![pools.addr()]), Words(vec![2]));
    let globals = [
        (GlobalRole::PageSize, page_size.addr()),
        (GlobalRole::Pool, pointer.addr()),
        (GlobalRole::Instances, instances.addr()),
    ];
    let topology = Topology { pools: Pools::Array, blocks: BlockTopology::Chunks };
    let pool_map = read(&made_up(topology, &globals, &fields)).unwrap();
    let wanted = [chunk(&one, 1 << 40, 10, 0, 0), chunk(&other, 1 << 41, 20, 10, 1)];
    assert_eq!((pool_map.chunks.as_slice(), pool_map.instances()), (&wanted[..], 2));
}

#[test]
fn a_pool_that_no_machine_holds_is_absurd() {
    let text = include_str!("../../../symbols/profiles/mysql-9.7.4-debian-amd64.json");
    let layout = FieldLayout::compile(&Profile::from_json(text.as_bytes()).unwrap()).unwrap();
    let (descriptors, frames) = (ServerAddr(1 << 40), ServerAddr(1 << 41));
    let pool = |blocks| {
        let chunk = Chunk { descriptors, frames, blocks, first: 0, instance: 0 };
        PoolMap { page_size: 16384, pools: Vec::new(), chunks: vec![chunk] }
    };
    let machine = 1 << 30;
    pool(4 * 65536).fits(&layout, machine).unwrap();
    let error = pool(4 * 65536 + 1).fits(&layout, machine).unwrap_err();
    assert!(matches!(error, PoolMapError::Absurd { .. }), "{error}");
    // The most that a chunk may state: 16 TiB, for which the kernel's table would take 16 GiB.
    assert!(pool(1 << 30).fits(&layout, 64 << 30).is_err());
    assert!(machine_bytes() > 64 << 20, "{}", machine_bytes());
}
