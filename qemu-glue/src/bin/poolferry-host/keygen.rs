//! `poolferry-host keygen`: makes the key of the channel between two hosts.

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::Args;
use qemu_glue::channel::{Key, KeyError, Security};

use crate::failure::Hint;

/// Make a key for the channel between `migrate` and `receive`.
///
/// It is 32 random bytes in a new file that only its owner can read; what lies there is never overwritten. Copy it to the
/// other host in a way that no one else can read, and keep its mode there: `scp -p FILE HOST:FILE`.
#[derive(Args)]
pub(crate) struct KeygenArgs {
    /// The file to make.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// Runs the command.
pub(crate) fn run(args: &KeygenArgs) -> Result<()> {
    Key::make(&args.file).map_err(explained)?;
    let name = foreign::path(&args.file);
    let text = format!(
        "{name} is a new key: copy it to the other host (`scp -p`), and give `--key` to `receive` there and to \
         `migrate` here\n"
    );
    outlet::stdout().push(text.as_bytes());
    Ok(())
}

/// The protection of `--key`; that of `--plain` without one.
pub(crate) fn security(key: Option<&Path>) -> Result<Security> {
    key.map_or(Ok(Security::Plain), |path| Key::read(path).map(Security::Key).map_err(explained))
}

fn explained(error: KeyError) -> anyhow::Error {
    let hint = Hint::new(error.hint());
    anyhow::Error::new(error).context(hint)
}
