//! Profiles that are wrong by a little, on the living server: each must be refused before anything is believed.

use std::collections::BTreeMap;

use symbols::profile::Profile;
use symbols::role::FieldRole;
use test_servers::{Config, Release};
use userspace::field_layout::FieldLayout;
use userspace::pool_map::PoolMap;
use userspace::server::Server as Observed;
use userspace::validation::validate;

use crate::lab::{open, warm};

/// By how many bytes offsets, sizes and addresses are shifted.
const SHIFTS: [i64; 4] = [-8, -4, 4, 8];

/// What a pool at rest does not tell, and why it does no harm until an event tells it.
const NOT_AT_REST: [(&str, &str); 17] = [
    (
        "field block.latch",
        "0 while nobody holds it; the audit finds a page that is changed without a word of it",
    ),
    ("field block.fix_count", "0 while nobody uses the page; likewise"),
    ("field block.io_fix", "0 but for a page in transit, which the events tell"),
    (
        "field block.zip_data",
        "0 where no table is compressed; each page is verified at the destination",
    ),
    (
        "field block.newest_lsn",
        "asked only where there are no events, and then beside the page's own",
    ),
    (
        "field block.space_version",
        "0 until a tablespace is truncated; each page is verified at the destination",
    ),
    ("field space.version", "likewise"),
    (
        "field block.oldest_lsn",
        "MySQL, -4: half of the newest change beside it, which is 0 up to 4 GiB of log: dirty pages then",
    ),
    ("field space.deleted", "0 but while a table is dropped, whose version changes then"),
    ("field space.flags", "recorded only"),
    ("field chunk.mem", "recorded only"),
    ("size page", "recorded only"),
    ("size pool", "not used where there is one pool"),
    ("global flush_method", "recorded only"),
    ("global page_size_shift", "recorded only"),
    ("global resizing", "0 but during a resize, at whose end the pool map is another"),
    ("field pool.withdraw", "likewise"),
];

/// States of which no block may be: their bounds are what the values of the others leave.
fn is_bound_of_a_state(what: &str) -> bool {
    what.starts_with("state ")
}

/// A profile with one number changed.
struct Mutant {
    what: String,
    shift: String,
    profile: Profile,
}

/// Adds a mutant where the change is possible.
fn add(
    list: &mut Vec<Mutant>,
    right: &Profile,
    what: String,
    shift: i64,
    change: impl FnOnce(&mut Profile) -> Option<()>,
) {
    let mut profile = right.clone();
    if change(&mut profile).is_some() && profile != *right {
        list.push(Mutant { what, shift: format!("{shift:+}"), profile });
    }
}

/// Every offset, size, variable and bound of a state, shifted.
fn mutants(right: &Profile) -> Vec<Mutant> {
    let mut list = Vec::new();
    for shift in SHIFTS {
        for role in right.fields.keys() {
            add(&mut list, right, format!("field {role}"), shift, |profile| {
                let field = profile.fields.get_mut(role)?;
                field.offset = field.offset.checked_add_signed(shift)?;
                Some(())
            });
        }
        for role in right.sizes.keys() {
            add(&mut list, right, format!("size {role}"), shift, |profile| {
                let size = profile.sizes.get_mut(role)?;
                *size = size.checked_add_signed(shift)?;
                Some(())
            });
        }
        for role in right.globals.keys() {
            add(&mut list, right, format!("global {role}"), shift, |profile| {
                let addr = &mut profile.globals.get_mut(role)?.addr.0;
                *addr = addr.checked_add_signed(shift)?;
                Some(())
            });
        }
    }
    for shift in [-1, 1] {
        for index in 0..right.states.len() {
            let holds = right.states[index].holds;
            add(&mut list, right, format!("state {index} ({holds:?}), first"), shift, |profile| {
                let states = &mut profile.states[index];
                states.first = states.first.checked_add_signed(shift)?;
                (states.first <= states.last).then_some(())
            });
            add(&mut list, right, format!("state {index} ({holds:?}), last"), shift, |profile| {
                let states = &mut profile.states[index];
                states.last = states.last.checked_add_signed(shift)?;
                (states.first <= states.last).then_some(())
            });
        }
        for (role, _) in right.fields.iter().filter(|(_, field)| field.bits.is_some()) {
            add(&mut list, right, format!("bits of {role}"), shift, |profile| {
                let bits = profile.fields.get_mut(role)?.bits.as_mut()?;
                bits.shift = bits.shift.checked_add_signed(i8::try_from(shift).ok()?)?;
                Some(())
            });
        }
    }
    list
}

