//! Documentation that names a command which is not there misleads.

use super::source::{Finding, Source};

pub(super) fn find(source: &Source<'_>) -> Vec<Finding> {
    let is_script = source.path.starts_with(".ci");
    if !source.is("md") && !is_script {
        return Vec::new();
    }
    let unknown = |(line, text): (usize, &str)| {
        let name = text
            .split("cargo xtask ")
            .skip(1)
            .map(first_word)
            .find(|name| !name.is_empty() && source.commands.find_subcommand(name).is_none())?;
        Some(Finding { line, message: format!("there is no `cargo xtask {name}`") })
    };
    source.lines().filter_map(unknown).collect()
}

fn first_word(text: &str) -> &str {
    text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-')
        .next()
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::find_in;

    #[test]
    fn only_unknown_commands_are_found() {
        let text = "Run `cargo xtask test`.\n`cargo xtask test --yes`, `cargo xtask {run,test}`\n`cargo xtask fly`\n";
        assert_eq!(find_in(super::find, "README.md", text), [3]);
        assert_eq!(find_in(super::find, "a.rs", text), [0_usize; 0]);
    }
}
