//! The line to the agent: a question out, its answer in.

use std::path::{Path, PathBuf};
use std::process;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use page_wire::protocol::{
    AgentReply, AgentRequest, Hello, LineBuffer, MAX_REPLY_BYTES, MAX_REQUEST_BYTES, ReplyBody,
    RequestBody, Trouble, VERSION, from_line, to_line,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

use super::AgentError;

/// When the agent is greeted again until it answers: what came before it saw us may be lost. Each time is
/// twice as long as the one before.
const GREET_AGAIN: Duration = Duration::from_millis(60);
/// And this long at most.
const GREET_SLOWLY: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 64 << 10;

/// A connection to the port's chardev.
#[derive(Debug)]
pub(super) struct AgentPort {
    path: PathBuf,
    stream: UnixStream,
    lines: LineBuffer,
    /// Read, but not yet made into lines; the part before `taken` is used up.
    input: Vec<u8>,
    taken: usize,
    next_id: u64,
}

impl AgentPort {
    pub(super) async fn connect(path: &Path) -> Result<Self, AgentError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| AgentError::Connect { path: path.to_owned(), source })?;
        Ok(Self {
            path: path.to_owned(),
            stream,
            lines: LineBuffer::new(MAX_REPLY_BYTES),
            input: Vec::new(),
            taken: 0,
            next_id: first_id(),
        })
    }

    /// Sends the hello until the agent answers with its own.
    pub(super) async fn greet(&mut self, limit: Duration) -> Result<Hello, AgentError> {
        let until = Instant::now() + limit;
        let silent = AgentError::Silent { path: self.path.clone(), limit };
        // One id for all of them: whichever is answered will do.
        let id = self.new_id();
        let what = "its greeting";
        let mut wait = GREET_AGAIN;
        while Instant::now() < until {
            let again = until.min(Instant::now() + wait);
            wait = GREET_SLOWLY.min(2 * wait);
            let greeting = self.send(id, RequestBody::Hello { version: VERSION });
            match timeout_at(again, greeting).await {
                Ok(sent) => sent?,
                Err(_) => continue,
            }
            loop {
                match timeout_at(again, self.answer(what)).await {
                    Err(_) => break,
                    Ok(Ok(AgentReply { id: found, body: ReplyBody::Hello(hello) }))
                        if found == id =>
                    {
                        return Ok(hello);
                    }
                    // What was meant for somebody before, whole or in part.
                    Ok(Ok(_) | Err(AgentError::Garbled(_))) => {}
                    Ok(Err(error)) => return Err(error),
                }
            }
        }
        Err(silent)
    }

    /// Sends a request, and waits for the reply of the same id.
    pub(super) async fn request(
        &mut self,
        request: RequestBody,
        what: &'static str,
        limit: Duration,
    ) -> Result<ReplyBody, AgentError> {
        let until = Instant::now() + limit;
        let id = self.new_id();
        let answer = async {
            self.send(id, request).await?;
            loop {
                let answer = self.answer(what).await?;
                // Id 0: it could not read the question, and this was the last one.
                if answer.id == id || (answer.id == 0 && matches!(answer.body, ReplyBody::Error(_)))
                {
                    return Ok(answer.body);
                }
            }
        };
        match timeout_at(until, answer).await {
            Ok(Ok(ReplyBody::Error(Trouble { what, hint, again }))) => {
                Err(AgentError::Refused { what, hint, again })
            }
            Ok(answer) => answer,
            Err(_) => Err(AgentError::Timeout { what, limit }),
        }
    }

    async fn send(&mut self, id: u64, what: RequestBody) -> Result<(), AgentError> {
        let request = to_line(&AgentRequest { id, body: what }, MAX_REQUEST_BYTES)
            .map_err(AgentError::Garbled)?;
        // The end of a line before it: of ours, should its sending have been given up half-way.
        let line = [b"\n", &request[..]].concat();
        self.stream.write_all(&line).await.map_err(AgentError::Io)
    }

    /// The next answer, whatever its id. Nothing is lost when this is given up.
    async fn answer(&mut self, what: &'static str) -> Result<AgentReply, AgentError> {
        loop {
            let mut rest = &self.input[self.taken..];
            let line = self.lines.take(&mut rest);
            self.taken = self.input.len() - rest.len();
            if let Some(line) = line {
                return line.and_then(|line| from_line(&line)).map_err(AgentError::Garbled);
            }
            self.input.clear();
            self.taken = 0;
            self.input.reserve(READ_BYTES);
            let read = self.stream.read_buf(&mut self.input).await.map_err(AgentError::Io)?;
            if read == 0 {
                return Err(AgentError::Closed { what });
            }
        }
    }

    fn new_id(&mut self) -> u64 {
        let id = self.next_id;
        // 0 is no id.
        self.next_id = self.next_id.checked_add(1).unwrap_or(1);
        id
    }
}

/// A number that nobody who was here before has counted to: the nanoseconds since 1970, and the
/// process that reads them.
fn first_id() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let id = now.as_secs() << 32 | u64::from(now.subsec_nanos());
    (id ^ u64::from(process::id()) << 16).max(1)
}
