//! The keeper's own side.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::OnceLock;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{Map, MapData};
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeScope};
use aya::programs::{ProbeKind, UProbe};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::error::{LoadError, RemoteCause};
use crate::links::ProbeLinks;
use crate::look::who_holds;
use crate::message::{KeeperReply, Order, ProbePoint};
use crate::object::{ObjectSettings, load};
use crate::pair::Pair;

/// The argument that makes a program of ours a keeper.
pub const COMMAND: &str = "keep-probes";

/// What the process is called where processes are listed: 15 bytes at most (`PR_SET_NAME`, prctl(2)).
const NAME: &std::ffi::CStr = c"poolferry-keep";
/// Orders that set no probe come at once, or the one who would give them is held.
const PATIENCE: Duration = Duration::from_secs(30);
/// Setting probes that takes longer is logged.
const LONG: Duration = Duration::from_secs(2);

/// Whether this program can be a keeper.
static CAN_BE_ONE: OnceLock<()> = OnceLock::new();

/// To be called first in `main`: becomes a keeper, and does not come back, where this process was started as one. Where it was
/// not, probes are kept by processes that run this program again from now on.
pub fn start(object: &[u8]) {
    let _ = CAN_BE_ONE.set(());
    if std::env::args_os().nth(1).is_none_or(|argument| argument != COMMAND) {
        return;
    }
    let went_well = become_one().and_then(|socket| keep(&Pair::of(socket), object));
    // There is no one to send the error to.
    std::process::exit(i32::from(went_well.is_err()));
}

pub(crate) fn is_program() -> bool {
    CAN_BE_ONE.get().is_some()
}

/// A process that ends with its maker, and by no signal that is meant for that one.
fn become_one() -> io::Result<OwnedFd> {
    close_inherited();
    ignore_signals();
    close_at_signal();
    // It was started by a link to the program, whose name means nothing.
    rustix::thread::set_name(NAME)?;
    // The maker may have ended before this. Its process is then being killed, and gives no order.
    set_parent_process_death_signal(Some(Signal::USR1))?;
    io::stdin().as_fd().try_clone_to_owned()
}

#[expect(unsafe_code, reason = "files that nobody here opened are closed by number")]
fn close_inherited() {
    // SAFETY: this process has opened nothing yet, so what it inherited beside its standard files has no owner here. A kernel
    // before 5.9 has no such call, and leaves them open.
    unsafe { libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32) };
}

/// A terminal and a service manager send signals to all processes of a program; the agent ends this one in its own time.
#[expect(unsafe_code, reason = "signal(2) has no safe wrapper")]
fn ignore_signals() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT] {
        // SAFETY: no handler is set, and this process has one thread.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}

/// The end of the maker closes the socket. It must not kill: a kernel that is about to set or take out a probe, and waits, gives
/// up half way where the thread is to die, and leaves the probe's trap in the server (`uprobe_unregister`: "leaking uprobe").
#[expect(unsafe_code, reason = "signal(2) has no safe wrapper")]
fn close_at_signal() {
    extern "C" fn close(_: libc::c_int) {
        // SAFETY: shutdown(2) may be called in a handler. Standard input is the socket as long as this process lives.
        unsafe { libc::shutdown(libc::STDIN_FILENO, libc::SHUT_RDWR) };
    }
    let handler: extern "C" fn(libc::c_int) = close;
    // SAFETY: the handler is one for this signal's form, and does nothing that a handler must not.
    unsafe { libc::signal(libc::SIGUSR1, handler as libc::sighandler_t) };
}

/// Loads, attaches and keeps until the other end is closed, or somebody is silent there for too long.
pub(crate) fn keep(pair: &Pair, object: &[u8]) -> io::Result<()> {
    pair.send(&KeeperReply::Ready, &[])?;
    let Some((Order::Load { settings, programs }, _)) = next(pair)? else { return Ok(()) };
    let mut ebpf = match load_all(object, &settings, &programs) {
        Ok(ebpf) => ebpf,
        Err(error) => return pair.send(&KeeperReply::Failed(error), &[]),
    };
    hand_over(pair, &mut ebpf)?;
    let Some((Order::Attach { pid, sites }, files)) = next(pair)? else { return Ok(()) };
    let Some(text) = files.into_iter().next() else { return Ok(()) };
    let Some(kept) = attach(pair, ebpf, pid, sites, text)? else { return Ok(()) };
    pair.send(&KeeperReply::Attached, &[])?;
    while let Some((Order::RunTime, _)) = pair.receive()? {
        let (ns, runs) = run_time(&kept.ebpf);
        pair.send(&KeeperReply::RunTime(ns, runs), &[])?;
    }
    Ok(())
}

fn next(pair: &Pair) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
    if pair.wait(PATIENCE) { pair.receive() } else { Ok(None) }
}

fn load_all(
    object: &[u8],
    settings: &ObjectSettings,
    programs: &[String],
) -> Result<Ebpf, LoadError> {
    if object.is_empty() {
        return Err(LoadError::NotBuiltIn);
    }
    let mut ebpf =
        load(object, settings).map_err(|error| LoadError::Object(RemoteCause::of(&error)))?;
    for name in programs {
        uprobe(&mut ebpf, name)?.load().map_err(|error| refused(name, &error))?;
    }
    Ok(ebpf)
}

