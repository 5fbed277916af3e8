//! Requests to the guest's agent over the VM's virtio-serial port.
//!
//! ```text
//! connect ─ hello ─> page_list ─┬─ read in place, at the frames of its reply ─┐
//!                               └─ else copied, piece by piece ───────────────────────┴─ hash ─> Listed
//! ```
//! No reply of the agent is trusted: lengths and counts are bounded before anything is allocated,
//! addresses are read through [`ReadRam`], which knows the VM's RAM, and the bytes count only when they
//! have the hash of its reply (a list that has moved, or changes while it is read, does not). What the list
//! *contains* is for its reader to clip and to prove. Every wait has an end; an answer that comes after
//! that is recognised by its id and ignored, so a request may follow any error but
//! [`AgentError::Closed`] and [`AgentError::Io`].

mod error;
mod listed;
mod port;
mod ram;
mod telemetry;

use std::path::Path;
use std::time::{Duration, Instant};

use page_wire::Bounds;
use page_wire::protocol::{
    Hello, MAX_COPY_BYTES, Migration, PageList, ReplyBody, RequestBody, Status, VERSION,
};

pub use error::AgentError;
pub use listed::{How, ListSteps, Listed, NotInPlace};
pub use ram::{NoRam, ReadRam};
pub use telemetry::{Reading, Telemetry, seconds, seconds_from};

use listed::{Copying, ListReply};
use port::AgentPort;

/// How long the agent has to greet; it answers requests one after the other, and the one
/// before may have been for a list.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// For short answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// For each piece of a list that is copied.
const PIECE_WITHIN: Duration = Duration::from_secs(10);
/// A list that the agent has announced, as its server is being attached to or starts, is waited for so long.
const COMING_WITHIN: Duration = Duration::from_secs(10);
/// How often it is requested meanwhile.
const AGAIN_EVERY: Duration = Duration::from_millis(200);
/// Courtesy: the agent gives the pages back by itself later.
const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// The agent at the other end of a port.
#[derive(Debug)]
pub struct Agent {
    port: AgentPort,
    hello: Hello,
    patience: Duration,
}

impl Agent {
    /// Connects to the chardev of the VM's port, a unix socket that QEMU listens on
    /// (`-chardev socket,path=PATH,server=on,wait=off`), and greets the agent.
    ///
    /// # Errors
    /// [`AgentError`] when nothing listens or answers, or another version does.
    pub async fn connect(path: &Path) -> Result<Self, AgentError> {
        Self::connect_within(path, HELLO_WITHIN).await
    }

