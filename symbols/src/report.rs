//! A profile, for people: what `poolferry symbols` prints.

use std::fmt;

use foreign::shown;

use crate::profile::{
    ArgLoc, BlockTopology, Condition, Field, Instruction, Op, Pools, Profile, Site, SiteKind,
    Source, States, Topology,
};
use crate::role::SiteRole;
use crate::symbol_list::SymbolListUse;

/// Names of the DWARF registers 0 to 15 of x86-64.
const REGISTERS: [&str; 16] = [
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// Prints a profile as text, one fact a line.
#[derive(Clone, Copy, Debug)]
pub struct ProfileReport<'p>(pub &'p Profile);

impl fmt::Display for ProfileReport<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let profile = self.0;
        let (server, binary) = (&profile.server, &profile.binary);
        writeln!(
            f,
            "server      {} {} ({})",
            shown(&server.family),
            shown(&server.version),
            shown(&server.definition)
        )?;
        let pie = if binary.pie { "position independent" } else { "fixed addresses" };
        writeln!(f, "build       {}, {} bytes, {pie}", shown(&binary.key()), binary.size)?;
        writeln!(f, "source      {}", Origin(&profile.source))?;
        writeln!(f, "\nsites")?;
        for (role, sites) in &profile.sites {
            for site in sites {
                self.site(f, *role, site)?;
            }
        }
        writeln!(f, "\nsizes (bytes)")?;
        for (role, size) in &profile.sizes {
            writeln!(f, "  {role:<22} {size}")?;
        }
        writeln!(f, "\nfields (offset and size in bytes)")?;
        for (role, field) in &profile.fields {
            let place = Place(field).to_string();
            writeln!(f, "  {role:<22} {place:<18} {}", shown(&field.path))?;
        }
        writeln!(f, "\nglobals")?;
        for (role, global) in &profile.globals {
            let place = format!("{} +{}", global.addr, global.size);
            writeln!(f, "  {role:<22} {place:<18} {}", shown(&global.name))?;
        }
        writeln!(f, "\nenumerators")?;
        for (name, value) in &profile.enums {
            writeln!(f, "  {:<32} {value}", shown(name))?;
        }
        let Topology { pools, blocks } = &profile.topology;
        let pools = match pools {
            Pools::Array => "an array of pools",
            Pools::Object => "one pool",
        };
        match blocks {
            BlockTopology::Chunks => writeln!(f, "\ntopology    {pools}, blocks in chunks")?,
            BlockTopology::Extents(bytes) => {
                writeln!(f, "\ntopology    {pools}, blocks in extents of {bytes} bytes")?;
            }
        }
        writeln!(f, "\nthe state of a block")?;
        for states in &profile.states {
            writeln!(f, "  {}", Values(states))?;
        }
        writeln!(f, "\na page is eligible when")?;
        for rule in &profile.rules {
            let condition = Holds(&rule.condition).to_string();
            writeln!(f, "  {condition:<40} else: {}", rule.reason.name())?;
        }
        if let Some(io) = &profile.io {
            writeln!(f, "\na page is being")?;
            writeln!(f, "  read when {}", Holds(&io.reading))?;
            writeln!(f, "  written when {}", Holds(&io.writing))?;
        }
        self.missing(f)
    }
}

impl ProfileReport<'_> {
    fn site(&self, f: &mut fmt::Formatter<'_>, role: SiteRole, site: &Site) -> fmt::Result {
        let kind = match site.kind {
            SiteKind::Function => "function",
            SiteKind::Clone => "clone",
            SiteKind::Inlined => "inlined into",
        };
        writeln!(f, "  {:<22} {kind} {} at {}", role, shown(&site.function), site.entry)?;
        let cost = match site.instruction {
            Instruction::Emulated => "emulated, 1 trap",
            Instruction::SingleStepped => "single-stepped, 2 traps",
        };
        let args: Vec<String> = site.args.iter().map(|arg| Location(*arg).to_string()).collect();
        let (probe, offset) = (site.probe, site.file_offset);
        writeln!(
            f,
            "  {:<22} probe {probe} (file {offset}) `{}`: {cost}; args {}",
            "",
            shown(&site.text),
            args.join(", "),
        )
    }

    fn missing(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.missing.is_empty() {
            return writeln!(f, "\nmissing: nothing");
        }
        writeln!(f, "\nmissing")?;
        for missing in &self.0.missing {
            let need = if missing.required { "REQUIRED" } else { "optional" };
            let (role, name) = (&missing.role, &missing.name);
            writeln!(
                f,
                "  {:<7} {:<22} {need}, {}: {}",
                role.what(),
                shown(role.name()),
                missing.reason,
                shown(name)
            )?;
        }
        Ok(())
    }
}

struct Origin<'a>(&'a Source);

impl fmt::Display for Origin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Source::OwnDwarf => f.write_str("DWARF in the program"),
            Source::DebugFile { path } => write!(f, "DWARF in {}", shown(path)),
            Source::Stored { name } => write!(f, "stored profile {}", shown(name)),
            Source::Kin { name, version, compared, moved_lines, symbol_list } => {
                write!(
                    f,
                    "stored profile {} of {}: {compared} functions compared, all alike ({moved_lines} at other lines); ",
                    shown(name),
                    shown(version)
                )?;
                match symbol_list {
                    SymbolListUse::Absent => f.write_str("no list of the program's names is there"),
                    SymbolListUse::Agreed { symbols } => write!(
                        f,
                        "the list of the program's names agrees ({symbols} exported symbols bind it)"
                    ),
                    SymbolListUse::Unused { why } => {
                        write!(f, "the list of the program's names is not used: it {}", shown(why))
                    }
                }
            }
        }
    }
}

struct Place<'a>(&'a Field);

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} +{}", self.0.offset, self.0.size)?;
        match self.0.bits {
            Some(bits) => write!(f, " bits {}+{}", bits.shift, bits.width),
            None => Ok(()),
        }
    }
}

struct Location(ArgLoc);

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |reg: u16| REGISTERS.get(usize::from(reg)).copied().unwrap_or("?");
        match self.0 {
            ArgLoc::Register { reg } => write!(f, "%{}", name(reg)),
            ArgLoc::Memory { reg, offset } => write!(f, "{offset}(%{})", name(reg)),
            ArgLoc::Constant { value } => write!(f, "${value}"),
            ArgLoc::Unknown => f.write_str("unknown"),
        }
    }
}

struct Values<'a>(&'a States);

impl fmt::Display for Values<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let States { mask, first, last, holds } = self.0;
        if let Some(mask) = mask {
            write!(f, "& {mask:#x} ")?;
        }
        match first == last {
            true => write!(f, "{first}: {holds:?}"),
            false => write!(f, "{first:#x} to {last:#x}: {holds:?}"),
        }
    }
}

struct Holds<'a>(&'a Condition);

impl fmt::Display for Holds<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Condition { field, op, value, last, mask } = self.0;
        write!(f, "{field} ")?;
        if let Some(mask) = mask {
            write!(f, "& {mask:#x} ")?;
        }
        match op {
            Op::Eq => write!(f, "== {value}"),
            Op::Ne => write!(f, "!= {value}"),
            Op::Gt => write!(f, "> {value}"),
            Op::Le => write!(f, "<= {value}"),
            Op::Within => write!(f, "within {value:#x} to {:#x}", last.unwrap_or(*value)),
        }
    }
}
