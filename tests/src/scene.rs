//! The scene of most interop tests: a gateway, a browser with the page, and a legacy phone, each with an account and a tone.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::baresip::{Account, Baresip};
use crate::chromium::Chromium;
use crate::gateway::Gateway;
use crate::house::House;
use crate::page::Page;
use crate::phone::{Audio, Dialog, Phone, hear_ulaw};
use crate::sip::Sdp;
use crate::tone::Sound;
use crate::wait::PATIENCE;

/// What the browser's microphone plays, in Hz. No harmonic of it is near the phone's.
pub const BROWSER_TONE: f64 = 440.0;
/// What the phone plays.
pub const PHONE_TONE: f64 = 1000.0;

/// A page (`alice`) and a phone (`bob`), both registered.
#[derive(Debug)]
pub struct Scene {
    /// The page.
    pub page: Page,
    /// The phone.
    pub phone: Baresip,
    /// The browser in which the page is.
    pub browser: Chromium,
    /// Account of the page.
    pub alice: Account,
    /// Account of the phone.
    pub bob: Account,
    /// Who serves them.
    pub house: House,
}

impl Scene {
    /// Sets it up.
    pub async fn set() -> Result<Self> {
        Self::set_at(Gateway::start().await?).await
    }

    /// The same at a gateway that runs.
    pub async fn set_at(gateway: Gateway) -> Result<Self> {
        Self::set_with(gateway, "").await
    }

    /// The same in another house.
    pub async fn set_in(house: House) -> Result<Self> {
        Self::set_saying(house, "", [BROWSER_TONE, PHONE_TONE].map(Sound::Tone)).await
    }

    /// The same with a phone that has one codec alone, as `PCMA/8000/1`.
    pub async fn set_with(gateway: Gateway, codec: &str) -> Result<Self> {
        Self::set_saying(gateway.into(), codec, [BROWSER_TONE, PHONE_TONE].map(Sound::Tone)).await
    }

    /// The same, with the page and the phone saying these.
    pub async fn set_saying(house: House, codec: &str, [browser, phone]: [Sound; 2]) -> Result<Self> {
        let alice = house.account("alice", "page-of-alice-1")?;
        let bob = house.account("bob", "phone-of-bob-2")?;
        let phone = Baresip::registered_with(&bob, house.proxy("udp"), "udp", phone, codec).await?;
        let browser = Chromium::start(browser, Some(&house.gateway.ca())).await?;
        let page = house.page(&browser, &alice).await?;
        Ok(Self { page, phone, browser, alice, bob, house })
    }

    /// The page calls the phone, and the phone answers.
    pub async fn page_calls_phone(&mut self) -> Result<()> {
        let mark = self.phone.mark();
        self.page.dial("bob", false).await?;
        self.phone.event_after(mark, "CALL_INCOMING").await?;
        self.page.call(&["ringing"]).await?;
        self.phone.accept().await?;
        self.phone.event_after(mark, "CALL_ESTABLISHED").await?;
        self.page.call(&["connected"]).await
    }

    /// The phone calls the page, and the page answers.
    pub async fn phone_calls_page(&mut self) -> Result<()> {
        let mark = self.phone.mark();
        self.phone_dials_page().await?;
        self.page.shown("incoming").await?;
        self.phone.event_after(mark, "CALL_RINGING").await?;
        self.page.answer().await?;
        self.phone.event_after(mark, "CALL_ESTABLISHED").await?;
        self.page.call(&["connected"]).await
    }

    /// The phone dials the page.
    pub async fn phone_dials_page(&mut self) -> Result<()> {
        self.phone.dial(&self.alice.uri()).await
    }

