//! Each half alone in the world that exists: our proxy with a real rtpengine for its media, and our relay behind a real
//! Kamailio. The calls are those of `interop_call`, word for word, and so is what they prove.

use anyhow::Result;
use e2e::baresip::Baresip;
use e2e::calls;
use e2e::gateway::DOMAIN;
use e2e::house::House;
use e2e::peers::Flags;
use e2e::scene::{PHONE_TONE, Scene};

/// What the second phone plays. No harmonic of it is near another tone.
const OTHER_PHONE_TONE: f64 = 620.0;

/// What the documentation of Kamailio's module and most configurations found in the field say, and codecs for ends that share
/// none.
const USUAL: Flags = Flags {
    to_browser: "replace-origin replace-session-connection trust-address ICE=force DTLS=passive rtcp-mux-offer \
        generate-mid SDES-off transcode-opus UDP/TLS/RTP/SAVPF",
    to_phone: "replace-origin replace-session-connection trust-address ICE=remove rtcp-mux-demux transcode-PCMU RTP/AVP",
};

/// The same in the other spelling, with what forking needs.
const SPELT_OUT: Flags = Flags {
    to_browser: "via-branch=auto replace-origin ICE=force DTLS=passive rtcp-mux-offer rtcp-mux-require \
        no-rtcp-attribute transport-protocol=UDP/TLS/RTP/SAVPF",
    to_phone: "via-branch=auto replace-origin ICE=remove rtcp-mux-demux transport-protocol=RTP/AVP",
};

/// Makes some calls of [`calls`] one after the other in a house, after which nobody has anything to complain of.
macro_rules! calls_in {
    ($house:expr, $($call:ident)*) => {{
        let mut scene = Scene::set_in($house.await?).await?;
        let called = async {
            $(calls::$call(&mut scene).await.map_err(|error| error.context(stringify!($call)))?;)*
            scene.house.is_content().await
        };
        let called = called.await;
        called.map_err(|error| error.context(scene.house.report()))
    }};
}

/// Groups of calls over rtpengine.
macro_rules! over_rtpengine {
    ($($group:ident: $($call:ident)*;)*) => { $(
        #[tokio::test]
        async fn $group() -> Result<()> {
            calls_in!(House::over_rtpengine(), $($call)*)
        }
    )* };
}

/// Groups of calls behind Kamailio.
macro_rules! behind_kamailio {
    ($($group:ident: $($call:ident)*;)*) => { $(
        #[tokio::test]
        async fn $group() -> Result<()> {
            calls_in!(House::behind_kamailio(USUAL), $($call)*)
        }
    )* };
}

mod over_rtpengine {
    use super::*;
    e2e::every_call!(over_rtpengine);
}

mod behind_kamailio {
    use super::*;
    e2e::every_call!(behind_kamailio);
    e2e::every_converted_call!(behind_kamailio);
}

/// The same behind Kamailio with other flags for the same wishes.
#[tokio::test]
async fn kamailio_may_spell_its_flags_out() -> Result<()> {
    calls_in!(House::behind_kamailio(SPELT_OUT), page_calls_phone_and_hangs_up the_phone_holds_and_resumes)
}

/// Kamailio is the registrar behind our edge.
#[tokio::test]
async fn before_a_registrar() -> Result<()> {
    calls_in!(House::before_a_registrar(), page_calls_phone_and_hangs_up the_page_holds_and_resumes the_phone_holds_and_resumes)
}

/// Two phones in a house.
async fn two_phones(house: House) -> Result<()> {
    let (bob, carol) = (house.account("bob", "phone-of-bob-2")?, house.account("carol", "phone-of-carol-3")?);
    let proxy = house.proxy("udp");
    let (bob, carol) = tokio::try_join!(
        Baresip::registered(&bob, proxy, "udp", PHONE_TONE),
        Baresip::registered(&carol, proxy, "udp", OTHER_PHONE_TONE)
    )?;
    phones_call(bob, carol).await?;
    house.is_content().await
}

#[tokio::test]
async fn rtpengine_joins_two_phones() -> Result<()> {
    two_phones(House::over_rtpengine().await?).await
}

#[tokio::test]
async fn kamailio_joins_two_phones_by_our_relay() -> Result<()> {
    two_phones(House::behind_kamailio(USUAL).await?).await
}

/// Bob calls Carol, who answers; both hear each other; Carol hangs up. Then the other way round.
async fn phones_call(mut bob: Baresip, mut carol: Baresip) -> Result<()> {
    let marks = (bob.mark(), carol.mark());
    bob.dial(&format!("sip:carol@{DOMAIN}")).await?;
    carol.event_after(marks.1, "CALL_INCOMING").await?;
    carol.accept().await?;
    tokio::try_join!(bob.hears(OTHER_PHONE_TONE), carol.hears(PHONE_TONE))?;
    carol.hang_up().await?;
    bob.event_after(marks.0, "CALL_CLOSED").await?;

    let marks = (bob.mark(), carol.mark());
    carol.dial(&format!("sip:bob@{DOMAIN}")).await?;
    bob.event_after(marks.0, "CALL_INCOMING").await?;
    bob.accept().await?;
    tokio::try_join!(bob.hears(OTHER_PHONE_TONE), carol.hears(PHONE_TONE))?;
    carol.hang_up().await?;
    bob.event_after(marks.0, "CALL_CLOSED").await.map(drop)
}
