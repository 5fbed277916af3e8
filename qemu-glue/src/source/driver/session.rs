//! All that a skip session does I/O with: the library, the channel, the threads that read the guest's RAM, the guest.
//!
//! It decides nothing: inputs go to the [`Controller`], which returns commands.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::agent::Telemetry;
use crate::channel::{ChannelError, Finish, Message};
use crate::guest::GuestRam;
use crate::set::SkipSet;
use crate::shim::{Armed, LibraryStatus, SavedParameters, ShimError};
use crate::source::controller::{
    Command, Controller, Input, LastWord, Library, MigrationParameters, SkipTask,
};
use crate::source::hash::{self, HashLimit, HashWindows, Hashed};
use crate::source::peer::channel::{LAST_WORD, PeerChannel};
use crate::source::planning::page_list::PlannedSkip;
use crate::source::record::SessionFigures;
use crate::source::zero::{self, ZeroCheck};

/// A set that is armed, and who takes part in its restore.
pub(in crate::source) struct SkipSession {
    armed: Armed,
    set: Arc<SkipSet>,
    ram: Arc<GuestRam>,
    peer: PeerChannel,
    telemetry: Telemetry,
    /// Hashes, while there are more to come.
    hashes: Option<mpsc::Receiver<Hashed>>,
    /// Zero pages looked at again, likewise.
    zeros: Option<mpsc::UnboundedReceiver<ZeroCheck>>,
    stop: Arc<AtomicBool>,
    /// Which pages may be hashed.
    windows: Arc<HashWindows>,
    /// The channel brings no more.
    deaf: bool,
    /// Pages that the library had re-dirtied by itself at the last look.
    by_library: u64,
}

impl SkipSession {
    /// Arms the set, and throttles QEMU until the switchover is released; gives the controller's task beside it.
    pub(in crate::source) fn arm(
        prepared: PlannedSkip,
        peer: PeerChannel,
        left_out: &HashSet<u16>,
        silence: Duration,
        splits_load: bool,
    ) -> Result<(Self, SkipTask), (ShimError, PeerChannel)> {
        let PlannedSkip { shim, ram, plan, telemetry } = prepared;
        let armed = match shim.arm(&plan.set) {
            Ok(armed) => armed,
            Err(error) => return Err((error, peer)),
        };
        armed.set_throttle(true);
        let ram_bytes = ram.blocks().iter().map(|block| block.length).sum();
        let task = SkipTask::new(&plan.set, ram_bytes, left_out, silence, splits_load);
        let session = Self {
            armed,
            set: Arc::new(plan.set),
            ram,
            peer,
            telemetry,
            hashes: None,
            zeros: None,
            stop: Arc::default(),
            windows: Arc::new(HashWindows::new(&task.devices)),
            deaf: false,
            by_library: 0,
        };
        Ok((session, task))
    }

    /// The state of the library's memory.
    pub(in crate::source) fn status(&self) -> LibraryStatus {
        self.armed.status()
    }

    /// The state of the library's memory, with the pages that it has re-dirtied if it has done so by itself since the last look.
    pub(in crate::source) fn look(&mut self) -> Input {
        let status = self.status();
        let by_library = std::mem::replace(&mut self.by_library, status.redirtied_unconfirmed);
        let redirtied = match status.redirtied_unconfirmed > by_library {
            true => self.armed.redirtied(),
            false => Vec::new(),
        };
        Input::Look(Some(Box::new(Library { status, redirtied })))
    }

    /// The parameters of QEMU's migrations change from now on: the library's memory has what they are to be again.
    pub(in crate::source) fn save_parameters(
        &self,
        user: MigrationParameters,
        migration: MigrationParameters,
    ) {
        let driver = std::process::id();
        self.armed.save(&SavedParameters { driver, user, migration });
    }

    /// QEMU has the user's again.
    pub(in crate::source) fn forget_parameters(&self) {
        self.armed.forget();
    }

    /// The library that has the set.
    pub(in crate::source) const fn library(&self) -> &Armed {
        &self.armed
    }

    /// What the session shows at its end.
    pub(in crate::source) fn figures(&self) -> SessionFigures {
        SessionFigures {
            status: self.status(),
            readings: self.telemetry.readings(),
            channel_bytes: self.channel_bytes(),
        }
    }

    pub(in crate::source) const fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// Bytes of the channel so far.
    pub(in crate::source) fn channel_bytes(&self) -> u64 {
        self.peer.bytes()
    }

