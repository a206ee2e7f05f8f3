//! The records of calls, of every kind of end that a call can have.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::databases::{Engine, Server};
use e2e::gateway::{DOMAIN, Gateway};
use e2e::on_databases;
use e2e::phone::{Audio, Dialog, Phone, ack_of_refusal, target};
use e2e::sip::{Message, Sdp};
use e2e::wait::{self, PATIENCE};

/// Two phones at a gateway that keeps its records in `server`.
struct Scene {
    server: Server,
    gateway: Gateway,
    alice: Phone,
    bob: Phone,
    audio: [Audio; 2],
}

impl Scene {
    async fn new(engine: Engine, more: &str) -> Result<Self> {
        Self::with_media(engine, "", more).await
    }

    /// The same with more lines of the section about media.
    async fn with_media(engine: Engine, media: &str, more: &str) -> Result<Self> {
        let server = Server::start(engine).await?;
        let url = server.database("causeway")?;
        let gateway = Gateway::start_with(&format!("{media}[database]\ndb_url = \"{url}\"\n{more}")).await?;
        let (alice, bob) =
            (gateway.account("alice", "first-light-12")?, gateway.account("bob", "second-light-34")?);
        let alice = Phone::registered(alice, gateway.proxy()).await?;
        let bob = Phone::registered(bob, gateway.proxy()).await?;
        let audio = [Audio::open(gateway.address).await?, Audio::open(gateway.address).await?];
        Ok(Self { server, gateway, alice, bob, audio })
    }

