//! The messages as text, and lines from bytes that come in pieces or from a stranger.

use proptest::prelude::*;

use super::*;

fn line(what: RequestBody) -> String {
    let line = to_line(&AgentRequest { id: 7, body: what }, MAX_REQUEST_BYTES).unwrap();
    String::from_utf8(line).unwrap()
}

fn list() -> PageList {
    PageList {
        list: 3,
        length: 5000,
        blake3: "00".repeat(32).into(),
        runs: vec![GuestRun(0x1234, 2)],
        pinned: Pinned::LongTerm,
        held_s: 60,
        pages: 9,
        servers: vec![4711],
        left_out: BTreeMap::from([("dirty".into(), 4)]),
        steps: Steps { total_s: 0.5, ..Steps::default() },
    }
}

#[test]
fn the_text_of_requests_is_the_contract() {
    assert_eq!(line(RequestBody::Hello { version: 1 }), "{\"id\":7,\"hello\":{\"version\":1}}\n");
    assert_eq!(line(RequestBody::PageList), "{\"id\":7,\"page-list\":null}\n");
    let copy = RequestBody::Copy { list: 3, offset: 4096, len: 10 };
    assert_eq!(line(copy), "{\"id\":7,\"copy\":{\"list\":3,\"offset\":4096,\"len\":10}}\n");
    assert_eq!(line(RequestBody::Release { list: 3 }), "{\"id\":7,\"release\":{\"list\":3}}\n");
    assert_eq!(line(RequestBody::Status), "{\"id\":7,\"status\":null}\n");
    let migration = Migration {
        phase: Phase::Throttled,
        skipped: 4,
        installed: 2,
        redirtied: 1,
        remaining_bytes: 9,
    };
    assert_eq!(
        line(RequestBody::Migration(migration)),
        "{\"id\":7,\"migration\":{\"phase\":\"held\",\"skipped\":4,\"placed\":2,\
         \"given_back\":1,\"remaining_bytes\":9}}\n"
    );
}

#[test]
fn requests_and_replies_survive_the_line() {
    for what in [
        RequestBody::PageList,
        RequestBody::Status,
        RequestBody::Copy { list: 1, offset: 2, len: 3 },
    ] {
        let request = AgentRequest { id: u64::MAX, body: what };
        assert_eq!(
            from_line::<AgentRequest>(&to_line(&request, MAX_REQUEST_BYTES).unwrap()).unwrap(),
            request
        );
    }
    let trouble = Trouble::new("no server", None);
    let pages = ReplyBody::PageList(Box::new(list()));
    for what in [ReplyBody::Released, ReplyBody::Error(trouble), pages] {
        let answer = AgentReply { id: 9, body: what };
        let text = to_line(&answer, MAX_REPLY_BYTES).unwrap();
        assert_eq!(from_line::<AgentReply>(&text).unwrap(), answer);
    }
}

/// What was added since the first of this version is left out by who does not have it, and read past by who does not
/// know it.
#[test]
fn older_sides_of_the_same_version_are_understood() {
    let hello = r#"{"id":1,"hello":{"version":1,"program":"0.1.0","pid":7,"kernel":"6.1","server":{"attaching":{"pid":9}}}}"#;
    let ReplyBody::Hello(hello) = from_line::<AgentReply>(hello.as_bytes()).unwrap().body else {
        panic!()
    };
    assert_eq!(hello.servers, []);
    let error = r#"{"id":1,"error":{"what":"no","hint":null}}"#;
    let ReplyBody::Error(trouble) = from_line::<AgentReply>(error.as_bytes()).unwrap().body else {
        panic!()
    };
    assert_eq!(trouble, Trouble::new("no", None));
    let status = r#"{"id":1,"status":{"now_ns":1,"server":{"attaching":{"pid":9}},"observed":null,"list":null,"later":{}}}"#;
    let ReplyBody::Status(status) = from_line::<AgentReply>(status.as_bytes()).unwrap().body else {
        panic!()
    };
    assert_eq!(status.servers, []);
    let many = vec!["7"; MAX_SERVERS + 1].join(",");
    let list = serde_json::to_string(&list()).unwrap();
    assert!(from_line::<PageList>(list.as_bytes()).is_ok());
    let list = list.replace("[4711]", &format!("[{many}]"));
    assert!(from_line::<PageList>(list.as_bytes()).unwrap_err().to_string().contains("32 servers"));
    let encoded = |what| {
        String::from_utf8(to_line(&AgentReply { id: 1, body: what }, 4096).unwrap()).unwrap()
    };
    assert_eq!(encoded(ReplyBody::Error(trouble)), error.to_owned() + "\n");
    let again = encoded(ReplyBody::Error(Trouble::passing("soon")));
    assert!(again.contains("\"again\":true"), "{again}");
}

#[test]
fn the_longest_answers_fit_a_line() {
    let runs = vec![GuestRun((1 << 40) - 1, u32::MAX); MAX_GUEST_RUNS];
    let list = PageList { runs, length: MAX_LIST_BYTES, ..list() };
    let answer = AgentReply { id: u64::MAX, body: ReplyBody::PageList(Box::new(list)) };
    to_line(&answer, MAX_REPLY_BYTES).unwrap();
    let data = "A".repeat((MAX_COPY_BYTES as usize).div_ceil(3) * 4);
    let answer =
        AgentReply { id: u64::MAX, body: ReplyBody::Copied(Copied { offset: u64::MAX, data }) };
    to_line(&answer, MAX_REPLY_BYTES).unwrap();
    assert!(to_line(&answer, MAX_REPLY_BYTES / 4).is_err());
}

