//! The port as a socket: hosts that come, go and talk nonsense.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use tempfile::TempDir;

use super::*;

const WAIT: Duration = Duration::from_secs(5);

fn port() -> (TempDir, PathBuf, Port, Stop) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("port");
    let port = Port::new(PortName::Unix(path.clone())).unwrap();
    (folder, path, port, Stop::new().unwrap())
}

/// Listens until a line comes.
fn received(port: &mut Port, stop: &Stop) -> Result<String, LineError> {
    let until = Instant::now() + WAIT;
    while Instant::now() < until {
        if let Received::Line(line) = port.listen(Duration::from_millis(100), stop, &[]) {
            return line.map(|line| String::from_utf8(line).unwrap());
        }
    }
    panic!("nothing came");
}

#[test]
fn lines_come_and_answers_go() {
    let (_folder, path, mut port, stop) = port();
    let mut host = UnixStream::connect(path).unwrap();
    host.write_all(b"one\n\ntwo\nthr").unwrap();
    assert_eq!(received(&mut port, &stop).unwrap(), "one");
    assert_eq!(received(&mut port, &stop).unwrap(), "two");
    assert!(port.has_host());
    host.write_all(b"ee\n").unwrap();
    assert_eq!(received(&mut port, &stop).unwrap(), "three");
    port.send(b"answer\n", &stop);
    let mut line = String::new();
    BufReader::new(host).read_line(&mut line).unwrap();
    assert_eq!(line, "answer\n");
}

#[test]
fn half_a_line_of_one_host_is_not_the_next_ones() {
    let (_folder, path, mut port, stop) = port();
    let mut first = UnixStream::connect(&path).unwrap();
    first.write_all(b"whole\nhalf").unwrap();
    assert_eq!(received(&mut port, &stop).unwrap(), "whole");
    drop(first);
    let mut second = UnixStream::connect(&path).unwrap();
    second.write_all(b"mine\n").unwrap();
    assert_eq!(received(&mut port, &stop).unwrap(), "mine");
    // An answer to nobody is lost, and no harm.
    drop(second);
    while port.has_host() {
        port.listen(Duration::from_millis(10), &stop, &[]);
    }
    port.send(b"late\n", &stop);
}

#[test]
fn a_line_without_end_is_an_error_and_the_next_is_heard() {
    let (_folder, path, mut port, stop) = port();
    let mut host = UnixStream::connect(path).unwrap();
    host.write_all(&[b'x'; 3 * MAX_REQUEST_BYTES]).unwrap();
    assert!(matches!(received(&mut port, &stop), Err(LineError::TooLong { .. })));
    host.write_all(b"\ngood\n").unwrap();
    assert_eq!(received(&mut port, &stop).unwrap(), "good");
}

#[test]
fn stopping_ends_the_wait() {
    let (_folder, _path, mut port, stop) = port();
    let other = stop.clone();
    let start = Instant::now();
    std::thread::spawn(move || other.set());
    while !stop.is_set() {
        port.listen(WAIT, &stop, &[]);
    }
    assert!(start.elapsed() < WAIT);
}

#[test]
fn a_socket_left_behind_is_replaced_and_a_used_one_is_not() {
    let (_folder, path, port, _stop) = port();
    let used = Port::new(PortName::Unix(path.clone())).err().unwrap();
    assert!(used.hint().unwrap().contains("another agent"), "{used}");
    drop(port);
    assert!(!path.exists());
    // As a killed agent leaves it: bound, and nobody listens.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    Port::new(PortName::Unix(path)).unwrap();
    let nowhere = Port::new(PortName::Unix("/nonexistent/port".into())).err().unwrap();
    assert!(nowhere.hint().is_some());
}

#[test]
fn a_device_that_is_not_there_yet_is_waited_for() {
    let name = PortName::Device("/dev/virtio-ports/org.poolferry.no-such".into());
    let (mut port, stop) = (Port::new(name).unwrap(), Stop::new().unwrap());
    assert!(matches!(port.listen(Duration::from_millis(1), &stop, &[]), Received::Nothing));
    assert!(!port.has_host());
}
