//! What a caller hears before a response that refuses his call: early media (RFC 3960 §3) that the relay makes by itself.
//!
//! Nobody is there who would answer his offer, so the relay is given the answer of an end that does not exist: it takes one
//! encoding, and its port is that of discard (RFC 863) on the relay's own host.

use std::net::IpAddr;

use bytes::Bytes;

use super::{Incoming, media};
use crate::message::{Name, Response};
use crate::outside::{Keys, LegKind, MediaControl, MediaError, MediaExchange, MediaLeg};
use crate::settings::is_named;
use crate::world::World;

/// What every relay can play in.
const PLAYABLE: [&str; 4] = ["PCMU", "PCMA", "G722", "opus"];

/// How the caller comes to hear it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// He has an answer by the early media of a callee.
    Known,
    /// He gets one, in a provisional response.
    Early,
    /// He plays no early media: he is answered, and hung up on.
    Answered,
}

/// The file to be played before `response`, if there is one, and if the caller can be made to hear it. `early`: he has heard
/// early media; `forgotten`: the relay has given that callee's part back meanwhile.
#[must_use]
pub fn wanted(
    world: &World,
    incoming: &Incoming,
    response: &Response,
    early: bool,
    forgotten: bool,
) -> Option<(String, Way)> {
    let file = world.settings.sounds.announcements.get(&response.status().code())?;
    let offer = media::sdp_of(&incoming.message)?;
    // One that takes only reliable provisional responses (RFC 3262 §3) would have to answer ours first.
    if incoming.is_in_dialog() || incoming.message.has_token(Name::Require, "100rel") {
        return None;
    }
    let caller = media::caller_leg(world, incoming, Some(&offer));
    // A browser takes one answer and no other.
    let settled = early && caller.kind == LegKind::Browser;
    // What else a call may require nobody is there to give.
    let simple = !settled && !incoming.message.contains(Name::Require);
    let way = match (early, forgotten) {
        _ if simple && is_answered(world, incoming, &caller) => Way::Answered,
        (true, false) => Way::Known,
        (true, true) if settled => return None,
        _ => Way::Early,
    };
    Some((file.clone(), way))
}

/// Whether a caller plays no early media.
fn is_answered(world: &World, incoming: &Incoming, caller: &MediaLeg) -> bool {
    let answered = &world.settings.sounds.answered;
    answered.iter().any(|name| is_named(name, incoming.user.as_deref(), caller.signalling_source))
}

/// Why a call was refused, for a BYE (RFC 3326): the code, and what a telephone network makes of it (RFC 3398 §8.2.6.1).
#[must_use]
pub fn reason(refusal: &Response) -> String {
    let code = refusal.status().code();
    let cause = match code {
        404 | 604 => 1,
        486 | 600 => 17,
        480 => 18,
        403 | 603 => 21,
        410 => 22,
        484 => 28,
        502 => 38,
        500 | 503 => 41,
        488 | 606 => 65,
        408 | 504 => 102,
        _ => 31,
    };
    let text = refusal.reason().replace(['"', '\\'], "");
    format!("SIP;cause={code};text=\"{text}\", Q.850;cause={cause}")
}

/// Whether media may be opened for a request that goes nowhere: only for somebody whom we know.
#[must_use]
pub fn is_known(world: &World, incoming: &Incoming) -> bool {
    incoming.user.is_some() || incoming.trusted || !world.settings.auth.required
}

/// The SDP for the caller.
///
/// # Errors
/// What the relay says, or that the offer has nothing that can be played in.
pub async fn answer(world: &World, incoming: &Incoming) -> Result<Bytes, MediaError> {
    let nothing = || MediaError::NotAcceptable("no sound that could be played".to_owned());
    let offer = media::sdp_of(&incoming.message).ok_or_else(nothing)?;
    let caller = media::caller_leg(world, incoming, Some(&offer));
    let nobody =
        MediaLeg { kind: LegKind::Legacy, local: caller.local, signalling_source: None, keys: Keys::Agreed };
    let exchange = MediaExchange {
        call_id: incoming.call_id().to_owned(),
        offerer_tag: incoming.message.from_tag().unwrap_or_default().to_owned(),
        answerer_tag: Some(world.tag()),
        branch: Some(world.tag()),
        from: caller,
        to: nobody,
        sdp: offer,
    };
    let control: &dyn MediaControl = &*world.outside.media;
    world.stats.borrow_mut().media_offers += 1;
    let offered = control.offer(exchange.clone()).await?;
    let sdp = of_nobody(&offered, caller.local).ok_or_else(nothing)?;
    control.answer(MediaExchange { from: nobody, to: caller, sdp, ..exchange }).await
}

