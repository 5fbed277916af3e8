use std::io::Write as _;
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::{Duration, Instant, timeout};

use super::*;
use crate::viewer::made_up::MadeUp;

fn snapshot() -> Snapshot {
    MadeUp::new(3_000).step()
}

fn text(snapshot: Snapshot) -> String {
    encode(vec![Arc::new(snapshot)]).unwrap()
}

/// Labels of every series of the made-up server.
const OWN: &str = r#"datadir="/var/lib/mysql",unit="mysql.service""#;

/// The value of the series with this name and labels.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

fn table(space: u32, name: &str, resident_bytes: u64) -> TableRow {
    let name = name.into();
    TableRow { space, name, resident_bytes, dirty_bytes: 0, eligible_bytes: 0, file_bytes: 0 }
}

#[test]
fn ends_with_its_mark_and_declares_before_it_counts() {
    let text = text(snapshot());
    assert!(text.ends_with("\n# EOF\n") && text.matches("# EOF").count() == 1);
    let mut declared = Vec::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let name = rest.split(' ').next().unwrap();
            assert!(!declared.contains(&name), "{name} is declared twice");
            declared.push(name);
        } else if !line.starts_with('#') {
            let family = declared.last().unwrap();
            assert!(line.starts_with(family), "{line} is not of {family}");
        }
    }
}

#[test]
fn names_from_the_server_are_escaped() {
    let mut snapshot = snapshot();
    snapshot.tables = vec![table(7, "we\"ird\\na\nme", 1)];
    let text = text(snapshot);
    let labels = OWN.to_owned() + r#",space="7",table="we\"ird\\na\\nme""#;
    let series = format!("poolferry_table_resident_bytes{{{labels}}}");
    assert!((value(&text, &series) - 1.0).abs() < 1e-9);
}

