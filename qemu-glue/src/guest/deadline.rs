//! One deadline for all queries to QEMU about one thing.
//!
//! Each query has a deadline of its own, and QEMU decides how many there are: it names RAM blocks and disks. A QEMU that
//! answers each of some thousand late would hold its caller for a day.

use std::time::Duration;

use tokio::time::timeout;

use super::GuestError;

/// How long QEMU may take in all. A question is answered within milliseconds; a bitmap sync of a large VM holds all of them up
/// for seconds.
pub(super) const GUEST_LIMIT: Duration = Duration::from_secs(60);

/// The answers to `queries`, about `what`.
///
/// # Errors
/// As of `queries`, and [`GuestError::Slow`].
pub(super) async fn within<T>(
    limit: Duration,
    what: &'static str,
    queries: impl Future<Output = Result<T, GuestError>>,
) -> Result<T, GuestError> {
    timeout(limit, queries).await.unwrap_or(Err(GuestError::Slow { what, limit }))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::guest::fake_qemu::{FakeQemu, MANY};
    use crate::guest::{GuestRam, disks};
    use crate::qmp::Qmp;

    const LATE: Duration = Duration::from_millis(50);
    const LIMIT: Duration = Duration::from_millis(500);

    #[tokio::test]
    async fn a_qemu_that_is_late_each_time_is_waited_for_once() {
        let folder = tempfile::tempdir().unwrap();
        for what in ["RAM", "disks"] {
            let path = folder.path().join(what);
            FakeQemu { late: LATE, ..FakeQemu::default() }.listen(&path);
            let qmp = Qmp::connect(&path).await.unwrap();
            let begun = Instant::now();
            let pid = std::process::id();
            let error = match what {
                "RAM" => GuestRam::within(LIMIT, &qmp, pid).await.map(drop).unwrap_err(),
                _ => disks::within(LIMIT, &qmp).await.map(drop).unwrap_err(),
            };
            let took = begun.elapsed();
            assert!(took >= LIMIT && took < LIMIT * 4, "{what}: {took:?}");
            assert!(error.to_string().contains(what), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("again")));
        }
    }

    /// This process is the QEMU: its blocks lie in memory files, whose descriptors are the last of many others.
    #[tokio::test]
    async fn a_qemu_with_many_descriptors_is_looked_at_once() {
        const DESCRIPTORS: usize = 2000;
        let rustix::process::Rlimit { maximum, .. } =
            rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let limit = rustix::process::Rlimit { current: maximum, maximum };
        rustix::process::setrlimit(rustix::process::Resource::Nofile, limit).unwrap();
        let other = std::fs::File::open("/proc/self/ns/net").unwrap();
        let others: Vec<_> = (0..DESCRIPTORS).map(|_| other.try_clone().unwrap()).collect();
        let maps = (0..MANY).map(|_| {
            let file = tempfile::tempfile().unwrap();
            file.set_len(1 << 20).unwrap();
            memmap2::MmapOptions::new().len(1 << 20).map_raw(&file).map(|map| (file, map)).unwrap()
        });
        let maps: Vec<_> = maps.collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("qmp");
        let addresses = maps.iter().map(|(_, map)| map.as_ptr() as usize).collect();
        FakeQemu { addresses, ..FakeQemu::default() }.listen(&path);
        let qmp = Qmp::connect(&path).await.unwrap();
        let begun = Instant::now();
        for descriptor in std::fs::read_dir("/proc/self/fd").unwrap() {
            // The descriptor of the folder itself is gone by then.
            drop(std::fs::metadata(descriptor.unwrap().path()));
        }
        let once = begun.elapsed();
        let begun = Instant::now();
        let ram = GuestRam::within(Duration::from_secs(60), &qmp, std::process::id()).await;
        let took = begun.elapsed();
        println!(
            "{took:?} for {MANY} blocks beside {DESCRIPTORS} descriptors, {once:?} for a look at all of them"
        );
        drop(others);
        assert_eq!(ram.unwrap().blocks().len(), MANY);
        let blocks = u32::try_from(MANY).unwrap();
        assert!(took < once * blocks / 4, "{took:?}, a look at all takes {once:?}");
    }
}
