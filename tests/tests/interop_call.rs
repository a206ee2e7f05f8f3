//! The main job: the real page in a real browser and a real legacy phone talk through the gateway.
//!
//! Every call here is proved by content: a tone goes in at one end, and the same tone comes out at the other.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::baresip::{Baresip, expect_digits};
use e2e::gateway::{DOMAIN, Gateway};
use e2e::phone::{Audio, Dialog, Phone};
use e2e::scene::{BROWSER_TONE, PHONE_TONE, Scene, Talk};
use e2e::sip::Sdp;
use e2e::tone::{Heard, hear, write_wav};
use e2e::wait::{self, PATIENCE};

/// The page calls: ring, answer, sound both ways, and the page hangs up.
#[tokio::test]
async fn page_calls_phone_and_hangs_up() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    scene.page.click("hangup").await?;
    scene.phone.event("CALL_CLOSED").await?;
    scene.page.call_over(None).await
}

/// The phone calls: ring, answer, sound both ways, and the phone hangs up. Then once more, in the same registration.
#[tokio::test]
async fn phone_calls_page_and_hangs_up() -> Result<()> {
    let mut scene = Scene::set().await?;
    for _ in 0..2 {
        let mark = scene.phone.mark();
        scene.phone_calls_page().await?;
        scene.both_hear().await?;
        scene.phone.hang_up().await?;
        scene.phone.event_after(mark, "CALL_CLOSED").await?;
        scene.page.call_over(None).await?;
    }
    Ok(())
}

/// Who called does not decide who may end it.
#[tokio::test]
async fn the_called_end_hangs_up() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    scene.phone.hang_up().await?;
    scene.page.call_over(None).await?;
    let mark = scene.phone.mark();
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    scene.page.click("hangup").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await.map(drop)
}

/// The page puts the call on hold and takes it back.
#[tokio::test]
async fn the_page_holds_and_resumes() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    scene.page_holds_and_resumes().await?;
    scene.page.click("hangup").await?;
    scene.phone.event("CALL_CLOSED").await.map(drop)
}

/// The phone puts the call on hold and takes it back.
#[tokio::test]
async fn the_phone_holds_and_resumes() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    scene.phone.command("hold", "").await?;
    scene.page.hold_is("remote").await?;
    scene.phone.command("resume", "").await?;
    scene.page.hold_is("none").await?;
    scene.both_go_on().await?;
    scene.phone.hang_up().await?;
    scene.page.call_over(None).await
}

/// Whom the phone puts on hold hears the gateway's music in the browser, and then the phone again. The call is recorded.
#[tokio::test]
async fn the_browser_on_hold_hears_music() -> Result<()> {
    const MUSIC: f64 = 600.0;
    let folder = tempfile::tempdir()?;
    let (music, recordings) = (folder.path().join("music.wav"), folder.path().join("recordings"));
    write_wav(&music, MUSIC, 8000, 2)?;
    let more = format!(
        "music_on_hold = \"{}\"\n[recording]\nusers = [\"bob\"]\nnotice = \"off\"\ndirectory = \"{}\"\n",
        music.display(),
        recordings.display()
    );
    let mut scene = Scene::set_at(Gateway::start_with(&more).await?).await?;
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    scene.phone.command("hold", "").await?;
    scene.page.hold_is("remote").await?;
    scene.page.hears(MUSIC).await?;
    scene.phone.command("resume", "").await?;
    scene.page.hold_is("none").await?;
    scene.both_go_on().await?;
    scene.phone.hang_up().await?;
    scene.page.call_over(None).await?;
    recorded(&recordings).await
}

