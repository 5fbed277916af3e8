//! Whether all witnesses report the same pages, and whether what is called clean is on disk.

use anyhow::{Result, bail};
use test_servers::{Config, Dataset, LoadSpec, Release, Script, Server};
use userspace::frames::Frames;
use userspace::locate::Locator;
use userspace::observer::{ObserveOptions, Observer};
use userspace::target::Target;

use crate::figure::{Figure, Goal};
use crate::on_disk;
use crate::quiet::wait_until_quiet;
use crate::report::Report;
use crate::resident::{self, Pages, differences};
use crate::sample::number;
use crate::scale::Scale;

/// Server, and how figures name it.
const SERVERS: [(Release, &str); 2] = [(Release::Mysql56, "5.6.24"), (Release::Mysql97, "9.7")];

/// Keeps the result of a query on `INNODB_BUFFER_PAGE` in memory: 8.0 and later spill it into a temporary
/// tablespace, whose pages then fill the very pool that was asked about.
const MEMORY: [&str; 3] =
    ["tmp_table_size=1G", "max_heap_table_size=1G", "loose_temptable_max_ram=2G"];

/// Tries to catch the server at rest for the time of all looks.
const TRIES: u32 = 10;

pub(crate) fn measure(report: &mut Report, scale: &Scale) -> Result<()> {
    for (release, name) in SERVERS {
        match release.installed() {
            Err(error) => report.skip(&format!("agreement of {name}"), error),
            Ok(_) => observe(report, scale, release, name)?,
        }
    }
    Ok(())
}

fn observe(report: &mut Report, scale: &Scale, release: Release, name: &str) -> Result<()> {
    let data = Dataset { tables: 4, rows: scale.agreement_rows };
    let config = Config::new().pool_mib(256).sysbench(data);
    let server = Server::start(release, MEMORY.into_iter().fold(config, Config::option))?;
    // Pages read, pages written, pages evicted before anybody looks.
    load(&server, Script::ReadWrite, scale.agreement_seconds.min(4))?;

    let target = Target::of(server.pid())?;
    let options = ObserveOptions::default();
    let mut observer = Observer::attach(target, &symbols::Options::default(), options)?;
    let mut locator = Locator::open(server.pid())?;
    let (mut frames, _) = Frames::open(server.pid())?;

    at_rest(report, &format!("{name} at rest"), &server, &mut observer, &mut locator, &mut frames)?;

    load(&server, Script::ReadWrite, scale.agreement_seconds)?;
    let name = format!("{name} after read-write");
    wait_until_quiet(observer.server())?;
    // Before anything repairs: what the table has lost since the probes were set.
    let drift = observer.audit()?;
    let audit = observer.audited();
    let blocks = |what: &str, value| {
        Figure::truth(format!("{name}: {what}"), number(value), "blocks").goal(Goal::Zero)
    };
    report.add(blocks("drift of the table", drift));
    report.add(blocks("falsely clean", audit.falsely_clean));
    at_rest(report, &name, &server, &mut observer, &mut locator, &mut frames)?;
    drop(observer);
    server.stop()
}

fn load(server: &Server, workload: Script, seconds: u32) -> Result<()> {
    server.load(&LoadSpec::new(workload, 2).seconds(seconds).uniform())?.wait()?;
    Ok(())
}

/// What every witness says of one moment.
struct Looks {
    descriptors: Pages,
    server: Pages,
    list: Pages,
    table: Pages,
    eligible: u64,
}

fn at_rest(
    report: &mut Report,
    name: &str,
    server: &Server,
    observer: &mut Observer,
    locator: &mut Locator,
    frames: &mut Frames,
) -> Result<()> {
    let looks = look(server, observer, locator, frames)?;
    report.add(Figure::truth(
        format!("{name}: resident pages"),
        number(looks.descriptors.len() as u64),
        "pages",
    ));
    for (what, a, b) in [
        ("descriptors and INNODB_BUFFER_PAGE differ", &looks.descriptors, &looks.server),
        ("list and INNODB_BUFFER_PAGE differ", &looks.list, &looks.server),
        ("residency table and INNODB_BUFFER_PAGE differ", &looks.table, &looks.server),
    ] {
        let count = number(differences(a, b));
        report.add(Figure::truth(format!("{name}: {what}"), count, "pages").goal(Goal::Zero));
    }
    let built = observer.page_list()?;
    report.add(
        Figure::truth(
            format!("{name}: eligible rows and pages of the binary list differ"),
            number(looks.eligible.abs_diff(built.facts.pages)),
            "pages",
        )
        .goal(Goal::Zero),
    );
    on_disk::prove(report, name, observer, locator, frames)
}

/// Looks until nothing has changed from the first look to the last.
fn look(
    server: &Server,
    observer: &Observer,
    locator: &mut Locator,
    frames: &mut Frames,
) -> Result<Looks> {
    for _ in 0..TRIES {
        // A first query reads what it needs of the dictionary, and must not be the one that counts.
        resident::by_server(server)?;
        wait_until_quiet(observer.server())?;
        let before = resident::by_descriptors(observer.server())?;
        let reported = resident::by_server(server)?;
        let (list, eligible) =
            resident::by_list(observer.server(), observer.residency(), locator, frames)?;
        let table = resident::by_table(observer.residency());
        let descriptors = resident::by_descriptors(observer.server())?;
        if before == descriptors {
            return Ok(Looks { descriptors, server: reported, list, table, eligible });
        }
    }
    bail!("the server was never at rest from one look to the next, in {TRIES} tries")
}
