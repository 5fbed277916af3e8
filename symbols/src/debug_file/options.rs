//! What the search is allowed to look at.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Where to search besides the places that the program itself names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchOptions {
    /// Folders of debug files, looked up below the target's root and below the observer's.
    pub debug_dirs: Vec<PathBuf>,
    /// The servers to query when no folder has the file.
    pub debuginfod: Debuginfod,
    /// Users whose files are believed, besides root and the user of this process: the one that the
    /// server runs as. None where no server runs: then the owner of the program.
    pub users: Option<Vec<u32>>,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            debug_dirs: vec![PathBuf::from("/usr/lib/debug")],
            debuginfod: Debuginfod::default(),
            users: None,
        }
    }
}

impl SearchOptions {
    /// The default folders, and debuginfod as the environment has it.
    #[must_use]
    pub fn from_env() -> Self {
        Self { debuginfod: Debuginfod::from_env(), ..Self::default() }
    }
}

/// How debuginfod servers are queried. Without URLs none is, and nothing leaves the machine.
///
/// The variables are those of elfutils' client (debuginfod-client-config(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Debuginfod {
    /// Base URLs in the order of the queries (`DEBUGINFOD_URLS`, separated by spaces).
    pub urls: Vec<String>,
    /// Folder that keeps what was fetched, laid out as a debug folder (`.build-id/xx/yyyy.debug`),
    /// so that gdb's `debug-file-directory` can name it too (`DEBUGINFOD_CACHE_PATH`). It is looked
    /// up even without URLs. By default `poolferry/debuginfod` in the user's cache
    /// (`XDG_CACHE_HOME`, else `~/.cache`). None: a fetched file lives as long as its use.
    pub cache_dir: Option<PathBuf>,
    /// Limit on each wait: name resolution, connection, answer, next bytes; and on the first
    /// 100 KiB as a whole (`DEBUGINFOD_TIMEOUT`, seconds).
    pub timeout: Duration,
    /// Limit on one transfer as a whole (`DEBUGINFOD_MAXTIME`, seconds).
    pub max_time: Duration,
    /// Largest file accepted, in bytes (`DEBUGINFOD_MAXSIZE`).
    pub max_bytes: u64,
}

impl Default for Debuginfod {
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            cache_dir: None,
            timeout: Duration::from_secs(90), // as in elfutils
            // elfutils has no limit here; a slow server must not hold us for ever.
            max_time: Duration::from_secs(30 * 60),
            max_bytes: 4 << 30, // the debug files of servers are below 2 GiB
        }
    }
}

impl Debuginfod {
    /// Reads the variables; what is not set keeps its default.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_vars(|name| std::env::var_os(name))
    }

    /// As [`Self::from_env`], with `var` in the place of the environment.
    #[must_use]
    pub fn from_vars(var: impl Fn(&str) -> Option<OsString>) -> Self {
        let default = Self::default();
        let text = |name: &str| var(name).and_then(|value| value.into_string().ok());
        let folder = |name| var(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let user_cache =
            || folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")));
        let urls = text("DEBUGINFOD_URLS").unwrap_or_default();
        Self {
            // `ima:enforcing` and the like are policies on the URLs after them, not URLs.
            urls: urls
                .split_whitespace()
                .filter(|word| !word.starts_with("ima:"))
                .map(str::to_owned)
                .collect(),
            cache_dir: folder("DEBUGINFOD_CACHE_PATH")
                .or_else(|| Some(user_cache()?.join("poolferry/debuginfod"))),
            timeout: seconds(&text, "DEBUGINFOD_TIMEOUT").unwrap_or(default.timeout),
            max_time: seconds(&text, "DEBUGINFOD_MAXTIME").unwrap_or(default.max_time),
            max_bytes: number(&text, "DEBUGINFOD_MAXSIZE").unwrap_or(default.max_bytes),
        }
    }
}

fn seconds(text: &impl Fn(&str) -> Option<String>, name: &str) -> Option<Duration> {
    number(text, name).map(Duration::from_secs)
}

/// A positive number; zero means "no limit" to elfutils, which is not offered here.
fn number<N: FromStr + Default + PartialEq>(
    text: &impl Fn(&str) -> Option<String>,
    name: &str,
) -> Option<N> {
    let value = text(name)?;
    let number = value.trim().parse().ok().filter(|n| *n != N::default());
    if number.is_none() {
        log::warn!("{name}=`{value}` is not a positive number; the default is used");
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(vars: &[(&str, &str)]) -> Debuginfod {
        Debuginfod::from_vars(|name| {
            vars.iter().find(|(n, _)| *n == name).map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn nothing_is_asked_unless_the_variable_is_set() {
        assert_eq!(from(&[]), Debuginfod::default());
        assert!(from(&[("DEBUGINFOD_URLS", "  ")]).urls.is_empty());
    }

    #[test]
    fn variables_are_read_as_elfutils_reads_them() {
        let read = from(&[
            ("DEBUGINFOD_URLS", "http://a:1  ima:enforcing https://b/x/"),
            ("DEBUGINFOD_TIMEOUT", "7"),
            ("DEBUGINFOD_MAXTIME", "soon"),
            ("DEBUGINFOD_MAXSIZE", "0"),
            ("DEBUGINFOD_CACHE_PATH", "/c"),
        ]);
        assert_eq!(read.urls, ["http://a:1", "https://b/x/"]);
        assert_eq!(read.timeout, Duration::from_secs(7));
        assert_eq!(read.max_time, Debuginfod::default().max_time);
        assert_eq!(read.max_bytes, Debuginfod::default().max_bytes);
        assert_eq!(read.cache_dir, Some(PathBuf::from("/c")));
    }

    #[test]
    fn the_cache_is_the_users() {
        let cache = |vars| from(vars).cache_dir;
        let below = |path: &str| Some(PathBuf::from(path));
        assert_eq!(cache(&[("HOME", "/h")]), below("/h/.cache/poolferry/debuginfod"));
        let both = [("HOME", "/h"), ("XDG_CACHE_HOME", "/x")];
        assert_eq!(cache(&both), below("/x/poolferry/debuginfod"));
        assert_eq!(cache(&[("HOME", "")]), None);
    }
}
