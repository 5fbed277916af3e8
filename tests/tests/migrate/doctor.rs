//! What is reported before a migration is what a migration then meets.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use lab::laboratory::Laboratory;
use lab::mode::Mode;
use lab::setup::Programs;
use lab::vm::Machine;
use lab::workload::Workload;
use serde_json::{Value, json};

use crate::shared::{Needs, migrated, run};

/// Whether all is well, and every finding as `verdict: what`.
fn examined(qmp: &Path, agent: Option<&Path>) -> Result<(bool, String)> {
    let program = Programs::find()?.poolferry_host.context("`poolferry-host` is not built")?;
    let mut doctor = Command::new(program);
    doctor.args(["doctor", "--json", "--qmp"]).arg(qmp);
    if let Some(agent) = agent {
        doctor.arg("--agent").arg(agent);
    }
    let output = doctor.output()?;
    let findings: Vec<Value> = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    let line = |finding: &Value| format!("{}: {}\n", finding["verdict"], finding["what"]);
    let text: String = findings.iter().map(line).collect();
    println!("{text}");
    Ok((output.status.success(), text))
}

fn postcopy(machine: &mut Machine, state: bool) -> Result<()> {
    let capabilities = json!([{ "capability": "postcopy-ram", "state": state }]);
    let arguments = json!({ "capabilities": capabilities });
    machine.monitor().execute("migrate-set-capabilities", arguments).map(drop)
}

fn both_hosts(lab: &mut Laboratory) -> Result<()> {
    lab.load(Workload::Idle)?;
    let mut destination = lab.destination(Mode::Poolferry)?;
    let (qmp, agent) = (lab.machine().qmp(), lab.machine().agent());
    let (works, text) = examined(&qmp, Some(&agent))?;
    assert!(works, "{text}");
    for word in ["`running`", "library is loaded, and free", "mem0", "attached to mysql 5.6.24"] {
        assert!(text.contains(word), "no word of {word:?}: {text}");
    }
    let (works, text) = examined(&destination.qmp(), None)?;
    assert!(works, "{text}");
    for word in ["`inmigrate`", "mem0", "pages can be installed"] {
        assert!(text.contains(word), "no word of {word:?}: {text}");
    }

    for (machine, agent) in [(lab.machine(), Some(&*agent)), (&mut destination, None)] {
        postcopy(machine, true)?;
        let (works, text) = examined(&machine.qmp(), agent)?;
        assert!(!works && text.contains("postcopy-ram"), "{text}");
        postcopy(machine, false)?;
    }
    drop(destination);

    // It has changed nothing: the library is free, and the pool is skipped as ever.
    let pages = migrated(lab)?.pages;
    assert!(pages.installed > 0, "{pages:?}");
    Ok(())
}

#[test]
fn at_both_hosts() {
    run("doctor::at_both_hosts", Needs::Poolferry, both_hosts);
}
