//! A page and a phone that share no codec: the gateway transcodes, and both hear each other.

use anyhow::{Result, ensure};
use e2e::scene::Scene;
use e2e::sip::Sdp;

/// A scene whose page has put everything but `codec` aside; baresip has only G.711.
async fn scene(codec: &str) -> Result<Scene> {
    let scene = Scene::set().await?;
    scene.page.only_codec(codec).await?;
    Ok(scene)
}

/// In all that the page said and was told at last there is no audio codec but `codec`.
async fn spoke_only(scene: &Scene, codec: &str) -> Result<()> {
    let all = scene.page.descriptions().await?;
    let answer = all.iter().rev().find(|(_, kind, _)| kind == "answer").map(|(.., sdp)| sdp.clone());
    let answer = answer.unwrap_or_default();
    Sdp::parse(&answer)?;
    let names = answer.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split([' ', '/']).nth(1));
    let names: Vec<String> = names.map(str::to_lowercase).filter(|name| name != "telephone-event").collect();
    ensure!(names == [codec], "{names:?} in {answer}");
    Ok(())
}

/// Opus there, G.711 here; the page calls, and it hangs up.
#[tokio::test]
async fn a_page_with_opus_alone_calls_a_phone_without() -> Result<()> {
    let mut scene = scene("opus").await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    spoke_only(&scene, "opus").await?;
    scene.page.click("hangup").await?;
    scene.phone.event("CALL_CLOSED").await?;
    scene.page.call_over(None).await
}

/// The other way, and with a hold between: the transcoders go on where they were. Chromium answers Opus alone, but sends the
/// first codec of the offer.
#[tokio::test]
async fn a_phone_without_opus_calls_a_page_with_nothing_else() -> Result<()> {
    let mut scene = scene("opus").await?;
    scene.phone_calls_page().await?;
    scene.both_hear().await?;
    spoke_only(&scene, "opus").await?;
    scene.page_holds_and_resumes().await?;
    scene.page.click("hangup").await?;
    scene.phone.event("CALL_CLOSED").await.map(drop)
}

/// Wideband is no obstacle either.
#[tokio::test]
async fn a_page_with_g722_alone_calls_a_phone_without() -> Result<()> {
    let mut scene = scene("g722").await?;
    scene.page_calls_phone().await?;
    scene.both_hear().await?;
    spoke_only(&scene, "g722").await?;
    scene.page.click("hangup").await?;
    scene.phone.event("CALL_CLOSED").await.map(drop)
}
