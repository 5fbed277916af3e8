//! The port to the host: a virtio-serial port, or a unix socket in its place.
//!
//! What the guest's driver does (drivers/char/virtio_console.c, Linux 6.1 and 6.18): a port can be
//! opened once at a time (EBUSY). While the host's end is closed, `poll` reports POLLHUP at once (and POLLIN
//! with it, data or not), `read` gives what is left and then 0 bytes and a non-blocking `write` gives EAGAIN; nothing wakes a process that waits for the
//! host to come, so that is looked for now and then. After a migration the port is the same and the
//! host's end is another: for us a host that went and one that came.

mod error;
mod name;
mod socket;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use error::PortError;
pub use name::PortName;
use page_wire::protocol::{LineBuffer, LineError, MAX_REQUEST_BYTES};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Stop;
use socket::Socket;

/// How often a host that is not there, or a port, is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Time that a host has to take an answer.
const SEND_TIME: Duration = Duration::from_secs(30);
/// Most bytes of one write (the driver takes 32 KiB at a time).
const WRITE_BYTES: usize = 32 << 10;

/// What came within the time given.
pub(super) enum Received {
    /// A line, or one that was too long.
    Line(Result<Vec<u8>, LineError>),
    /// Nothing.
    Nothing,
}

/// The port, in whatever state it is.
pub(super) struct Port {
    link: Link,
    lines: LineBuffer,
    /// Read, but not yet made into lines; the part before `taken` is used up.
    input: Vec<u8>,
    taken: usize,
}

enum Link {
    /// A virtio-serial port by its name.
    Device {
        path: PathBuf,
        open: Option<Device>,
        failure: Option<String>,
    },
    Socket(Socket),
}

struct Device {
    file: File,
    host: bool,
}

impl Port {
    pub(super) fn new(name: PortName) -> Result<Self, PortError> {
        let link = match name {
            PortName::Device(path) => Link::Device { path, open: None, failure: None },
            PortName::Unix(path) => Link::Socket(Socket::listen(path)?),
        };
        Ok(Self { link, lines: LineBuffer::new(MAX_REQUEST_BYTES), input: Vec::new(), taken: 0 })
    }

    /// Whether somebody holds the other end.
    pub(super) fn has_host(&self) -> bool {
        match &self.link {
            Link::Device { open, .. } => open.as_ref().is_some_and(|device| device.host),
            Link::Socket(socket) => socket.stream().is_some(),
        }
    }

