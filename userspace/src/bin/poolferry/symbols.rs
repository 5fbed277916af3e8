//! `poolferry symbols`: what is known of a server binary.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use symbols::report::ProfileReport;
use symbols::{Origin, ProgramPaths};

use crate::failure::Failure;
use crate::server_args::ServerArgs;

/// Options of `poolferry symbols`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// A server binary, instead of a running server.
    #[arg(value_name = "PROGRAM", conflicts_with_all = ["pid", "name", "datadir", "user", "unit"])]
    program: Option<PathBuf>,
    /// Root folder of PROGRAM, also searched for debug files.
    #[arg(long, value_name = "DIR", default_value = "/", requires = "program")]
    root: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
    /// Print the profile as JSON, as `--profiles` reads it.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let options = args.server.symbols.options();
    let resolved = match &args.program {
        Some(program) => resolve(program, &args.root, &options)?,
        None => {
            let target = args.server.target()?;
            userspace::server::resolve(&target, &options)?
        }
    };
    let mut out = io::stdout().lock();
    if args.json {
        foreign::json_pretty(&mut out, &resolved.profile)?;
        writeln!(out)?;
        return Ok(());
    }
    write!(out, "{}", ProfileReport(&resolved.profile))?;
    for attempt in &resolved.tried {
        writeln!(out, "looked for debug information: {}", foreign::of(attempt))?;
    }
    let origin = match resolved.origin {
        Origin::Cached => "from the cache",
        Origin::Computed => "computed now",
    };
    let steps: Vec<String> = resolved
        .steps
        .iter()
        .map(|step| format!("{} {:.1} ms", step.name, step.took.as_secs_f64() * 1e3))
        .collect();
    writeln!(out, "{origin}: {}", steps.join(", "))?;
    Ok(())
}

fn resolve(
    program: &Path,
    root: &Path,
    options: &symbols::Options,
) -> Result<symbols::Resolved, symbols::Error> {
    symbols::resolve(&ProgramPaths { program, root }, options)
}