    /// In all that the page said and was told at last there is no audio codec but `codec`.
    pub async fn page_spoke_only(&self, codec: &str) -> Result<()> {
        let all = self.page.descriptions().await?;
        let answer = all.iter().rev().find(|(_, kind, _)| kind == "answer").map(|(.., sdp)| sdp.clone());
        let answer = answer.unwrap_or_default();
        Sdp::parse(&answer)?;
        let names =
            answer.lines().filter_map(|line| line.strip_prefix("a=rtpmap:")?.split([' ', '/']).nth(1));
        let names: Vec<String> =
            names.map(str::to_lowercase).filter(|name| name != "telephone-event").collect();
        ensure!(names == [codec], "{names:?} in {answer}");
        Ok(())
    }

    /// Both ends hear each other's tone, at the right pitch.
    pub async fn both_hear(&self) -> Result<()> {
        tokio::try_join!(self.phone.hears(BROWSER_TONE), self.page.hears(PHONE_TONE)).map(drop)
    }

    /// The page puts the call on hold, hears nothing meanwhile, and takes it back; both hear each other again.
    pub async fn page_holds_and_resumes(&self) -> Result<()> {
        self.page.click("hold").await?;
        self.page.hold_is("local").await?;
        self.page.hears_nothing().await?;
        self.page.click("hold").await?;
        self.page.hold_is("none").await?;
        self.both_go_on().await
    }

    /// The same after a re-INVITE, when the phone's ears are closed: it goes on receiving, and the page hears it.
    pub async fn both_go_on(&self) -> Result<()> {
        tokio::try_join!(self.phone.goes_on_receiving(), self.page.hears(PHONE_TONE)).map(drop)
    }
}

/// Two scripted phones in a call with each other: `carol`, who called and says [`PHONE_TONE`], and `dave`, who says
/// [`BROWSER_TONE`].
#[derive(Debug)]
pub struct Talk {
    /// Who called.
    pub caller: Phone,
    /// Who was called.
    pub callee: Phone,
    /// The call as the caller has it.
    pub dialog: Dialog,
    /// The audio of both, the caller first, and what each was told of the other's.
    ends: [(Audio, Sdp); 2],
}

impl Talk {
    /// The tag of `dave`.
    const TAG: &'static str = "d1";

    /// Registers both at `gateway`, and one calls the other.
    pub async fn begin(gateway: &Gateway) -> Result<Self> {
        let carol = gateway.account("carol", "phone-of-carol-3")?;
        let dave = gateway.account("dave", "phone-of-dave-4")?;
        let called = format!("sip:dave@{}", dave.domain);
        let mut caller = Phone::registered(carol, gateway.proxy()).await?;
        let mut callee = Phone::registered(dave, gateway.proxy()).await?;
        let (left, right) = (Audio::open(gateway.address).await?, Audio::open(gateway.address).await?);
        let invite = caller.invite(&called, &left.sdp(1, "sendrecv")?);
        let sdp = right.sdp(1, "sendrecv")?;
        let (ok, offer) = tokio::try_join!(caller.transact(invite.clone()), async {
            let invite = callee.receive("the call", |m| m.method() == Some("INVITE")).await?;
            callee.answer(&invite, 200, "OK", Self::TAG, &sdp).await?;
            Sdp::parse(&invite.body)
        })?;
        let ends = [(left, Sdp::parse(&ok.body)?), (right, offer)];
        let mut dialog = Dialog::of_caller(&invite, &ok);
        let ack = dialog.request(&mut caller, "ACK");
        caller.send(&ack).await?;
        Ok(Self { caller, callee, dialog, ends })
    }

    /// Both say their tones for `span`; the packets that came to each meanwhile, the caller first.
    pub async fn speak(&mut self, span: Duration) -> Result<[Vec<Vec<u8>>; 2]> {
        let [(left, to_left), (right, to_right)] = &mut self.ends;
        let (first, second) = tokio::try_join!(
            left.speak(to_left, PHONE_TONE, span),
            right.speak(to_right, BROWSER_TONE, span)
        )?;
        Ok([first, second])
    }

    /// The caller presses keys of these event numbers (RFC 4733), one after the other.
    pub async fn press(&mut self, keys: &[u8]) -> Result<()> {
        let [(left, to_left), _] = &mut self.ends;
        for key in keys {
            left.press(to_left, EVENTS, *key).await?;
        }
        Ok(())
    }

