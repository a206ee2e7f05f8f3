use super::*;
use crate::secret::Secret;

const NOW: u64 = 1_800_000_000;
const HERE: Here<'_> = Here { sent_by: "192.0.2.1:5060", transport: "" };

fn topos() -> Topos {
    Topos::new(Params::default(), Topoh::new(Secret([1; 32])))
}

fn invite(call_id: &str, branch: &str) -> Message {
    let text = format!(
        "INVITE sip:bob@198.51.100.8 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch={branch}\r\n\
         Via: SIP/2.0/UDP 10.1.1.9;branch=z9hG4bKa\r\nRecord-Route: <sip:192.0.2.1;lr;did=1>\r\n\
         From: <sip:alice@sip.example>;tag=a\r\nTo: <sip:bob@sip.example>\r\nCall-ID: {call_id}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@10.1.1.9>;+sip.ice\r\nContent-Length: 0\r\n\r\n"
    );
    Message::parse(bytes::Bytes::from(text)).expect("a message")
}

fn masked(topos: &Topos, mut message: Message, now: u64) -> (String, Changed) {
    let changed = topos.mask(&mut message, HERE, now);
    (String::from_utf8(message.to_bytes().to_vec()).expect("text"), changed)
}

#[test]
fn what_is_sent_again_is_the_same() {
    let topos = topos();
    let (seen, changed) = masked(&topos, invite("c", "z9hG4bK1"), NOW);
    assert_eq!(masked(&topos, invite("c", "z9hG4bK1"), NOW + 1).0, seen);
    assert!(changed.is_empty(), "there is no dialog yet that a store should know of");
    assert!(seen.contains(";+sip.ice\r\n") && !seen.contains("10.1.1.9"), "{seen}");
    assert_eq!(topos.len(), 1);
}

#[test]
fn what_was_never_answered_is_forgotten() {
    let topos = topos();
    let _ = masked(&topos, invite("c", "z9hG4bK1"), NOW);
    assert!(topos.is_to_be_cleaned(NOW));
    assert!(!topos.is_to_be_cleaned(NOW + 59), "once in a while");
    assert!(topos.clean(NOW + 179).is_empty() && topos.len() == 1);
    assert!(topos.clean(NOW + 180).is_empty(), "the store has heard of nothing");
    assert!(topos.is_empty() && topos.calls.each().all(|part| part.is_empty()));
    assert!(topos.branches.each().all(|part| part.is_empty()));
}

/// A flood finds an end of the room, and hides what comes after it all the same.
#[test]
fn without_room_a_message_is_masked_in_another_way() {
    let topos = topos();
    for number in 0..2 * MAX * Shards::<()>::COUNT {
        let stripped = Stripped { vias: Vec::new(), record_routes: Vec::new(), uuid: None, until: NOW + 180 };
        let _ = topos.wait(format!("flood-{number}"), stripped);
    }
    let (seen, _) = masked(&topos, invite("c", "z9hG4bK1"), NOW);
    assert!(seen.contains("Via: SIP/2.0/UDP 127.0.0.8;branch=z9hG4bKsr-"), "{seen}");
    assert!(seen.contains("<sip:127.0.0.8;line=sr-") && !seen.contains("10.1.1.9"), "{seen}");
    let many: usize = topos.branches.each().map(|part| part.len()).sum();
    assert!(many <= MAX * Shards::<()>::COUNT, "{many}");
    topos.clean(NOW + 181);
    assert!(!masked(&topos, invite("c", "z9hG4bK1"), NOW + 181).0.contains("127.0.0.8"));
}

/// One dialog does not take the room of all.
#[test]
fn an_end_that_moves_for_ever_has_so_many_names() {
    let topos = topos();
    for port in 0..2 * MAX_OF_CALL {
        let mut moved = invite("c", "z9hG4bK1");
        moved_to(&mut moved, &format!("<sip:alice@10.1.1.9:{}>", 1024 + port));
        let (seen, _) = masked(&topos, moved, NOW);
        assert_eq!(seen.contains("<sip:127.0.0.8;line=sr-"), port >= MAX_OF_CALL, "{seen}");
    }
    assert_eq!(topos.len(), MAX_OF_CALL);
}

fn moved_to(message: &mut Message, contact: &str) {
    if let Message::Request(request) = message {
        request.set(Name::Contact, contact);
    }
}

#[test]
fn only_names_of_ours_are_looked_for() {
    assert_eq!(name_in("sip:atpsh-00@192.0.2.1:5060"), Some("atpsh-00"));
    assert_eq!(name_in("SIP:btpsh-00@192.0.2.1:5060;transport=tcp"), Some("btpsh-00"));
    for other in
        ["sip:alice@192.0.2.1", "sip:192.0.2.1", "tel:+49", "sip:tpsh-0@x", "sip:", "", "sip:atpsh-0"]
    {
        assert_eq!(name_in(other), None, "{other}");
    }
}
