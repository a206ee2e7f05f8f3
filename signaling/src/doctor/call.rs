//! A call through the running gateway, between a browser (WebSocket, ICE, DTLS-SRTP) and a phone (UDP, plain RTP), once in each
//! direction, with a tone from each to the other. Both have accounts that are made for it and removed again.

mod agent;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use media::probe::{Found, Probe, ProbeKind};

use self::agent::Agent;
use super::{Findings, Scene, doors};
use crate::accounts;
use crate::config::{Listen, Relay};
use crate::store::{Database, unix_now};

/// How long the ends may take to hear each other.
const LISTENING: Duration = Duration::from_secs(8);
/// A running gateway takes a changed account up within a second.
const TAKEN_UP: Duration = Duration::from_millis(1_300);
/// How the names of these accounts begin, with the time behind it: whoever was killed has left his, and the next one removes them.
const PREFIX: &str = "causeway-doctor-";
const LEFT_OVER: u64 = 600;
/// The tones in Hz.
const OF_BROWSER: u16 = 440;
const OF_PHONE: u16 = 620;

pub(super) async fn look(scene: &Scene<'_>) -> Findings {
    let mut findings = Findings::of("call");
    let config = scene.config;
    let page = [config.https, config.websocket].into_iter().find(|listen| *listen != Listen::Off);
    let (Some(phone), Some(page)) = (doors::reached(config.udp, scene), page) else {
        findings.skip("no browser and phone can call each other here", "sip.udp and https.listen");
        return findings;
    };
    let page = doors::reached(page, scene).zip(Some(config.https != Listen::Off));
    let (Some((page, is_secure)), true, true) = (page, scene.options.call, scene.running.is_some()) else {
        findings.skip("no call was made", "a gateway that runs, and no --no-call");
        return findings;
    };
    if config.media.relay == Relay::Off {
        findings.skip("no call was made: without a relay a browser cannot talk to a phone", "media.relay");
        return findings;
    }
    let database = match Database::connect(&config.storage()).await {
        Ok(database) => database,
        Err(error) => {
            findings.skip(format!("no call was made: {error:#}"), "a database that answers");
            return findings;
        }
    };
    let name = |kind: &str| format!("{PREFIX}{}-{:08x}-{kind}", unix_now(), rand::random::<u32>());
    let ends = Ends { names: [name("browser"), name("phone")], password: accounts::fresh_password() };
    let tried = async {
        let connected = ends.connect(scene, &database, page, is_secure, phone).await?;
        let [mut browser, mut phone] = connected;
        for kind in [ProbeKind::Browser, ProbeKind::Phone] {
            let result = match kind {
                ProbeKind::Browser => call(scene, kind, &mut browser, &mut phone, &ends.names[1]).await,
                ProbeKind::Phone => call(scene, kind, &mut phone, &mut browser, &ends.names[0]).await,
            };
            note(kind, result, &mut findings);
        }
        for (agent, name) in [&mut browser, &mut phone].into_iter().zip(&ends.names) {
            agent.register([name, &ends.password, &scene.domain], 0).await?;
        }
        anyhow::Ok(())
    };
    if let Err(error) = tried.await {
        findings.fault(format!("{error:#}"), "look at the log of the gateway, which names the reason");
    }
    if let Err(error) = ends.remove(scene, &database).await {
        findings.warn(
            format!("the accounts of the test are left: {error:#}"),
            format!("causeway user remove {}", ends.names.join(", ")),
        );
    }
    database.close().await;
    findings
}

/// The two accounts.
struct Ends {
    names: [String; 2],
    password: String,
}

impl Ends {
    /// A browser and a phone that have signed in.
    async fn connect(
        &self,
        scene: &Scene<'_>,
        database: &Database,
        page: std::net::SocketAddr,
        is_secure: bool,
        phone: std::net::SocketAddr,
    ) -> anyhow::Result<[Agent; 2]> {
        for name in &self.names {
            accounts::add(database, name, &scene.domain, &self.password).await?;
        }
        tokio::time::sleep(TAKEN_UP).await;
        let mut agents = [
            Agent::browser(page, is_secure, &scene.domain).await?,
            Agent::phone(phone, scene.primary()).await?,
        ];
        for (agent, name) in agents.iter_mut().zip(&self.names) {
            agent.register([name, &self.password, &scene.domain], 60).await?;
        }
        Ok(agents)
    }

    /// Removes them, and what is left of a doctor that was killed.
    async fn remove(&self, scene: &Scene<'_>, database: &Database) -> anyhow::Result<()> {
        for (name, domain) in database.accounts().await? {
            let made = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next()?.parse::<u64>().ok());
            let old = made.is_some_and(|made| made + LEFT_OVER < unix_now());
            if (old || self.names.contains(&name)) && domain == scene.domain {
                accounts::remove(database, &name, &domain).await?;
            }
        }
        Ok(())
    }
}

