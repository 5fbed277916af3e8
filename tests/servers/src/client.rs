//! SQL through the `mariadb` client, which talks to every release by the socket.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result};

use crate::command;

/// Runs the statements of `sql` as root and gives the rows of all their results; NULL reads `NULL`.
pub(crate) fn query(socket: &Path, sql: &str) -> Result<Vec<Vec<String>>> {
    let mut client = Command::new("mariadb");
    client
        .args(["--no-defaults", "--user=root", "--batch", "--skip-column-names", "--socket"])
        .arg(socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = client
        .spawn()
        .context("failed to start the `mariadb` client; the package `mariadb-client` has it")?;
    let mut pipe = child.stdin.take().context("the client has no input")?;
    let output = thread::scope(|scope| {
        // In a thread of its own: the client answers the first statements while the last are still being sent.
        scope.spawn(move || pipe.write_all(sql.as_bytes()));
        child.wait_with_output()
    })?;
    command::check(&client, &output)?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().map(|line| line.split('\t').map(unescape).collect()).collect())
}

/// Undoes what `--batch` does to a value: `\t`, `\n`, `\0` and `\\` stand for the bytes that part cells and rows.
fn unescape(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    let mut letters = cell.chars();
    while let Some(letter) = letters.next() {
        text.push(match letter {
            '\\' => match letters.next() {
                Some('t') => '\t',
                Some('n') => '\n',
                Some('0') => '\0',
                Some(other) => other,
                None => '\\',
            },
            other => other,
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::unescape;

    #[test]
    fn cells_are_unescaped() {
        assert_eq!(unescape(r"a\tb\nc\\n\0"), "a\tb\nc\\n\0");
        assert_eq!(unescape("plain"), "plain");
    }
}
