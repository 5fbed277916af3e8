//! What others say comes out of `poolferry-host` harmless and bounded: one text drives its outputs, said by a guest, by a
//! QEMU, by either host at the other end, by file names and by records. All of them are fakes that say it raw.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;

use foreign::hostile;
use page_wire::{Device, Facts, Run};
use qemu_glue::channel::VERSION;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Most that one command may say.
const MOST: usize = 64 << 10;

fn host(arguments: &[&OsStr]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_poolferry-host"));
    command
        .args(arguments)
        .env("RUST_LOG", "debug")
        .stdin(Stdio::null())
        .output()
        .expect("it starts")
}

/// Runs it, and holds all that it says against the fixture.
#[track_caller]
fn check(sink: &str, arguments: &[&OsStr]) -> String {
    let output = host(arguments);
    let printed = [output.stdout, output.stderr].concat();
    hostile::assert_harmless(sink, &printed, MOST);
    String::from_utf8(printed).expect("it is UTF-8")
}

/// Serves every connection to a new socket with `serve`, in threads that end with the test.
fn listen(folder: &TempDir, name: &str, serve: fn(&mut dyn Write, &Value)) -> PathBuf {
    let path = folder.path().join(name);
    let listener = UnixListener::bind(&path).expect("a free name");
    let is_qmp = name == "qmp";
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut write = stream.expect("a connection");
            let read = BufReader::new(write.try_clone().expect("a descriptor"));
            thread::spawn(move || {
                if is_qmp {
                    let version = json!({"qemu": {"major": 10, "minor": 0, "micro": 2}});
                    let greeting = json!({"QMP": {"version": version, "capabilities": []}});
                    let _ = writeln!(write, "{greeting}");
                }
                for line in read.lines() {
                    let Ok(line) = line else { return };
                    let Ok(requested) = serde_json::from_str(&line) else { continue };
                    serve(&mut write, &requested);
                }
            });
        }
    });
    path
}

/// A QEMU that looks like one with a VM, and refuses what else is asked in hostile words.
fn qemu(out: &mut dyn Write, requested: &Value) {
    let answer = match requested["execute"].as_str().unwrap_or_default() {
        "query-status" => json!({"status": "running", "running": true}),
        "query-migrate-parameters" => json!({"max-bandwidth": 0, "downtime-limit": 300}),
        "query-kvm" => json!({"enabled": true, "present": true}),
        "query-uuid" => json!({"UUID": hostile::big()}),
        "query-cpus-fast" | "query-migrate-capabilities" | "qom-list" => json!([]),
        "query-named-block-nodes" => json!([]),
        "human-monitor-command" => json!(""),
        "qmp_capabilities"
        | "query-migrate"
        | "migrate-set-capabilities"
        | "migrate-set-parameters" => json!({}),
        _ => {
            let error = json!({"class": "GenericError", "desc": hostile::big()});
            let _ = writeln!(out, "{}", json!({"id": requested["id"], "error": error}));
            return;
        }
    };
    let _ = writeln!(out, "{}", json!({"id": requested["id"], "return": answer}));
}

/// A guest that writes lines of its own into the doctor's.
fn guest(out: &mut dyn Write, requested: &Value) {
    let server = json!({"waiting": {"why": hostile::big(), "hint": hostile::big()}});
    let hello = json!({"version": 1, "program": hostile::TEXT, "pid": 1, "kernel": hostile::TEXT,
        "server": server});
    let _ = writeln!(out, "{}", json!({"id": requested["id"], "hello": hello}));
}

/// One frame of the plain channel.
fn frame(kind: u8, body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let length = u32::try_from(body.len() + 1).expect("it is short");
    [&length.to_le_bytes()[..], &[kind], body.as_bytes()].concat()
}

const HELLO: u8 = 1;
const OFFER: u8 = 2;
/// Its frame, which has no body.
const OFFER_END: &[u8] = &[1, 0, 0, 0, 4];
const REFUSED: u8 = 6;
const FINISH: u8 = 12;
const PREFACE: &[u8] = b"PFERRY1P";

fn os(text: &str) -> &OsStr {
    OsStr::new(text)
}

#[test]
fn a_guest_and_a_qemu_write_no_lines_of_the_doctor() {
    let folder = tempfile::tempdir().unwrap();
    let (qmp, agent) = (listen(&folder, "qmp", qemu), listen(&folder, "agent", guest));
    let arguments = [os("doctor"), os("--qmp"), qmp.as_os_str(), os("--agent"), agent.as_os_str()];
    let printed = check("doctor", &arguments);
    assert!(printed.contains("\nFAIL     it has no server: evil"), "{printed}");
    assert!(printed.contains("the agent answers: poolferry evil"), "{printed}");
    let printed = check("doctor --json", &[&arguments[..], &[os("--json")]].concat());
    assert!(printed.contains("\"it has no server: evil"), "{printed}");
}