    /// As [`Self::connect`], with another limit of patience.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_within(path: &Path, limit: Duration) -> Result<Self, AgentError> {
        let mut port = AgentPort::connect(path).await?;
        let hello = port.greet(limit).await?;
        if hello.version != VERSION {
            return Err(AgentError::Version { theirs: hello.version, program: hello.program });
        }
        Ok(Self { port, hello, patience: COMING_WITHIN })
    }

    /// Its greeting.
    #[must_use]
    pub const fn hello(&self) -> &Hello {
        &self.hello
    }

    /// The same, waiting so long for a list that is about to come, in place of ten seconds.
    #[must_use]
    pub const fn waiting(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The guest's page list of this moment, complete and unchanged: the bytes that
    /// [`page_wire::List::parse`] reads. `timeout` is for all of it, the copying included.
    ///
    /// An agent that is about to have a server, as that was restarted a moment ago, gets the request again for ten seconds.
    ///
    /// # Errors
    /// [`AgentError`] when there is no list, with the guest's own words where it has given a reason.
    pub async fn page_list(
        &mut self,
        ram: &impl ReadRam,
        timeout: Duration,
    ) -> Result<Listed, AgentError> {
        let begun = Instant::now();
        let until = begun + timeout;
        let (reply, requested) = self.request_list(until).await?;
        let answer_s = requested.elapsed().as_secs_f64();
        let ReplyBody::PageList(page_list) = reply else {
            return Err(AgentError::unexpected(&reply));
        };
        let page_list = ListReply::check(*page_list, Bounds::of_ram(ram.ram_bytes()))?;
        let read = self.read(&page_list, ram, until).await;
        // Read or not, the pages are of no more use.
        if let Err(error) = self.release(&page_list.list).await {
            log::debug!("the list was not released: {error}");
        }
        let mut listed = read?;
        listed.steps.waited_s = (requested - begun).as_secs_f64();
        listed.steps.answer_s = answer_s;
        listed.steps.transfer_s += (answer_s - listed.steps.guest.total_s).max(0.0);
        listed.steps.total_s = begun.elapsed().as_secs_f64();
        Ok(listed)
    }

    /// The answer, and when it was requested.
    async fn request_list(&mut self, until: Instant) -> Result<(ReplyBody, Instant), AgentError> {
        let patience = until.min(Instant::now() + self.patience);
        let mut has_logged = false;
        loop {
            let requested = Instant::now();
            let left = until.saturating_duration_since(requested);
            match self.port.request(RequestBody::PageList, "its page list", left).await {
                Err(AgentError::Refused { what, again: true, .. }) if requested < patience => {
                    if !std::mem::replace(&mut has_logged, true) {
                        let seconds = self.patience.as_secs();
                        log::warn!(
                            "the guest's agent: {what}; trying again for {seconds} s at most"
                        );
                    }
                    tokio::time::sleep(AGAIN_EVERY).await;
                }
                reply => return Ok((reply?, requested)),
            }
        }
    }

    /// In place, else copied.
    async fn read(
        &mut self,
        page_list: &ListReply,
        ram: &impl ReadRam,
        until: Instant,
    ) -> Result<Listed, AgentError> {
        let start = Instant::now();
        match page_list.read_in_place(ram) {
            Ok((bytes, hash_s)) => Ok(page_list.listed(bytes, How::InPlace, start, hash_s)),
            Err(why) => {
                log::info!("the page list is copied: {why}");
                let start = Instant::now();
                let (bytes, hash_s) = self.copy(page_list, until).await?;
                Ok(page_list.listed(bytes, How::Copied(why), start, hash_s))
            }
        }
    }

    async fn copy(
        &mut self,
        page_list: &ListReply,
        until: Instant,
    ) -> Result<(Vec<u8>, f64), AgentError> {
        let mut copying = Copying::of(page_list);
        while let Some((offset, len)) = copying.next(MAX_COPY_BYTES / 2) {
            let left = until.saturating_duration_since(Instant::now()).min(PIECE_WITHIN);
            let what = RequestBody::Copy { list: page_list.list.list, offset, len };
            match self.port.request(what, "a piece of its page list", left).await? {
                ReplyBody::Copied(piece) => copying.take(&piece, len)?,
                other => return Err(AgentError::unexpected(&other)),
            }
        }
        copying.finish()
    }

    async fn release(&mut self, page_list: &PageList) -> Result<(), AgentError> {
        let what = RequestBody::Release { list: page_list.list };
        match self.port.request(what, "the release of its page list", RELEASE_WITHIN).await? {
            ReplyBody::Released => Ok(()),
            other => Err(AgentError::unexpected(&other)),
        }
    }

    /// How the guest's server and its pool are now.
    ///
    /// # Errors
    /// [`AgentError`] when there is no answer.
    pub async fn status(&mut self) -> Result<Status, AgentError> {
        match self.port.request(RequestBody::Status, "its status", ANSWER_WITHIN).await? {
            ReplyBody::Status(status) => Ok(*status),
            other => Err(AgentError::unexpected(&other)),
        }
    }

    /// Reports how the migration goes, for people in the guest; at least every ten seconds, or they take
    /// it to be over.
    ///
    /// # Errors
    /// [`AgentError`] when it was not received. The migration does not depend on it.
    pub async fn report(&mut self, migration: Migration) -> Result<(), AgentError> {
        match self
            .port
            .request(RequestBody::Migration(migration), "an acknowledgement", ANSWER_WITHIN)
            .await?
        {
            ReplyBody::Noted => Ok(()),
            other => Err(AgentError::unexpected(&other)),
        }
    }
}

#[cfg(test)]
mod tests;
