//! Music for whoever is put on hold (RFC 3264 §8.4), and recordings that the operator wants.
//!
//! Hold shows in the SDP of the end that holds: it does not receive. The relay then plays to the other end, which still
//! does, and stops when the call goes on. A refresh of the session changes nothing.

use crate::dialog::Call;
use crate::message::Fields;
use crate::step::media::sdp_of;
use crate::world::World;

/// Whether an end sends and receives sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Direction {
    sends: bool,
    receives: bool,
}

/// An offer within a dialog was answered: `answer` is the SDP of the response, as the answerer sent it.
pub fn play_music(world: &World, call: &mut Call, request: &Fields, to_tag: &str, answer: Option<&[u8]>) {
    let Some(file) = world.settings.sounds.music_on_hold.as_deref() else { return };
    let Some((offer, answer)) =
        sdp_of(request).as_deref().and_then(direction).zip(answer.and_then(direction))
    else {
        return;
    };
    // Who was offered nothing can receive nothing, and has not put anybody on hold by that.
    let held = [
        (!offer.receives, to_tag),
        (offer.sends && !answer.receives, request.from_tag().unwrap_or_default()),
    ];
    let call_id = call.call_id.clone();
    for (held, tag) in held {
        let Some(end) = call.end_mut(tag) else { continue };
        if std::mem::replace(&mut end.music, held) == held {
            continue;
        }
        let tag = end.relayed.as_deref().unwrap_or(tag);
        match held {
            true => world.outside.media.play(&call_id, tag, file, true),
            false => world.outside.media.stop(&call_id, tag),
        }
    }
}

/// Another relay carries a call: it goes on with what the first one did.
pub fn resume(world: &World, call: &Call) {
    let media = &world.outside.media;
    if is_recorded(world, call) {
        media.record(&call.call_id, &call.caller.tag);
    }
    let Some(file) = world.settings.sounds.music_on_hold.as_deref() else { return };
    for end in [Some(&call.caller), call.callees.first()].into_iter().flatten().filter(|end| end.music) {
        media.play(&call.call_id, &end.tag, file, true);
    }
}

/// Whether the operator wants the calls of one of its users recorded.
fn is_recorded(world: &World, call: &Call) -> bool {
    let sounds = &world.settings.sounds;
    let wanted = |aor: &Option<String>| {
        let user = aor.as_deref().and_then(|aor| aor.split('@').next());
        sounds.record_users.iter().any(|name| name == "*" || Some(name.as_str()) == user)
    };
    wanted(&call.caller.aor) || call.callees.first().is_some_and(|callee| wanted(&callee.aor))
}

/// A call was answered: it is recorded if that is wanted, and both hear so.
pub fn record(world: &World, call: &Call) {
    if !is_recorded(world, call) {
        return;
    }
    let media = &world.outside.media;
    media.record(&call.call_id, &call.caller.tag);
    if let Some(file) = world.settings.sounds.recording_notice.as_deref() {
        for end in [Some(&call.caller), call.callees.first()].into_iter().flatten() {
            media.play(&call.call_id, &end.tag, file, false);
        }
    }
}

/// What an SDP says of its first line of sound; `None` where it has none.
fn direction(sdp: &[u8]) -> Option<Direction> {
    let text = |line: &[u8]| std::str::from_utf8(line).map(str::trim_end).unwrap_or_default().to_owned();
    let lines: Vec<String> = sdp.split(|octet| *octet == b'\n').map(text).collect();
    let first = lines.iter().position(|line| line.starts_with("m=")).unwrap_or(lines.len());
    let audio = lines.iter().position(|line| line.starts_with("m=audio "))?;
    let behind = lines.get(audio + 1..)?;
    let end = behind.iter().position(|line| line.starts_with("m=")).unwrap_or(behind.len());
    // What the section does not say the session does.
    let of = |wanted: fn(&str) -> bool| {
        let section = behind.get(..end).unwrap_or_default().iter();
        let session = lines.get(..first).unwrap_or_default().iter();
        section.chain(session).find(|line| wanted(line)).map(String::as_str)
    };
    let words = ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"];
    let said = of(|line| ["a=sendrecv", "a=sendonly", "a=recvonly", "a=inactive"].contains(&line));
    let [_, sendonly, recvonly, inactive] = words.map(|word| said == Some(word));
    // The hold of RFC 2543; a browser writes it too, and means ICE.
    let ice = lines.iter().any(|line| line.starts_with("a=ice-ufrag:"));
    let nowhere = !ice && of(|line| line.starts_with("c=")) == Some("c=IN IP4 0.0.0.0");
    let refused = lines.get(audio).is_some_and(|line| line.starts_with("m=audio 0 "));
    Some(Direction {
        sends: !recvonly && !inactive && !refused,
        receives: !sendonly && !inactive && !nowhere && !refused,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_hold_is_known() {
        for (sdp, sends, receives) in [
            ("c=IN IP4 192.0.2.1\r\nm=audio 4000 RTP/AVP 0\r\n", true, true),
            ("m=audio 4000 RTP/AVP 0\r\na=sendonly\r\n", true, false),
            ("m=audio 4000 RTP/AVP 0\na=recvonly\n", false, true),
            ("a=inactive\r\nm=audio 4000 RTP/AVP 0\r\n", false, false),
            ("a=inactive\r\nm=audio 4000 RTP/AVP 0\r\na=sendrecv\r\n", true, true),
            ("c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n", true, false),
            ("c=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\nc=IN IP4 192.0.2.1\r\n", true, true),
            ("c=IN IP4 0.0.0.0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:x\r\n", true, true),
            ("m=audio 0 RTP/AVP 0\r\n", false, false),
            ("m=video 4000 RTP/AVP 96\r\na=sendonly\r\nm=audio 4000 RTP/AVP 0\r\n", true, true),
        ] {
            assert_eq!(direction(sdp.as_bytes()), Some(Direction { sends, receives }), "{sdp}");
        }
        assert_eq!(direction(b"m=video 4000 RTP/AVP 96\r\n"), None);
        assert_eq!(direction(b"\xff\n\xfe"), None);
    }
}
