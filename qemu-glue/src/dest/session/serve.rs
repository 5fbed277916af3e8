//! Serves a source from `Ready` or `Refused` to the end: carries out the controller's commands.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use foreign::Text;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{MissedTickBehavior, interval, sleep, timeout, timeout_at};

use super::prepare::PreparedRestore;
use crate::channel::{ChannelError, Finish, Finished, Message, Receiver, Sender};
use crate::dest::controller::{Command, Controller, IncomingState, Input, Offered, SettledPages};
use crate::dest::error::ReceiveError;
use crate::dest::event::{Observer, Outcome, ReceiveEvent};
use crate::dest::incoming::state;
use crate::dest::refusal::RestoreRefusal;
use crate::dest::restore::{Limits, Restore};
use crate::qmp::Qmp;
use crate::timeline::{ProbeSession, now_ns};
use crate::{error_chain, usage};

/// How long the VM may take to run here after its source has let it go.
const STARTS: Duration = Duration::from_millis(100);
/// How long the source may take to take the last answers, and the last word.
const LAST_WORD: Duration = Duration::from_secs(10);
/// How often the controller gets the time and the progress of the restore.
const TICK: Duration = Duration::from_millis(5);
/// How often where nothing is restored.
const TICK_IDLE: Duration = Duration::from_millis(200);
/// Messages that wait for the source to take them; answers are merged while there is no room.
const WAITING: usize = 64;

/// A source that was let in: both ends of its channel, and what was decided so far.
pub(super) struct Channel {
    pub(super) sender: Sender,
    pub(super) receiver: Receiver,
    pub(super) controller: Controller,
    /// Socket of QEMU's monitor.
    pub(super) qmp: PathBuf,
}

/// Receives what the source wants to skip.
pub(super) async fn offer(
    controller: &mut Controller,
    receiver: &mut Receiver,
) -> Result<Offered, ReceiveError> {
    loop {
        let message = match controller.deadline() {
            Some(deadline) => timeout_at(deadline.into(), receiver.receive()).await,
            None => Ok(receiver.receive().await),
        };
        let input = match message {
            Ok(message) => Input::Peer(message?),
            Err(_late) => Input::Tick { progress: Default::default(), has_room: false },
        };
        for command in controller.step(Instant::now(), input) {
            match command {
                Command::Prepare(offered) => return Ok(*offered),
                Command::Fail(error) => return Err(error),
                // None of this phase's.
                _ => {}
            }
        }
    }
}

/// Restores until the source sends how the migration ended; nothing is installed when it returns.
pub(super) async fn restore(
    prepared: PreparedRestore,
    channel: Channel,
    limits: Limits,
    probe_session: ProbeSession,
    observer: Observer<'_>,
) -> Result<Outcome, ReceiveError> {
    let Channel { sender, receiver, mut controller, qmp } = channel;
    let PreparedRestore { set, devices, target } = prepared;
    controller.step(Instant::now(), Input::Ready { pages: set.pages() });
    let (restore, answers) = Restore::start(set, devices, target, limits);
    let (out, waiting) = mpsc::channel(WAITING);
    let mut sending = JoinSet::new();
    sending.spawn(send(sender, waiting));
    let mut peak_memory_bytes = usage::memory_bytes();
    let mut serving = Serving { controller, receiver, qmp: &qmp, queries: JoinSet::new() };
    let mut restoring = ActiveRestore {
        restore: &restore,
        answers,
        out,
        peak_memory_bytes: &mut peak_memory_bytes,
    };
    let followed = tokio::select! {
        followed = serving.follow(Some(&mut restoring), observer) => followed,
        // It ends before the restore only where the source takes no answers.
        ended = sending.join_next() => Err(sent(ended).err().unwrap_or(ChannelError::Closed).into()),
    };
    let ActiveRestore { mut answers, out, .. } = restoring;
    let (progress, warnings) = (restore.progress(), restore.warnings());
    restore.stop().await;
    let finish = followed?;
    let sender = timeout(LAST_WORD, async {
        serving.last_answers(&mut answers, out).await;
        sent(sending.join_next().await)
    });
    let sender = sender.await.ok().and_then(Result::ok);
    let cpu_s = usage::cpu_s();
    let finished = Finished { progress, cpu_s, peak_memory_bytes, probes: None, warnings };
    Ok(end(sender, finish, finished, probe_session).await)
}

/// Sends until there is nothing more to send; returns the channel for the last message.
async fn send(
    mut sender: Sender,
    mut waiting: mpsc::Receiver<Message>,
) -> Result<Sender, ChannelError> {
    while let Some(message) = waiting.recv().await {
        sender.send(&message).await?;
    }
    Ok(sender)
}

fn sent(
    ended: Option<Result<Result<Sender, ChannelError>, JoinError>>,
) -> Result<Sender, ChannelError> {
    ended.ok_or(ChannelError::Closed)?.map_err(|_| ChannelError::Closed)?
}

/// Waits for the end of a migration in which nothing is restored.
pub(super) async fn stand_by(
    channel: Channel,
    refusal: RestoreRefusal,
    probe_session: ProbeSession,
) -> Result<Outcome, ReceiveError> {
    let Channel { sender, receiver, mut controller, qmp } = channel;
    controller.step(Instant::now(), Input::Refused);
    let mut serving = Serving { controller, receiver, qmp: &qmp, queries: JoinSet::new() };
    let finish = serving.follow(None, &mut |_| {}).await?;
    let finished = Finished {
        warnings: vec![error_chain(&refusal).into()],
        peak_memory_bytes: usage::memory_bytes(),
        ..Finished::default()
    };
    let outcome = end(Some(sender), finish, finished, probe_session).await;
    Ok(Outcome { refused: Some(error_chain(&refusal).into()), ..outcome })
}

