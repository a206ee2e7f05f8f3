//! Topology hiding with a store, with a real process that is killed in mid call, and with a real browser.

use anyhow::{Context, Result, ensure};
use e2e::databases::{Engine, Server};
use e2e::gateway::{DOMAIN, Gateway};
use e2e::on_databases;
use e2e::phone::{Audio, Dialog, Phone, ack_of_refusal};
use e2e::scene::Scene;
use e2e::sip::Message;
use e2e::wait::{self, PATIENCE};

const TOPOS: &str = "[topos]\nenabled = true\n";

/// The caller calls the callee, who answers at once: the dialog as each of them sees it.
async fn talk(caller: &mut Phone, callee: &mut Phone, sdp: &str) -> Result<(Dialog, Dialog)> {
    let mut invite = caller.invite(&format!("sip:{}@{DOMAIN}", callee.account.user), sdp);
    caller.send(&invite).await?;
    let challenge = caller.receive("a challenge", |m| m.status() == Some(407)).await?;
    caller.send(&ack_of_refusal(&invite, &challenge)).await?;
    caller.authorize(&mut invite, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
    caller.send(&invite).await?;
    let received = callee.receive("the INVITE", |m| m.method() == Some("INVITE")).await?;
    is_stripped(&received, caller)?;
    let tag = callee.unique();
    callee.answer(&received, 200, "OK", &tag, sdp).await?;
    let answer = caller.receive("the answer", |m| m.status() == Some(200) && m.cseq().1 == "INVITE").await?;
    is_stripped(&answer, callee)?;
    let mut dialog = Dialog::of_caller(&invite, &answer);
    let ack = dialog.request(caller, "ACK");
    caller.send(&ack).await?;
    callee.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    Ok((dialog, Dialog::of_callee(&received, &tag)))
}

/// Nothing in the header says where the other end is, nor that there is anybody behind the gateway.
fn is_stripped(message: &Message, other: &Phone) -> Result<()> {
    let other = other.local().to_string();
    ensure!(message.all("Record-Route").count() == 0 && message.all("Via").count() == 1, "{message}");
    ensure!(message.header("Contact").contains("tpsh-"), "{message}");
    ensure!(message.headers.iter().all(|(_, value)| !value.contains(&other)), "{other} is in {message}");
    Ok(())
}

/// One end says BYE, and the other one hears it.
async fn hang_up(from: (&mut Dialog, &mut Phone), to: &mut Phone) -> Result<()> {
    let (dialog, phone) = from;
    let bye = dialog.request(phone, "BYE");
    phone.send(&bye).await?;
    let received = to.receive("the BYE", |m| m.method() == Some("BYE")).await?;
    ensure!(received.header("Call-ID") == bye.header("Call-ID"), "{received}");
    ensure!(received.uri() == Some(&*to.contact()), "{received}");
    to.answer(&received, 200, "OK", "", "").await?;
    let ok = phone.receive("its answer", |m| m.cseq().1 == "BYE").await?;
    ensure!(ok.status() == Some(200), "{ok}");
    Ok(())
}

/// The gateway is killed while two calls stand, and started again: the caller of one and the callee of the other hang up.
async fn both_ends_hang_up_after_a_kill(engine: Engine) -> Result<()> {
    let server = Server::start(engine).await?;
    let url = server.database("causeway")?;
    let mut gateway = Gateway::start_with(&format!("[database]\ndb_url = \"{url}\"\n{TOPOS}")).await?;
    let (alice, bob) =
        (gateway.account("alice", "first-light-12")?, gateway.account("bob", "second-light-34")?);
    let mut alice = Phone::registered(alice, gateway.proxy()).await?;
    let mut bob = Phone::registered(bob, gateway.proxy()).await?;
    let sdp = Audio::open(gateway.address).await?.sdp(1, "sendrecv")?;
    let (mut first, _) = talk(&mut alice, &mut bob, &sdp).await?;
    let (_, mut second) = talk(&mut alice, &mut bob, &sdp).await?;
    let query = "SELECT COUNT(*) FROM topos_d";
    let kept = || server.ask("causeway", query).ok().filter(|count| count == "4");
    wait::until_now("the rows of both calls", PATIENCE, kept).await.context("topos_d")?;

    gateway.kill().await?;
    gateway.start_again().await?;
    hang_up((&mut first, &mut alice), &mut bob).await?;
    hang_up((&mut second, &mut bob), &mut alice).await?;
    gateway.stop().await?;
    Ok(())
}

on_databases! {
    both_ends_hang_up_after_a_kill:
    both_ends_hang_up_after_a_kill_with_sqlite = Sqlite,
    both_ends_hang_up_after_a_kill_with_postgres = Postgres,
    both_ends_hang_up_after_a_kill_with_mariadb = MariaDb,
}

/// A page and a phone talk, each hidden from the other; the phone hangs up.
#[tokio::test]
async fn a_page_and_a_phone_talk_without_seeing_each_other() -> Result<()> {
    let mut scene = Scene::set_at(Gateway::start_with(TOPOS).await?).await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    scene.page_holds_and_resumes().await?;
    let mark = scene.phone.mark();
    scene.phone.hang_up().await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.page.call_over(None).await.map(drop)
}
