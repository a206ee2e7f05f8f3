use super::record::EndedBy;
use super::*;
use crate::store::sql::Statement;
use crate::store::{Database, DbMode};

fn record(call_id: &str) -> Record {
    Record {
        call_id: call_id.into(),
        from_tag: "a".into(),
        start: 1000,
        end: 1000,
        src_user: "alice".into(),
        src_domain: "example.com".into(),
        dst_ouser: "bob".into(),
        dst_user: "bob".into(),
        missed: true,
        ..Record::default()
    }
}

fn answerer() -> Answerer {
    Answerer { to_tag: "b".into(), dst_ip: Some([192, 0, 2, 2].into()) }
}

fn parties(from_tag: &str) -> Parties {
    Parties {
        from_tag: from_tag.into(),
        src_user: "alice".into(),
        src_domain: "example.com".into(),
        src_ip: [192, 0, 2, 1].into(),
        dst_ouser: "bob".into(),
        dst_user: "bob".into(),
        dst_domain: "example.com".into(),
        to_user: true,
    }
}

#[test]
fn calls_that_were_open_are_closed_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calls.journal");
    {
        let (journal, left) = Journal::open(&path, &[Destination::Database]).unwrap();
        assert!(left.is_empty());
        for call_id in ["rings", "talks", "over", "told"] {
            journal.begin(record(call_id));
        }
        journal.answered("talks", "a", &answerer(), 1010);
        let over = Arc::new(record("over").failed(&answerer(), 486, "Busy Here", 1020));
        assert!(journal.end(&over, "a"));
        let told = Arc::new(record("told").failed(&answerer(), 404, "Not Found", 1020));
        assert!(journal.end(&told, "a"));
        journal.delivered(&[told], Destination::Database);
        journal.begin(record("unheard of"));
    }
    // It was killed while it wrote.
    let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"open\":{\"record\":{\"call_id\":\"ha").unwrap();
    for _ in 0..2 {
        let (journal, left) = Journal::open(&path, &[Destination::Database]).unwrap();
        let found = |call_id| left.iter().map(|(record, _)| record).find(|r| r.call_id == call_id);
        assert_eq!((left.len(), journal.pending()), (3, 3), "whatever is not told is still there");
        let talks = found("talks").unwrap();
        assert_eq!((talks.sip_code, talks.answer, &*talks.cause), (200, Some(1010), "gateway was killed"));
        assert!(talks.end >= talks.start && talks.duration > 0.0 && !talks.missed);
        let rings = found("rings").unwrap();
        assert_eq!((rings.sip_code, rings.answer, rings.missed), (0, None, true));
        assert_eq!(found("over").unwrap().sip_code, 486);
    }
    let (_, left) = Journal::open(&path, &[Destination::File]).unwrap();
    assert!(left.is_empty(), "what is not wanted any more is not kept");
}

#[test]
fn the_journal_does_not_grow_without_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calls.journal");
    let (journal, _) = Journal::open(&path, &[Destination::File]).unwrap();
    journal.begin(record("open"));
    for number in 0..4000 {
        let over = Arc::new(record(&format!("c{number}")).failed(&answerer(), 486, "Busy Here", 1020));
        journal.begin((*over).clone());
        assert!(journal.end(&over, "a"));
        journal.delivered(&[over], Destination::File);
    }
    let length = std::fs::metadata(&path).unwrap().len();
    assert!(length < 5 << 20, "{length}");
    assert_eq!(journal.open_calls().len(), 1);
    assert_eq!(journal.pending(), 0);
}

/// A destination that takes nothing for days fills no memory, and costs no record.
#[test]
fn what_has_no_room_is_set_aside_and_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("calls.journal");
    let aside = directory.path().join("calls.undelivered.jsonl");
    let (journal, _) = Journal::open(&path, &[Destination::Url]).unwrap();
    // As many journals as there is room for two records each.
    let journal = journal.one_of(50_000);
    let over = |call_id: &str| record(call_id).failed(&answerer(), 486, "Busy Here", 1020);
    let end = |call_id: &str| {
        journal.begin(record(call_id));
        let kept = journal.end(&Arc::new(over(call_id)), "a");
        if !kept {
            journal.set_aside(&over(call_id));
        }
        kept
    };
    assert_eq!(["a", "b", "c", "d"].map(end), [true, true, false, false]);
    assert_eq!((journal.pending(), journal.aside(), journal.open_calls().len()), (2, 2, 0));
    assert_eq!(journal.take_fresh().len(), 2);
    let text = std::fs::read_to_string(&aside).unwrap();
    let kept: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(kept, ["c", "d"].map(over));
    assert_eq!(journal.take_up().unwrap(), [], "there is no room yet");
    journal.delivered(&[Arc::new(over("a"))], Destination::Url);
    assert!(end("e"), "there is room again");
    journal.delivered(&[Arc::new(over("b")), Arc::new(over("e"))], Destination::Url);
    assert_eq!(journal.take_up().unwrap(), [Arc::new(over("d"))], "half of the room, the last first");
    assert_eq!(std::fs::read_to_string(&aside).unwrap().lines().count(), 1);
    journal.delivered(&[Arc::new(over("d"))], Destination::Url);
    assert!(end("f"));
    journal.flush();
    // It is killed before it is over with them.
    let (journal, left) = Journal::open(&path, &[Destination::Url]).unwrap();
    let left: Vec<_> = left.iter().map(|(record, _)| &*record.call_id).collect();
    assert_eq!(left, ["f"], "neither lost nor twice");
    assert_eq!(journal.take_up().unwrap(), [Arc::new(over("c"))], "also by the next start");
    assert!(!aside.exists() && journal.take_up().unwrap().is_empty());
    let (_, left) = Journal::open(&path, &[Destination::Url]).unwrap();
    let mut left: Vec<_> = left.iter().map(|(record, _)| &*record.call_id).collect();
    left.sort_unstable();
    assert_eq!(left, ["c", "f"]);
}

