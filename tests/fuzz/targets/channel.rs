//! Bytes on the channel between the hosts, from their first.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;
use qemu_glue::channel::{self, Security};

fuzz_target!(|bytes: &[u8]| {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let stream = tokio::io::join(Cursor::new(bytes.to_vec()), tokio::io::sink());
        let Ok((_, mut receiver)) = channel::accept(stream, &Security::Plain).await else { return };
        // It ends: each message takes bytes, and their end is an error.
        while receiver.receive().await.is_ok() {}
    });
});
