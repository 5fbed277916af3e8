//! Prints the profile of a program, and what each step of resolving it took.
//!
//! `cargo run --release -p symbols --example resolve -- PROGRAM [CACHE_DIR]`
//!
//! Without a folder for the cache the program is resolved anew.
#![expect(clippy::print_stdout, reason = "a command-line program")]

use std::error::Error;
use std::path::{Path, PathBuf};

use symbols::report::ProfileReport;
use symbols::{Options, ProgramPaths, resolve};

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args_os().skip(1).map(PathBuf::from);
    let program = args.next().ok_or("usage: resolve PROGRAM [CACHE_DIR]")?;
    let options = Options { cache_dir: args.next(), ..Options::default() };
    let target = ProgramPaths { program: &program, root: Path::new("/") };
    let resolved = match resolve(&target, &options) {
        Ok(resolved) => resolved,
        Err(error) => {
            if let Some(hint) = error.hint() {
                println!("hint: {hint}");
            }
            return Err(error.into());
        }
    };
    print!("{}", ProfileReport(&resolved.profile));
    println!("\n{:?}", resolved.origin);
    for step in &resolved.steps {
        println!("  {:<24} {:>8.3} ms", step.name, step.took.as_secs_f64() * 1e3);
    }
    for attempt in &resolved.tried {
        println!("  {attempt}");
    }
    Ok(())
}
