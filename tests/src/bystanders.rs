//! Those whom nothing is to harm: a page and a phone that talk, measured packet by packet, and others who call each other.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::sync::Notify;

use crate::gateway::Gateway;
use crate::ng;
use crate::page::Page;
use crate::phone::{Audio, Dialog, Phone, hear_ulaw};
use crate::scene::{BROWSER_TONE, Ends, PHONE_TONE};
use crate::sip::{Message, Sdp};
use crate::wait::PATIENCE;

/// A call between a page and a phone that both talk in, and two other phones that call each other now and then: those whom nothing is
/// to harm.
#[derive(Debug)]
pub struct Bystanders {
    /// The two ends of the call.
    pub ends: Ends,
    /// What the phone was told last: where it sends.
    pub ours: Sdp,
    /// The others.
    pub others: [Phone; 2],
    /// Call-ID of the call.
    call_id: String,
}

/// What became of the packets of a call, one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Passed {
    /// Those that came.
    pub received: u64,
    /// Those that did not.
    pub lost: u64,
}

/// What was measured while something went on.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    /// From the page to the phone, by the numbers of the packets.
    pub to_phone: Passed,
    /// From the phone to the page, likewise.
    pub to_page: Passed,
    /// From the phone to the relay: those that the relay has taken for the phone's, and those of the phone that it has not.
    pub to_relay: Passed,
    /// How often the page was listened to meanwhile, and how often it heard the phone: on a machine that has other things to do it may
    /// be late.
    pub heard: (usize, usize),
    /// Calls of the others that were answered and ended.
    pub calls: usize,
    /// How long the longest of them took to be answered.
    pub longest: Duration,
}

impl Passed {
    /// Less than one of a thousand is lost.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.received > 0 && self.lost * 1000 < self.received + self.lost
    }

    /// What of packets of one stream came.
    fn of(packets: &[Vec<u8>]) -> Self {
        let numbers = packets.iter().filter(|packet| packet.len() > 12 && packet[1] & 0x7f < 64);
        let numbers: Vec<u16> = numbers.map(|packet| u16::from_be_bytes([packet[2], packet[3]])).collect();
        let lost = numbers.windows(2).map(|pair| u64::from(pair[1].wrapping_sub(pair[0])).saturating_sub(1));
        // One that comes late is none that was lost.
        let lost = lost.filter(|lost| *lost < 0x8000).sum();
        Self { received: numbers.len() as u64, lost }
    }
}

impl Bystanders {
    /// The page calls the phone.
    pub async fn begin(gateway: Gateway) -> Result<Self> {
        let dave = gateway.account("dave", "phone-of-dave-4")?;
        let erin = gateway.account("erin", "phone-of-erin-5")?;
        let others = [
            Phone::registered(dave, gateway.proxy()).await?,
            Phone::registered(erin, gateway.proxy()).await?,
        ];
        let mut ends = Ends::at(gateway).await?;
        ends.page.dial("carol", false).await?;
        let invite = ends.phone.receive("the call", |m| m.method() == Some("INVITE")).await?;
        let (ours, call_id) = (Sdp::parse(&invite.body)?, invite.header("Call-ID").to_owned());
        ends.phone.answer(&invite, 200, "OK", PHONE_TAG, &ends.audio.sdp(1, "sendrecv")?).await?;
        ends.phone.receive("the ACK", |m| m.method() == Some("ACK")).await?;
        ends.page.call(&["connected"]).await?;
        Ok(Self { ends, ours, others, call_id })
    }

