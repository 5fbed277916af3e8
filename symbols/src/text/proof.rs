//! A site, proven in the program's own bytes.

use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction as Machine};

use super::error::{SiteError, TextError, Why};
use super::image::ProgramText;
use crate::addr::{FileOff, LinkAddr};
use crate::elf::hex;
use crate::profile::{ArgLoc, Profile, Site, SiteKind};
use crate::site::{ProbeAddress, probe_in};

/// Longest way from the start of a function to a site, in bytes. Only inlined copies are far in.
const MAX_WAY: u64 = 1 << 20;

/// Longest way where it must be a straight line: the prologue that
/// [`site::choose`](crate::site::choose) looks at.
const MAX_PROLOGUE: u64 = 64;

/// Most bytes of code that a profile is compared by.
const MAX_CODE: u64 = 128;

/// Longest instruction of x86, in bytes.
const MAX_INSTRUCTION: u64 = 15;

/// A place for a probe: the start of an instruction of the function that the profile names, in the
/// program that is probed. Only [`ProgramText::prove`] makes one.
#[derive(Clone, Debug)]
pub struct ProvenSite<'t> {
    text: &'t ProgramText,
    function: String,
    entry: FileOff,
    probe: FileOff,
    args: Vec<ArgLoc>,
}

impl ProvenSite<'_> {
    /// A path that leads to the very file that was checked.
    #[must_use]
    pub fn path(&self) -> std::path::PathBuf {
        self.text.path()
    }

    /// Linkage name of the function.
    #[must_use]
    pub fn function(&self) -> &str {
        &self.function
    }

    /// Where an entry probe goes: the offset of the instruction in the file.
    #[must_use]
    pub fn probe(&self) -> FileOff {
        self.probe
    }

    /// Where a return probe goes: the first instruction of the function (or of the inlined copy).
    #[must_use]
    pub fn entry(&self) -> FileOff {
        self.entry
    }

    /// Where each argument stands at [`Self::probe`].
    #[must_use]
    pub fn args(&self) -> &[ArgLoc] {
        &self.args
    }
}

