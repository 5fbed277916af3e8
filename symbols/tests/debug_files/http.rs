//! A debuginfod server on loopback that can misbehave.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the server does with each request.
#[derive(Clone)]
pub(crate) enum Answer {
    /// The file, whole.
    File(Vec<u8>),
    /// The file of the build that is asked for.
    ByBuild(Vec<(String, Vec<u8>)>),
    /// A status and nothing else.
    Status(u16),
    /// States the length of the file, sends the first `usize` bytes and hangs up.
    BreakOff(Vec<u8>, usize),
    /// States no length, sends the first `usize` bytes and hangs up.
    Unmeasured(Vec<u8>, usize),
    /// States this length and waits.
    Length(u64),
    /// Sends zeros without end.
    Endless,
    /// Says nothing.
    Silent,
    /// Sends a byte now and then.
    Slow,
}

/// The server; its thread ends with the test process.
pub(crate) struct Server {
    pub(crate) url: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, seen) = (answer.clone(), Arc::clone(&seen));
                std::thread::spawn(move || serve(stream, answer, &seen));
            }
        });
        Self { url, requests }
    }

    /// Request lines so far.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().expect("no server thread panics with it").clone()
    }
}

fn serve(stream: TcpStream, answer: Answer, seen: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream.try_clone().expect("a second handle")).lines();
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    while lines.next().and_then(Result::ok).is_some_and(|line| !line.is_empty()) {}
    let answer = match answer {
        Answer::ByBuild(files) => files
            .into_iter()
            .find(|(id, _)| first.starts_with(&format!("GET /buildid/{id}/debuginfo ")))
            .map_or(Answer::Status(404), |(_, file)| Answer::File(file)),
        other => other,
    };
    seen.lock().expect("no server thread panics with it").push(first);
    // A client that gives up closes the connection: writing then fails, and the thread is done.
    let _ = reply(stream, answer);
}

fn reply(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
    let head = |status: u16, length: Option<u64>| {
        let length = length.map(|n| format!("Content-Length: {n}\r\n")).unwrap_or_default();
        format!("HTTP/1.1 {status} x\r\n{length}Connection: close\r\n\r\n").into_bytes()
    };
    match answer {
        Answer::File(bytes) => {
            stream.write_all(&head(200, Some(bytes.len() as u64)))?;
            stream.write_all(&bytes)
        }
        // Already looked up by the request.
        Answer::ByBuild(_) => stream.write_all(&head(500, Some(0))),
        Answer::Status(status) => stream.write_all(&head(status, Some(0))),
        Answer::BreakOff(bytes, sent) => {
            stream.write_all(&head(200, Some(bytes.len() as u64)))?;
            stream.write_all(&bytes[..sent])
        }
        Answer::Unmeasured(bytes, sent) => {
            stream.write_all(&head(200, None))?;
            stream.write_all(&bytes[..sent])
        }
        Answer::Length(length) => {
            stream.write_all(&head(200, Some(length)))?;
            wait_for_the_client_to_leave(&stream)
        }
        Answer::Endless => {
            stream.write_all(&head(200, None))?;
            loop {
                stream.write_all(&[0; 1 << 16])?;
            }
        }
        Answer::Silent => wait_for_the_client_to_leave(&stream),
        Answer::Slow => {
            stream.write_all(&head(200, None))?;
            loop {
                stream.write_all(&[0])?;
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

fn wait_for_the_client_to_leave(mut stream: &TcpStream) -> std::io::Result<()> {
    std::io::copy(&mut stream, &mut std::io::sink()).map(drop)
}
