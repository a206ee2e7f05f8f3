//! The main job: the real page in a real browser and a real legacy phone talk through the gateway.
//!
//! Every call here is proved by content: a tone goes in at one end, and the same tone comes out at the other.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::calls;
use e2e::gateway::Gateway;
use e2e::scene::{BROWSER_TONE, PHONE_TONE, Scene, Talk};
use e2e::tone::{hear, write_wav};
use e2e::wait::{self, PATIENCE};

/// Every call of [`calls`] in a scene of its own.
macro_rules! each_alone {
    ($($group:ident: $($call:ident)*;)*) => { $($(
        #[tokio::test]
        async fn $call() -> Result<()> {
            calls::$call(&mut Scene::set().await?).await
        }
    )*)* };
}

e2e::every_call!(each_alone);
e2e::every_converted_call!(each_alone);

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

/// Ctrl-C in a call: both ends are told, and it is over within five seconds.
#[tokio::test]
async fn stopping_the_gateway_ends_calls() -> Result<()> {
    let mut scene = Scene::set().await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    let took = scene.house.gateway.stop().await?;
    assert!(took < Duration::from_secs(5), "{took:?}");
    scene.phone.event("CALL_CLOSED").await?;
    scene.page.call_over(None).await
}
