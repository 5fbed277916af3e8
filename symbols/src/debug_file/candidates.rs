//! The paths to try, in order. Pure: no file is looked at here.
//!
//! The order is gdb's ("Debugging Information in Separate Files", `gdb/symfile.c`,
//! `find_separate_debug_file`): build id first, then the link's name next to the program, in
//! `.debug/`, and below each debug folder. All paths are absolute inside a root.

use std::path::{Path, PathBuf};

use super::link::{AltLink, BuildId, DebugLink};

/// Where the separate debug file of a program in `program_dir` may lie.
pub(super) fn debug_file(
    id: Option<&BuildId>,
    link: Option<&DebugLink>,
    program_dir: &Path,
    debug_dirs: &[PathBuf],
) -> Vec<PathBuf> {
    let mut paths = build_id_paths(id, debug_dirs);
    if let Some(link) = link {
        paths.push(program_dir.join(&link.name));
        paths.push(program_dir.join(".debug").join(&link.name));
        paths.extend(debug_dirs.iter().map(|dir| below(dir, program_dir).join(&link.name)));
    }
    unique(paths)
}

/// Where a dwz alternate may lie; `holder_dirs` are the folders of the file that names it, as it
/// was looked up and as links resolve.
pub(super) fn alternate(
    link: &AltLink,
    holder_dirs: &[PathBuf],
    debug_dirs: &[PathBuf],
) -> Vec<PathBuf> {
    let mut paths: Vec<_> = holder_dirs.iter().map(|dir| dir.join(&link.path)).collect();
    paths.extend(build_id_paths(Some(&link.id), debug_dirs));
    unique(paths)
}

/// Where the `.dwo` of a unit may lie: as compiled, else moved together with the program.
pub(super) fn split_unit(
    name: &Path,
    comp_dir: &Path,
    program_dir: &Path,
    debug_dirs: &[PathBuf],
) -> Vec<PathBuf> {
    let compiled = Path::new("/").join(comp_dir).join(name);
    let mut paths = vec![compiled.clone(), program_dir.join(name)];
    paths.extend(name.file_name().map(|base| program_dir.join(base)));
    paths.extend(debug_dirs.iter().map(|dir| below(dir, &compiled)));
    unique(paths)
}

/// Where the `.dwp` of a program may lie; `holder` is the file that has the skeleton units.
pub(super) fn package(
    id: Option<&BuildId>,
    program: &Path,
    holder: Option<&Path>,
    debug_dirs: &[PathBuf],
) -> Vec<PathBuf> {
    let mut paths = vec![with_suffix(program, ".dwp")];
    if let Some(holder) = holder {
        paths.push(with_suffix(holder, ".dwp"));
        paths.push(holder.with_extension("dwp"));
    }
    paths.extend(debug_dirs.iter().map(|dir| with_suffix(&below(dir, program), ".dwp")));
    paths.extend(build_id_paths(id, debug_dirs).iter().map(|path| path.with_extension("dwp")));
    unique(paths)
}

fn build_id_paths(id: Option<&BuildId>, debug_dirs: &[PathBuf]) -> Vec<PathBuf> {
    id.map(BuildId::path).iter().flat_map(|p| debug_dirs.iter().map(move |d| d.join(p))).collect()
}

/// `/usr/lib/debug` and `/usr/sbin` give `/usr/lib/debug/usr/sbin`.
fn below(dir: &Path, path: &Path) -> PathBuf {
    dir.join(path.strip_prefix("/").unwrap_or(path))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut text = path.as_os_str().to_owned();
    text.push(suffix);
    PathBuf::from(text)
}

fn unique(paths: Vec<PathBuf>) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = Vec::with_capacity(paths.len());
    for path in paths {
        if !kept.contains(&path) {
            kept.push(path);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(paths: &[PathBuf]) -> Vec<&str> {
        paths.iter().map(|path| path.to_str().unwrap()).collect()
    }

    #[test]
    fn build_id_comes_first_then_the_link() {
        let id = BuildId::new(&[0xab, 0xcd, 0xef]);
        let link = DebugLink { name: PathBuf::from("mysqld.debug"), crc: 0 };
        let dirs = [PathBuf::from("/usr/lib/debug"), PathBuf::from("/opt/dbg")];
        let paths = debug_file(id.as_ref(), Some(&link), Path::new("/usr/sbin"), &dirs);
        assert_eq!(
            texts(&paths),
            [
                "/usr/lib/debug/.build-id/ab/cdef.debug",
                "/opt/dbg/.build-id/ab/cdef.debug",
                "/usr/sbin/mysqld.debug",
                "/usr/sbin/.debug/mysqld.debug",
                "/usr/lib/debug/usr/sbin/mysqld.debug",
                "/opt/dbg/usr/sbin/mysqld.debug",
            ]
        );
    }

    #[test]
    fn an_absolute_alternate_has_one_place_whatever_holds_it() {
        let id = BuildId::new(&[1, 2]).unwrap();
        let link = AltLink { path: PathBuf::from("/usr/lib/debug/.dwz/x"), id };
        let holders = [PathBuf::from("/a"), PathBuf::from("/b")];
        let paths = alternate(&link, &holders, &[PathBuf::from("/d")]);
        assert_eq!(texts(&paths), ["/usr/lib/debug/.dwz/x", "/d/.build-id/01/02.debug"]);
    }

    #[test]
    fn split_units_are_looked_up_as_compiled_then_beside_the_program() {
        let paths = split_unit(
            Path::new("obj/a.dwo"),
            Path::new("/build"),
            Path::new("/usr/sbin"),
            &[PathBuf::from("/d")],
        );
        let expected =
            ["/build/obj/a.dwo", "/usr/sbin/obj/a.dwo", "/usr/sbin/a.dwo", "/d/build/obj/a.dwo"];
        assert_eq!(texts(&paths), expected);
    }

    #[test]
    fn packages_are_named_after_program_and_debug_file() {
        let holder = Path::new("/d/m.debug");
        let paths = package(None, Path::new("/s/m"), Some(holder), &[PathBuf::from("/d")]);
        assert_eq!(texts(&paths), ["/s/m.dwp", "/d/m.debug.dwp", "/d/m.dwp", "/d/s/m.dwp"]);
    }
}