/// More than is taken up at once, with a line among it that was cut off when the disk was full.
#[tokio::test]
async fn what_was_set_aside_reaches_its_destination_after_a_start() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
    let aside = directory.path().join("calls.undelivered.jsonl");
    let over = |number: usize| record(&format!("c{number}")).failed(&answerer(), 486, "Busy Here", 1020);
    let line = |number| serde_json::to_string(&over(number)).unwrap() + "\n";
    let text: String = (0..900).map(line).collect();
    assert!(text.len() > 300_000, "{}", text.len());
    std::fs::write(&aside, format!("{{\"call_id\":\n{text}")).unwrap();
    let file = directory.path().join("cdr.jsonl");
    let settings = Settings { cdr_file: Some(file.clone()), ..Settings::default() };
    let journal = directory.path().join("calls.journal");
    let accounting = Accounting::start(&settings, &journal, 1, database.sql()).await.unwrap();
    let there = async {
        while std::fs::read_to_string(&file).map_or(0, |text| text.lines().count()) < 900 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), there).await.expect("all of them");
    accounting.finish(Duration::from_secs(20)).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let mut calls: Vec<String> =
        text.lines().map(|line| serde_json::from_str::<Record>(line).unwrap().call_id).collect();
    calls.sort_unstable();
    calls.dedup();
    assert_eq!((calls.len(), text.lines().count(), aside.exists()), (900, 900, false));
}

#[tokio::test]
async fn rows_are_those_of_kamailio() {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
    let rows = rows::Rows::new(database.sql().clone()).await.unwrap();
    let mut heard = Heard::default();
    heard.codec("a", "opus");
    heard.codec("b", "PCMU");
    let mut answered = record("one").answered(&answerer(), 1010);
    answered.fill(&heard);
    let answered = Record {
        end: 1070,
        duration: 60.25,
        ended_by: EndedBy::Callee,
        cause: "callee hung up".into(),
        ..answered
    };
    let missed = record("two").failed(&answerer(), 486, &"x".repeat(500), 1020);
    let foreign = Record { missed: false, ..record("three").failed(&answerer(), 503, "No", 1020) };
    rows.deliver(&[answered, missed, foreign].map(Arc::new)).await.unwrap();
    let ask = async |query: &'static str| {
        let rows = database.sql().fetch(Statement::new(query, [])).await.unwrap();
        rows.iter().map(|row| row.text(0).unwrap()).collect::<Vec<_>>()
    };
    let acc = "SELECT method || ' ' || from_tag || ' ' || to_tag || ' ' || callid || ' ' || sip_code || ' ' || sip_reason
               || ' ' || time || ' ' || src_user || ' ' || dst_ouser FROM acc ORDER BY id";
    assert_eq!(
        ask(acc).await,
        [
            "INVITE a b one 200 OK 1970-01-01 00:16:50 alice bob",
            "BYE b a one 200 OK 1970-01-01 00:17:50 alice bob"
        ]
    );
    let missed = ask("SELECT callid || ' ' || sip_code || ' ' || length(sip_reason) FROM missed_calls").await;
    assert_eq!(
        missed,
        ["two 486 128"],
        "a text is cut to its column, and a call that rang nowhere here is not missed"
    );
    let cdrs = "SELECT callid || ' ' || start_time || ' ' || coalesce(answer_time, '-') || ' ' || duration || ' ' || cause
                || ' ' || src_codec || dst_codec FROM acc_cdrs ORDER BY id";
    assert_eq!(
        ask(cdrs).await[..2],
        [
            "one 1970-01-01 00:16:40 1970-01-01 00:16:50 60.25 callee hung up opusPCMU".to_owned(),
            format!(
                "two 1970-01-01 00:16:40 - 0.0 {} ",
                format!("486 {}", "x".repeat(500)).chars().take(64).collect::<String>()
            ),
        ]
    );
}