#[test]
fn a_source_writes_no_lines_of_receive() {
    let folder = tempfile::tempdir().unwrap();
    let mut receive = Command::new("timeout")
        .args(["60", env!("CARGO_BIN_EXE_poolferry-host")])
        .args(["receive", "--plain", "--listen", "127.0.0.1:0", "--migration-address", "127.0.0.1"])
        .arg("--qmp")
        .arg(listen(&folder, "qmp", qemu))
        .arg("--once")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(receive.stdout.take().unwrap());
    let mut printed = String::new();
    out.read_line(&mut printed).unwrap();
    let address = printed.trim().strip_prefix("listening on ").unwrap().to_owned();
    let mut source = TcpStream::connect(address).unwrap();
    let text = hostile::TEXT;
    let hello = json!({"version": VERSION, "program": text, "qemu": text, "migration": hostile::big()[..9000]});
    let finish = json!({"status": text, "reason": text, "begun_unix_s": 0});
    let offer = json!({"blocks": [], "devices": [], "runs": 0, "capabilities": [], "multifd": null,
        "shares": false});
    let printed =
        [frame(HELLO, &hello), frame(OFFER, &offer), OFFER_END.to_vec(), frame(FINISH, &finish)];
    source.write_all(&[PREFACE, &printed.concat()].concat()).unwrap();
    let mut rest = Vec::new();
    out.read_to_end(&mut rest).unwrap();
    receive.stderr.take().unwrap().read_to_end(&mut rest).unwrap();
    receive.wait().unwrap();
    hostile::assert_harmless("receive", &rest, MOST);
    let printed = String::from_utf8_lossy(&rest);
    assert!(printed.contains("migration evil"), "{printed}");
}

#[test]
fn a_receiver_and_a_qemu_write_no_lines_of_migrate() {
    let folder = tempfile::tempdir().unwrap();
    let (qmp, agent) = (listen(&folder, "qmp", qemu), listen(&folder, "agent", guest));
    let arguments = ["migrate", "--mode", "stock", "--uri", "tcp:127.0.0.1:1", "--qmp"];
    check("migrate", &[&arguments.map(os)[..], &[qmp.as_os_str()]].concat());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let text = hostile::TEXT;
        let hello = json!({"version": VERSION, "program": text, "qemu": text, "migration": text});
        let long = &hostile::big()[..9000];
        let refused = json!({"reason": long, "hint": long, "uri": null});
        let printed = [PREFACE, &frame(HELLO, &hello), &frame(REFUSED, &refused)].concat();
        stream.write_all(&printed).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let arguments = [os("migrate"), os("--plain"), os("--to"), os(&to), os("--qmp")];
    let more = [qmp.as_os_str(), os("--agent"), agent.as_os_str()];
    let printed = check("migrate", &[&arguments[..], &more[..]].concat());
    assert!(printed.contains("error: the destination refuses: evil"), "{printed}");
    assert!(printed.contains("\nhint: at the destination: evil"), "{printed}");
}

#[test]
fn names_in_lists_and_of_files_write_no_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(OsStr::from_bytes(&hostile::file_name()));
    check("list", &[os("list"), os("--format"), os(hostile::TEXT)]);
    let name = hostile::TEXT.to_owned();
    let run = Run::new(1, 1, 0, 8).unwrap();
    let facts = Facts { page_size: 16384, pages: 1, ..Facts::default() };
    let mut bytes = Vec::new();
    page_wire::encode(&mut bytes, &facts, &[Device::Disk(name)], 1, [run].into_iter()).unwrap();
    fs::write(&file, bytes).unwrap();
    check("list", &[os("list"), file.as_os_str()]);
    check("list", &[os("list"), file.as_os_str(), os("--format"), os("jsonl")]);
    fs::remove_file(&file).unwrap();
    check("list", &[os("list"), file.as_os_str()]);
    let missing = folder.path().join(OsStr::from_bytes(&hostile::bytes()));
    check("doctor", &[os("doctor"), os("--qmp"), missing.as_os_str()]);
}

/// Every string of a value becomes the fixture; keys of maps that are free too.
fn poison(value: &mut Value, free: bool) {
    match value {
        Value::String(text) => *text = hostile::TEXT.to_owned(),
        Value::Array(values) => values.iter_mut().for_each(|value| poison(value, free)),
        Value::Object(map) => {
            for (key, value) in &mut *map {
                // Words of ours, which are no text.
                if !matches!(key.as_str(), "status" | "state") {
                    poison(value, key.ends_with("_by_reason") || key == "list_s");
                }
            }
            if free {
                map.insert(hostile::TEXT.to_owned(), json!(1));
            }
        }
        _ => {}
    }
}

#[test]
fn records_write_no_lines_of_the_report_and_nothing_into_its_page() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join(OsStr::from_bytes(&hostile::file_name()));
    fs::create_dir(&home).unwrap();
    let mut record = serde_json::to_value(migration_record::Report {
        status: migration_record::MigrationStatus::Completed,
        mode: "stock".into(),
        total_time_s: 3.0,
        list_s: [("scan".into(), 1.0)].into(),
        reason: Some("x".into()),
        warnings: vec!["y".into()],
        ..Default::default()
    })
    .unwrap();
    poison(&mut record, false);
    fs::write(home.join("report.json"), record.to_string()).unwrap();
    check("report", &[os("report"), home.as_os_str()]);
    for name in ["report.html", "results.json"] {
        let written = fs::read(home.join(name)).unwrap();
        hostile::assert_harmless(name, &written, 1 << 20);
    }
    fs::write(home.join("report.json"), "{\"schema\": \"\u{9b}2J\"}").unwrap();
    check("report", &[os("report"), home.as_os_str()]);
    let missing = Path::new("nowhere").join(hostile::TEXT);
    check("report", &[os("report"), missing.as_os_str()]);
}