    /// Whether the channel takes a message without waiting.
    pub(in crate::source) fn channel_has_room(&self) -> bool {
        self.peer.out.capacity() > 0
    }

    /// What comes next, from the destination or from the threads that read, which may hash so far. Loses nothing
    /// when it is dropped.
    pub(in crate::source) async fn next(&mut self, limits: &[HashLimit]) -> Input {
        self.windows.allow(limits);
        // Hashes are taken only when they can be sent at once.
        let room = self.channel_has_room();
        let hashes = async {
            match &mut self.hashes {
                Some(hashes) if room => hashes.recv().await,
                _ => std::future::pending().await,
            }
        };
        let message = async {
            match self.deaf {
                false => self.peer.incoming.recv().await,
                true => std::future::pending().await,
            }
        };
        let zeros = async {
            match &mut self.zeros {
                Some(zeros) => zeros.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            message = message => self.input_of(message),
            hashed = hashes => hashed.map_or_else(|| self.hashes_ended(), Input::Hashed),
            looked = zeros => looked.map_or_else(|| self.zeros_ended(), Input::ZerosChecked),
        }
    }

    /// The messages of the destination that are there. No more than those: one that never stops sending would keep the loop for ever.
    pub(in crate::source) fn waiting(&mut self) -> Vec<Input> {
        let waiting: Vec<_> =
            (0..self.peer.incoming.len()).map_while(|_| self.peer.incoming.try_recv()).collect();
        waiting.into_iter().map(|message| self.input_of(Some(message))).collect()
    }

    fn input_of(&mut self, message: Option<Result<Message, ChannelError>>) -> Input {
        let gone = match message {
            Some(Ok(message)) => return Input::Peer(message),
            Some(Err(error)) => Some(error),
            None => None,
        };
        self.deaf = true;
        Input::ChannelGone(gone)
    }

    fn hashes_ended(&mut self) -> Input {
        self.hashes = None;
        Input::HashesEnded
    }

    fn zeros_ended(&mut self) -> Input {
        self.zeros = None;
        Input::ZerosEnded
    }

    /// Carries out the controller's commands to the library, to the channel and to the threads; gives what comes of it.
    pub(in crate::source) fn perform(&mut self, command: Command) -> Option<Input> {
        match command {
            Command::Confirm(ranges) => ranges.iter().for_each(|range| self.armed.confirm(*range)),
            Command::Redirty(ranges) => {
                ranges.iter().for_each(|range| self.armed.redirty(*range));
            }
            Command::Disarm => self.armed.disarm(),
            Command::ReadLibrary => return Some(self.look()),
            Command::Release => self.armed.set_throttle(false),
            Command::StartReading => return self.start_reading().err().map(Input::NoThread),
            Command::StopReading => {
                self.stop_reading();
                (self.hashes, self.zeros) = (None, None);
            }
            Command::Send(message) => return self.peer.send(message),
            // Whether it still receives does not matter.
            Command::Notify(message) => drop(self.peer.out.try_send(message)),
            // None of a session's.
            Command::QueryQemu
            | Command::SetParameters(_)
            | Command::CancelMigration
            | Command::Enter(_)
            | Command::Warn(_)
            | Command::End => {}
        }
        None
    }

    /// Begins to read the set's pages: the hint has returned (invariant I2).
    fn start_reading(&mut self) -> io::Result<()> {
        let threads = hash::default_threads();
        self.hashes = Some(hash::start(&self.ram, &self.set, threads, &self.stop, &self.windows)?);
        self.zeros = Some(zero::verify(&self.ram, &self.set, &self.stop)?);
        Ok(())
    }

    /// The threads end soon.
    fn stop_reading(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.windows.stop();
    }

    /// Sends the destination how it ended and waits for its last message.
    pub(in crate::source) async fn finish(
        &mut self,
        controller: &mut Controller,
        finish: Finish,
    ) -> Option<LastWord> {
        let last_word = async {
            self.peer.out.send(Message::Finish(finish)).await.ok()?;
            while !self.deaf {
                let message = self.peer.incoming.recv().await;
                let message = self.input_of(message);
                controller.step(Instant::now(), message);
                if let Some(word) = controller.take_last_word() {
                    return Some(word);
                }
            }
            None
        };
        tokio::time::timeout(LAST_WORD, last_word).await.ok().flatten()
    }
}

impl Drop for SkipSession {
    fn drop(&mut self) {
        self.stop_reading();
    }
}
