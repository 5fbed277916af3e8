//! What QEMU has open itself: of what it names, only that is read.
//!
//! QEMU names its disks by paths and addresses, and `receive` opens them with rights that QEMU may not have: whoever has
//! taken over a QEMU could so have root read any file, and learn from a peer's hashes what stands in it. So a file that
//! QEMU names is read only where QEMU's process has that very file open for reading, and a server is contacted only where
//! QEMU's process has a connection (of TCP, or a unix stream) to it. What the operator names (`--disk`) is another matter.
//!
//! A descriptor is looked at by a copy of it (pidfd_getfd(2)), so that it is one thing from the first question to the
//! last: an `O_PATH` descriptor of a file that its owner may not read, or one that changes meanwhile, is none.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use foreign_file::Found;
use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketAddrUnix, SocketType, getpeername, ipproto, sockopt};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::descriptors::{self, Descriptor, DescriptorIdentity};

/// How long all descriptors may be looked at.
pub(crate) const LOOKED: Duration = Duration::from_secs(20);
/// Most files and sockets that are kept.
const MOST: usize = 1 << 18;

/// The files and connections of one process.
#[derive(Debug)]
pub struct OpenFiles {
    pidfd: OwnedFd,
    /// By identity; each is looked at again when it is needed.
    files: Vec<(DescriptorIdentity, Descriptor)>,
    peers: Vec<Connection>,
}

/// The other end of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Connection {
    Tcp(SocketAddr),
    Unix(ListeningSocket),
}

/// Who listens at a unix socket: the name that it has given to it, and the user that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListeningSocket {
    name: Vec<u8>,
    user: u32,
}

impl OpenFiles {
    /// Looks at what process `pid` has open.
    ///
    /// # Errors
    /// Where the process may not be looked at, or has more open than can be looked at in 20 s.
    pub async fn of(pid: u32) -> io::Result<Self> {
        tokio::task::spawn_blocking(move || Self::look(pid, Instant::now() + LOOKED)).await?
    }

    pub(crate) fn look(pid: u32, until: Instant) -> io::Result<Self> {
        let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
        let pidfd = pidfd_open(id.ok_or(io::ErrorKind::NotFound)?, PidfdFlags::empty())?;
        let network = network();
        let (mut files, mut peers) = (Vec::new(), Vec::new());
        for descriptor in descriptors::of(pid, until)? {
            let descriptor = descriptor?;
            match descriptor.identity() {
                Ok(
                    identity @ (DescriptorIdentity::File { .. }
                    | DescriptorIdentity::BlockDevice { .. }),
                ) => {
                    files.push((identity, descriptor));
                }
                Ok(DescriptorIdentity::Socket) => {
                    let socket = pidfd_getfd(&pidfd, descriptor.number, PidfdGetfdFlags::empty());
                    peers.extend(socket.ok().and_then(|socket| Connection::of(&socket, network)));
                }
                Ok(DescriptorIdentity::Other) | Err(_) => {}
            }
            if files.len().max(peers.len()) > MOST {
                return Err(io::Error::other("it has too many files open"));
            }
        }
        files.sort_unstable_by_key(|(identity, _)| *identity);
        Ok(Self { pidfd, files, peers })
    }

    /// Whether the process has what was found open for reading.
    pub(crate) fn has(&self, found: &Found) -> bool {
        let Ok(wanted) = DescriptorIdentity::of(found) else { return false };
        let from = self.files.partition_point(|(identity, _)| *identity < wanted);
        let mut same = self.files[from..].iter().take_while(|(identity, _)| *identity == wanted);
        same.any(|(_, descriptor)| self.reads(*descriptor, wanted))
    }