/// What the caller and the callee have found in a call.
async fn call(
    scene: &Scene<'_>,
    caller_is: ProbeKind,
    caller: &mut Agent,
    callee: &mut Agent,
    name: &str,
) -> anyhow::Result<[Found; 2]> {
    let ip = scene.primary();
    let browser = Probe::new(ProbeKind::Browser, ip, OF_BROWSER, OF_PHONE)?;
    let phone = Probe::new(ProbeKind::Phone, ip, OF_PHONE, OF_BROWSER)?;
    let (mut one, mut other) =
        if caller_is == ProbeKind::Browser { (browser, phone) } else { (phone, browser) };
    let advertised = scene.config.advertised.filter(|ip| !scene.is_own(*ip));
    let inner = |sdp: &str| from_inside(sdp, advertised, ip);
    let (called, taken) =
        tokio::join!(caller.call(name, one.offer()), callee.take(|offer| Ok(other.answer(&inner(offer))?)),);
    // Of two that fail, the callee's reason is nearer.
    let taken = taken.map_err(|error| error.context("the callee"));
    let (dialog, answer) = match (called, taken) {
        (Ok(called), Ok(())) => called,
        (Err(error), Ok(())) => return Err(error.context("the caller")),
        (Err(called), Err(taken)) => return Err(taken.context(format!("the caller hears: {called:#}"))),
        (Ok((dialog, _)), Err(error)) => {
            let _ = caller.hang_up(dialog).await;
            return Err(error);
        }
    };
    let told = one.answered(&inner(&answer));
    let found = match told {
        Ok(()) => talk(one, other).await,
        Err(error) => Err(anyhow::Error::new(error).context("the answer is of no use to the caller")),
    };
    let (hung_up, been) = tokio::join!(caller.hang_up(dialog), callee.be_hung_up());
    let found = found?;
    hung_up?;
    been?;
    Ok(found)
}

/// Both ends talk until each has heard the other.
async fn talk(one: Probe, other: Probe) -> anyhow::Result<[Found; 2]> {
    let hearing = Arc::new(AtomicUsize::new(0));
    let until = Instant::now() + LISTENING;
    let [one, other] = [one, other].map(|probe| {
        let hearing = Arc::clone(&hearing);
        tokio::task::spawn_blocking(move || probe.talk(until, &hearing))
    });
    Ok([one.await?, other.await?])
}

/// A description as somebody on this host needs it: the router between it and the advertised address may not let it back in.
fn from_inside(sdp: &str, advertised: Option<IpAddr>, inner: IpAddr) -> String {
    match advertised {
        Some(ip) => sdp.replace(&ip.to_string(), &inner.to_string()),
        None => sdp.to_owned(),
    }
}

fn note(caller_is: ProbeKind, result: anyhow::Result<[Found; 2]>, findings: &mut Findings) {
    let names = if caller_is == ProbeKind::Browser { ["browser", "phone"] } else { ["phone", "browser"] };
    let way = format!("{} calls {}", names[0], names[1]);
    let found = match result {
        Ok(found) => found,
        Err(error) => {
            return findings.fault(
                format!("{way}: {error:#}"),
                "look at the log of the gateway, which names the reason",
            );
        }
    };
    let deaf: Vec<_> = names.iter().zip(&found).filter(|(_, found)| !found.heard).collect();
    for (name, found) in &deaf {
        let (what, cure) = verdict(found);
        findings.fault(format!("{way}: the {name} hears nothing: {what}"), cure);
    }
    if deaf.is_empty() {
        let first = found.iter().filter_map(|found| found.first).max().unwrap_or_default();
        let lost: u32 = found.iter().map(|found| found.lost).sum();
        let level = format!(
            "{way}: each hears the other's tone, after {} ms, {lost} packets lost",
            first.as_millis()
        );
        findings.good(level);
    }
}

/// Why an end has heard nothing, and what to do.
fn verdict(found: &Found) -> (String, &'static str) {
    let peer = found.peer.map_or_else(String::new, |peer| peer.to_string());
    let firewall =
        "let UDP through to the media ports (deploy/nftables), from media.first_port to media.last_port";
    if !found.ice_answered {
        return (
            format!(
                "{peer} answers none of its ICE checks: a firewall drops UDP to it, or nobody listens there"
            ),
            firewall,
        );
    }
    if !found.ice_connected {
        return (
            format!("ICE checks are answered, but no pair of addresses with {peer} works in both directions"),
            firewall,
        );
    }
    if !found.dtls_answered {
        return (format!("{peer} answers ICE but not DTLS"), "look at the log of the relay");
    }
    if !found.keyed {
        let why = found.dtls_failure.clone().unwrap_or_else(|| "it is not complete".into());
        return (
            format!("the DTLS handshake with {peer} fails: {why}"),
            "media.dtls_12_only may help old peers; look at the log of the relay",
        );
    }
    if found.received == 0 {
        let bad = match found.not_authentic {
            0 => String::new(),
            bad => format!(", {bad} that cannot be decrypted"),
        };
        return (format!("no packet has come from {peer}{bad}, {} were sent to it", found.sent), firewall);
    }
    let what = format!(
        "{} packets have come from {peer}, {} are lost, and the tone is not in them",
        found.received, found.lost
    );
    (what, "is the machine too busy, or the way too bad?")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stage_has_its_verdict() {
        let mut found = Found { peer: Some("192.0.2.7:31002".parse().unwrap()), ..Found::default() };
        let mut expect = |change: fn(&mut Found), words: &str| {
            change(&mut found);
            let (what, cure) = verdict(&found);
            assert!(what.contains(words) && what.contains("192.0.2.7:31002") && !cure.is_empty(), "{what}");
        };
        expect(|_| {}, "none of its ICE checks");
        expect(|found| found.ice_answered = true, "no pair of addresses");
        expect(|found| found.ice_connected = true, "but not DTLS");
        expect(|found| found.dtls_answered = true, "it is not complete");
        expect(|found| found.dtls_failure = Some("no common SRTP profile".into()), "no common SRTP profile");
        expect(|found| found.keyed = true, "no packet has come");
        expect(|found| found.not_authentic = 3, "3 that cannot be decrypted");
        expect(|found| found.received = 9, "the tone is not in them");
    }

    #[test]
    fn a_description_is_read_from_inside() {
        let [advertised, inner] = ["192.0.2.9", "10.0.0.9"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(from_inside("c=IN IP4 192.0.2.9", Some(advertised), inner), "c=IN IP4 10.0.0.9");
        assert_eq!(from_inside("c=IN IP4 192.0.2.9", None, inner), "c=IN IP4 192.0.2.9");
    }
}