/// A source that is served.
struct Serving<'a> {
    controller: Controller,
    receiver: Receiver,
    qmp: &'a Path,
    /// Queries to QEMU that are under way.
    queries: JoinSet<Option<IncomingState>>,
}

/// What belongs to a restore.
struct ActiveRestore<'a> {
    restore: &'a Restore,
    answers: UnboundedReceiver<Vec<SettledPages>>,
    out: mpsc::Sender<Message>,
    peak_memory_bytes: &'a mut u64,
}

impl Serving<'_> {
    /// Follows the source until it sends how the migration ended.
    async fn follow(
        &mut self,
        mut restoring: Option<&mut ActiveRestore<'_>>,
        observer: Observer<'_>,
    ) -> Result<Finish, ReceiveError> {
        let mut tick = interval(if restoring.is_some() { TICK } else { TICK_IDLE });
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let answers = async {
                match &mut restoring {
                    Some(restoring) => restoring.answers.recv().await,
                    None => std::future::pending().await,
                }
            };
            let input = tokio::select! {
                // Messages are no reason to skip a look.
                biased;
                _ = tick.tick() => Input::Tick {
                    progress: restoring.as_ref().map(|it| it.restore.progress()).unwrap_or_default(),
                    has_room: restoring.as_ref().is_some_and(|it| it.out.capacity() >= WAITING / 2),
                },
                Some(answer) = self.queries.join_next() => Input::Incoming(answer.ok().flatten()),
                Some(answers) = answers => Input::Answers(answers),
                message = self.receiver.receive() => Input::Peer(message?),
            };
            let mut commands = self.controller.step(Instant::now(), input);
            while !commands.is_empty() {
                let mut more = Vec::new();
                for command in commands {
                    match command {
                        Command::Finish(finish) => return Ok(finish),
                        Command::Fail(error) => return Err(error),
                        Command::QueryQemu => {
                            drop(self.queries.spawn(incoming_state(self.qmp.to_owned())))
                        }
                        command => {
                            let Some(restoring) = &mut restoring else { continue };
                            let came = restoring.perform(command, observer);
                            let step = |input| self.controller.step(Instant::now(), input);
                            more.extend(came.map(step).into_iter().flatten());
                        }
                    }
                }
                commands = more;
            }
        }
    }

    /// Sends the answers that are there when the restore has stopped.
    async fn last_answers(
        &mut self,
        answers: &mut UnboundedReceiver<Vec<SettledPages>>,
        out: mpsc::Sender<Message>,
    ) {
        while let Some(answers) = answers.recv().await {
            self.controller.step(Instant::now(), Input::Answers(answers));
        }
        for command in self.controller.step(Instant::now(), Input::AnswersEnded) {
            if let Command::Send(message) = command
                && out.send(message).await.is_err()
            {
                return;
            }
        }
    }
}

impl ActiveRestore<'_> {
    /// Does what concerns the restore; gives what comes of it.
    fn perform(
        &mut self,
        command: Command,
        observer: &mut (dyn FnMut(&ReceiveEvent) + Send),
    ) -> Option<Input> {
        match command {
            Command::Restore { first, hashes } => {
                return self.restore.hashes(first, &hashes).err().map(Input::HashesRefused);
            }
            Command::Leave(ranges) => self.restore.leave(&ranges),
            // There was room for all messages of a step; the sending task reports a channel that is gone.
            Command::Send(message) => drop(self.out.try_send(message)),
            Command::Observe(progress) => {
                *self.peak_memory_bytes = usage::memory_bytes().max(*self.peak_memory_bytes);
                observer(&ReceiveEvent::Progress(progress));
            }
            // None of the restore's.
            Command::Prepare(_) | Command::QueryQemu | Command::Finish(_) | Command::Fail(_) => {}
        }
        None
    }
}

/// Whether a migration comes in. The monitor is let go at once: QEMU serves one client.
async fn incoming_state(qmp: PathBuf) -> Option<IncomingState> {
    let qmp = Qmp::connect(&qmp).await.inspect_err(|error| log::debug!("{error}")).ok()?;
    state::query(&qmp).await.inspect_err(|error| log::debug!("{error}")).ok()
}

/// What CLOCK_MONOTONIC was in ns at a Unix time of the past in seconds.
fn zero_ns(unix_s: f64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let ago = Duration::try_from_secs_f64(now.as_secs_f64() - unix_s).unwrap_or_default();
    now_ns().saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX))
}

/// The last word, unless the source takes none any more.
async fn end(
    sender: Option<Sender>,
    finish: Finish,
    mut finished: Finished,
    probe_session: ProbeSession,
) -> Outcome {
    // The source may know that it has lost the VM before the VM runs here.
    sleep(STARTS).await;
    let (side, warning) = probe_session.end(zero_ns(finish.begun_unix_s)).await;
    finished.probes = side.map(Box::new);
    finished.warnings.extend(warning.map(Text::from));
    let exchange = async {
        let mut sender = sender.ok_or(ChannelError::Closed)?;
        sender.send(&Message::Finished(finished.clone())).await?;
        sender.close().await
    };
    // The source may be gone by now: that changes nothing.
    let late = |_| Err(ChannelError::NotTaken(LAST_WORD.as_secs()));
    if let Err(error) = timeout(LAST_WORD, exchange).await.unwrap_or_else(late) {
        log::info!("the source did not wait for the last word: {error}");
    }
    Outcome { migration: Text::default(), finish, finished, refused: None }
}
