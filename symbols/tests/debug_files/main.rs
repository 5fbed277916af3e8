//! The search for debug files, on small programs built here with the real tools, against folders
//! and a loopback debuginfod server.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as their tests do")]

#[path = "../common/mod.rs"]
mod common;
mod lab;

mod alternate;
mod cached;
mod compressed;
mod debuginfod;
mod folders;
mod http;
mod model;
mod process;
mod real_server;
mod refused;
mod same_profile;
mod split;
mod strangers;
