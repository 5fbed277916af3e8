//! The agent in a VM: a real virtio-serial port, guest RAM that the host reads in place, a migration.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::time::Duration;

use anyhow::Result;
use lab::hop::Mode;
use lab::laboratory::{AGENT, Laboratory};
use lab::setup::{Programs, Setup};
use lab::storage::SERIAL;
use lab::wait;
use lab::workload::Workload;
use page_number::{PAGE_BYTES, UNIT_SHIFT};
use page_wire::protocol::{Pinned, ServerState};
use page_wire::{Bounds, List};
use qemu_glue::agent::{Agent, AgentError, How, Listed, NoRam, ReadRam};
use qemu_glue::guest::GuestRam;
use qemu_glue::qmp::Qmp;
use test_servers::cache::Cache;
use test_servers::skipped;

use crate::fixture::{Fixture, LIST_WITHIN, RAM_BYTES};

/// The VM's RAM, as its host reads it.
async fn ram(lab: &mut Laboratory) -> Result<GuestRam> {
    let qmp = Qmp::connect(lab.machine().qmp()).await?;
    Ok(GuestRam::of(&qmp, qmp.peer_pid()?).await?)
}

/// Asks until the probes are set; the list that comes then.
async fn request(lab: &mut Laboratory, ram: &impl ReadRam) -> Result<Listed> {
    let mut agent = Agent::connect(&lab.machine().agent()).await?;
    for _ in 0..200 {
        if matches!(agent.status().await?.server, ServerState::Attached { .. }) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let listed = agent.page_list(ram, LIST_WITHIN).await?;
    let steps = listed.steps;
    println!(
        "{} pages, {:?}, {:?}: {:.1} ms, of which transfer {:.2} ms, hash {:.2} ms; {:?}",
        listed.pages,
        listed.how,
        listed.pinned,
        steps.total_s * 1e3,
        steps.transfer_s * 1e3,
        steps.hash_s * 1e3,
        steps.guest
    );
    Ok(listed)
}

/// Pages of RAM on the list, and those of them that have other bytes than the disk.
fn against_disk(listed: &Listed, ram: &GuestRam, disk: &File) -> Result<(u64, u64)> {
    let list = List::parse(&listed.bytes, Bounds::ANY)?;
    let devices: Vec<String> =
        list.devices().iter().map(|device| device.name().to_owned()).collect();
    let (mut pages, mut differing) = (0, 0);
    let (mut in_ram, mut on_disk) = ([0; 4096], [0; 4096]);
    for run in list.runs() {
        assert!(devices[usize::from(run.device())].ends_with(SERIAL), "{devices:?}");
        for page in 0..u64::from(run.frames()) {
            let gpa = (run.gfn() + page) * PAGE_BYTES;
            ram.read_ram(gpa, &mut in_ram).map_err(anyhow::Error::from_boxed)?;
            disk.read_exact_at(&mut on_disk, (run.unit() << UNIT_SHIFT) + page * PAGE_BYTES)?;
            pages += 1;
            differing += u64::from(in_ram != on_disk);
        }
    }
    Ok((pages, differing))
}

/// All that is asked of one VM, as booting one takes long.
fn requested(fixture: &Fixture, lab: &mut Laboratory) -> Result<()> {
    lab.start_agent()?;
    let guest = fixture.runtime.block_on(ram(lab))?;
    let listed = fixture.runtime.block_on(request(lab, &guest))?;
    assert!(matches!(listed.how, How::InPlace), "{:?}", listed.how);
    assert_eq!(listed.pinned, Pinned::LongTerm);
    assert!(listed.pages > 5000, "{} pages", listed.pages);
    let disk = File::open(lab.storage().file())?;
    let (pages, differing) = against_disk(&listed, &guest, &disk)?;
    println!("{pages} pages of RAM listed, {differing} differ from the disk");
    // Every page that is listed could be skipped while nothing is written.
    assert_eq!(differing, 0);

    // Another host, which does not read RAM; the port is the same.
    let copied = fixture.runtime.block_on(request(lab, &NoRam(RAM_BYTES)))?;
    assert!(matches!(copied.how, How::Copied(_)));
    assert_eq!(copied.pages, listed.pages);

    // The agent is ended and started again, as by an update.
    lab.guest().signal(AGENT, rustix::process::Signal::TERM)?;
    wait::until("the agent's end", Duration::from_secs(30), || {
        Ok(lab.guest().how_ended(AGENT).map(drop))
    })?;
    let path = lab.machine().agent();
    let silent = Agent::connect_within(&path, Duration::from_secs(2));
    let error = fixture.runtime.block_on(silent).unwrap_err();
    assert!(matches!(error, AgentError::Silent { .. }), "{error}");
    lab.start_agent()?;
    assert_eq!(fixture.runtime.block_on(request(lab, &guest))?.pages, listed.pages);
    drop(guest);

    // The VM moves, with an agent that knows nothing of it.
    let folder = tempfile::tempdir()?;
    let hop = lab.hop(Mode::Stock, folder.path())?;
    assert!(hop.identity.is_some_and(|identity| identity.differing_bytes == 0));
    let guest = fixture.runtime.block_on(ram(lab))?;
    let moved = fixture.runtime.block_on(request(lab, &guest))?;
    assert!(matches!(moved.how, How::InPlace), "{:?}", moved.how);
    let (pages, differing) = against_disk(&moved, &guest, &disk)?;
    println!("after the migration {pages} pages of RAM listed, {differing} differ from the disk");
    assert_eq!(differing, 0);
    assert!(pages > 5000 * 4);
    Ok(())
}

#[test]
fn a_guests_list_is_read_in_place_before_and_after_a_migration() {
    let test = "guest::a_guests_list_is_read_in_place_before_and_after_a_migration";
    let Some(fixture) = Fixture::set(test) else { return };
    let programs = match Programs::find() {
        Ok(programs) => programs,
        Err(error) => return skipped(test, format!("{error:#}")),
    };
    let boot = || {
        let mut lab = Laboratory::boot(&Cache::open()?, Setup::small(Workload::Idle), programs)?;
        lab.busy()?;
        lab.load(Workload::Idle)?;
        requested(&fixture, &mut lab)
    };
    boot().unwrap_or_else(|error: anyhow::Error| panic!("{error:#}"));
}