    /// Alice's INVITE with credentials, and as it reaches bob.
    async fn rings(&mut self) -> Result<(Message, Message)> {
        let sdp = self.audio[0].sdp(1, "sendrecv")?;
        let mut invite = self.alice.invite(&format!("sip:bob@{DOMAIN}"), &sdp);
        self.alice.send(&invite).await?;
        let challenge = self.alice.receive("a challenge", |m| m.status() == Some(407)).await?;
        self.alice.send(&ack_of_refusal(&invite, &challenge)).await?;
        self.alice.authorize(&mut invite, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
        self.alice.send(&invite).await?;
        let received = self.bob.receive("the INVITE", |m| m.method() == Some("INVITE")).await?;
        Ok((invite, received))
    }

    /// An answered call, as both see it, in which both have talked.
    async fn talks(&mut self) -> Result<(Dialog, Dialog)> {
        let (invite, received) = self.rings().await?;
        let offered = Sdp::parse(&received.body)?;
        let sdp = self.audio[1].sdp(1, "sendrecv")?;
        self.bob.answer(&received, 200, "OK", "b-tag", &sdp).await?;
        let answer =
            self.alice.receive("the answer", |m| m.status() == Some(200) && m.cseq().1 == "INVITE").await?;
        let mut caller = Dialog::of_caller(&invite, &answer);
        let ack = caller.request(&mut self.alice, "ACK");
        self.alice.send(&ack).await?;
        self.bob.receive("the ACK", |m| m.method() == Some("ACK")).await?;
        let answered = Sdp::parse(&answer.body)?;
        target(&answered)?;
        let second = Duration::from_secs(1);
        let [one, two] = &mut self.audio;
        let (one, two) =
            tokio::join!(one.speak(&answered, 440.0, second), two.speak(&offered, 880.0, second));
        one?;
        two?;
        Ok((caller, Dialog::of_callee(&received, "b-tag")))
    }

    /// The first row of `query`, when it is there.
    async fn row(&self, query: &str) -> Result<Vec<String>> {
        let row = wait::until_now(query, PATIENCE, || {
            self.server.ask("causeway", query).ok().filter(|row| !row.is_empty())
        });
        Ok(row.await?.split(['\t', '\n']).map(str::to_owned).collect())
    }
}

const CDR: &str = "SELECT callid, src_user, dst_ouser, dst_user, sip_code, cause, src_codec, dst_codec, src_bytes, dst_bytes,
                   src_loss, dst_mos, duration, from_tag, to_tag FROM acc_cdrs";

/// A call that the callee ends: INVITE and BYE in acc, and one record with what was talked.
async fn a_call_is_recorded(engine: Engine) -> Result<()> {
    let file = tempfile::NamedTempFile::new()?;
    let more = format!("[acc]\ncdr_file = \"{}\"\n[dialog]\ndb_mode = 1\n", file.path().display());
    let mut scene = Scene::new(engine, &more).await?;
    let (_, mut callee) = scene.talks().await?;
    let dialog =
        scene.row("SELECT from_uri, to_uri, state, from_tag, callid, start_time FROM dialog").await?;
    let [alice, bob] = ["alice", "bob"].map(|user| format!("sip:{user}@{DOMAIN}"));
    assert_eq!(dialog[..2], [alice, bob], "{engine:?}");
    assert!(matches!(&*dialog[2], "3" | "4") && dialog[5].parse::<u64>()? > 1_700_000_000, "{dialog:?}");
    let bye = callee.request(&mut scene.bob, "BYE");
    scene.bob.send(&bye).await?;
    let received = scene.alice.receive("the BYE", |m| m.method() == Some("BYE")).await?;
    scene.alice.answer(&received, 200, "OK", "", "").await?;
    let cdr = scene.row(CDR).await?;
    let call_id = bye.header("Call-ID");
    assert_eq!(
        cdr[..8],
        [call_id, "alice", "bob", "bob", "200", "callee hung up", "PCMU", "PCMU"],
        "{engine:?}"
    );
    let number = |index: usize| cdr[index].parse::<f64>().context("number");
    assert!(number(8)? > 4000.0 && number(9)? > 4000.0, "{cdr:?}");
    assert!(number(10)? < 100.0 && (1.0..=4.5).contains(&number(11)?) && number(12)? > 0.5, "{cdr:?}");
    let (from, to) = (&cdr[13], &cdr[14]);
    let acc = scene
        .row("SELECT method, from_tag, to_tag, sip_code, src_user, dst_user FROM acc ORDER BY id")
        .await?;
    assert_eq!(acc[..6], ["INVITE", from, to, "200", "alice", "bob"], "{engine:?}");
    assert_eq!(acc[6..10], ["BYE", to, from, "200"], "{engine:?}: of whoever has said it");
    assert_eq!(dialog[3..5], [from, call_id], "{engine:?}");
    scene
        .row("SELECT 'none' FROM version WHERE table_name = 'dialog' AND NOT EXISTS (SELECT 1 FROM dialog)")
        .await?;
    let line = wait::until_now("the line", PATIENCE, || {
        std::fs::read_to_string(file.path()).ok().filter(|text| text.ends_with('\n'))
    });
    let line: serde_json::Value = serde_json::from_str(line.await?.trim())?;
    assert_eq!((&line["call_id"], &line["ended_by"]), (&call_id.into(), &"callee".into()));
    assert_eq!(scene.server.ask("causeway", "SELECT COUNT(*) FROM missed_calls")?, "0");
    scene.gateway.stop().await?;
    assert_eq!(scene.server.ask("causeway", "SELECT COUNT(*) FROM acc_cdrs")?, "1", "one record a call");
    Ok(())
}

on_databases! {
    a_call_is_recorded:
    a_call_is_recorded_in_sqlite = Sqlite,
    a_call_is_recorded_in_postgres = Postgres,
    a_call_is_recorded_in_mariadb = MariaDb,
}

/// Both ends are silent: the relay gives the call up, both hear a BYE, and the record says why.
#[tokio::test]
async fn a_call_without_media_says_so_in_its_record() -> Result<()> {
    let mut scene = Scene::with_media(Engine::Sqlite, "timeout = 5\n", "").await?;
    scene.talks().await?;
    for phone in [&mut scene.alice, &mut scene.bob] {
        let bye = phone.receive("the BYE", |m| m.method() == Some("BYE")).await?;
        anyhow::ensure!(bye.header("Reason").contains("no media"), "{}", bye.header("Reason"));
        phone.answer(&bye, 200, "OK", "", "").await?;
    }
    let cdr = scene.row("SELECT sip_code, cause FROM acc_cdrs").await?;
    assert_eq!(cdr, ["200", "no media"]);
    assert_eq!(scene.row("SELECT sip_reason FROM acc WHERE method = 'BYE'").await?, ["no media"]);
    Ok(())
}

/// Busy: a missed call.
#[tokio::test]
async fn a_call_that_is_not_answered_is_missed() -> Result<()> {
    let mut scene = Scene::new(Engine::Sqlite, "").await?;
    let (_, received) = scene.rings().await?;
    scene.bob.answer(&received, 486, "Busy Here", "b-tag", "").await?;
    scene.alice.receive("the refusal", |m| m.status() == Some(486)).await?;
    let missed =
        scene.row("SELECT method, sip_code, sip_reason, src_user, dst_ouser FROM missed_calls").await?;
    assert_eq!(missed, ["INVITE", "486", "Busy Here", "alice", "bob"]);
    let cdr = scene.row("SELECT sip_code, cause, duration FROM acc_cdrs").await?;
    assert_eq!(cdr, ["486", "486 Busy Here", "0.0"]);
    assert_eq!(scene.server.ask("causeway", "SELECT COUNT(*) FROM acc")?, "0");
    Ok(())
}

/// A gateway that is killed in mid call closes it when it starts again, with the time at which it was last.
#[tokio::test]
async fn a_call_that_was_cut_short_has_its_record() -> Result<()> {
    let mut scene = Scene::new(Engine::Sqlite, "").await?;
    scene.talks().await?;
    scene.gateway.kill().await?;
    assert_eq!(scene.server.ask("causeway", "SELECT COUNT(*) FROM acc_cdrs")?, "0");
    scene.gateway.start_again().await?;
    let cdr = scene.row(CDR).await?;
    assert_eq!(cdr[1..6], ["alice", "bob", "bob", "200", "gateway was killed"]);
    let acc = scene.row("SELECT method, sip_reason FROM acc ORDER BY id").await?;
    assert_eq!(acc, ["INVITE", "OK", "BYE", "gateway was killed"]);
    scene.gateway.stop().await?;
    scene.gateway.start_again().await?;
    assert_eq!(scene.server.ask("causeway", "SELECT COUNT(*) FROM acc_cdrs")?, "1", "once");
    Ok(())
}

/// While the database is gone calls go on, and their records wait.
#[tokio::test]
async fn records_wait_for_a_database_that_is_gone() -> Result<()> {
    let mut scene = Scene::new(Engine::Postgres, "").await?;
    let (mut caller, _) = scene.talks().await?;
    scene.server.stop().await?;
    let bye = caller.request(&mut scene.alice, "BYE");
    scene.alice.send(&bye).await?;
    let received = scene.bob.receive("the BYE", |m| m.method() == Some("BYE")).await?;
    scene.bob.answer(&received, 200, "OK", "", "").await?;
    scene.gateway.logs(&["call records wait for their destination", "Database"]).await?;
    // Not even the end of the process loses them.
    scene.gateway.kill().await?;
    scene.server.run().await?;
    scene.gateway.start_again().await?;
    let cdr = scene.row(CDR).await?;
    assert_eq!(cdr[4..6], ["200", "caller hung up"]);
    assert_eq!(scene.server.ask("causeway", "SELECT COUNT(*) FROM acc")?, "2");
    Ok(())
}