/// A server that says 503 twice, then takes everything.
#[tokio::test]
async fn records_are_posted_until_they_are_taken() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/cdr?x=1", listener.local_addr().unwrap())).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
    let file = directory.path().join("cdr.jsonl");
    let settings = Settings { db: true, cdr_file: Some(file.clone()), cdr_url: Some(url) };
    let path = directory.path().join("calls.journal");
    {
        let (journal, _) =
            Journal::open(&path, &[Destination::Database, Destination::File, Destination::Url]).unwrap();
        assert!(journal.end(&Arc::new(record("left").failed(&answerer(), 486, "Busy Here", 1020)), "a"));
        journal.flush();
    }
    let accounting = Accounting::start(&settings, &path, 1, database.sql()).await.unwrap();
    let mut bodies = Vec::new();
    for answer in ["503 No", "503 No", "204 Taken"] {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        let body = loop {
            stream.read_buf(&mut request).await.unwrap();
            let text = String::from_utf8_lossy(&request).into_owned();
            let whole = text.split_once("\r\n\r\n").filter(|(_, body)| body.ends_with('}'));
            if let Some((head, body)) = whole {
                assert!(
                    head.starts_with("POST /cdr?x=1 HTTP/1.1") && head.contains("application/json"),
                    "{head}"
                );
                break body.to_owned();
            }
        };
        bodies.push(body);
        let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.unwrap();
    }
    let posted: Record = serde_json::from_str(&bodies[2]).unwrap();
    assert_eq!(posted.call_id, "left");
    accounting.finish(Duration::from_secs(20)).await;
    let line = std::fs::read_to_string(&file).unwrap();
    assert_eq!(serde_json::from_str::<Record>(line.trim()).unwrap(), posted, "once in the file");
    let (_, left) =
        Journal::open(&path, &[Destination::Database, Destination::File, Destination::Url]).unwrap();
    assert!(left.is_empty(), "{left:?}");
}

/// Records of calls of which the relay says nothing wait together, not one after the other.
#[tokio::test]
async fn a_report_that_does_not_come_keeps_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("cdr.jsonl");
    let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
    let settings = Settings { db: false, cdr_file: Some(file.clone()), cdr_url: None };
    let path = directory.path().join("calls.journal");
    let accounting = Accounting::start(&settings, &path, 1, database.sql()).await.unwrap();
    accounting.expect_reports();
    let inner = accounting.inner.clone().unwrap();
    for number in 0..1000 {
        let record = record(&format!("c{number}")).answered(&answerer(), 1010);
        inner.end(inner.journal(number), record, &parties("a"));
    }
    accounting.finish(Duration::from_secs(30)).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap().lines().count(), 1000);
}

/// With fewer workers than before nothing is forgotten, and what one has ended is delivered once.
#[tokio::test]
async fn each_worker_has_a_journal_and_all_of_them_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let (path, file) = (directory.path().join("calls.journal"), directory.path().join("cdr.jsonl"));
    let database = Database::open(&directory.path().join("x.sqlite"), DbMode::default()).await.unwrap();
    let settings = Settings { db: false, cdr_file: Some(file.clone()), cdr_url: None };
    let invited = |call_id: &str| Event::CallInvited {
        call_id: call_id.into(),
        from: "alice@example.com".into(),
        to: "bob@example.com".into(),
        source: ([192, 0, 2, 1], 5060).into(),
        branches: 1,
        parties: parties("a").into(),
        at: 1000,
    };
    {
        let accounting = Accounting::start(&settings, &path, 3, database.sql()).await.unwrap();
        for worker in 0..3 {
            assert!(accounting.note(worker, &invited(&format!("c{worker}"))));
            accounting.flush(worker);
        }
        let inner = accounting.inner.as_ref().unwrap();
        assert_eq!(
            inner.journals.iter().map(|journal| journal.open_calls().len()).collect::<Vec<_>>(),
            [1; 3]
        );
        // It is killed: nobody finishes it.
    }
    let names = ["calls.journal", "calls-1.journal", "calls-2.journal"];
    assert!(names.iter().all(|name| directory.path().join(name).exists()));
    let accounting = Accounting::start(&settings, &path, 1, database.sql()).await.unwrap();
    accounting.finish(Duration::from_secs(30)).await;
    let text = std::fs::read_to_string(&file).unwrap();
    let mut told: Vec<Record> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    told.sort_by(|one, other| one.call_id.cmp(&other.call_id));
    assert_eq!(told.iter().map(|record| &*record.call_id).collect::<Vec<_>>(), ["c0", "c1", "c2"]);
    assert!(told.iter().all(|record| record.cause == "gateway was killed"));
    let (_, left) = open_all(&path, 1, &[Destination::File]).unwrap();
    assert!(left.is_empty(), "{left:?}");
}
