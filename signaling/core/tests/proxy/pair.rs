//! Two that call each other, step by step: what most files of these tests begin with.

use crate::testbed::{Bed, Dialog, Phone, Sip};

/// A registered browser `bob` and a registered phone `alice`.
pub(crate) fn both(bed: &mut Bed) -> (Phone, Phone) {
    let mut alice = Phone::legacy(bed, "alice", "198.51.100.7:5060");
    let mut bob = Phone::browser(bed, "bob", "203.0.113.9:41000");
    alice.register(bed);
    bob.register(bed);
    (alice, bob)
}

/// Calls with header lines of its own; the INVITE as it went and as it arrived.
#[track_caller]
pub(crate) fn call(bed: &mut Bed, from: &mut Phone, to: &Phone, more: &str, sdp: &str) -> (Sip, Sip) {
    let more = format!("Contact: <{}>\r\n{more}", from.contact);
    let request = from.request("INVITE", &to.aor(), "call-1", &more, sdp);
    let (text, trying) = from.authorize(bed, &request);
    assert_eq!(trying.code(), 100, "{}", trying.text);
    (Sip { text }, bed.expect(&to.flow, "INVITE "))
}

/// Calls, and is told that it rings; the same.
#[track_caller]
pub(crate) fn ringing(bed: &mut Bed, from: &mut Phone, to: &Phone, sdp: &str) -> (Sip, Sip) {
    let invite = from.invite(bed, &to.aor(), "call-1", sdp);
    let offered = bed.expect(&to.flow, "INVITE ");
    bed.send(&to.flow, &to.reply(&offered, 180, "Ringing", ""));
    bed.expect(&from.flow, "SIP/2.0 180 ");
    (invite, offered)
}

/// The callee answers with this 200, and the caller acknowledges: both ends' dialogs, and the 200 as it arrived.
#[track_caller]
pub(crate) fn answer(
    bed: &mut Bed,
    (caller, invite): (&mut Phone, &Sip),
    (callee, offered): (&Phone, &Sip),
    ok: String,
) -> (Dialog, Dialog, Sip) {
    bed.send(&callee.flow, &ok);
    let answered = bed.expect(&caller.flow, "SIP/2.0 200 ");
    let mut dialog = Dialog::of_caller(invite, &answered);
    let ack = dialog.request(caller, "ACK", "", "");
    bed.send(&caller.flow, &ack);
    bed.expect(&callee.flow, "ACK ");
    (dialog, Dialog::of_callee(offered, &Sip { text: ok }), answered)
}

/// Calls, answers, acknowledges: both ends' dialogs.
#[track_caller]
pub(crate) fn established(
    bed: &mut Bed,
    caller: &mut Phone,
    callee: &Phone,
    call_id: &str,
    sdp: [&str; 2],
) -> (Dialog, Dialog) {
    let invite = caller.invite(bed, &callee.aor(), call_id, sdp[0]);
    let offered = bed.expect(&callee.flow, "INVITE ");
    let ok = callee.reply(&offered, 200, "OK", sdp[1]);
    let (caller_end, callee_end, _) = answer(bed, (caller, &invite), (callee, &offered), ok);
    (caller_end, callee_end)
}

/// A response with more header lines, each with its end.
pub(crate) fn with(response: &str, lines: &str) -> String {
    response.replacen("Contact:", &format!("{lines}Contact:"), 1)
}