    /// Both speak until each hears the other.
    pub async fn both_hear(&mut self) -> Result<()> {
        self.hear([BROWSER_TONE, PHONE_TONE]).await
    }

    /// Both speak until each has heard its tone of `tones`, the caller the first.
    pub async fn hear(&mut self, tones: [f64; 2]) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (mut heard, mut last) = ([false; 2], None);
        while heard != [true; 2] {
            ensure!(Instant::now() < deadline, "{tones:?} Hz, heard {last:?}");
            let packets = self.speak(Duration::from_millis(500)).await?;
            let now = packets.map(|packets| hear_ulaw(&packets[packets.len() / 2..]));
            for ((heard, now), tone) in heard.iter_mut().zip(now).zip(tones) {
                *heard |= now.is(tone);
            }
            last = Some(now);
        }
        Ok(())
    }

    /// The callee answers the next request of this method.
    pub async fn answered(callee: &mut Phone, method: &str, status: u16, reason: &str) -> Result<()> {
        let request = callee.receive(method, |m| m.method() == Some(method)).await?;
        callee.answer(&request, status, reason, Self::TAG, "").await
    }

    /// The caller hangs up.
    pub async fn end(mut self) -> Result<()> {
        let bye = self.dialog.request(&mut self.caller, "BYE");
        let (over, answered) =
            tokio::join!(self.caller.transact(bye), Self::answered(&mut self.callee, "BYE", 200, "OK"));
        answered?;
        let over = over?;
        ensure!(over.status() == Some(200), "{over}");
        Ok(())
    }
}

/// The payload type of telephone-event in a scripted phone's SDP.
pub const EVENTS: u8 = 101;

/// A page and a scripted phone, both registered.
#[derive(Debug)]
pub struct Ends {
    /// The page (`alice`).
    pub page: Page,
    /// The phone (`carol`).
    pub phone: Phone,
    /// Its audio.
    pub audio: Audio,
    /// The gateway between them.
    pub gateway: Gateway,
    _browser: Chromium,
}

impl Ends {
    /// Sets them up.
    pub async fn new() -> Result<Self> {
        Self::at(Gateway::start().await?).await
    }

    /// The same at a gateway that runs.
    pub async fn at(gateway: Gateway) -> Result<Self> {
        let alice = gateway.account("alice", "page-of-alice-1")?;
        let carol = gateway.account("carol", "phone-of-carol-3")?;
        let phone = Phone::registered(carol, gateway.proxy()).await?;
        let audio = Audio::open(phone.local().ip()).await?;
        let browser = Chromium::start(BROWSER_TONE, Some(&gateway.ca())).await?;
        let page = Page::registered(&browser, &gateway, &alice).await?;
        Ok(Self { page, phone, audio, gateway, _browser: browser })
    }

    /// Tone in, same tone out, both ways; `ours` is what the phone was told last.
    pub async fn both_hear(&mut self, ours: &Sdp) -> Result<()> {
        let (packets, heard) = tokio::join!(
            self.audio.speak(ours, PHONE_TONE, Duration::from_secs(6)),
            self.page.hears(PHONE_TONE)
        );
        heard?;
        let packets = packets?;
        let heard = hear_ulaw(&packets[packets.len() / 2..]);
        ensure!(heard.is(BROWSER_TONE), "{heard:?} in {} packets", packets.len());
        Ok(())
    }

    /// The latest SDP the page got from the far end.
    pub async fn page_got(&self, kind: &str) -> Result<(Sdp, Sdp)> {
        let all = self.page.descriptions().await?;
        let last = |side: &str, kind: &str| {
            let found = all.iter().rev().find(|(k, t, _)| k == side && t == kind);
            found.with_context(|| format!("no {side} {kind}")).and_then(|(.., sdp)| Sdp::parse(sdp))
        };
        let own = if kind == "answer" { "offer" } else { "answer" };
        Ok((last("remote", kind)?, last("local", own)?))
    }
}
