//! What is not restored: refused with the reason and a remedy, and QEMU listens all the same where it
//! can.

use foreign::Name;
use qemu_glue::channel::{Message, Offer, Refused};
use qemu_glue::set::SetRun;
use serde_json::json;

use crate::qemu::{Place, Vm, newest};
use crate::source::{Source, offer, options};
use crate::whole::ended;

/// How the destination and the offer differ from what is right.
#[derive(Default)]
struct Wrong<'a> {
    memory: Option<&'a str>,
    arguments: &'a [&'a str],
    capability: Option<&'a str>,
    offer: Option<(Offer, Vec<SetRun>)>,
}

async fn refused(test: &str, wrong: Wrong<'_>) -> Option<Refused> {
    let qemu = newest(test)?;
    let place = Place::new();
    let destination = Vm::destination(&qemu, &place, wrong.memory, wrong.arguments);
    if let Some(name) = wrong.capability {
        let on = json!({ "capabilities": [{ "capability": name, "state": true }] });
        destination.qmp().await.execute("migrate-set-capabilities", on).await.unwrap();
    }
    let mut source = Source::connect(options(&destination.socket)).await;
    let offer = wrong.offer.unwrap_or_else(|| offer(&[(2048, 0, 64)]));
    let answer = source.offer(offer).await;
    let Message::Refused(refused) = answer else { panic!("{answer:?}") };
    if let Some(uri) = &refused.uri {
        let vm = Vm::source(&qemu, &place);
        let qmp = vm.qmp().await;
        qmp.execute("migrate", json!({ "uri": uri })).await.unwrap();
        // QEMU itself refuses a stream whose capabilities are not its own.
        let expected = if wrong.capability.is_some() { "failed" } else { "completed" };
        assert_eq!(ended(&qmp).await, expected, "the migration can still be a stock one");
    }
    let (finished, outcome) = source.finish().await;
    assert_eq!(finished.warnings, std::slice::from_ref(&refused.reason));
    assert_eq!(outcome.refused.as_ref(), Some(&refused.reason));
    Some(refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn ram_that_is_not_shared() {
    let memory = Some("memory-backend-ram,id=mem0,size=64M");
    let wrong = Wrong { memory, ..Wrong::default() };
    let Some(refused) = refused("ram_that_is_not_shared", wrong).await else { return };
    assert!(refused.reason.contains("is shared memory"), "{refused:?}");
    assert!(refused.hint.contains("share=on"), "{refused:?}");
    assert!(refused.uri.is_some(), "the migration can still be a stock one");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_qemu_that_runs_already() {
    let test = "a_qemu_that_runs_already";
    let Some(qemu) = newest(test) else { return };
    let place = Place::new();
    let vm = Vm::source(&qemu, &place);
    let mut source = Source::connect(options(&vm.socket)).await;
    let answer = source.offer(offer(&[(2048, 0, 64)])).await;
    let Message::Refused(refused) = answer else { panic!("{answer:?}") };
    assert!(refused.reason.contains("`running`"), "{refused:?}");
    assert!(refused.hint.contains("-incoming defer"), "{refused:?}");
    assert_eq!(refused.uri, None);
    source.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_qemu_at_all() {
    let place = Place::new();
    let mut source = Source::connect(options(&place.path("none.qmp"))).await;
    let answer = source.offer(offer(&[(2048, 0, 64)])).await;
    let Message::Refused(refused) = answer else { panic!("{answer:?}") };
    assert!(refused.reason.contains("none.qmp"), "{refused:?}");
    assert_eq!(refused.uri, None);
    source.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_another_name_or_length() {
    let test = "blocks_of_another_name_or_length";
    let (mut renamed, runs) = offer(&[(2048, 0, 64)]);
    renamed.blocks[0].name = "pc.ram".into();
    let wrong = Wrong { offer: Some((renamed, runs.clone())), ..Wrong::default() };
    let Some(answer) = refused(test, wrong).await else { return };
    assert!(answer.reason.contains("no shared RAM block `pc.ram`"), "{answer:?}");
    assert!(answer.uri.is_some());

    let (mut longer, _) = offer(&[(2048, 0, 64)]);
    longer.blocks[0].length *= 2;
    let wrong = Wrong { offer: Some((longer, runs)), ..Wrong::default() };
    let answer = refused(test, wrong).await.unwrap();
    assert!(answer.reason.contains("67108864 bytes here and 134217728"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn offers_that_lie() {
    let test = "offers_that_lie";
    for (runs, expected) in [
        // More pages than there are, in few words.
        (vec![(256, 0, u32::MAX), (256, 0, u32::MAX)], "more pages than"),
        (vec![(256, 0, 16_383)], "proper set"),
        (vec![(256, 0, 8), (260, 64, 8)], "proper set"),
        (vec![(256, 0, 0)], "proper set"),
    ] {
        let wrong = Wrong { offer: Some(offer(&runs)), ..Wrong::default() };
        let Some(answer) = refused(test, wrong).await else { return };
        assert!(answer.reason.contains(expected), "{answer:?}: expected {expected}");
        assert!(answer.uri.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_is_not_here() {
    let (mut elsewhere, runs) = offer(&[(2048, 0, 64)]);
    elsewhere.devices[0] = Name::try_from("serial:other").unwrap();
    let wrong = Wrong { offer: Some((elsewhere, runs)), ..Wrong::default() };
    let Some(answer) = refused("a_disk_that_is_not_here", wrong).await else { return };
    assert!(answer.reason.contains("serial:other"), "{answer:?}");
    assert!(answer.hint.contains("--disk"), "{answer:?}");
    assert!(answer.uri.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn capabilities_that_clash() {
    let test = "capabilities_that_clash";
    let (mut request, runs) = offer(&[(2048, 0, 64)]);
    request.capabilities = vec![Name::try_from("x-ignore-shared").unwrap()];
    let wrong = Wrong { offer: Some((request, runs)), ..Wrong::default() };
    let Some(answer) = refused(test, wrong).await else { return };
    assert!(answer.reason.contains("`x-ignore-shared` is asked for by the source"), "{answer:?}");
    let wrong = Wrong { capability: Some("x-ignore-shared"), ..Wrong::default() };
    let answer = refused(test, wrong).await.unwrap();
    assert!(answer.reason.contains("set at the destination"), "{answer:?}");
}

/// A mapping that is congruent with its file modulo 2 MiB, on a mount that has huge pages.
#[tokio::test(flavor = "multi_thread")]
async fn ram_that_may_get_huge_pages() {
    let test = "ram_that_may_get_huge_pages";
    let mount = tempfile::TempDir::with_prefix_in("huge-", "/var/tmp").unwrap();
    let Some(_mounted) = Mounted::tmpfs(mount.path(), "huge=advise", test) else { return };
    let path = mount.path().join("ram");
    let memory = format!(
        "memory-backend-file,id=mem0,size=64M,share=on,align=2M,mem-path={}",
        path.display()
    );
    let wrong = Wrong { memory: Some(&memory), ..Wrong::default() };
    let Some(answer) = refused(test, wrong).await else { return };
    assert!(answer.reason.contains("huge=advise"), "{answer:?}");
    assert!(answer.uri.is_some());
}

/// A tmpfs for a test.
struct Mounted(std::path::PathBuf);

impl Mounted {
    fn tmpfs(at: &std::path::Path, options: &str, test: &str) -> Option<Self> {
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "tmpfs"])
            .arg(at)
            .status();
        if !status.is_ok_and(|status| status.success()) {
            println!("skipped: {test}: no right to mount a tmpfs");
            return None;
        }
        Some(Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
