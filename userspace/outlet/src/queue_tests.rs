use std::fs::File;
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::*;

/// A way to give an outlet a descriptor of its own: each test has one static.
macro_rules! outlet {
    () => {{
        static END: OnceLock<UnixStream> = OnceLock::new();
        static OUTLET: Outlet = Outlet::new(|| END.get().unwrap().as_fd());
        let (here, there) = UnixStream::pair().unwrap();
        END.set(here).unwrap();
        (&OUTLET, there)
    }};
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// Reads on until the text is there.
fn read_until(stream: &mut UnixStream, wanted: &str) -> String {
    let (mut text, mut buffer) = (String::new(), vec![0; 1 << 16]);
    while !text.contains(wanted) {
        let count = stream.read(&mut buffer).unwrap();
        assert!(count > 0, "the end came before {wanted:?}");
        text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
    }
    text
}

#[test]
fn who_writes_never_waits_and_what_is_missing_is_told() {
    let (outlet, mut reader) = outlet!();
    let line = format!("{}\n", "x".repeat(99));
    let begun = Instant::now();
    for _ in 0..20_000 {
        outlet.push(line.as_bytes());
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(outlet.lock().queue.len() <= ROOM);
    assert!(!outlet.drain_until(Instant::now() + Duration::from_millis(50)));
    // More than one gap may be left by a writer that comes late.
    let text = thread::scope(|scope| {
        let reading = scope.spawn(|| read_until(&mut reader, "the end\n"));
        assert!(outlet.drain_until(soon()));
        outlet.push(b"the end\n");
        reading.join().unwrap()
    });
    let (notes, lines): (Vec<_>, Vec<_>) =
        text.lines().filter(|line| *line != "the end").partition(|line| line.starts_with('('));
    let dropped = |note: &&str| note[1..].split(' ').next().unwrap().parse::<usize>().unwrap();
    assert!(!notes.is_empty() && notes.iter().all(|note| note.ends_with("nobody read them)")));
    assert_eq!(lines.len() + notes.iter().map(dropped).sum::<usize>(), 20_000);
    assert!(lines.iter().all(|line| line.len() == 99), "a message was cut");
}

#[test]
fn a_reader_that_is_gone_costs_nothing() {
    let (outlet, reader) = outlet!();
    drop(reader);
    outlet.push(b"one\n");
    assert!(outlet.drain_until(soon()));
    outlet.push(b"two\n");
    assert!(outlet.is_drained() && outlet.lock().queue.capacity() == 0);
}

/// Only its own task waits, and nothing is missing afterwards.
#[tokio::test]
async fn a_sink_waits_and_loses_nothing() {
    let (outlet, mut reader) = outlet!();
    let record = vec![b'r'; ROOM / 4];
    let mut sink = outlet.sink();
    let writing = tokio::spawn(async move {
        for _ in 0..40 {
            sink.write_all(&record).await.unwrap();
        }
        sink.flush().await.unwrap();
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!writing.is_finished());
    let reading = thread::spawn(move || {
        let mut all = vec![0; 10 * ROOM];
        reader.read_exact(&mut all).unwrap();
        (all.iter().all(|byte| *byte == b'r'), reader)
    });
    writing.await.unwrap();
    outlet.drained().await;
    assert!(reading.join().unwrap().0);
}

/// A stream gets the error of a full disk, and of a reader that is gone.
#[tokio::test]
async fn a_sink_fails_with_the_reason() {
    static FULL: OnceLock<File> = OnceLock::new();
    static OUTLET: Outlet = Outlet::new(|| FULL.get().unwrap().as_fd());
    FULL.set(File::options().write(true).open("/dev/full").unwrap()).unwrap();
    let mut sink = OUTLET.sink();
    sink.write_all(b"record\n").await.unwrap();
    assert_eq!(sink.flush().await.unwrap_err().kind(), io::ErrorKind::StorageFull);
    let (outlet, reader) = outlet!();
    drop(reader);
    let mut sink = outlet.sink();
    sink.write_all(b"record\n").await.unwrap();
    assert_eq!(sink.flush().await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
