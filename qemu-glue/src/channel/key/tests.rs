//! Key files that are taken, and those that are not.

use std::os::unix::fs::{chown, symlink};

use tempfile::TempDir;

use super::*;

fn file(dir: &TempDir, bytes: &[u8], mode: u32) -> PathBuf {
    let path = dir.path().join("k");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

#[test]
fn who_may_not_read_a_key_is_not_told_to_make_one() {
    let read = |kind: io::ErrorKind| KeyError::Read { path: "vm.key".into(), source: kind.into() };
    assert_eq!(read(io::ErrorKind::PermissionDenied).hint(), "run as the key's owner, or as root");
    assert!(read(io::ErrorKind::NotFound).hint().contains("keygen"));
}

#[test]
fn a_key_that_was_made_is_taken() {
    let dir = TempDir::new().unwrap();
    let paths = [dir.path().join("a"), dir.path().join("b")];
    let keys = paths.each_ref().map(|path| {
        Key::make(path).unwrap();
        assert_eq!(fs::metadata(path).unwrap().mode() & 0o7777, MODE);
        Key::read(path).unwrap()
    });
    assert_ne!(keys[0], keys[1]);
    assert!(format!("{:?}", keys[0]).len() < 10, "no key is shown");
    let before = fs::read(&paths[0]).unwrap();
    assert!(matches!(Key::make(&paths[0]), Err(KeyError::Exists(_))));
    assert_eq!(fs::read(&paths[0]).unwrap(), before);
    // Not even where a link names a file that is not there.
    let link = dir.path().join("link");
    symlink(dir.path().join("nowhere"), &link).unwrap();
    assert!(matches!(Key::make(&link), Err(KeyError::Exists(_))));
    assert!(!dir.path().join("nowhere").exists());
}

#[test]
fn files_of_another_form_are_refused() {
    let dir = TempDir::new().unwrap();
    for bytes in [&[1_u8; 31][..], &[1; 33], b"", &[b'g'; 64], &[b'0'; 63]] {
        let path = file(&dir, bytes, 0o600);
        assert!(matches!(Key::read(&path), Err(KeyError::Form(_))));
    }
    let missing = Key::read(&dir.path().join("missing")).unwrap_err();
    assert!(missing.hint().contains("keygen"));
    let digits: String = varied(0xa0).iter().map(|byte| format!("{byte:02X}")).collect();
    let digits = file(&dir, format!("{}\n", digits.replace('B', "b")).as_bytes(), 0o400);
    assert_eq!(Key::read(&digits).unwrap(), Key(varied(0xa0)));
}

/// What nobody would call equal bytes.
fn varied(first: u8) -> [u8; 32] {
    std::array::from_fn(|number| first + u8::try_from(number).unwrap())
}

#[test]
fn keys_that_anybody_can_guess_are_refused() {
    let dir = TempDir::new().unwrap();
    let seven: [u8; 32] = std::array::from_fn(|number| u8::try_from(number % 7).unwrap());
    let digits = "0".repeat(64).into_bytes();
    for (bytes, different) in [(&[0; 32][..], 1), (&[1; 32], 1), (&digits, 1), (&seven, 7)] {
        let error = Key::read(&file(&dir, bytes, 0o600)).unwrap_err();
        assert!(error.to_string().contains(&format!("{different} different bytes")), "{error}");
        assert!(error.hint().contains("poolferry-host keygen FILE"));
        fs::remove_file(dir.path().join("k")).unwrap();
    }
    let eight: [u8; 32] = std::array::from_fn(|number| u8::try_from(number % 8).unwrap());
    Key::read(&file(&dir, &eight, 0o600)).unwrap();
}

#[test]
fn files_of_others_and_open_to_others_are_refused() {
    let dir = TempDir::new().unwrap();
    for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o660] {
        let error = Key::read(&file(&dir, &[1; 32], mode)).unwrap_err();
        assert!(matches!(error, KeyError::Open { mode: found, .. } if found == mode), "{error}");
        assert!(error.to_string().contains(&format!("mode {mode:04o}")), "{error}");
    }
    let path = file(&dir, &varied(1), 0o600);
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    assert!(matches!(Key::read(&link), Err(KeyError::Link(_))));
    assert!(matches!(Key::read(dir.path()), Err(KeyError::NoFile(_))));
    let pipe = dir.path().join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    assert!(matches!(Key::read(&pipe), Err(KeyError::NoFile(_))), "it does not wait");
    // Only root can give files away.
    if chown(&path, Some(4711), None).is_ok() {
        assert!(matches!(Key::read(&path), Err(KeyError::Owner { owner: 4711, .. })));
    }
}