    /// Whether a descriptor is of that file, and for reading.
    fn reads(&self, descriptor: Descriptor, wanted: DescriptorIdentity) -> bool {
        match pidfd_getfd(&self.pidfd, descriptor.number, PidfdGetfdFlags::empty()) {
            Ok(copy) => {
                let for_reading = fcntl_getfl(&copy).is_ok_and(|flags| {
                    !flags.contains(OFlags::PATH) && flags & OFlags::RWMODE != OFlags::WRONLY
                });
                for_reading
                    && DescriptorIdentity::of(&copy).is_ok_and(|identity| identity == wanted)
            }
            // Without the right to copy it, we have few rights that the process has not; the kernel's link shows its
            // mode of access, too.
            Err(Errno::PERM) => {
                let mode =
                    fs::symlink_metadata(descriptor.link()).map(|link| link.permissions().mode());
                mode.is_ok_and(|mode| mode & 0o400 != 0)
                    && descriptor.identity().is_ok_and(|identity| identity == wanted)
            }
            Err(_) => false,
        }
    }

    /// Those of `addresses` that the process has a connection to.
    pub(crate) fn connected(&self, addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
        let is_held = |address: &SocketAddr| self.peers.contains(&Connection::Tcp(plain(*address)));
        addresses.filter(is_held).collect()
    }

    /// Whether the process has a connection to whom this socket is connected to.
    pub(crate) fn shares_listener(&self, socket: impl AsFd) -> bool {
        let other = ListeningSocket::of(socket.as_fd());
        other.is_some_and(|other| self.peers.contains(&Connection::Unix(other)))
    }
}

impl Connection {
    /// Of a socket in `network`, ours; another's addresses mean something else here.
    fn of(socket: &OwnedFd, network: Option<u64>) -> Option<Self> {
        // The other end of a connection has agreed to it; a datagram socket has whatever address its owner names.
        if sockopt::socket_type(socket).ok()? != SocketType::STREAM {
            return None;
        }
        let peer = getpeername(socket).ok()??;
        if let Ok(address) = SocketAddr::try_from(peer) {
            let protocol = sockopt::socket_protocol(socket).ok()?;
            let is_tcp = protocol.is_some_and(|is| [ipproto::TCP, ipproto::MPTCP].contains(&is));
            let is_ours = network.is_some() && network_of(socket.as_fd()) == network;
            return (is_tcp && is_ours).then(|| Self::Tcp(plain(address)));
        }
        ListeningSocket::of(socket.as_fd()).map(Self::Unix)
    }
}

impl ListeningSocket {
    fn of(socket: BorrowedFd<'_>) -> Option<Self> {
        let peer: SocketAddrAny = getpeername(socket).ok()??;
        let peer = SocketAddrUnix::try_from(peer).ok()?;
        let name = peer.path_bytes()?.to_vec();
        let user = sockopt::socket_peercred(socket).ok()?.uid.as_raw();
        (!name.is_empty()).then_some(Self { name, user })
    }
}

/// An address as it is compared: a server of IPv4 is the same by an IPv6 socket.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The kernel's number of our network.
fn network() -> Option<u64> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    network_of(socket.as_fd())
}

/// The kernel's number of a socket's network, which is never used again (`SO_NETNS_COOKIE`, Linux 5.14).
#[expect(unsafe_code, reason = "rustix has no such option")]
fn network_of(socket: BorrowedFd<'_>) -> Option<u64> {
    let mut cookie = 0_u64;
    let mut length = libc::socklen_t::try_from(size_of::<u64>()).ok()?;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel writes at most `length` bytes to `cookie`, which
    // has as many and may have any value, and the length to `length`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    (done == 0).then_some(cookie)
}

#[cfg(test)]
mod tests {
    use fs::File;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
    use std::path::Path;
    use std::sync::Arc;

    use rustix::fs::{Mode, open};

    use super::*;
    use crate::storage::{Address, Export, NbdServer, Storage};

    /// What this process, as the QEMU, has open.
    async fn held() -> Arc<OpenFiles> {
        Arc::new(OpenFiles::of(std::process::id()).await.unwrap())
    }