impl ProgramText {
    /// Proves one site of a profile.
    ///
    /// The function must start where the program's own symbols have it or, where it has none for that
    /// place and is stripped, where its own unwind table has it. From there, instruction by
    /// instruction, the site must be reached: through the straight line at the start of a body, at
    /// any distance for an inlined copy. The bytes must be those that the profile was made from.
    ///
    /// # Errors
    /// The site is not true of this program, or the file cannot be read.
    pub fn prove(&self, site: &Site) -> Result<ProvenSite<'_>, SiteError> {
        self.proof(site).map_err(|why| SiteError {
            function: site.function.clone(),
            probe: site.probe,
            why,
        })
    }

    /// Reads what the proofs of all sites of a profile need to know of the program's symbols, at once.
    ///
    /// # Errors
    /// When the program cannot be read, or is too large.
    pub fn prepare(&self, profile: &Profile) -> Result<(), TextError> {
        let start = |site: &Site| {
            let start = match site.kind {
                SiteKind::Function | SiteKind::Clone => site.entry,
                SiteKind::Inlined => match self.unwound(site.probe)? {
                    Some(range) => LinkAddr(range.start),
                    None => return Ok(None),
                },
            };
            // What is exported is found by its name.
            Ok((!self.exports(&site.function, start)?).then_some(start))
        };
        let starts: Result<Vec<_>, TextError> =
            profile.sites.values().flatten().map(start).collect();
        self.look_up(starts?.into_iter().flatten())
    }

    /// Proves every site of a profile, so that none turns out to be untrue half way.
    ///
    /// # Errors
    /// As [`Self::prove`], for the first that fails.
    pub fn prove_all(&self, profile: &Profile) -> Result<(), SiteError> {
        profile.sites.values().flatten().try_for_each(|site| self.prove(site).map(drop))
    }

    /// Proves the starts of functions that the program exports, with no profile: for each of `names` its site, or `None` where
    /// the program has no such function.
    ///
    /// The program's symbols give the start of a function, its own unwind table must agree, and an instruction must
    /// be there.
    ///
    /// # Errors
    /// The file cannot be read, or a symbol does not name the start of a function.
    pub fn prove_starts<'t>(
        &'t self,
        names: &[&str],
    ) -> Result<Vec<Option<ProvenSite<'t>>>, SiteError> {
        let refused = |function: &str, probe: LinkAddr| {
            let function = function.to_owned();
            move |why: Why| SiteError { function, probe, why }
        };
        let starts = self
            .starts_of(names)
            .map_err(|error| refused(names.first().unwrap_or(&""), LinkAddr(0))(error.into()))?;
        let mut proven: Vec<Option<ProvenSite<'t>>> = names.iter().map(|_| None).collect();
        for (index, start) in starts {
            let name = names[index];
            let site = self.start(name, start).map_err(refused(name, start))?;
            if proven[index].replace(site).is_some() {
                return Err(refused(name, start)(Why::Twice));
            }
        }
        Ok(proven)
    }

    fn start(&self, function: &str, start: LinkAddr) -> Result<ProvenSite<'_>, Why> {
        match self.unwound(start)? {
            Some(range) if range.start == start.0 => {}
            Some(_) => return Err(Why::MidFunction),
            None => return Err(Why::NoFunction { entry: start }),
        }
        let bytes = self.code_from(start, MAX_INSTRUCTION)?;
        let machine = Decoder::with_ip(64, &bytes, start.0, DecoderOptions::NONE).decode();
        if machine.is_invalid() {
            return Err(Why::Undecodable);
        }
        let end = start.0.saturating_add(machine.len() as u64);
        let entry = self.code(&(start.0..end)).ok_or(Why::NoCode)?;
        let function = function.to_owned();
        Ok(ProvenSite { text: self, function, entry, probe: entry, args: Vec::new() })
    }

    /// The instruction at `addr`, for people too; none where there is no code, or none that decodes.
    pub(crate) fn instruction_at(&self, addr: LinkAddr) -> Result<Option<ProbeAddress>, TextError> {
        let Some(file_offset) = self.code(&(addr.0..addr.0.saturating_add(1))) else {
            return Ok(None);
        };
        let bytes = self.code_from(addr, MAX_INSTRUCTION)?;
        Ok(probe_in(&bytes, addr, file_offset))
    }

    fn proof(&self, site: &Site) -> Result<ProvenSite<'_>, Why> {
        let way = site.probe.0.checked_sub(site.entry.0).ok_or(Why::MidInstruction)?;
        let start = match site.kind {
            SiteKind::Function | SiteKind::Clone => {
                self.check_start(site)?;
                if way > MAX_PROLOGUE {
                    return Err(Why::NotInPrologue);
                }
                site.entry
            }
            SiteKind::Inlined => self.start_around(site)?,
        };
        let last = self.walk(start, site)?;
        let end = site.probe.0.saturating_add(last.len() as u64);
        let code = self.code(&(site.entry.0..end)).ok_or(Why::NoCode)?;
        let probe = FileOff(code.0.saturating_add(way));
        if probe != site.file_offset {
            return Err(Why::OtherOffset { stored: site.file_offset, found: probe });
        }
        let stored = site.code.len() as u64 / 2;
        let len = stored.clamp(end - site.entry.0, MAX_CODE.max(end - site.entry.0));
        let found = hex(&self.code_from(site.entry, len)?);
        if found != site.code {
            return Err(Why::OtherBytes { stored: site.code.clone(), found });
        }
        Ok(ProvenSite {
            text: self,
            function: site.function.clone(),
            entry: code,
            probe,
            args: site.args.clone(),
        })
    }

    /// A body must start at the site's entry, under the site's name.
    fn check_start(&self, site: &Site) -> Result<(), Why> {
        if self.exports(&site.function, site.entry)? {
            return Ok(());
        }
        let names = self.names_at(site.entry)?;
        if names.contains(&site.function) {
            return Ok(());
        }
        if let Some(found) = names.into_iter().next() {
            return Err(Why::OtherFunction { found });
        }
        // A stripped program names only what it exports; its unwind table still has every function.
        let unwound = if self.names_all { None } else { self.unwound(site.entry)? };
        match unwound {
            Some(range) if range.start == site.entry.0 => Ok(()),
            _ => Err(Why::NoFunction { entry: site.entry }),
        }
    }

    /// Start of the function that an inlined copy lies in, which must be the one that the site names.
    fn start_around(&self, site: &Site) -> Result<LinkAddr, Why> {
        let range = self.unwound(site.probe)?.ok_or(Why::NoFunction { entry: site.entry })?;
        let start = LinkAddr(range.start);
        if self.exports(&site.function, start)? {
            return Ok(start);
        }
        let names = self.names_at(start)?;
        // A part that was moved away is called like its function, with a suffix.
        let stem = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
        if !names.is_empty() && names.iter().all(|name| stem(name) != stem(&site.function)) {
            return Err(Why::OtherFunction { found: names.into_iter().next().unwrap_or_default() });
        }
        Ok(start)
    }

    /// Decodes from `start` up to the site; gives the instruction there.
    fn walk(&self, start: LinkAddr, site: &Site) -> Result<Machine, Why> {
        let way = site.probe.0.checked_sub(start.0).ok_or(Why::MidInstruction)?;
        if way > MAX_WAY {
            return Err(Why::TooFar { bytes: way });
        }
        if self.code(&(start.0..site.probe.0.saturating_add(1))).is_none() {
            return Err(Why::NoCode);
        }
        let bytes = self.code_from(start, way + MAX_INSTRUCTION)?;
        let straight = site.kind != SiteKind::Inlined;
        let mut decoder = Decoder::with_ip(64, &bytes, start.0, DecoderOptions::NONE);
        let mut entry_seen = false;
        while decoder.can_decode() {
            let machine = decoder.decode();
            if machine.is_invalid() {
                return Err(Why::Undecodable);
            }
            entry_seen |= machine.ip() == site.entry.0;
            if machine.ip() == site.probe.0 {
                return if entry_seen { Ok(machine) } else { Err(Why::MidInstruction) };
            }
            if machine.next_ip() > site.probe.0 {
                return Err(Why::MidInstruction);
            }
            if straight && machine.flow_control() != FlowControl::Next {
                return Err(Why::NotInPrologue);
            }
        }
        Err(Why::NoCode)
    }
}
