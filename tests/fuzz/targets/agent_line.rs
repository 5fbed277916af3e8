//! Bytes on the port between host and guest, from either side.
#![no_main]

use libfuzzer_sys::fuzz_target;
use page_wire::protocol::{AgentReply, AgentRequest, LineBuffer, MAX_REPLY_BYTES, from_line, to_line};

fuzz_target!(|bytes: &[u8]| {
    let (mut lines, mut rest) = (LineBuffer::new(1 << 16), bytes);
    while let Some(line) = lines.take(&mut rest) {
        let Ok(line) = line else { continue };
        let _ = from_line::<AgentRequest>(&line);
        if let Ok(answer) = from_line::<AgentReply>(&line) {
            // What was read may be longer when it is written: escapes, numbers, defaults.
            let again = to_line(&answer, 8 * MAX_REPLY_BYTES).expect("what was read is written");
            assert!(from_line::<AgentReply>(&again).is_ok());
        }
    }
    assert!(rest.is_empty());
});
