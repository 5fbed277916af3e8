//! What can go wrong on the channel.

use std::io;

use thiserror::Error;

use super::length::{MAX_FIRST_BYTES, MAX_FRAME_BYTES};

/// The channel cannot be used, or can be used no longer.
#[derive(Debug, Error)]
pub enum ChannelError {
    /// The stream below broke.
    #[error("failed to {doing} the other host")]
    Io {
        /// `read from` or `write to`.
        doing: &'static str,
        /// The stream's error.
        #[source]
        source: io::Error,
    },
    /// The other side ended the channel between two messages.
    #[error("the other host closed the channel")]
    Closed,
    /// The other side ended the channel inside a message.
    #[error("the other host closed the channel inside a message")]
    Truncated,
    /// The other side does not read what it is sent.
    #[error("the other host read nothing of a message for {0} s")]
    NotTaken(u64),
    /// The other side did not answer the first words in time.
    #[error("the other host did not complete the handshake within {0} s")]
    Silent(u64),
    /// The other side is no `poolferry-host`, or one of another time.
    #[error("the other host does not speak this channel (it began with {0:02x?})")]
    Stranger([u8; 8]),
    /// One side encrypts and the other does not.
    #[error("this host uses {ours}, the other host uses {theirs}")]
    Security {
        /// `a key` or `no key`.
        ours: &'static str,
        /// The same of the other side.
        theirs: &'static str,
    },
    /// The handshake failed: the other side has another key.
    #[error("the other host has another key")]
    WrongKey,
    /// The other side ended the channel inside the handshake, which it does when keys differ.
    #[error("the other host ended the handshake; it may have another key")]
    Rejected,
    /// A record does not have its authentication tag: it was changed on the way.
    #[error("a record of the channel was changed on its way")]
    Forged,
    /// A message is longer than a frame may be.
    #[error(
        "a message of {0} bytes is too long: a frame holds {MAX_FRAME_BYTES}, and the first {MAX_FIRST_BYTES}"
    )]
    TooLong(usize),
    /// A frame's content is not a message.
    #[error("a message of kind {kind} and {length} bytes makes no sense")]
    Malformed {
        /// First byte of the frame.
        kind: u8,
        /// Length of the frame.
        length: usize,
    },
    /// A frame's content is not the JSON that it should be.
    #[error("a message of kind {kind} is not what it should be")]
    Json {
        /// First byte of the frame.
        kind: u8,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The cipher refused to work.
    #[error("failed to encrypt")]
    Cipher(#[source] snow::Error),
}

impl ChannelError {
    /// Its kind in a few words, where many are counted.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } | Self::Closed | Self::Truncated => "gone",
            Self::NotTaken(_) | Self::Silent(_) => "silent",
            Self::Stranger(_) => "strangers",
            Self::Security { .. } => "protected otherwise",
            Self::WrongKey | Self::Rejected => "with another key",
            Self::Forged | Self::Cipher(_) => "forged",
            Self::TooLong(_) | Self::Malformed { .. } | Self::Json { .. } => "senseless",
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Io { .. }
            | Self::Closed
            | Self::Truncated
            | Self::NotTaken(_)
            | Self::Silent(_) => "read the output of `poolferry-host` on the other host",
            Self::Stranger(_) => "install the same version of `poolferry-host` on both hosts",
            Self::Security { .. } => "give `--key FILE` on both hosts, with the same key",
            Self::WrongKey | Self::Rejected => "copy the key file from one host to the other",
            Self::Malformed { .. } | Self::Json { .. } => {
                "install the same version of `poolferry-host` on both hosts"
            }
            Self::Forged | Self::TooLong(_) | Self::Cipher(_) => return None,
        })
    }

    pub(super) fn reading(source: io::Error) -> Self {
        Self::Io { doing: "read from", source }
    }

    pub(super) fn writing(source: io::Error) -> Self {
        Self::Io { doing: "write to", source }
    }
}
