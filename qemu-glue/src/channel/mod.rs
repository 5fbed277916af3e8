//! The channel between the two hosts: messages over one stream, encrypted unless `--plain` is given.
//!
//! ```text
//! source                              destination
//! Hello                        ->
//!                              <-     Hello
//! Offer, Runs*, OfferEnd       ->     preflight, holes, userfaultfd, incoming
//!                              <-     Ready | Refused
//! (arm, migrate, hint)
//! Hashes*                      ->     read, compare, install
//! Redirtied*                   ->     QEMU sends these
//!                              <-     Installed*, NotInstalled*, Progress*
//! Finish                       ->
//!                              <-     Finished
//! ```
//! A side that does not understand a message ends the channel; a channel that ends costs speed only:
//! what is not confirmed is re-dirtied.
//!
//! [`connect`] and [`accept`] open it; [`Sender`] and [`Receiver`] are its ends, for two tasks. The
//! peer's bytes are not trusted: frames are bounded, and no bytes make a message panic.

mod clip;
mod codec;
mod error;
mod frame;
mod handshake;
mod key;
mod length;
mod message;
mod noise;

pub use clip::MAX_SECONDS;
pub use error::ChannelError;
pub use frame::{Receiver, Sender};
pub use handshake::{Security, Step, accept, accept_with_steps, connect};
pub use key::{Key, KeyError};
pub use length::MAX_WARNINGS;
pub use message::{
    Finish, Finished, MAX_DEVICE_BYTES, MAX_DEVICES, Message, NotInstalled, Offer, PeerHello,
    Progress, Ready, Refused, SetRange, VERSION,
};
