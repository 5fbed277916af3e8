//! The ways in, and QEMUs that the library cannot work in.

use std::fs;
use std::path::{Path, PathBuf};

use object::{Object as _, ObjectSegment as _, ObjectSymbol as _};
use qemu_glue::shim::{Shim, ShimError};
use shim_abi::RefusalReason;

use crate::lab::{Lab, on_each_qemu};
use crate::migration::stock;
use crate::vm::{Library, Options, Vm};

const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// As a plugin and preloaded, sandboxed and as a daemon: it is there and knows where it is.
async fn it_loads_every_way(lab: &Lab) {
    let sandbox = ["-sandbox", SANDBOX];
    let daemon = ["-daemonize", "-pidfile", &lab.folder().join("pid").display().to_string()];
    for library in [Library::Plugin, Library::Preload] {
        for arguments in [&[][..], &sandbox, &daemon.each_ref().map(|word| *word)] {
            let options = Options { library, arguments, ..Options::default() };
            let vm = Vm::source(lab, options).await;
            let opened = open_soon(vm.pid).await;
            let (major, minor, _) = opened.qemu_version();
            assert_eq!((major, minor), lab.qemu.release().version());
            assert!(matches!(Shim::open(vm.pid), Err(ShimError::Reserved { .. })));
            vm.execute("quit", serde_json::json!({})).await;
        }
    }
}

/// A preloaded library waits for QEMU's main loop.
async fn open_soon(pid: u32) -> Shim {
    let mut found = None;
    crate::lab::wait_for("the library is there", async || {
        found = Shim::open(pid).ok();
        found.is_some()
    })
    .await;
    found.unwrap()
}

/// No library, no harm: the error says what to do.
async fn without_the_library_there_is_an_error(lab: &Lab) {
    let vm = Vm::source(lab, Options { library: Library::None, ..Options::default() }).await;
    let error = Shim::open(vm.pid).unwrap_err();
    assert!(matches!(error, ShimError::NotLoaded { .. }), "{error}");
    assert!(error.hint().unwrap().contains("-plugin"), "{error}");
}

/// A QEMU of another version runs and migrates; the library does nothing.
async fn an_unknown_version_is_left_alone(lab: &Lab) {
    let program = changed(lab, "version", |bytes, program| {
        let place = version_place(bytes, program);
        bytes[place] = 99;
    });
    let reason = unusable(lab, program).await;
    let minor = lab.qemu.release().version().1.into();
    assert_eq!(reason, Some(RefusalReason::UnknownVersion { major: 99, minor }));
}

/// So it is with one that does not export what is needed.
async fn a_missing_function_is_named(lab: &Lab) {
    let program = changed(lab, "symbol", |bytes, _| {
        let name = b"\0qemu_guest_free_page_hint\0";
        let place = bytes.windows(name.len()).position(|part| part == name).unwrap();
        bytes[place + 1] = b'Q';
    });
    assert_eq!(unusable(lab, program).await, Some(RefusalReason::MissingSymbol(1)));
}

/// Starts a changed QEMU with the library and migrates it; why the library does nothing.
async fn unusable(lab: &Lab, program: PathBuf) -> Option<RefusalReason> {
    let qemu = lab.qemu.with_program(program);
    // Preloaded: a plugin would have to show the interface number of that version.
    let options = Options { library: Library::Preload, qemu: Some(&qemu), ..Options::default() };
    let vm = Vm::source(lab, options).await;
    let error = Shim::open(vm.pid).unwrap_err();
    stock(lab, &vm).await;
    match error {
        ShimError::Unusable { refusal, .. } => refusal.reason(),
        other => panic!("{other}"),
    }
}

/// A copy of QEMU's program with something changed.
fn changed(lab: &Lab, name: &str, change: impl FnOnce(&mut Vec<u8>, &Path)) -> PathBuf {
    let mut bytes = fs::read(lab.qemu.program()).unwrap();
    change(&mut bytes, lab.qemu.program());
    let copy = lab.folder().join(name);
    fs::write(&copy, bytes).unwrap();
    fs::set_permissions(&copy, fs::metadata(lab.qemu.program()).unwrap().permissions()).unwrap();
    copy
}

/// Place in the file of the number that `qmp_query_version` gives as the major version. It and the minor
/// version are loaded together, from a constant: `movdqa disp32(%rip), %xmm0`.
fn version_place(bytes: &[u8], program: &Path) -> usize {
    const LOAD: [u8; 4] = [0x66, 0x0f, 0x6f, 0x05];
    let file = object::File::parse(bytes).unwrap();
    let mut symbols = file.dynamic_symbols();
    let function = symbols.find(|symbol| symbol.name() == Ok("qmp_query_version")).unwrap();
    let in_file = |address: u64| {
        let segment = file
            .segments()
            .find(|part| (part.address()..part.address() + part.size()).contains(&address))
            .unwrap();
        usize::try_from(address - segment.address() + segment.file_range().0).unwrap()
    };
    let start = in_file(function.address());
    let load = bytes[start..start + 128].windows(4).position(|part| part == LOAD).unwrap();
    let distance =
        i32::from_le_bytes(bytes[start + load + 4..start + load + 8].try_into().unwrap());
    let after = function.address() + load as u64 + 8;
    let place = in_file(after.wrapping_add_signed(distance.into()));
    let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    let (major, _) = test_qemus::QemuRelease::ALL
        .map(test_qemus::QemuRelease::version)
        .into_iter()
        .find(|(major, minor)| {
            (number(place), number(place + 8)) == ((*major).into(), (*minor).into())
        })
        .unwrap_or_else(|| panic!("no version in `{}`", program.display()));
    assert!(major > 0);
    place
}

on_each_qemu! {
    it_loads_every_way,
    without_the_library_there_is_an_error,
    an_unknown_version_is_left_alone,
    a_missing_function_is_named,
}