/// What comes of a profile.
enum Outcome {
    Refused(String),
    /// It reads the same pool map, and no field of a block is another.
    Same,
    Believed,
}

/// What the agent does with a profile before it believes what it reads.
fn outcome(server: &Observed, profile: &Profile) -> Outcome {
    let right = server.profile();
    let is_of_pool = |role: &FieldRole| {
        ["pool.", "chunk."].iter().any(|of_pool| role.name().starts_with(of_pool))
    };
    let same_blocks = right.states == profile.states
        && right.sizes == profile.sizes
        && right
            .fields
            .iter()
            .all(|(role, field)| is_of_pool(role) || profile.fields[role] == *field);
    match attach(server, profile) {
        Err(why) => Outcome::Refused(why),
        Ok(pool_map) if same_blocks && pool_map == server.pool_map => Outcome::Same,
        Ok(_) => Outcome::Believed,
    }
}

fn attach(server: &Observed, profile: &Profile) -> Result<PoolMap, String> {
    let memory = server.memory();
    let layout = FieldLayout::compile(profile).map_err(|error| format!("layout: {error}"))?;
    let pool_map = PoolMap::read(profile, &layout, memory, server.bias);
    let pool_map = pool_map.map_err(|error| format!("pool map: {error}"))?;
    validate(memory, &layout, &pool_map).map_err(|error| error.to_string())?;
    Ok(pool_map)
}

/// Prints what refuses each mutant, and which are not refused.
fn a_shifted_profile_is_refused(release: Release) {
    let several_chunks = match release.is_mariadb() {
        true => Config::new(),
        false => Config::new().option("innodb_buffer_pool_chunk_size=16M"),
    };
    let server = warm(release, several_chunks.pool_mib(64));
    // Pages with unwritten changes, which stay so.
    server
        .query("SET GLOBAL innodb_max_dirty_pages_pct=99; SET GLOBAL innodb_io_capacity=100")
        .unwrap();
    server.query("UPDATE sbtest.sbtest1 SET c = REVERSE(c)").unwrap();
    let observed = open(&server);
    let right = observed.profile();
    assert!(matches!(outcome(&observed, right), Outcome::Same), "the profile itself");
    let mutants = mutants(right);
    let mut believed = BTreeMap::<&str, Vec<&str>>::new();
    for Mutant { what, shift, profile } in &mutants {
        match outcome(&observed, profile) {
            Outcome::Refused(why) => println!("refused   {what} {shift}: {why}"),
            Outcome::Same => println!("the same  {what} {shift}"),
            Outcome::Believed => believed.entry(what).or_default().push(shift),
        }
    }
    for (what, shifts) in &believed {
        println!("BELIEVED  {what}: {}", shifts.join(" "));
    }
    let is_known = |what: &str| NOT_AT_REST.iter().any(|(known, _)| *known == what);
    let found = believed.keys().filter(|what| !is_known(what) && !is_bound_of_a_state(what));
    let found: Vec<_> = found.collect();
    println!("{} mutants, {} of them believed", mutants.len(), believed.values().flatten().count());
    assert!(found.is_empty(), "{found:?}");
}

mod shifted {
    use super::{Release, a_shifted_profile_is_refused};

    #[test]
    fn mysql97() {
        let name = concat!(module_path!(), "::mysql97");
        crate::lab::run(name, Release::Mysql97, a_shifted_profile_is_refused);
    }

    #[test]
    fn mariadb() {
        let name = concat!(module_path!(), "::mariadb");
        crate::lab::run(name, Release::Mariadb, a_shifted_profile_is_refused);
    }

    #[test]
    fn mariadb_trixie() {
        let name = concat!(module_path!(), "::mariadb_trixie");
        crate::lab::run(name, Release::MariadbTrixie, a_shifted_profile_is_refused);
    }
}