/// A recording has ended, and in it the caller, the phone, is heard left and the page right.
async fn recorded(directory: &Path) -> Result<()> {
    let samples = wait::until("a recording", PATIENCE, || async {
        let Ok(entries) = std::fs::read_dir(directory) else { return Ok(None) };
        let paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        let of = |suffix: &str| paths.iter().find(|path| path.extension().is_some_and(|it| it == suffix));
        let (Some(sound), Some(metadata)) = (of("wav"), of("json")) else { return Ok(None) };
        let metadata: serde_json::Value = serde_json::from_slice(&std::fs::read(metadata)?)?;
        Ok(metadata["ended"].is_number().then_some(std::fs::read(sound)?))
    })
    .await?;
    let sides = [0, 1].map(|side| {
        let frames = samples[44..].chunks_exact(4);
        frames.map(|frame| i16::from_le_bytes([frame[2 * side], frame[2 * side + 1]])).collect::<Vec<_>>()
    });
    for (side, tone) in sides.iter().zip([PHONE_TONE, BROWSER_TONE]) {
        // Somewhere in it: it begins before either end speaks.
        let heard = side.chunks(8000).any(|piece| hear(piece, 16_000).is(tone));
        anyhow::ensure!(heard, "{tone} Hz is not in {} samples", side.len());
    }
    Ok(())
}

/// The disk of the recordings is full while a call is recorded: the log and what is kept of the recording say so, and the call
/// goes on.
#[tokio::test]
async fn a_full_disk_ends_the_recording_and_not_the_call() -> Result<()> {
    const SECOND: Duration = Duration::from_secs(1);
    let mut gateway = Gateway::start_with_a_small_disk().await?;
    let mut talk = Talk::begin(&gateway).await?;
    let deadline = std::time::Instant::now() + PATIENCE;
    let full = |line: &String| line.contains("the recording is incomplete") && line.contains("No space left");
    while !gateway.log().iter().any(full) {
        anyhow::ensure!(std::time::Instant::now() < deadline, "{}", gateway.log().join("\n"));
        talk.speak(SECOND).await?;
    }
    talk.both_hear().await?;
    let metadata: serde_json::Value = serde_json::from_slice(&gateway.on_disk(".json")?)?;
    let error = metadata["error"].as_str().context("no error")?;
    anyhow::ensure!(error.contains("No space left"), "{metadata}");
    anyhow::ensure!(gateway.on_disk(".wav")?.len() > 60_000, "what there was room for");
    talk.end().await?;
    gateway.stop().await.map(drop)
}

/// Keys that an end presses begin a recording, of which both ends are told, and end it, while the call goes on.
#[tokio::test]
async fn keys_begin_and_end_a_recording() -> Result<()> {
    const NOTICE: f64 = 850.0;
    /// The keys `*` and `1`.
    const CODE: [u8; 2] = [10, 1];
    let folder = tempfile::tempdir()?;
    let (notice, recordings) = (folder.path().join("notice.wav"), folder.path().join("recordings"));
    write_wav(&notice, NOTICE, 8000, 2)?;
    let more = format!(
        "[recording]\nfeature_code = \"*1\"\nnotice = \"{}\"\ndirectory = \"{}\"\n",
        notice.display(),
        recordings.display()
    );
    let gateway = Gateway::start_with(&more).await?;
    let mut talk = Talk::begin(&gateway).await?;
    talk.both_hear().await?;
    let files = || std::fs::read_dir(&recordings).map_or(0, Iterator::count);
    anyhow::ensure!(files() == 0, "nobody has asked for it");
    talk.press(&CODE).await?;
    talk.hear([NOTICE; 2]).await?;
    talk.both_hear().await?;
    talk.speak(Duration::from_secs(1)).await?;
    talk.press(&CODE).await?;
    recorded(&recordings).await?;
    let ended = files();
    talk.both_hear().await?;
    anyhow::ensure!(files() == ended, "the call goes on, and its recording does not");
    talk.end().await
}

