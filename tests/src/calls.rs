//! The calls between a page and a phone. Each is made in a scene in which others may have been made before, and leaves it ready
//! for the next, so that the very same calls show what [`crate::house`] stands between the two.
//!
//! Every one is proved by content: a tone goes in at one end, and the same tone comes out at the other.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::baresip::{Baresip, expect_digits};
use crate::phone::{Audio, Dialog, Phone, hear_ulaw};
use crate::scene::{BROWSER_TONE, PHONE_TONE, Scene};
use crate::sip::{Message, Sdp};
use crate::tone::Heard;
use crate::wait::PATIENCE;

/// Has the macro `$do` make tests of all calls, whose names it gets by group.
#[macro_export]
macro_rules! every_call {
    ($do:ident) => {
        $do! {
            talks:
                page_calls_phone_and_hangs_up
                phone_calls_page_and_hangs_up
                the_called_end_hangs_up
                the_page_holds_and_resumes
                the_phone_holds_and_resumes
                video_that_the_phone_has_not;
            keys_and_transports:
                digits_pass_as_rtp_events
                digits_pass_as_info
                phones_speak_tcp_and_tls_too
                early_media_is_heard;
            calls_that_come_to_nothing:
                a_caller_gives_up
                refusals_are_told_apart
                a_second_caller_finds_the_line_busy;
        }
    };
}

/// The same with those between ends that share no codec, for houses whose relay converts.
#[macro_export]
macro_rules! every_converted_call {
    ($do:ident) => {
        $do! {
            codecs:
                a_page_with_opus_alone_calls_a_phone_without
                a_phone_without_opus_calls_a_page_with_nothing_else;
        }
    };
}

/// The page hangs up.
async fn page_hangs_up(scene: &Scene) -> Result<()> {
    let mark = scene.phone.mark();
    scene.page.click("hangup").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.page.call_over(None).await
}

/// The phone hangs up.
async fn phone_hangs_up(scene: &mut Scene) -> Result<()> {
    let mark = scene.phone.mark();
    scene.phone.hang_up().await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await?;
    scene.page.call_over(None).await
}

/// The page calls: ring, answer, sound both ways, and the page hangs up.
pub async fn page_calls_phone_and_hangs_up(scene: &mut Scene) -> Result<()> {
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    page_hangs_up(scene).await
}

/// The phone calls: ring, answer, sound both ways, and the phone hangs up. Then once more, in the same registration.
pub async fn phone_calls_page_and_hangs_up(scene: &mut Scene) -> Result<()> {
    for _ in 0..2 {
        scene.phone_calls_page().await?;
        scene.both_hear().await?;
        phone_hangs_up(scene).await?;
    }
    Ok(())
}

/// Who called does not decide who may end it.
pub async fn the_called_end_hangs_up(scene: &mut Scene) -> Result<()> {
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    phone_hangs_up(scene).await?;
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    page_hangs_up(scene).await
}

/// The page puts the call on hold and takes it back.
pub async fn the_page_holds_and_resumes(scene: &mut Scene) -> Result<()> {
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    scene.page_holds_and_resumes().await?;
    page_hangs_up(scene).await
}

/// The phone puts the call on hold and takes it back.
pub async fn the_phone_holds_and_resumes(scene: &mut Scene) -> Result<()> {
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    scene.phone.command("hold", "").await?;
    scene.page.hold_is("remote").await?;
    scene.phone.command("resume", "").await?;
    scene.page.hold_is("none").await?;
    scene.both_go_on().await?;
    phone_hangs_up(scene).await
}

/// RFC 4733 both ways: the page's keys are digits at the phone, and the phone's are heard as their two frequencies in the
/// browser, which plays received events instead of reporting them.
pub async fn digits_pass_as_rtp_events(scene: &mut Scene) -> Result<()> {
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    let mark = scene.phone.mark();
    for key in ["dtmf-pad-1", "dtmf-pad-5", "dtmf-pad-star", "dtmf-pad-0", "dtmf-pad-hash"] {
        scene.page.click(key).await?;
    }
    expect_digits(&scene.phone, mark, "15*0#").await?;
    scene.both_hear().await?;
    phone_presses_five(scene).await?;
    page_hangs_up(scene).await
}

/// The phone presses 5 until the page hears it.
async fn phone_presses_five(scene: &mut Scene) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        let (pressed, heard) =
            tokio::join!(scene.phone.press('5'), scene.page.listen(Duration::from_millis(300)));
        pressed?;
        let heard: Heard = heard?;
        // Digit 5 is 770 Hz and 1336 Hz (ITU-T Q.23); the stronger one wins, never the phone's own tone.
        if [770.0, 1336.0].iter().any(|f| (heard.frequency - f).abs() < f * 0.02) {
            return Ok(());
        }
    }
    bail!("digit 5 was not heard\n{}", scene.page.report().await)
}