/// The answer to `offer` of an end that takes the first sound that can be played in and sends and receives nothing.
fn of_nobody(offer: &[u8], local: IpAddr) -> Option<Bytes> {
    let text = std::str::from_utf8(offer).ok()?;
    let address = if local.is_ipv4() { "IN IP4 127.0.0.1" } else { "IN IP6 ::1" };
    let mut answer = format!("v=0\r\no=- 1 1 {address}\r\ns=-\r\nc={address}\r\nt=0 0\r\n");
    let mut taken = false;
    for section in text.split("\nm=").skip(1) {
        let line = section.lines().next()?.trim_end();
        let mut words = line.split(' ');
        let (kind, port, protocol) = (words.next()?, words.next()?, words.next()?);
        let formats: Vec<&str> = words.collect();
        let format =
            (kind == "audio" && port != "0" && !taken).then(|| playable(section, &formats)).flatten();
        match format {
            Some((format, rtpmap)) => {
                taken = true;
                answer += &format!("m=audio 9 {protocol} {format}\r\n{rtpmap}");
            }
            None => answer += &format!("m={kind} 0 {protocol} {}\r\n", formats.first()?),
        }
    }
    taken.then(|| answer.into())
}

/// The first format of a section that can be played in, and its line, if it has one.
fn playable<'a>(section: &str, formats: &[&'a str]) -> Option<(&'a str, String)> {
    formats.iter().find_map(|format| {
        let map = section.lines().find_map(|line| {
            let (number, encoding) = line.strip_prefix("a=rtpmap:")?.split_once(' ')?;
            (number == *format).then(|| encoding.trim())
        });
        // RFC 3551 table 4.
        let name = map.map_or(
            match *format {
                "0" => "PCMU",
                "8" => "PCMA",
                "9" => "G722",
                _ => "",
            },
            |map| map.split('/').next().unwrap_or_default(),
        );
        let known = PLAYABLE.iter().any(|known| known.eq_ignore_ascii_case(name));
        let line = map.map(|map| format!("a=rtpmap:{format} {map}\r\n")).unwrap_or_default();
        known.then_some((*format, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_first_sound_that_can_be_played() {
        const HEAD: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\n";
        for (offer, answer) in [
            ("v=0\r\nm=audio 4000 RTP/AVP 0 8 101\r\n", Some("m=audio 9 RTP/AVP 0\r\n")),
            (
                "v=0\r\nm=audio 4000 RTP/AVP 18 111 8\r\na=rtpmap:18 G729/8000\r\na=rtpmap:111 opus/48000/2\r\n",
                Some("m=audio 9 RTP/AVP 111\r\na=rtpmap:111 opus/48000/2\r\n"),
            ),
            (
                "v=0\nm=video 4002 RTP/AVP 96\nm=audio 4000 RTP/AVP 9\nm=audio 4004 RTP/AVP 0\n",
                Some("m=video 0 RTP/AVP 96\r\nm=audio 9 RTP/AVP 9\r\nm=audio 0 RTP/AVP 0\r\n"),
            ),
            ("v=0\r\nm=audio 4000 RTP/AVP 18 4\r\n", None),
            ("v=0\r\nm=audio 0 RTP/AVP 0\r\n", None),
            ("v=0\r\nm=audio 4000 RTP/AVP\r\n", None),
            ("v=0\r\nm=audio", None),
            ("", None),
        ] {
            let made = of_nobody(offer.as_bytes(), [192, 0, 2, 1].into());
            let expected = answer.map(|answer| format!("{HEAD}{answer}"));
            assert_eq!(made.as_deref(), expected.as_deref().map(str::as_bytes), "{offer}");
        }
        let six =
            of_nobody(b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n", std::net::Ipv6Addr::LOCALHOST.into()).unwrap();
        assert!(six.starts_with(b"v=0\r\no=- 1 1 IN IP6 ::1\r\n"));
        assert_eq!(of_nobody(b"\xff\nm=audio", [127, 0, 0, 1].into()), None);
    }
}