/// RFC 4733 both ways: the page's keys are digits at the phone, and the phone's are heard as their two frequencies in the
/// browser, which plays received events instead of reporting them.
#[tokio::test]
async fn digits_pass_as_rtp_events() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    for key in ["dtmf-pad-1", "dtmf-pad-5", "dtmf-pad-star", "dtmf-pad-0", "dtmf-pad-hash"] {
        scene.page.click(key).await?;
    }
    expect_digits(&scene.phone, "15*0#").await?;
    scene.both_hear().await?;
    let heard = async {
        let deadline = std::time::Instant::now() + Duration::from_secs(15);
        while std::time::Instant::now() < deadline {
            let (pressed, heard) =
                tokio::join!(scene.phone.press('5'), scene.page.listen(Duration::from_millis(300)));
            pressed?;
            let heard: Heard = heard?;
            // Digit 5 is 770 Hz and 1336 Hz (ITU-T Q.23); the stronger one wins, never the phone's own tone.
            if [770.0, 1336.0].iter().any(|f| (heard.frequency - f).abs() < f * 0.02) {
                return Ok(());
            }
        }
        anyhow::bail!("digit 5 was not heard\n{}", scene.page.report().await)
    };
    heard.await
}

/// INFO from the page is INFO at the phone (`application/dtmf-relay`).
#[tokio::test]
async fn digits_pass_as_info_from_the_page() -> Result<()> {
    let scene = Scene::set().await?;
    scene.page.click("settings-open").await?;
    scene
        .page
        .run(
            "const s = find('settings-dtmf'); s.value = 'info'; s.dispatchEvent(new Event('change', { bubbles: true }));",
        )
        .await?;
    scene.page.click("settings-close").await?;
    let carol = scene.gateway.account("carol", "phone-of-carol-3")?;
    let mut carol = Phone::registered(carol, scene.gateway.proxy()).await?;
    let audio = Audio::open(carol.local().ip()).await?;
    scene.page.dial("carol", false).await?;
    let invite = carol.receive("the call", |m| m.method() == Some("INVITE")).await?;
    carol.answer(&invite, 200, "OK", "c1", &audio.sdp(1, "sendrecv")?).await?;
    carol.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    scene.page.call(&["connected"]).await?;
    for (key, signal) in [("dtmf-pad-7", '7'), ("dtmf-pad-hash", '#')] {
        scene.page.click(key).await?;
        let info = carol.receive("INFO", |m| m.method() == Some("INFO")).await?;
        carol.answer(&info, 200, "OK", "c1", "").await?;
        assert_eq!(info.header("Content-Type"), "application/dtmf-relay");
        assert!(info.body.lines().any(|line| line.trim() == format!("Signal={signal}")), "{info}");
    }
    // From the phone to the page: JsSIP answers 200 exactly for an INFO that it understood as a digit.
    let mut dialog = Dialog::of_callee(&invite, "c1");
    let mut info = dialog.request(&mut carol, "INFO");
    info.headers.push(("Content-Type".into(), "application/dtmf-relay".into()));
    info.body = "Signal=4\r\nDuration=160\r\n".into();
    assert_eq!(carol.transact(info).await?.status(), Some(200));
    let bye = dialog.request(&mut carol, "BYE");
    assert_eq!(carol.transact(bye).await?.status(), Some(200));
    scene.page.call_over(None).await
}

/// A caller who gives up before the answer: the other end stops ringing.
#[tokio::test]
async fn a_caller_gives_up() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page.dial("bob", false).await?;
    scene.phone.event("CALL_INCOMING").await?;
    scene.page.call(&["ringing"]).await?;
    scene.page.click("hangup").await?;
    scene.phone.event("CALL_CLOSED").await?;
    scene.page.call_over(None).await?;

    scene.phone.dial(&format!("sip:alice@{DOMAIN}")).await?;
    scene.page.shown("incoming").await?;
    let mark = scene.phone.mark();
    scene.phone.hang_up().await?;
    scene.page.hidden("incoming").await?;
    scene.phone.event_after(mark, "CALL_CLOSED").await.map(drop)
}

/// A callee who refuses, and one who does not exist, and one who is not there: the page says which.
#[tokio::test]
async fn refusals_are_told_apart() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page.dial("bob", false).await?;
    scene.phone.event("CALL_INCOMING").await?;
    scene.phone.hang_up().await?;
    // baresip refuses with 486.
    scene.page.call_over(Some("busy")).await?;

    scene.page.dial("nobody-by-this-name", false).await?;
    scene.page.call_over(Some("not-found")).await?;

    scene.gateway.account("dave", "never-here-4")?;
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
    scene.phone.dial(&format!("sip:alice@{DOMAIN}")).await?;
    scene.page.shown("incoming").await?;
    scene.page.click("decline").await?;
    let closed = scene.phone.event_after(mark, "CALL_CLOSED").await?;
    let reason = closed["param"].as_str().context("no reason")?;
    assert!(["486", "480", "603"].iter().any(|code| reason.starts_with(code)), "{reason}");
    Ok(())
}

