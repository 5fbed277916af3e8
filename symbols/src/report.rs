//! A profile, for people: what `poolferry symbols` prints.

use std::fmt;

use foreign::shown;

use crate::profile::{ArgLoc, Field, Instruction, Op, Profile, Rule, Site, SiteKind, Source};

/// Names of the DWARF registers 0 to 15 of x86-64.
const REGISTERS: [&str; 16] = [
    "rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// Prints a profile as text, one fact a line.
#[derive(Clone, Copy, Debug)]
pub struct Report<'p>(pub &'p Profile);

impl fmt::Display for Report<'_> {
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
                self.site(f, role, site)?;
            }
        }
        writeln!(f, "\nsizes (bytes)")?;
        for (role, size) in &profile.sizes {
            writeln!(f, "  {:<22} {size}", shown(role))?;
        }
        writeln!(f, "\nfields (offset and size in bytes)")?;
        for (role, field) in &profile.fields {
            writeln!(
                f,
                "  {:<22} {:<18} {}",
                shown(role),
                Place(field).to_string(),
                shown(&field.path)
            )?;
        }
        writeln!(f, "\nglobals")?;
        for (role, global) in &profile.globals {
            let place = format!("{} +{}", global.addr, global.size);
            writeln!(f, "  {:<22} {place:<18} {}", shown(role), shown(&global.name))?;
        }
        writeln!(f, "\nenumerators")?;
        for (name, value) in &profile.enums {
            writeln!(f, "  {:<32} {value}", shown(name))?;
        }
        writeln!(f, "\na page is eligible when")?;
        for rule in &profile.rules {
            writeln!(f, "  {:<40} else: {}", Condition(rule).to_string(), shown(&rule.reason))?;
        }
        self.missing(f)
    }
}

impl Report<'_> {
    fn site(&self, f: &mut fmt::Formatter<'_>, role: &str, site: &Site) -> fmt::Result {
        let kind = match site.kind {
            SiteKind::Function => "function",
            SiteKind::Clone => "clone",
            SiteKind::Inlined => "inlined into",
        };
        writeln!(f, "  {:<22} {kind} {} at {}", shown(role), shown(&site.function), site.entry)?;
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
            let (what, role, name) = (&missing.what, &missing.role, &missing.name);
            writeln!(
                f,
                "  {:<7} {:<22} {need}, {}: {}",
                shown(what),
                shown(role),
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

struct Condition<'a>(&'a Rule);

impl fmt::Display for Condition<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = self.0;
        let op = match rule.op {
            Op::Eq => "==",
            Op::Ne => "!=",
            Op::Gt => ">",
            Op::Le => "<=",
        };
        match rule.mask {
            Some(mask) => write!(f, "{} & {mask:#x} {op} {}", shown(&rule.field), rule.value),
            None => write!(f, "{} {op} {}", shown(&rule.field), rule.value),
        }
    }
}