    /// Both talk, and the others call each other, while `attack` goes on. Each end hears the other's tone before and after it, a call of
    /// the others is answered meanwhile, and less than one of a thousand packets is lost either way: of that numbers tell, and not
    /// the ear, for how soon an end gets to play what it has received is a matter of the machine.
    pub async fn goes_on_during<T>(
        &mut self,
        attack: impl Future<Output = Result<T>>,
    ) -> Result<(T, Measured)> {
        let Self { ends, ours, others, call_id } = self;
        let (ng, tag) = (ends.gateway.ng, PHONE_TAG);
        let (page, audio) = (&ends.page, &mut ends.audio);
        let (begun, over, heard) = (Notify::new(), Cell::new(false), Cell::new(false));
        let attack = async {
            begun.notified().await;
            let outcome = attack.await;
            over.set(true);
            outcome
        };
        let speaking = speak(audio, ours, &over, &heard);
        let listening = listen(page, &begun, &over, &heard);
        let calling = async {
            let (mut calls, mut longest) = (0, Duration::ZERO);
            // One at least, however short it is.
            while calls == 0 || !over.get() {
                longest = longest.max(call(others).await?);
                calls += 1;
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            anyhow::Ok((calls, longest))
        };
        let (outcome, packets, (to_page, heard), (calls, longest)) =
            tokio::try_join!(attack, speaking, listening, calling)?;
        let mut received = received_from(ng, call_id, tag).await?;
        // The last of them may be on their way still.
        for _ in 0..40 {
            if received >= audio.sent() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
            received = received_from(ng, call_id, tag).await?;
        }
        let to_relay = Passed { received, lost: audio.sent().saturating_sub(received) };
        let to_phone = Passed::of(&packets);
        let measured = Measured { to_phone, to_page, to_relay, heard, calls, longest };
        ensure!(received <= audio.sent(), "packets of others were taken for the phone's: {measured:?}");
        ensure!(
            to_phone.is_whole() && to_page.is_whole() && to_relay.is_whole(),
            "packets were lost: {measured:?}"
        );
        Ok((outcome, measured))
    }
}

/// The tag of the phone in the call.
const PHONE_TAG: &str = "c1";

/// The phone says its tone until the page has heard it after all is `over`, and has by then heard the page itself; what it received.
async fn speak(audio: &mut Audio, ours: &Sdp, over: &Cell<bool>, heard: &Cell<bool>) -> Result<Vec<Vec<u8>>> {
    let (mut packets, mut hears, mut deadline) = (Vec::new(), false, None);
    loop {
        // To the end of what the page listens for, however slow it is.
        let last = heard.get() && hears;
        packets.extend(audio.speak(ours, PHONE_TONE, Duration::from_millis(500)).await?);
        if last {
            return Ok(packets);
        }
        if over.get() {
            let now = hear_ulaw(&packets[packets.len().saturating_sub(20)..]);
            hears |= now.is(BROWSER_TONE);
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + 2 * PATIENCE);
            ensure!(Instant::now() < deadline, "the phone hears {now:?} in {} packets", packets.len());
        }
    }
}

/// The page hears the phone, then something begins, and when that is over it hears it again; what became of its packets between, and
/// how often it was listened to and heard.
async fn listen(
    page: &Page,
    begun: &Notify,
    over: &Cell<bool>,
    heard: &Cell<bool>,
) -> Result<(Passed, (usize, usize))> {
    // Only what comes once they hear each other is counted.
    page.hears(PHONE_TONE).await?;
    let before = page.passed().await?;
    begun.notify_one();
    let (mut times, mut good) = (0, 0);
    while !over.get() {
        times += 1;
        good += usize::from(page.listen(Duration::from_millis(350)).await?.is(PHONE_TONE));
    }
    page.hears(PHONE_TONE).await?;
    let after = page.passed().await?;
    heard.set(true);
    let lost = after.lost.saturating_sub(before.lost);
    Ok((Passed { received: after.received - before.received, lost }, (times, good)))
}

/// Packets that the relay has taken from the end with this tag.
async fn received_from(ng: u16, call_id: &str, tag: &str) -> Result<u64> {
    let answer = ng::ask(ng, &json!({ "command": "query", "call-id": call_id })).await?;
    let streams =
        answer["tags"][tag]["medias"][0]["streams"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rtp = streams.first().and_then(|stream| stream["stats"]["packets"].as_u64());
    rtp.with_context(|| format!("no packets of {tag} in {answer}"))
}

/// One calls the other, who answers, and hangs up; how long that took to be answered. Whoever is refused for want of room tries
/// again, as a person does.
async fn call([caller, callee]: &mut [Phone; 2]) -> Result<Duration> {
    let begun = Instant::now();
    let (invite, answer) = loop {
        let invite = caller.request("INVITE", &callee.aor(), &callee.aor());
        let answer = tokio::select! {
            answer = caller.transact(invite.clone()) => answer?,
            never = answers(callee, "INVITE") => match never? {},
        };
        match answer.status() {
            Some(200) => break (invite, answer),
            Some(503) if begun.elapsed() < PATIENCE => tokio::time::sleep(Duration::from_millis(300)).await,
            _ => bail!("no call of a user after {:?}: {answer}", begun.elapsed()),
        }
    };
    let taken = begun.elapsed();
    let mut dialog = Dialog::of_caller(&invite, &answer);
    let ack = dialog.request(caller, "ACK");
    caller.send(&ack).await?;
    let bye = dialog.request(caller, "BYE");
    let ended = tokio::select! {
        ended = caller.transact_once(&bye) => ended?,
        never = answers(callee, "BYE") => match never? {},
    };
    ensure!(ended.status() == Some(200), "the BYE of a user: {ended}");
    Ok(taken)
}

/// Says 200 to each request of this method, and again when nobody seems to have heard it.
async fn answers(phone: &mut Phone, method: &str) -> Result<Infallible> {
    let mut last = None;
    loop {
        let wanted = |message: &Message| message.method() == Some(method);
        if let Ok(heard) = phone.receive_within(method, Duration::from_millis(500), wanted).await {
            last = Some(phone.response(&heard, 200, "OK", "e1"));
        }
        if let Some(response) = &last {
            phone.send(response).await?;
        }
    }
}
