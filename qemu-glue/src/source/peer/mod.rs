//! The destination's host: the channel to it, and what both sides agree on before the migration.

pub(super) mod channel;
pub(super) mod negotiation;

#[cfg(test)]
mod hostile_tests;