    fn causes(error: &crate::storage::StorageError) -> String {
        foreign::Chain(error).to_string()
    }

    #[tokio::test]
    async fn a_file_is_read_only_where_qemu_has_it_open_for_reading() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let (own, secret) = (folder.path().join("own"), folder.path().join("secret"));
        fs::write(&own, [7; 4096]).unwrap();
        fs::write(&secret, [8; 4096]).unwrap();
        let address = |path: &Path| Address::File(path.to_owned());
        let refused = async |held: &Arc<OpenFiles>, path: &Path| {
            let error = Storage::open_held(&address(path), held).await.unwrap_err();
            assert!(error.hint().is_some_and(|hint| hint.contains("--disk")));
            causes(&error)
        };
        let reading = File::open(&own).unwrap();
        let open_as = |flags| open(&secret, flags | OFlags::CLOEXEC, Mode::empty()).unwrap();
        // Whoever may not read a file can still have it open like that.
        let others = [open_as(OFlags::PATH), open_as(OFlags::WRONLY)];
        let seen = held().await;
        assert_eq!(Storage::open_held(&address(&own), &seen).await.unwrap().length(), 4096);
        let text = refused(&seen, &secret).await;
        assert!(text.contains("does not have it open"), "{text}");
        // The name leads elsewhere when it is opened.
        fs::rename(&own, folder.path().join("moved")).unwrap();
        symlink(&secret, &own).unwrap();
        refused(&seen, &own).await;
        drop((reading, others));
        refused(&seen, &folder.path().join("moved")).await;
        // The operator's word is another matter.
        assert!(Storage::open(&address(&secret)).await.is_ok());
    }

    #[tokio::test]
    async fn a_server_is_asked_only_where_qemu_has_a_connection_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let server =
            NbdServer::Tcp { host: "localhost".into(), port: tcp.local_addr().unwrap().port() };
        let socket = folder.path().join("nbd.sock");
        let unix = UnixListener::bind(&socket).unwrap();
        let path = NbdServer::Unix(folder.path().join("./nbd.sock"));
        let address = |server: &NbdServer| {
            Address::Nbd(Export { server: server.clone(), name: String::new() })
        };
        // Neither server answers: an end of the time is an end of what may be asked.
        let connected_to = async |held: &Arc<OpenFiles>, server: &NbdServer| {
            let address = address(server);
            let opened = Storage::open_held(&address, held);
            match tokio::time::timeout(Duration::from_millis(300), opened).await {
                Ok(opened) => causes(&opened.unwrap_err()),
                Err(_waits) => "asked".to_owned(),
            }
        };
        let before = held().await;
        for server in [&server, &path] {
            let text = connected_to(&before, server).await;
            assert!(text.contains("has no connection to it"), "{text}");
        }
        tcp.set_nonblocking(true).unwrap();
        assert!(tcp.accept().is_err(), "nobody has come by TCP");
        let connections = (
            std::net::TcpStream::connect(tcp.local_addr().unwrap()).unwrap(),
            UnixStream::connect(&socket).unwrap(),
        );
        let with = held().await;
        for server in [&server, &path] {
            assert_eq!(connected_to(&with, server).await, "asked", "{server}");
        }
        drop((connections, unix));
    }

    /// Nobody has agreed to it: a datagram socket is "connected" to whatever address is named.
    #[tokio::test]
    async fn a_datagram_socket_has_no_connection() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("datagrams");
        let listens = UnixDatagram::bind(&path).unwrap();
        let (udp, unix) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UnixDatagram::unbound().unwrap());
        udp.connect(address).unwrap();
        unix.connect(&path).unwrap();
        let held = held().await;
        let by_udp = held.connected(std::iter::once(address));
        let by_unix = Connection::of(&OwnedFd::from(unix), network());
        assert_eq!((by_udp, by_unix), (vec![], None));
        drop((udp, listens));
    }
}
