//! Makes what is stored of a known build: its profile, and the code by which its kin are known.
//!
//! `cargo run --release -p symbols --example known_build -- NAME REBUILT STRIPPED FOLDER`
//!
//! REBUILT is the program made again from its source, with its debug information; STRIPPED the one that is distributed.
//! `cargo xtask profile` does all of it.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::error::Error;
use std::fs;
use std::path::PathBuf;

use symbols::elf::Program;
use symbols::kin;
use symbols::report::ProfileReport;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [name, rebuilt, stripped, folder] = args.as_slice() else {
        return Err("usage: known_build NAME REBUILT STRIPPED FOLDER".into());
    };
    let name = name.to_string_lossy();
    let (rebuilt, stripped) = (Program::open(rebuilt)?, Program::open(stripped)?);
    let known = kin::describe(&name, &rebuilt, &stripped)?;
    println!("{}", known.identity);
    print!("{}", ProfileReport(&known.profile));
    if !known.profile.is_complete() {
        return Err("the profile lacks something that is needed (see above)".into());
    }
    let json = serde_json::to_string_pretty(&known.profile)? + "\n";
    fs::write(folder.join(format!("{name}.json")), &json)?;
    println!("\n{name}.json: {} bytes", json.len());
    if let Some(fingerprint) = known.fingerprint {
        let bytes = fingerprint.to_bytes()?;
        fs::write(folder.join(format!("{name}.kin")), &bytes)?;
        println!("{name}.kin: {} functions, {} bytes", fingerprint.required(), bytes.len());
    }
    Ok(())
}