#[test]
fn what_is_no_message_is_refused() {
    for text in ["", "{}", "[]", "{\"id\":1}", "{\"id\":-1,\"status\":null}", "{\"id\":1,\"x\":{}}"]
    {
        assert!(from_line::<AgentRequest>(text.as_bytes()).is_err(), "{text}");
        assert!(from_line::<AgentReply>(text.as_bytes()).is_err(), "{text}");
    }
    // Deep nesting must not reach the end of the stack.
    let deep = "[".repeat(MAX_REPLY_BYTES);
    assert!(from_line::<AgentReply>(deep.as_bytes()).is_err());
}

#[test]
fn an_answer_says_one_thing_and_no_more_than_it_may() {
    let read = |text: &str| from_line::<AgentReply>(text.as_bytes());
    // Of a later version, before and after what is said.
    let answer = read(r#"{"new":[{}],"id":7,"released":null,"newer":{"a":[1]}}"#).unwrap();
    assert_eq!(answer, AgentReply { id: 7, body: ReplyBody::Released });
    for text in [
        r#"{"id":1,"released":null,"noted":null}"#,
        r#"{"id":1,"id":2,"noted":null}"#,
        r#"{"noted":null}"#,
        r#"{"id":1,"noted":{}}"#,
        r#"{"id":1,"unknown":null}"#,
    ] {
        assert!(read(text).is_err(), "{text}");
    }
    let encoded = |list: PageList| {
        let answer = AgentReply { id: 1, body: ReplyBody::PageList(Box::new(list)) };
        from_line::<AgentReply>(&to_line(&answer, 4 * MAX_REPLY_BYTES).unwrap())
    };
    let runs = |count: usize| encoded(PageList { runs: vec![GuestRun(1, 1); count], ..list() });
    assert!(runs(MAX_GUEST_RUNS).is_ok() && runs(MAX_GUEST_RUNS + 1).is_err());
}

#[test]
fn a_long_line_costs_itself_only() {
    let mut lines = LineBuffer::new(4);
    let mut bytes = &b"abcdefgh"[..];
    assert!(matches!(lines.take(&mut bytes), Some(Err(LineError::TooLong { limit: 4 }))));
    let mut bytes = &b"ij\n\nabcd\nabcde\nx\n"[..];
    assert_eq!(lines.take(&mut bytes).unwrap().unwrap(), b"abcd");
    assert!(lines.take(&mut bytes).unwrap().is_err());
    assert_eq!(lines.take(&mut bytes).unwrap().unwrap(), b"x");
    assert!(lines.take(&mut bytes).is_none());
}

proptest! {
    #[test]
    fn lines_do_not_depend_on_how_they_come(
        texts in proptest::collection::vec("[a-z]{1,9}", 0..20),
        cuts in proptest::collection::vec(1usize..7, 1..40),
    ) {
        let all: Vec<u8> = texts.iter().flat_map(|text| [text.as_bytes(), b"\n"].concat()).collect();
        let mut rest = &all[..];
        let (mut lines, mut found) = (LineBuffer::new(9), Vec::new());
        for cut in cuts.into_iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (mut piece, after) = rest.split_at(cut.min(rest.len()));
            rest = after;
            while let Some(line) = lines.take(&mut piece) {
                found.push(String::from_utf8(line.unwrap()).unwrap());
            }
        }
        prop_assert_eq!(found, texts);
    }

    #[test]
    fn strangers_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut lines = LineBuffer::new(64);
        let mut rest = &bytes[..];
        while let Some(line) = lines.take(&mut rest) {
            if let Ok(line) = line {
                prop_assert!(line.len() <= 64);
                let _ = from_line::<AgentReply>(&line);
            }
        }
        prop_assert!(rest.is_empty());
    }
}

#[test]
fn what_the_agent_says_is_bounded_and_harmless() {
    let evil = serde_json::to_string(&foreign::hostile::big()).unwrap();
    let text = format!("{{\"id\":7,\"error\":{{\"what\":{evil},\"hint\":{evil}}}}}");
    let answer: AgentReply = from_line(text.as_bytes()).unwrap();
    let ReplyBody::Error(trouble) = answer.body else { panic!("another") };
    assert!(trouble.what.raw().len() <= foreign::HELD_BYTES);
    for shown in [trouble.what.to_string(), format!("{trouble:?}")] {
        foreign::hostile::assert_harmless("an answer", shown.as_bytes(), 3 * foreign::HELD_BYTES);
    }
    // As many reasons as a line holds.
    let reasons: Vec<String> = (0..100_000).map(|n| format!("\"reason {n:06}\":1")).collect();
    let known = serde_json::to_string(&list()).unwrap();
    let many = known.replace("\"dirty\":4", &reasons.join(","));
    let list: PageList = serde_json::from_str(&many).unwrap();
    assert_eq!(list.left_out.len(), MAX_REASONS);
}
