//! A program that a stored profile is compared with: in memory, or open and read by ranges.

use std::collections::BTreeMap;
use std::path::Path;

use crate::addr::LinkAddr;
use crate::elf::{ElfError, Program, hex};
use crate::error::Error;
use crate::profile::BinaryId;
use crate::site::{self, ProbeAddress};
use crate::text::{ProgramText, TextError};

/// What the checks ask of a program.
pub(super) trait Examined {
    /// Why it cannot be read.
    type Error;

    /// Its name in messages.
    fn path(&self) -> &Path;

    /// Where its own symbols have functions and variables of these names.
    fn addresses(
        &self,
        names: &[&str],
    ) -> Result<BTreeMap<String, Vec<LinkAddr>>, ExamineError<Self::Error>>;

    /// The instruction at an address; none where there is no code.
    fn instruction(
        &self,
        addr: LinkAddr,
    ) -> Result<Option<ProbeAddress>, ExamineError<Self::Error>>;
}

/// Why a program was not compared, or is another.
#[derive(Debug)]
pub(super) enum ExamineError<E> {
    /// It cannot be read by ranges.
    Text(E),
    /// Anything else.
    Other(Box<Error>),
}

/// A program that is in memory can be read.
#[derive(Debug)]
pub(super) enum InMemory {}

impl<E> From<Box<Error>> for ExamineError<E> {
    fn from(error: Box<Error>) -> Self {
        Self::Other(error)
    }
}

impl<E> From<ElfError> for ExamineError<E> {
    fn from(error: ElfError) -> Self {
        Self::Other(Box::new(Error::Elf(error)))
    }
}

impl From<TextError> for ExamineError<TextError> {
    fn from(error: TextError) -> Self {
        Self::Text(error)
    }
}

impl Examined for Program {
    type Error = InMemory;

    fn path(&self) -> &Path {
        Self::path(self)
    }

    fn addresses(
        &self,
        names: &[&str],
    ) -> Result<BTreeMap<String, Vec<LinkAddr>>, ExamineError<InMemory>> {
        let symbols = self.symbols(names.iter().copied())?;
        let of = |name: &&str| {
            let found = symbols.get(name).iter().map(|symbol| symbol.addr).collect();
            ((*name).to_owned(), found)
        };
        Ok(names.iter().map(of).collect())
    }

    fn instruction(&self, addr: LinkAddr) -> Result<Option<ProbeAddress>, ExamineError<InMemory>> {
        Ok(site::probe_at(self, addr))
    }
}

/// An open program.
pub(super) struct OpenProgram<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a ProgramText,
}

impl OpenProgram<'_> {
    /// Its identity, but for its content.
    pub(super) fn identity(&self) -> Result<BinaryId, TextError> {
        Ok(BinaryId {
            build_id: self.text.build_id()?.map(|id| hex(&id)),
            content_hash: None,
            size: self.text.size(),
            pie: self.text.is_pie(),
        })
    }
}

impl Examined for OpenProgram<'_> {
    type Error = TextError;

    fn path(&self) -> &Path {
        self.path
    }

    fn addresses(
        &self,
        names: &[&str],
    ) -> Result<BTreeMap<String, Vec<LinkAddr>>, ExamineError<TextError>> {
        let addresses = |(name, found): (String, Vec<_>)| {
            (name, found.into_iter().map(|named: crate::text::Named| named.addr).collect())
        };
        Ok(self.text.named(names)?.into_iter().map(addresses).collect())
    }

    fn instruction(&self, addr: LinkAddr) -> Result<Option<ProbeAddress>, ExamineError<TextError>> {
        Ok(self.text.instruction_at(addr)?)
    }
}