/// A phone that is in a call already refuses the next, and the page says busy, while the first call goes on.
#[tokio::test]
async fn a_second_caller_finds_the_line_busy() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page_calls_phone().await?;
    let carol = scene.gateway.account("carol", "phone-of-carol-3")?;
    let mut carol = Phone::registered(carol, scene.gateway.proxy()).await?;
    let audio = Audio::open(carol.local().ip()).await?;
    let invite = carol.invite(&format!("sip:bob@{DOMAIN}"), &audio.sdp(1, "sendrecv")?);
    let mark = scene.phone.mark();
    let (answer, refused) = tokio::join!(carol.transact(invite), async {
        scene.phone.event_after(mark, "CALL_INCOMING").await?;
        scene.phone.command("hangup", "").await
    });
    refused?;
    assert_eq!(answer?.status(), Some(486));
    Ok(())
}

/// A phone that answers with early media (183 with SDP) is heard before it answers.
#[tokio::test]
async fn early_media_is_heard() -> Result<()> {
    let scene = Scene::set().await?;
    let carol = scene.gateway.account("carol", "phone-of-carol-3")?;
    let mut carol = Phone::registered(carol, scene.gateway.proxy()).await?;
    let mut audio = Audio::open(carol.local().ip()).await?;
    scene.page.dial("carol", false).await?;
    let invite = carol.receive("the call", |m| m.method() == Some("INVITE")).await?;
    let offer = Sdp::parse(&invite.body)?;
    carol.answer(&invite, 183, "Session Progress", "c1", &audio.sdp(1, "sendrecv")?).await?;
    let (spoken, heard) =
        tokio::join!(audio.speak(&offer, PHONE_TONE, Duration::from_secs(10)), scene.page.hears(PHONE_TONE));
    spoken?;
    heard?;
    carol.answer(&invite, 200, "OK", "c1", &audio.sdp(1, "sendrecv")?).await?;
    carol.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    scene.page.call(&["connected"]).await?;
    let packets = audio.speak(&offer, PHONE_TONE, Duration::from_secs(3)).await?;
    let heard = e2e::phone::hear_ulaw(&packets[packets.len() / 2..]);
    assert!(heard.is(BROWSER_TONE), "{heard:?} in {} packets", packets.len());
    Ok(())
}

/// The same over TCP and over TLS.
#[tokio::test]
async fn phones_speak_tcp_and_tls_too() -> Result<()> {
    let scene = Scene::set().await?;
    for (transport, port, user) in [("tcp", scene.gateway.sip, "tess"), ("tls", scene.gateway.tls, "tilda")] {
        let account = scene.gateway.account(user, "over-a-stream-5")?;
        let proxy = (scene.gateway.address, port).into();
        let mut phone =
            Baresip::registered(&account, proxy, transport, PHONE_TONE).await.context(transport)?;
        scene.page.dial(user, false).await?;
        phone.event("CALL_INCOMING").await?;
        phone.accept().await?;
        scene.page.call(&["connected"]).await?;
        tokio::try_join!(phone.hears(BROWSER_TONE), scene.page.hears(PHONE_TONE)).context(transport)?;
        phone.hang_up().await?;
        scene.page.call_over(None).await?;
    }
    Ok(())
}

/// Ctrl-C in a call: both ends are told, and it is over within five seconds.
#[tokio::test]
async fn stopping_the_gateway_ends_calls() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    let took = scene.gateway.stop().await?;
    assert!(took < Duration::from_secs(5), "{took:?}");
    scene.phone.event("CALL_CLOSED").await?;
    scene.page.call_over(None).await
}