#[test]
fn many_tables_are_summed_beyond_the_limit() {
    let mut snapshot = snapshot();
    let many = u32::try_from(TABLES).unwrap() + 30;
    snapshot.tables = (0..many).map(|i| table(i, &format!("t{i}"), u64::from(i) + 1)).collect();
    let text = text(snapshot);
    let series = text.matches("poolferry_table_resident_bytes{").count();
    assert_eq!(series, TABLES + 1);
    // the 30 smallest: 1 + 2 + ... + 30
    let labels = OWN.to_owned() + r#",space="",table="other""#;
    let other = value(&text, &format!("poolferry_table_resident_bytes{{{labels}}}"));
    assert!((other - 465.0).abs() < 1e-9, "{other}");
    assert!(text.contains(r#"table="t79""#) && !text.contains(r#"table="t29""#));
}

#[test]
fn latencies_are_cumulative_and_complete() {
    let mut snapshot = snapshot();
    let queries = snapshot.queries.as_mut().unwrap();
    queries.buckets = vec![0; 40];
    // below what is shown, 1 us to 2 us, above what is shown
    (queries.buckets[3], queries.buckets[10], queries.buckets[39]) = (5, 7, 2);
    (queries.count, queries.sum_ns) = (14, 2_500_000_000);
    let text = text(snapshot);
    let bucket =
        |le: &str| value(&text, &format!("poolferry_query_seconds_bucket{{le=\"{le}\",{OWN}}}"));
    let seen = [bucket("0.000001023"), bucket("0.000002047"), bucket("+Inf")];
    assert_eq!(seen.map(|count| count.to_string()), ["5", "12", "14"]);
    assert!((value(&text, &format!("poolferry_query_seconds_count{{{OWN}}}")) - 14.0).abs() < 1e-9);
    assert!((value(&text, &format!("poolferry_query_seconds_sum{{{OWN}}}")) - 2.5).abs() < 1e-9);
}

#[test]
fn what_was_not_asked_for_is_not_there() {
    let mut snapshot = snapshot();
    (snapshot.queries, snapshot.commits, snapshot.cost.bpf_cpu) = (None, None, None);
    let text = text(snapshot);
    for name in ["query", "commit", "bpf_cpu"] {
        assert!(!text.contains(&format!("poolferry_{name}")), "{name}");
    }
}

/// Another server changes nothing of a server's series; two that look alike are distinguished.
#[test]
fn each_server_has_series_of_its_own() {
    let first = Arc::new(snapshot());
    let alone = encode(vec![Arc::clone(&first)]).unwrap();
    let mut second = snapshot();
    (second.server.datadir, second.server.unit) = ("/srv/b".into(), None);
    (second.server.pid, second.queries) = (12, None);
    let both = encode(vec![Arc::clone(&first), Arc::new(second.clone())]).unwrap();
    let samples = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let kept = samples(&both);
    for sample in samples(&alone) {
        assert!(kept.contains(&sample), "{sample} is not in\n{both}");
    }
    let free = "poolferry_pool_blocks{datadir=\"/srv/b\",state=\"free\"}";
    assert!(both.contains(free), "{both}");
    assert_eq!(both.matches("poolferry_query_seconds_sum{").count(), 1);
    assert_eq!(both.matches("# TYPE poolferry_pool_blocks gauge").count(), 1);
    let mut alike = snapshot();
    alike.server.pid = 12;
    let alike = encode(vec![first, Arc::new(alike)]).unwrap();
    for pid in ["12", "4711"] {
        let series = format!("poolferry_attached_seconds{{{OWN},pid=\"{pid}\"}}");
        assert!(alike.contains(&series), "{alike}");
    }
    let mut all = samples(&alike);
    let name = |sample: &String| sample.rsplit_once(' ').unwrap().0.to_owned();
    all.sort_by_key(name);
    assert!(all.windows(2).all(|pair| name(&pair[0]) != name(&pair[1])), "twice in\n{alike}");
}

/// The reference parser in Python takes it. Skipped, and said so, where that is not installed.
#[test]
fn the_reference_parser_accepts_it() {
    const PROGRAM: &str = "
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
families = list(parse(sys.stdin.read()))
print(len(families), sum(len(f.samples) for f in families))
";
    let available = Command::new("python3")
        .args(["-c", "import prometheus_client.openmetrics.parser"])
        .stderr(Stdio::null())
        .status();
    if !available.is_ok_and(|status| status.success()) {
        return test_servers::skipped(
            "the_reference_parser_accepts_it",
            "python3 with the package prometheus-client is not installed",
        );
    }
    let mut snapshot = snapshot();
    snapshot.tables.push(table(900, "we\"ird\\na\nme {x=\"y\"} \u{e9}", 1));
    let mut other = snapshot.clone();
    (other.server.datadir, other.server.unit) = ("/srv/b".into(), None);
    let text = encode(vec![Arc::new(snapshot), Arc::new(other)]).unwrap();
    let check = |text: &str| {
        let mut python = Command::new("python3")
            .args(["-c", PROGRAM])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        python.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        python.wait_with_output().unwrap()
    };
    let taken = check(&text);
    assert!(taken.status.success(), "{}\n{text}", String::from_utf8_lossy(&taken.stderr));
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    let families = text.matches("# TYPE").count();
    assert_eq!(String::from_utf8_lossy(&taken.stdout).trim(), format!("{families} {series}"));
    assert!(!check(text.trim_end_matches("# EOF\n")).status.success(), "it takes anything");
}

async fn serve() -> (SocketAddr, watch::Sender<Arc<Snapshot>>) {
    let (sender, receiver) = watch::channel(Arc::new(snapshot()));
    let server = MetricsServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    tokio::spawn(server.run(receiver));
    (address, sender)
}

/// Sends bytes as they are; the whole answer.
async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // a server that has answered early may close while this is still sending
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn answers_good_and_bad_requests() {
    let (address, _sender) = serve().await;
    let long = format!("GET /metrics HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(64 << 10));
    let cases: [(&[u8], &str); 6] = [
        (b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 200"),
        (b"HEAD /metrics HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 200"),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 404"),
        (b"POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n", "HTTP/1.1 405"),
        (b"\x16\x03\x01 nonsense\r\n\r\n", "HTTP/1.1 400"),
        (long.as_bytes(), "HTTP/1.1 431"),
    ];
    for (request, status) in cases {
        let shown = String::from_utf8_lossy(&request[..request.len().min(40)]);
        let answer = exchange(address, request).await;
        assert!(answer.starts_with(status), "{shown:?}: {answer:?}");
    }
    let good = exchange(address, cases[0].0).await;
    assert!(good.contains(CONTENT_TYPE) && good.ends_with("# EOF\n"));
}

#[tokio::test]
async fn the_newest_snapshot_is_handed_out_and_the_last_one_stays() {
    let (address, sender) = serve().await;
    let mut newer = snapshot();
    newer.audit.drift = 77;
    sender.send(Arc::new(newer)).unwrap();
    drop(sender);
    let answer = exchange(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        answer.contains(&format!("poolferry_audit_drift_blocks_total{{{OWN}}} 77\n")),
        "{answer}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_has_no_figures() {
    let (sender, receiver) = watch::channel(Vec::new());
    let server = MetricsServer::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
    let address = server.address();
    tokio::spawn(server.run(receiver));
    let scraped = || exchange(address, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    let absent = |answer: String| {
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let series: Vec<_> = body.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(series, ["poolferry_up 0.0"]);
        assert!(body.ends_with("# EOF\n"), "{body}");
    };
    absent(scraped().await);
    sender.send(vec![Arc::new(snapshot())]).unwrap();
    let answer = scraped().await;
    assert!(answer.contains("\npoolferry_up 1.0\n"), "{answer}");
    assert!(answer.contains("\npoolferry_audit_scans_total{"), "{answer}");
    sender.send(Vec::new()).unwrap();
    absent(scraped().await);
}

/// A connection from an address of this machine's own.
async fn connect(from: &str, address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(address).await.unwrap()
}

/// Whether the server has not ended it; it has not answered.
async fn is_served(client: &mut TcpStream) -> bool {
    let wait = Duration::from_millis(1);
    timeout(wait, client.read(&mut [0; 1])).await.is_err()
}

async fn served(clients: &mut [TcpStream]) -> usize {
    let mut served = 0;
    for client in clients {
        served += usize::from(is_served(client).await);
    }
    served
}

/// Of one address there are eight, of all together 64; and whoever has many addresses ends those that are old, not
/// those that are new.
#[tokio::test]
async fn whoever_has_many_addresses_keeps_nobody_out() {
    const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let (address, _sender) = serve().await;
    let mut slow = Vec::new();
    for _ in 0..40 {
        slow.push(connect("127.0.0.9", address).await);
    }
    // The last one is let in by then.
    assert!(exchange(address, SCRAPE).await.starts_with("HTTP/1.1 200"));
    let of_one = served(&mut slow).await;
    assert!(of_one <= 8, "{of_one} of one address");
    for number in 1..=100 {
        slow.push(connect(&format!("127.0.1.{number}"), address).await);
    }
    let mut scrape = connect("127.0.0.1", address).await;
    for number in 1..=60 {
        slow.push(connect(&format!("127.0.2.{number}"), address).await);
    }
    scrape.write_all(SCRAPE).await.unwrap();
    let mut answer = String::new();
    scrape.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
    let left = served(&mut slow).await;
    assert!(left <= 64, "{left} are served");
}

/// Some say nothing, some send a head that never ends, some never read: 40 of them from one address.
#[tokio::test]
async fn slow_clients_do_not_keep_others_out() {
    const SCRAPE: &[u8] = b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    let (address, _sender) = serve().await;
    let mut slow = Vec::new();
    for number in 0..40 {
        let mut client = TcpStream::connect(address).await.unwrap();
        let bytes: &[u8] = [b"".as_slice(), b"GET /metrics HTTP/1.1\r\nx: ", SCRAPE][number % 3];
        client.write_all(bytes).await.unwrap();
        slow.push(client);
    }
    for from in ["127.0.0.1:0", "127.0.0.2:0"] {
        let begun = Instant::now();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        stream.write_all(SCRAPE).await.unwrap();
        let mut answer = String::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await;
        let took = begun.elapsed();
        println!("from {from}: {took:?}");
        read.unwrap_or_else(|_| panic!("from {from}: no answer in {took:?}")).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "from {from}: {answer:?}");
        assert!(took < Duration::from_secs(1), "from {from}: {took:?}");
    }
    // a new one is let in, and who says nothing is sent away
    let mut silent = TcpStream::connect(address).await.unwrap();
    let begun = Instant::now();
    let _ = silent.read_to_end(&mut Vec::new()).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_address_in_use_is_named_with_its_remedy() {
    let (address, _sender) = serve().await;
    let error = MetricsServer::bind(address).await.unwrap_err();
    assert_eq!(error.to_string(), format!("failed to listen on {address} for metrics"));
    assert!(error.hint().is_some_and(|hint| hint.contains("--metrics")));
}