/// The page presses its keys as `way` (`rtp` or `info`).
async fn page_has_keys_as(scene: &Scene, way: &str) -> Result<()> {
    scene.page.click("settings-open").await?;
    scene.page.choose("settings-dtmf", way).await?;
    scene.page.click("settings-close").await
}

/// The page calls a scripted phone, which has told nobody of it yet: the phone, and the INVITE as it came.
async fn page_calls_scripted(scene: &Scene, user: &str) -> Result<(Phone, Audio, Message)> {
    let account = scene.house.account(user, "scripted-phone-3")?;
    let mut phone = Phone::registered(account, scene.house.proxy("udp")).await?;
    let audio = Audio::open(phone.local().ip()).await?;
    scene.page.dial(user, false).await?;
    let invite = phone.receive("the call", |m| m.method() == Some("INVITE")).await?;
    Ok((phone, audio, invite))
}

/// A scripted phone hangs up.
async fn scripted_hangs_up(scene: &Scene, phone: &mut Phone, dialog: &mut Dialog) -> Result<()> {
    let bye = dialog.request(phone, "BYE");
    let answer = phone.transact(bye).await?;
    ensure!(answer.status() == Some(200), "{answer}");
    scene.page.call_over(None).await
}

/// INFO from the page is INFO at the phone (`application/dtmf-relay`), and the other way round.
pub async fn digits_pass_as_info(scene: &mut Scene) -> Result<()> {
    page_has_keys_as(scene, "info").await?;
    let (mut carol, audio, invite) = page_calls_scripted(scene, "carol").await?;
    carol.answer(&invite, 200, "OK", "c1", &audio.sdp(1, "sendrecv")?).await?;
    carol.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    scene.page.call(&["connected"]).await?;
    for (key, signal) in [("dtmf-pad-7", '7'), ("dtmf-pad-hash", '#')] {
        scene.page.click(key).await?;
        let info = carol.receive("INFO", |m| m.method() == Some("INFO")).await?;
        carol.answer(&info, 200, "OK", "c1", "").await?;
        ensure!(info.header("Content-Type") == "application/dtmf-relay", "{info}");
        ensure!(info.body.lines().any(|line| line.trim() == format!("Signal={signal}")), "{info}");
    }
    // From the phone to the page: JsSIP answers 200 exactly for an INFO that it understood as a digit.
    let mut dialog = Dialog::of_callee(&invite, "c1");
    let mut info = dialog.request(&mut carol, "INFO");
    info.headers.push(("Content-Type".into(), "application/dtmf-relay".into()));
    info.body = "Signal=4\r\nDuration=160\r\n".into();
    let answer = carol.transact(info).await?;
    ensure!(answer.status() == Some(200), "{answer}");
    scripted_hangs_up(scene, &mut carol, &mut dialog).await?;
    page_has_keys_as(scene, "rtp").await
}

/// Phones over TCP and over TLS.
pub async fn phones_speak_tcp_and_tls_too(scene: &mut Scene) -> Result<()> {
    for (transport, user) in [("tcp", "tess"), ("tls", "tilda")] {
        let account = scene.house.account(user, "over-a-stream-5")?;
        let proxy = scene.house.proxy(transport);
        let mut phone =
            Baresip::registered(&account, proxy, transport, PHONE_TONE).await.context(transport)?;
        scene.page.dial(user, false).await?;
        phone.event("CALL_INCOMING").await?;
        phone.accept().await?;
        scene.page.call(&["connected"]).await?;
        tokio::try_join!(phone.hears(BROWSER_TONE), scene.page.hears(PHONE_TONE)).context(transport)?;
        phone.hang_up().await?;
        scene.page.call_over(None).await?;
        let mark = phone.mark();
        phone.dial(&scene.alice.uri()).await?;
        scene.page.answer().await?;
        phone.event_after(mark, "CALL_ESTABLISHED").await?;
        tokio::try_join!(phone.hears(BROWSER_TONE), scene.page.hears(PHONE_TONE)).context(transport)?;
        scene.page.click("hangup").await?;
        phone.event_after(mark, "CALL_CLOSED").await?;
        scene.page.call_over(None).await?;
    }
    Ok(())
}

/// A phone that answers with early media (183 with SDP) is heard before it answers.
pub async fn early_media_is_heard(scene: &mut Scene) -> Result<()> {
    let (mut dora, mut audio, invite) = page_calls_scripted(scene, "dora").await?;
    let offer = Sdp::parse(&invite.body)?;
    let sdp = audio.sdp(1, "sendrecv")?;
    dora.answer(&invite, 183, "Session Progress", "d1", &sdp).await?;
    tokio::select! {
        heard = scene.page.hears(PHONE_TONE) => heard?,
        spoken = audio.speak(&offer, PHONE_TONE, PATIENCE) => {
            spoken?;
            bail!("no early media at the page\n{}", scene.page.report().await);
        }
    }
    dora.answer(&invite, 200, "OK", "d1", &sdp).await?;
    dora.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    scene.page.call(&["connected"]).await?;
    let deadline = Instant::now() + PATIENCE;
    loop {
        let packets = audio.speak(&offer, PHONE_TONE, Duration::from_secs(1)).await?;
        let heard = hear_ulaw(&packets[packets.len() / 2..]);
        if heard.is(BROWSER_TONE) {
            break;
        }
        ensure!(Instant::now() < deadline, "{heard:?} in {} packets", packets.len());
    }
    scripted_hangs_up(scene, &mut dora, &mut Dialog::of_callee(&invite, "d1")).await
}

