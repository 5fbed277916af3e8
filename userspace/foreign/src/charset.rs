//! Which characters the terminal takes.

use std::env;
use std::ffi::OsString;
use std::sync::OnceLock;

/// Characters that a terminal takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// ASCII only: another might be one of two bytes that the terminal obeys (0x9b in Latin-1).
    Ascii,
    /// All of Unicode.
    Utf8,
}

/// The locale's charset: the first of `LC_ALL`, `LC_CTYPE` and `LANG` that is set and not empty names UTF-8,
/// or it does not. Without any the locale is `C`, which is ASCII. It is looked at once.
///
/// Only a terminal is bound to the locale, so who writes elsewhere uses UTF-8: without a terminal on standard
/// output or standard error this is always [`Charset::Utf8`].
#[must_use]
pub fn charset() -> Charset {
    use std::io::IsTerminal as _;
    static KNOWN: OnceLock<Charset> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        if std::io::stdout().is_terminal() || std::io::stderr().is_terminal() {
            from_vars(|name| env::var_os(name))
        } else {
            Charset::Utf8
        }
    })
}

/// Whether the terminal understands no control sequences: `TERM` is `dumb`, or nothing.
#[must_use]
pub fn is_dumb() -> bool {
    env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb")
}

fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Charset {
    let set = |name: &&str| var(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(set).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    if locale.contains("utf-8") || locale.contains("utf8") { Charset::Utf8 } else { Charset::Ascii }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_counts() {
        let charset = |set: &[(&str, &str)]| {
            from_vars(|name| {
                set.iter().find(|(own, _)| *own == name).map(|(_, value)| value.into())
            })
        };
        assert_eq!(charset(&[]), Charset::Ascii);
        assert_eq!(charset(&[("LANG", "en_GB.UTF-8")]), Charset::Utf8);
        assert_eq!(charset(&[("LANG", "C.utf8")]), Charset::Utf8);
        assert_eq!(charset(&[("LC_ALL", ""), ("LC_CTYPE", "C.UTF-8")]), Charset::Utf8);
        assert_eq!(charset(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]), Charset::Ascii);
        assert_eq!(charset(&[("LANG", "de_DE.ISO-8859-1")]), Charset::Ascii);
    }
}
