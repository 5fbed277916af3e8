//! One source, phase by phase, from its greeting to the last word.

mod prepare;
mod serve;

use std::time::Instant;

use foreign::Text;

use self::prepare::{Prepared, Qemu};
use crate::channel::{Hello, Message, Receiver, Refused, Sender, VERSION};
use crate::dest::admission::Greeting;
use crate::dest::controller::{Controller, Offered};
use crate::dest::event::{Event, Observer, Outcome};
use crate::dest::refusal::Refusal;
use crate::dest::{Options, ReceiveError};
use crate::timeline::Watched;
use crate::{error_chain, usage};

/// What all phases share.
pub(in crate::dest) struct Run<'a> {
    options: &'a Options,
    observer: Observer<'a>,
    sender: Sender,
    receiver: Receiver,
    controller: Controller,
    /// The migration's name.
    migration: Text,
    /// Seconds of this process before.
    cpu_s: f64,
    watched: Watched,
}

/// What both sides have agreed on.
pub(in crate::dest) enum Agreed {
    /// Pages come from storage.
    Restore {
        /// All that it takes.
        prepared: Box<Prepared>,
        /// The source leaves to the network what storage does not come to.
        shares: bool,
    },
    /// None do.
    StandBy(Refusal),
}

impl<'a> Run<'a> {
    /// Takes QEMU's monitor, and answers the first words.
    pub(in crate::dest) async fn greet(
        Greeting { mut sender, receiver, hello: theirs }: Greeting,
        options: &'a Options,
        observer: Observer<'a>,
    ) -> Result<(Self, Result<Qemu, Refusal>), ReceiveError> {
        let cpu_s = usage::cpu_s();
        let qemu = Qemu::connect(&options.qmp).await;
        let (migration, watched) = (greet(&mut sender, theirs, &qemu).await?, Watched::Not);
        // Of no more pages than QEMU has.
        let pages = qemu.as_ref().map_or(0, Qemu::pages);
        let controller = Controller::new(pages, options.silence, Instant::now());
        let run =
            Self { options, observer, sender, receiver, controller, migration, cpu_s, watched };
        Ok((run, qemu))
    }

    /// Receives what the source wants to skip.
    pub(in crate::dest) async fn offer(&mut self) -> Result<Offered, ReceiveError> {
        let offered = serve::offer(&mut self.controller, &mut self.receiver).await?;
        (self.observer)(&Event::Connected { migration: self.migration.clone() });
        Ok(offered)
    }

    /// Checks, opens storage, makes holes, lets QEMU listen, and tells the source.
    pub(in crate::dest) async fn prepare(
        &mut self,
        qemu: Result<Qemu, Refusal>,
        (offer, set): Offered,
    ) -> Result<Agreed, ReceiveError> {
        if let (true, Ok(qemu)) = (self.options.probes, &qemu) {
            self.watched = Watched::begin(qemu.pid());
        }
        match prepare::prepare(qemu, &offer, set, self.options).await {
            Ok((prepared, ready)) => {
                (self.observer)(&Event::ready(&ready, &prepared.set));
                self.sender.send(&Message::Ready(ready)).await?;
                Ok(Agreed::Restore { prepared: Box::new(prepared), shares: offer.shares })
            }
            Err((refusal, uri)) => {
                let (reason, hint) =
                    (Text::from(error_chain(&refusal)), Text::from(refusal.hint()));
                (self.observer)(&Event::Refused { reason: reason.clone(), hint: hint.clone() });
                let refused = Refused { reason, hint, uri: uri.map(Text::from) };
                self.sender.send(&Message::Refused(refused)).await?;
                Ok(Agreed::StandBy(refusal))
            }
        }
    }

    /// Restores, or stands by, until the source says how the migration ended.
    pub(in crate::dest) async fn serve(self, agreed: Agreed) -> Result<Outcome, ReceiveError> {
        let Self { options, observer, sender, receiver, controller, migration, cpu_s, watched } =
            self;
        let channel = serve::Channel { sender, receiver, controller, qmp: options.qmp.clone() };
        let mut outcome = match agreed {
            Agreed::Restore { prepared, shares } => {
                let limits = options.limits.sized(prepared.set.bytes_on_storage());
                let limits = if shares { limits.shared() } else { limits };
                serve::restore(*prepared, channel, limits, watched, observer).await?
            }
            Agreed::StandBy(refusal) => serve::stand_by(channel, refusal, watched).await?,
        };
        outcome.migration = migration;
        outcome.finished.cpu_s = usage::cpu_s() - cpu_s;
        observer(&Event::Finished { outcome: outcome.clone() });
        Ok(outcome)
    }
}

/// Answers the first words; gives the migration's name.
pub(in crate::dest) async fn greet(
    sender: &mut Sender,
    theirs: Hello,
    qemu: &Result<Qemu, Refusal>,
) -> Result<Text, ReceiveError> {
    let ours = Hello {
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
