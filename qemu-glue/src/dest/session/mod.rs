//! One source, phase by phase, from its hello to the last word.

mod prepare;
mod serve;

use std::time::Instant;

use foreign::Text;

use self::prepare::{PreparedRestore, WaitingQemu};
use crate::channel::{Message, PeerHello, Receiver, Refused, Sender, VERSION};
use crate::dest::admission::NewSource;
use crate::dest::controller::{Controller, Offered};
use crate::dest::event::{Observer, Outcome, ReceiveEvent};
use crate::dest::refusal::RestoreRefusal;
use crate::dest::{Options, ReceiveError};
use crate::timeline::ProbeSession;
use crate::{error_chain, usage};

/// What all phases share.
pub(in crate::dest) struct ReceiveSession<'a> {
    options: &'a Options,
    observer: Observer<'a>,
    sender: Sender,
    receiver: Receiver,
    controller: Controller,
    /// The migration's name.
    migration: Text,
    /// Seconds of this process before.
    cpu_s: f64,
    probe_session: ProbeSession,
}

/// What both sides have agreed on.
pub(in crate::dest) enum ServiceMode {
    /// Pages come from storage.
    Restore {
        /// All that it takes.
        prepared: Box<PreparedRestore>,
        /// The source leaves to the network what storage does not come to.
        shares: bool,
    },
    /// None do.
    StandBy(RestoreRefusal),
}

impl<'a> ReceiveSession<'a> {
    /// Takes QEMU's monitor, and answers the first words.
    pub(in crate::dest) async fn greet(
        NewSource { mut sender, receiver, hello: theirs }: NewSource,
        options: &'a Options,
        observer: Observer<'a>,
    ) -> Result<(Self, Result<WaitingQemu, RestoreRefusal>), ReceiveError> {
        let cpu_s = usage::cpu_s();
        let qemu = WaitingQemu::connect(&options.qmp).await;
        let (migration, probe_session) =
            (greet(&mut sender, theirs, &qemu).await?, ProbeSession::Not);
        // Of no more pages than QEMU has.
        let pages = qemu.as_ref().map_or(0, WaitingQemu::pages);
        let controller = Controller::new(pages, options.silence, Instant::now());
        let session = Self {
            options,
            observer,
            sender,
            receiver,
            controller,
            migration,
            cpu_s,
            probe_session,
        };
        Ok((session, qemu))
    }

    /// Receives what the source wants to skip.
    pub(in crate::dest) async fn offer(&mut self) -> Result<Offered, ReceiveError> {
        let offered = serve::offer(&mut self.controller, &mut self.receiver).await?;
        (self.observer)(&ReceiveEvent::Connected { migration: self.migration.clone() });
        Ok(offered)
    }

    /// Checks, opens storage, makes holes, lets QEMU listen, and answers the source.
    pub(in crate::dest) async fn prepare(
        &mut self,
        qemu: Result<WaitingQemu, RestoreRefusal>,
        (offer, set): Offered,
    ) -> Result<ServiceMode, ReceiveError> {
        if let (true, Ok(qemu)) = (self.options.probes, &qemu) {
            self.probe_session = ProbeSession::begin(qemu.pid());
        }
        match prepare::prepare(qemu, &offer, set, self.options).await {
            Ok((prepared, ready)) => {
                (self.observer)(&ReceiveEvent::ready(&ready, &prepared.set));
                self.sender.send(&Message::Ready(ready)).await?;
                Ok(ServiceMode::Restore { prepared: Box::new(prepared), shares: offer.shares })
            }
            Err((refusal, uri)) => {
                let (reason, hint) =
                    (Text::from(error_chain(&refusal)), Text::from(refusal.hint()));
                (self.observer)(&ReceiveEvent::Refused {
                    reason: reason.clone(),
                    hint: hint.clone(),
                });
                let refused = Refused { reason, hint, uri: uri.map(Text::from) };
                self.sender.send(&Message::Refused(refused)).await?;
                Ok(ServiceMode::StandBy(refusal))
            }
        }
    }

    /// Restores, or stands by, until the source sends how the migration ended.
    pub(in crate::dest) async fn serve(self, agreed: ServiceMode) -> Result<Outcome, ReceiveError> {
        let Self {
            options,
            observer,
            sender,
            receiver,
            controller,
            migration,
            cpu_s,
            probe_session,
        } = self;
        let channel = serve::Channel { sender, receiver, controller, qmp: options.qmp.clone() };
        let mut outcome = match agreed {
            ServiceMode::Restore { prepared, shares } => {
                let limits = options.limits.sized(prepared.set.bytes_on_storage());
                let limits = if shares { limits.shared() } else { limits };
                serve::restore(*prepared, channel, limits, probe_session, observer).await?
            }
            ServiceMode::StandBy(refusal) => {
                serve::stand_by(channel, refusal, probe_session).await?
            }
        };
        outcome.migration = migration;
        outcome.finished.cpu_s = usage::cpu_s() - cpu_s;
        observer(&ReceiveEvent::Finished { outcome: outcome.clone() });
        Ok(outcome)
    }
}

/// Answers the first words; gives the migration's name.
pub(in crate::dest) async fn greet(
    sender: &mut Sender,
    theirs: PeerHello,
    qemu: &Result<WaitingQemu, RestoreRefusal>,
) -> Result<Text, ReceiveError> {
    let ours = PeerHello {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        qemu: qemu.as_ref().map_or_else(|_| Text::default(), |qemu| qemu.version().into()),
        migration: theirs.migration.clone(),
    };
    sender.send(&Message::Hello(ours)).await?;
    if theirs.version != VERSION {
        return Err(ReceiveError::Version { theirs: theirs.version });
    }
    Ok(theirs.migration)
}

#[cfg(test)]
mod hostile_tests;
