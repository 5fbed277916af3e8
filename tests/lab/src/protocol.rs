//! What laboratory and guest say to each other over the port `org.poolferry.lab`: one JSON object a line.

use serde::{Deserialize, Serialize};

/// Name of the port in the guest.
pub const PORT: &str = "/dev/virtio-ports/org.poolferry.lab";

/// The laboratory wants something.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NumberedRequest {
    /// Comes back with the answer.
    pub id: u64,
    /// What.
    pub request: GuestRequest,
}

/// What the guest can do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestRequest {
    /// Run a program to its end; the answer is its standard output.
    Run {
        /// Program and arguments.
        argv: Vec<String>,
        /// Standard input.
        input: String,
    },
    /// Start a program; its lines come as [`GuestReply::Line`], its end as [`GuestReply::Ended`].
    Start {
        /// Names it.
        name: String,
        /// Program and arguments.
        argv: Vec<String>,
        /// Variables of its environment.
        env: Vec<(String, String)>,
    },
    /// Send a signal to a program that was started.
    Signal {
        /// Its name.
        name: String,
        /// Number of the signal.
        signal: i32,
    },
    /// Begin to tick.
    Tick {
        /// Milliseconds between two ticks; 0 stops.
        every_ms: u32,
    },
}

/// What the guest says.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuestReply {
    /// It is up.
    Hello,
    /// It did what was asked.
    Done {
        /// Of the request.
        id: u64,
        /// Standard output of a program.
        output: String,
    },
    /// It could not do what was asked.
    Failed {
        /// Of the request.
        id: u64,
        /// Why.
        reason: String,
    },
    /// A program wrote a line.
    Line {
        /// Its name.
        name: String,
        /// The line.
        text: String,
    },
    /// A program has ended.
    Ended {
        /// Its name.
        name: String,
        /// How.
        status: String,
    },
    /// The clock goes on.
    Tick(Tick),
}

/// A tick of the guest's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tick {
    /// Counts the ticks.
    pub number: u64,
    /// CLOCK_MONOTONIC of the guest in ns.
    pub guest_ns: u64,
    /// The QEMU that it came through, in the order in which they were started. The laboratory fills it in.
    #[serde(skip)]
    pub qemu: u32,
}
