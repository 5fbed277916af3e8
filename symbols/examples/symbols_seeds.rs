//! Writes hostile programs, sites in them and profiles into a folder, for a fuzzer to begin with: `symbols_seeds DIR TARGET`,
//! with the target `symbols`, `probe_site`, `profile` or `layout`.

#[path = "../tests/hostile_files/mod.rs"]
mod hostile_files;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

use hostile_files::Hostile;
use symbols::debug_file::SearchOptions;
use symbols::profile::{Profile, Site, SiteKind};
use symbols::{Options, ProgramPaths, resolve};

/// Longest hostile program that is a seed: what is as long is slow to change.
const SEED_BYTES: usize = 1 << 14;
/// Bytes of a descriptor, as the target `layout` takes them.
const DESCRIPTOR: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: symbols_seeds DIR TARGET";
    let mut arguments = env::args_os().skip(1).map(PathBuf::from);
    let (folder, target) = (arguments.next().ok_or(usage)?, arguments.next().ok_or(usage)?);
    let honest = Hostile {
        name: "honest".to_owned(),
        bytes: hostile_files::honest(),
        hole: 0,
        beside: Vec::new(),
    };
    let short = |file: &Hostile| file.bytes.len() <= SEED_BYTES;
    let files = || hostile_files::files().into_iter().filter(short).chain([honest.clone()]);
    match target.to_str() {
        Some("symbols") => {
            for file in files() {
                // One after the other, as the target takes them.
                let beside = file.beside.into_iter().flat_map(|(_, bytes)| bytes);
                let bytes: Vec<u8> = file.bytes.into_iter().chain(beside).collect();
                fs::write(folder.join(file.name), bytes)?;
            }
        }
        Some("probe_site") => {
            let profile = profile(&honest.bytes, &folder)?;
            let sites: Vec<&Site> = profile.sites.values().flatten().collect();
            // Bodies and an inlined copy in turn, so that each kind of file meets all of them.
            for (file, site) in files().zip(sites.iter().cycle()) {
                fs::write(folder.join(file.name), [head(site)?, file.bytes].concat())?;
            }
        }
        Some("profile" | "layout") => {
            let stored = include_bytes!("../profiles/mysql-9.7.4-debian-amd64.json");
            let honest = serde_json::to_vec(&profile(&honest.bytes, &folder)?)?;
            let descriptor = if target == Path::new("layout") { DESCRIPTOR } else { 0 };
            for (name, profile) in [("honest", &honest[..]), ("stored", &stored[..])] {
                fs::write(folder.join(name), [&vec![0; descriptor], profile].concat())?;
            }
        }
        _ => return Err(usage.into()),
    }
    Ok(())
}

/// The profile of a program, read here.
fn profile(program: &[u8], folder: &Path) -> Result<Profile, Box<dyn Error>> {
    let path = folder.join("program");
    fs::write(&path, program)?;
    let options = Options {
        cache_dir: None,
        debug_files: SearchOptions { debug_dirs: Vec::new(), ..SearchOptions::default() },
        ..Options::default()
    };
    let resolved = resolve(&ProgramPaths { program: &path, root: Path::new("/") }, &options);
    fs::remove_file(&path)?;
    Ok(resolved?.profile)
}

/// What the target `probe_site` takes before the program: two addresses, four numbers of a byte, name and code.
fn head(site: &Site) -> Result<Vec<u8>, Box<dyn Error>> {
    let code: Vec<u8> = (0..site.code.len() / 2)
        .map(|at| u8::from_str_radix(&site.code[2 * at..2 * at + 2], 16))
        .collect::<Result<_, _>>()?;
    let way = u8::try_from(site.probe.0 - site.entry.0)?;
    let inlined = u8::from(site.kind == SiteKind::Inlined);
    let mut bytes = [site.entry.0.to_le_bytes(), site.file_offset.0.to_le_bytes()].concat();
    let name = site.function.as_bytes();
    bytes.extend_from_slice(&[way, inlined, u8::try_from(name.len())?, u8::try_from(code.len())?]);
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(&code);
    Ok(bytes)
}