/// The page offers video, and the phone has none: they talk all the same.
pub async fn video_that_the_phone_has_not(scene: &mut Scene) -> Result<()> {
    let mark = scene.phone.mark();
    scene.page.dial("bob", true).await?;
    scene.phone.event_after(mark, "CALL_INCOMING").await?;
    scene.phone.accept().await?;
    scene.page.call(&["connected"]).await?;
    scene.both_hear().await?;
    page_hangs_up(scene).await
}

/// Opus there, G.711 here; the page calls, and it hangs up.
pub async fn a_page_with_opus_alone_calls_a_phone_without(scene: &mut Scene) -> Result<()> {
    scene.page.only_codec("opus").await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    scene.page_spoke_only("opus").await?;
    page_hangs_up(scene).await?;
    scene.page.all_codecs().await
}

/// The other way, and with a hold between: the transcoders go on where they were. Chromium answers Opus alone, but sends the
/// first codec of the offer.
pub async fn a_phone_without_opus_calls_a_page_with_nothing_else(scene: &mut Scene) -> Result<()> {
    scene.page.only_codec("opus").await?;
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    scene.page_spoke_only("opus").await?;
    scene.page_holds_and_resumes().await?;
    page_hangs_up(scene).await?;
    scene.page.all_codecs().await
}

/// A caller who gives up before the answer: the other end stops ringing.
pub async fn a_caller_gives_up(scene: &mut Scene) -> Result<()> {
    let mark = scene.phone.mark();
    scene.page.dial("bob", false).await?;
    scene.phone.event_after(mark, "CALL_INCOMING").await?;
    scene.page.call(&["ringing"]).await?;
    page_hangs_up(scene).await?;

    let mark = scene.phone.mark();
    scene.phone_dials_page().await?;
    scene.page.shown("incoming").await?;
    scene.phone.hang_up().await?;
    scene.page.hidden("incoming").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await.map(drop)
}

/// A callee who refuses, and one who does not exist, and one who is not there: the page says which.
pub async fn refusals_are_told_apart(scene: &mut Scene) -> Result<()> {
    let mark = scene.phone.mark();
    scene.page.dial("bob", false).await?;
    scene.phone.event_after(mark, "CALL_INCOMING").await?;
    scene.phone.hang_up().await?;
    // baresip refuses with 486.
    scene.page.call_over(Some("busy")).await?;

    scene.page.dial("nobody-by-this-name", false).await?;
    scene.page.call_over(Some("not-found")).await?;

    scene.house.account("dave", "never-here-4")?;
    scene.page.dial("dave", false).await?;
    scene
        .page
        .until(
            "offline or not found",
            "calls().some(c => ['offline', 'not-found'].includes(c.dataset.outcome))",
        )
        .await?;

    // The page declines: the phone learns it.
    let mark = scene.phone.mark();
    scene.phone_dials_page().await?;
    scene.page.shown("incoming").await?;
    scene.page.click("decline").await?;
    let closed = scene.phone.event_after(mark, "CALL_CLOSED").await?;
    let reason = closed["param"].as_str().context("no reason")?;
    ensure!(["486", "480", "603"].iter().any(|code| reason.starts_with(code)), "{reason}");
    Ok(())
}

/// A phone that is in a call already refuses the next, while the first call goes on.
pub async fn a_second_caller_finds_the_line_busy(scene: &mut Scene) -> Result<()> {
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    let erin = scene.house.account("erin", "scripted-phone-3")?;
    let mut erin = Phone::registered(erin, scene.house.proxy("udp")).await?;
    let audio = Audio::open(erin.local().ip()).await?;
    let invite = erin.invite(&scene.bob.uri(), &audio.sdp(1, "sendrecv")?);
    let mark = scene.phone.mark();
    let (answer, refused) = tokio::join!(erin.transact(invite), async {
        scene.phone.event_after(mark, "CALL_INCOMING").await?;
        scene.phone.command("hangup", "").await?;
        scene.phone.event_after(mark, "CALL_CLOSED").await
    });
    refused?;
    let answer = answer?;
    ensure!(answer.status() == Some(486), "{answer}");
    scene.page.hears(PHONE_TONE).await?;
    page_hangs_up(scene).await
}