    /// Waits for a line, or until one of the other descriptors is ready.
    pub(super) fn listen(
        &mut self,
        wait: Duration,
        stop: &Stop,
        others: &[BorrowedFd<'_>],
    ) -> Received {
        if let Some(line) = self.next_line() {
            return Received::Line(line);
        }
        if !self.wait_readable(wait, stop, others) {
            return Received::Nothing;
        }
        self.read();
        self.next_line().map_or(Received::Nothing, Received::Line)
    }

    fn next_line(&mut self) -> Option<Result<Vec<u8>, LineError>> {
        let mut rest = &self.input[self.taken..];
        let line = self.lines.take(&mut rest);
        self.taken = self.input.len() - rest.len();
        line
    }

    /// Waits until there is something to read; looks for port and host meanwhile.
    fn wait_readable(&mut self, wait: Duration, stop: &Stop, others: &[BorrowedFd<'_>]) -> bool {
        let with = |own: BorrowedFd<'_>, wait| {
            wait_for(&[others, &[stop.as_fd(), own][..]].concat(), wait)
        };
        if let Link::Socket(socket) = &mut self.link {
            socket.accept();
            return with(socket.as_fd(), wait);
        }
        let here = self.find_host();
        match &self.link {
            Link::Device { open: Some(device), .. } if here => with(device.file.as_fd(), wait),
            _ => {
                wait_for(&[others, &[stop.as_fd()][..]].concat(), wait.min(LOOK_EVERY));
                false
            }
        }
    }

    /// Opens the device where it is not open, and checks whether the host is there.
    fn find_host(&mut self) -> bool {
        let Link::Device { path, open, failure } = &mut self.link else { return false };
        let device = match open {
            Some(device) => device,
            none => match name::find(path).and_then(|path| open_port(&path)) {
                Ok(file) => {
                    log::info!("listening on `{}`", foreign::path(path));
                    *failure = None;
                    none.insert(Device { file, host: false })
                }
                Err(error) => {
                    let text =
                        format!("failed to open the port `{}`: {error}", foreign::path(path));
                    if failure.as_ref() != Some(&text) {
                        log::warn!(
                            "{text}; trying on (hint: give the VM `-device virtserialport,chardev=...,name=org.poolferry.0`, or \
                             name another port with `--port`)"
                        );
                        *failure = Some(text);
                    }
                    return false;
                }
            },
        };
        let seen = events(device.file.as_fd(), PollFlags::IN, Duration::ZERO);
        let host = !seen.contains(PollFlags::HUP);
        if !host {
            drain(&device.file);
        }
        if host != device.host {
            device.host = host;
            log::info!("the host has {}", if host { "come" } else { "gone" });
            self.forget();
        }
        host
    }

    fn read(&mut self) {
        let fd = match &self.link {
            Link::Device { open: Some(device), .. } => device.file.as_fd(),
            Link::Socket(socket) if socket.stream().is_some() => socket.as_fd(),
            _ => return,
        };
        let mut bytes = [0; MAX_REQUEST_BYTES];
        match rustix::io::read(fd, &mut bytes) {
            Ok(0) => self.host_gone(),
            Ok(count) => {
                self.input.drain(..self.taken);
                self.taken = 0;
                self.input.extend_from_slice(&bytes[..count]);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(Errno::CONNRESET) => self.host_gone(),
            Err(error) => self.broken(error),
        }
    }

    /// Sends a line; a host that goes away or takes nothing does not get it.
    pub(super) fn send(&mut self, line: &[u8], stop: &Stop) {
        let until = Instant::now() + SEND_TIME;
        let mut rest = line;
        while !rest.is_empty() && !stop.is_set() {
            let fd = match &self.link {
                Link::Device { open: Some(device), .. } => device.file.as_fd(),
                Link::Socket(socket) if socket.stream().is_some() => socket.as_fd(),
                _ => return,
            };
            match rustix::io::write(fd, &rest[..rest.len().min(WRITE_BYTES)]) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    let seen = events(fd, PollFlags::OUT, LOOK_EVERY);
                    if seen.contains(PollFlags::HUP) {
                        return self.host_gone();
                    }
                    if Instant::now() >= until {
                        log::warn!("the host does not take the answer");
                        return self.host_gone();
                    }
                }
                Err(Errno::PIPE | Errno::CONNRESET) => return self.host_gone(),
                Err(error) => return self.broken(error),
            }
        }
    }

    fn host_gone(&mut self) {
        log::info!("the host has gone");
        match &mut self.link {
            Link::Device { open, .. } => {
                if let Some(device) = open {
                    device.host = false;
                }
            }
            Link::Socket(socket) => socket.hang_up(),
        }
        self.forget();
    }

    /// The port was unplugged.
    fn broken(&mut self, error: Errno) {
        log::warn!("the port failed: {error}");
        match &mut self.link {
            Link::Device { open, .. } => *open = None,
            Link::Socket(socket) => socket.hang_up(),
        }
        self.forget();
    }

    /// A message that a host has begun before it went is discarded.
    fn forget(&mut self) {
        self.lines.clear();
        self.input.clear();
        self.taken = 0;
    }
}

/// Reads what a host that is gone has left behind: no one waits for an answer, and the next host has not
/// asked it.
fn drain(port: &File) {
    let mut bytes = [0; MAX_REQUEST_BYTES];
    // No more than the host can have left: one that comes meanwhile repeats its first message.
    for _ in 0..16 {
        if !matches!(rustix::io::read(port, &mut bytes), Ok(1..)) {
            return;
        }
    }
}

fn open_port(path: &PathBuf) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::NOCTTY;
    let flags = i32::try_from(flags.bits()).unwrap_or(0);
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

fn timespec(time: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    }
}

/// The result of `poll` for one descriptor.
fn events(fd: BorrowedFd<'_>, wanted: PollFlags, wait: Duration) -> PollFlags {
    let mut fds = [PollFd::from_borrowed_fd(fd, wanted)];
    match poll(&mut fds, Some(&timespec(wait))) {
        Ok(_) => fds[0].revents(),
        Err(_) => PollFlags::empty(),
    }
}

/// Waits for input; true when the last descriptor has some, or has ended.
fn wait_for(fds: &[BorrowedFd<'_>], wait: Duration) -> bool {
    let mut fds: Vec<PollFd<'_>> =
        fds.iter().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    let ready = poll(&mut fds, Some(&timespec(wait)));
    ready.is_ok() && fds.last().is_some_and(|fd| !fd.revents().is_empty())
}

#[cfg(test)]
mod tests;
