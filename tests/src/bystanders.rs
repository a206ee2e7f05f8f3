//! Those whom nothing is to harm: a page and a phone that talk, measured packet by packet, and others who call each other.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::sync::Notify;

use crate::gateway::Gateway;
use crate::phone::{Dialog, Phone, hear_ulaw};
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
    /// From the page to the phone.
    pub to_phone: Passed,
    /// From the phone to the page.
    pub to_page: Passed,
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
        let ours = Sdp::parse(&invite.body)?;
        ends.phone.answer(&invite, 200, "OK", "c1", &ends.audio.sdp(1, "sendrecv")?).await?;
        ends.phone.receive("the ACK", |m| m.method() == Some("ACK")).await?;
        ends.page.call(&["connected"]).await?;
        Ok(Self { ends, ours, others })
    }

    /// Both talk, and the others call each other, while `attack` goes on and a second longer. Each end hears the other's tone to the
    /// last, less than one of a thousand packets is lost either way, and a call of the others is answered.
    pub async fn goes_on_during<T>(
        &mut self,
        attack: impl Future<Output = Result<T>>,
    ) -> Result<(T, Measured)> {
        let Self { ends, ours, others } = self;
        let (page, audio) = (&ends.page, &mut ends.audio);
        let (begun, over, heard) = (Notify::new(), Cell::new(false), Cell::new(false));
        let attack = async {
            begun.notified().await;
            let outcome = attack.await;
            over.set(true);
            outcome
        };
        let speaking = async {
            let mut packets = Vec::new();
            loop {
                // To the end of what the page listens for, however slow it is.
                let last = heard.get();
                packets.extend(audio.speak(ours, PHONE_TONE, Duration::from_secs(1)).await?);
                if last {
                    return anyhow::Ok(packets);
                }
            }
        };
        let listening = async {
            // Only what comes once they hear each other is counted.
            page.hears(PHONE_TONE).await?;
            let before = page.passed().await?;
            begun.notify_one();
            while !over.get() {
                page.hears(PHONE_TONE).await?;
            }
            page.hears(PHONE_TONE).await?;
            let after = page.passed().await?;
            let lost = after.lost.saturating_sub(before.lost);
            heard.set(true);
            anyhow::Ok(Passed { received: after.received - before.received, lost })
        };
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
        let (outcome, packets, to_page, (calls, longest)) =
            tokio::try_join!(attack, speaking, listening, calling)?;
        let heard = hear_ulaw(&packets[packets.len().saturating_sub(50)..]);
        ensure!(heard.is(BROWSER_TONE), "{heard:?} in {} packets", packets.len());
        let measured = Measured { to_phone: Passed::of(&packets), to_page, calls, longest };
        ensure!(measured.to_phone.is_whole() && measured.to_page.is_whole(), "{measured:?}");
        Ok((outcome, measured))
    }
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
