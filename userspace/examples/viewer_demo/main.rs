//! The viewer on a made-up pool, to be looked at and tried out without a server.
//!
//! ```text
//! cargo run -p userspace --example viewer_demo -- [--blocks N] [--trouble] [--panic-after SECONDS]
//! ```

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "made-up figures"
)]

mod made_up;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use made_up::MadeUp;
use tokio::sync::{mpsc, watch};
use userspace::viewer::{self, Command, LogSink, ViewerOptions};
use userspace::{model, stream};

#[derive(Parser)]
struct Options {
    /// Blocks of the pool.
    #[arg(long, default_value_t = 524_288)]
    blocks: usize,
    /// Show losses, drift and a notice.
    #[arg(long)]
    trouble: bool,
    /// Panic on another thread after so many seconds.
    #[arg(long)]
    panic_after: Option<f64>,
    /// End the snapshots after so many.
    #[arg(long)]
    snapshots: Option<u32>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let mut pool = MadeUp::new(options.blocks.max(1));
    let (sender, receiver) = watch::channel(Arc::new(snapshot(&mut pool, options.trouble)));
    let (commands, mut wanted) = mpsc::unbounded_channel();
    if let Some(seconds) = options.panic_after {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs_f64(seconds));
            panic!("asked for by --panic-after");
        });
    }
    tokio::spawn(async move {
        let mut refresh = Duration::from_secs(1);
        for number in 1.. {
            let wait = tokio::time::sleep(refresh);
            tokio::pin!(wait);
            loop {
                tokio::select! {
                    () = &mut wait => break,
                    Some(command) = wanted.recv() => {
                        let _ = writeln!(LogSink, "wanted: {command:?}");
                        match command {
                            Command::Trace(on) => pool.tracing = on,
                            Command::Walk(_) => {}
                            Command::Refresh(time) => refresh = time,
                        }
                    }
                }
            }
            let ended = options.snapshots.is_some_and(|most| number >= most);
            if ended || sender.send(Arc::new(snapshot(&mut pool, options.trouble))).is_err() {
                break;
            }
        }
    });
    if let Some(why) = viewer::refused() {
        let _ = writeln!(LogSink, "{why}: text instead of the viewer");
        return Ok(stream::run(receiver, stream::Format::Text, tokio::io::stdout()).await?);
    }
    Ok(viewer::run(receiver, ViewerOptions::default(), commands).await?)
}

fn snapshot(pool: &mut MadeUp, trouble: bool) -> model::Snapshot {
    let mut snapshot = pool.step();
    if trouble {
        snapshot.audit.drift = 3;
        snapshot.audit.falsely_clean = 1;
        snapshot.audit.repaired = 3;
        snapshot.probes[0].ring_lost = 1_234;
        snapshot.notices.push("the pool is being resized: counts are not complete".into());
    }
    snapshot
}