/// The maps go to the process that requested them. Programs that are loaded have their own hold of them.
fn hand_over(pair: &Pair, ebpf: &mut Ebpf) -> io::Result<()> {
    let names: Vec<String> = ebpf.maps().map(|(name, _)| name.to_owned()).collect();
    let maps = names.into_iter().filter_map(|name| Some((data(ebpf.take_map(&name)?)?, name)));
    let (maps, names): (Vec<MapData>, Vec<String>) = maps.unzip();
    let files: Vec<BorrowedFd<'_>> = maps.iter().map(|map| map.fd().as_fd()).collect();
    let programs = ebpf.programs().filter_map(|(_, program)| program.info().ok());
    let programs = programs.map(|info| info.id()).collect();
    pair.send(&KeeperReply::Loaded { maps: names, programs }, &files)
}

fn data(map: Map) -> Option<MapData> {
    match map {
        Map::Array(map)
        | Map::PerCpuArray(map)
        | Map::RingBuf(map)
        | Map::HashMap(map)
        | Map::LruHashMap(map) => Some(map),
        _ => None,
    }
}

/// Probes, and the programs that they run. The probes go first.
struct Kept {
    _links: ProbeLinks,
    ebpf: Ebpf,
}

/// Sets probes; returns nothing where that fails, which is reported, or where they are not needed any more.
fn attach(
    pair: &Pair,
    mut ebpf: Ebpf,
    pid: u32,
    sites: Vec<ProbePoint>,
    text: OwnedFd,
) -> io::Result<Option<Kept>> {
    // Nothing else comes until they are set.
    let is_wanted = || !pair.wait(Duration::ZERO);
    let no_one = who_holds(is_wanted).and_then(|holder| match holder {
        Some(holder) => Err(LoadError::Held(holder)),
        None => Ok(()),
    });
    if let Err(error) = no_one {
        return pair.send(&KeeperReply::Failed(error), &[]).map(|()| None);
    }
    let (sender, done) = channel();
    // The kernel may hold who sets them.
    let set = move || {
        let set = set(&mut ebpf, pid, &sites, &text);
        drop(sender.send(set.map(|links| Kept { _links: links, ebpf })));
    };
    let setting = thread::Builder::new().name("attach".to_owned()).spawn(set)?;
    let (began, mut is_reported) = (Instant::now(), false);
    loop {
        match done.recv_timeout(LONG / 40) {
            Ok(Ok(kept)) => return Ok(Some(kept)),
            Ok(Err(error)) => return pair.send(&KeeperReply::Failed(error), &[]).map(|()| None),
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::Other.into()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if !is_wanted() {
            // The end of this process would be a signal that kills: see `close_at_signal`.
            drop(done.recv());
            return Ok(None);
        }
        if !is_reported && began.elapsed() >= LONG {
            is_reported = true;
            // The kernel waits in the same queue, so now this shows who only reads its map, too.
            let holder = who_holds(|| is_wanted() && !setting.is_finished());
            // Who is gone needs not know; this goes on.
            drop(pair.send(&KeeperReply::Waits(holder.unwrap_or_default()), &[]));
        }
    }
}

fn set(
    ebpf: &mut Ebpf,
    pid: u32,
    sites: &[ProbePoint],
    text: &OwnedFd,
) -> Result<ProbeLinks, LoadError> {
    let path = format!("/proc/self/fd/{}", text.as_raw_fd());
    let mut links = ProbeLinks::default();
    for (site, wanted) in sites.iter().enumerate() {
        let program = uprobe(ebpf, &wanted.program)?;
        let offset = match program.kind() {
            ProbeKind::Return => wanted.entry,
            ProbeKind::Entry => wanted.probe,
        };
        let location = UProbeAttachLocation::AbsoluteOffset(offset);
        let point = UProbeAttachPoint { location, cookie: wanted.cookie };
        let scope = pid.try_into().map_or(UProbeScope::CallingProcess, UProbeScope::OneProcess);
        let link = program.attach(point, Path::new(&path), scope);
        let link = link.and_then(|link| program.take_link(link));
        links.add(
            link.map_err(|error| LoadError::Attach { site, source: RemoteCause::of(&error) })?,
        );
    }
    Ok(links)
}

fn uprobe<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut UProbe, LoadError> {
    let program = ebpf.program_mut(name).ok_or(LoadError::NotBuiltIn)?;
    program.try_into().map_err(|error| refused(name, &error))
}

fn refused(program: &str, error: &(dyn std::error::Error + 'static)) -> LoadError {
    LoadError::Program { program: program.to_owned(), source: RemoteCause::of(error) }
}

/// Run time in ns and number of runs of all programs, where the kernel counts them.
fn run_time(ebpf: &Ebpf) -> (u64, u64) {
    ebpf.programs().filter_map(|(_, program)| program.info().ok()).fold(
        (0, 0),
        |(ns, runs), info| {
            (
                ns + u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX),
                runs + info.run_count(),
            )
        },
    )
}
