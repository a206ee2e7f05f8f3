//! The edge of a domain whose registrar stands behind (RFC 3327, RFC 5626 §5).

use signaling_core::flow::Protocol;
use signaling_core::settings::{Edge, Settings};

use crate::testbed::{Bed, Dialog, Phone, Sip, browser_sdp, legacy_sdp, settings, uri_of};

const DOMAIN: &str = "pbx.example";

/// A bed that is the edge of `pbx.example`, and the registrar of that domain.
fn edge() -> (Bed, Phone) {
    let edge = Edge { domain: DOMAIN.into(), registrar: "sip:203.0.113.5:5060".into() };
    let mut bed = Bed::with(&["alice"], Settings { edge: vec![edge], ..settings() }, Vec::new());
    let flow = bed.flow(Protocol::Udp, "203.0.113.5:5060");
    let registrar = Phone::on(flow, "registrar", "sip:203.0.113.5:5060".into());
    (bed, registrar)
}

/// The text of a phone with the other domain in it.
fn of_pbx(text: &str) -> String {
    text.replace("sip.example", DOMAIN)
}

/// What the registrar makes of a request that it answers: nothing but the Via is looked at there.
fn registered(bed: &mut Bed, registrar: &Phone, phone: &mut Phone) -> (Sip, String) {
    let request = of_pbx(&phone.register_text(600));
    bed.send(&phone.flow, &request);
    let passing = bed.expect(&registrar.flow, "REGISTER sip:pbx.example ");
    let ok = registrar.reply(&passing, 200, "OK", "");
    let path = passing.header("Path").to_owned();
    let listed = format!("Contact: <{}>{};expires=600\r\nPath: {path}", phone.contact, phone.contact_params);
    let ok = ok.replace(&format!("Contact: <{}>", registrar.contact), &listed);
    bed.send(&registrar.flow, &ok);
    (passing, path)
}

#[test]
fn a_register_goes_on_with_a_path_that_keeps_its_flow() {
    for browser in [true, false] {
        let (mut bed, registrar) = edge();
        let mut phone = match browser {
            true => Phone::browser(&mut bed, "carol", "203.0.113.9:41000"),
            false => Phone::legacy(&mut bed, "carol", "198.51.100.7:5062"),
        };
        let (passing, path) = registered(&mut bed, &registrar, &mut phone);
        assert_eq!(passing.values("Via").len(), 2);
        assert!(!passing.header("Contact").contains("alias"), "the registrar's business");
        assert!(path.starts_with("<sip:") && path.contains("@192.0.2.1:5060;lr"), "{path}");
        assert_eq!(path.contains(";ob"), browser, "only who names his flow has it kept: {path}");
        assert!(!path.contains(&phone.flow.remote.ip().to_string()), "{path}");
        assert!(passing.values("Supported").contains(&"path"));
        let ok = bed.expect(&phone.flow, "SIP/2.0 200 ");
        assert_eq!(ok.headers("Path").len(), usize::from(browser), "for those that know of it");
        assert!(ok.header("Contact").starts_with(&format!("<{}>", phone.contact)), "{}", ok.text);
        bed.expect_silence();
    }
}

/// A challenge of the registrar, and the credentials for it, pass; so does an option that only a registrar must know.
#[test]
fn passwords_are_the_registrars() {
    let (mut bed, registrar) = edge();
    let mut phone = Phone::browser(&mut bed, "carol", "203.0.113.9:41000");
    let request = of_pbx(&phone.register_text(600)).replacen("Contact:", "Require: fancy\r\nContact:", 1);
    bed.send(&phone.flow, &request);
    let passing = bed.expect(&registrar.flow, "REGISTER ");
    let challenge = registrar.reply(&passing, 401, "Unauthorized", "").replacen(
        "Contact:",
        "WWW-Authenticate: Digest realm=\"pbx.example\", nonce=\"n\", qop=\"auth\"\r\nContact:",
        1,
    );
    bed.send(&registrar.flow, &challenge);
    let challenge = bed.expect(&phone.flow, "SIP/2.0 401 ");
    let again = phone.with_credentials(&request, &challenge);
    bed.send(&phone.flow, &again);
    assert!(
        bed.expect(&registrar.flow, "REGISTER ").header("Authorization").contains("realm=\"pbx.example\"")
    );
}

/// Alice of another domain calls Carol; the registrar sends it along the Path, and the media are bridged here. Then Carol calls.
#[test]
fn calls_come_along_the_path_and_go_to_the_registrar() {
    let (mut bed, mut registrar) = edge();
    let mut carol = Phone::browser(&mut bed, "carol", "203.0.113.9:41000");
    let (_, path) = registered(&mut bed, &registrar, &mut carol);
    bed.discard();
    let more = format!("Route: {path}\r\nContact: <sip:alice@198.51.100.7:5060>\r\n");
    let invite = registrar.request("INVITE", &carol.contact, "call-1", &more, &legacy_sdp("alice"));
    let invite = of_pbx(&invite);
    bed.send(&registrar.flow, &invite);
    bed.expect(&registrar.flow, "SIP/2.0 100 ");
    let offered = bed.expect(&carol.flow, &format!("INVITE {} ", carol.contact));
    assert!(offered.headers("Route").is_empty() && offered.body().contains("offer Legacy Browser"));
    bed.send(&carol.flow, &carol.reply(&offered, 200, "OK", &browser_sdp("carol")));
    let answered = bed.expect(&registrar.flow, "SIP/2.0 200 ");
    let mut dialog = Dialog::of_caller(&Sip { text: invite }, &answered);
    for method in ["ACK", "BYE"] {
        let request = dialog.request(&mut registrar, method, "", "");
        bed.send(&registrar.flow, &request);
        assert_eq!(bed.expect(&carol.flow, method).uri(), carol.contact);
    }
    assert!(bed.media.is_clean());
    bed.discard();

    let more = format!("Contact: <{}>\r\n", carol.contact);
    let invite =
        of_pbx(&carol.request("INVITE", "sip:5000@pbx.example", "call-2", &more, &browser_sdp("carol")));
    bed.send(&carol.flow, &invite);
    bed.expect(&carol.flow, "SIP/2.0 100 ");
    let passing = bed.expect(&registrar.flow, "INVITE sip:5000@pbx.example ");
    assert!(passing.body().contains("offer Browser Legacy"), "{}", passing.body());
    assert!(passing.header("Contact").contains(";alias="), "the way back to a browser");
}

/// Whoever it is from, what is for the domain goes to its registrar; what is from it goes there too, unless it is for us.
#[test]
fn only_the_registrar_is_reached() {
    for (from, to, code) in [
        ("carol@pbx.example", "sip:1@elsewhere.example", 100),
        ("eve@evil.example", "sip:5000@pbx.example", 100),
        ("eve@evil.example", "sip:1@elsewhere.example", 403),
        ("carol@pbx.example", "sip:alice@sip.example", 480),
    ] {
        let (mut bed, registrar) = edge();
        let mut phone = Phone::legacy(&mut bed, "carol", "198.51.100.7:5060");
        let invite = phone.request("INVITE", to, "call-1", "Contact: <sip:x@198.51.100.7>\r\n", "");
        bed.send(
            &phone.flow,
            &invite.replace("From: <sip:carol@sip.example>", &format!("From: <sip:{from}>")),
        );
        let heard = bed.receive(&phone.flow);
        assert_eq!(heard.code(), code, "{from} {to}");
        let passed = bed.try_receive(&registrar.flow);
        assert_eq!(passed.map(|passed| passed.uri().to_owned()), (code == 100).then(|| to.to_owned()));
        bed.expect_silence();
    }
}

/// 430 when the flow is gone (RFC 5626 §5.3.1); a token that somebody has made up, or that was made for something else, is none.
#[test]
fn a_token_leads_to_its_flow_or_nowhere() {
    let (mut bed, mut registrar) = edge();
    let mut carol = Phone::browser(&mut bed, "carol", "203.0.113.9:41000");
    let (_, path) = registered(&mut bed, &registrar, &mut carol);
    bed.discard();
    let made_up = path.replacen("<sip:", "<sip:a", 1);
    let user = uri_of(&path).trim_start_matches("sip:").split('@').next().expect("a token").to_owned();
    let in_request_uri = format!("sip:{user}@192.0.2.1:5060");
    for (route, uri, code) in [(&made_up, &carol.contact, 403), (&String::new(), &in_request_uri, 404)] {
        let route = if route.is_empty() { String::new() } else { format!("Route: {route}\r\n") };
        let message = registrar.request("MESSAGE", uri, &format!("message-{code}"), &route, "hello");
        bed.send(&registrar.flow, &message.replace("<sip:registrar@sip.example>", "<sip:x@pbx.test>"));
        assert_eq!(bed.receive(&registrar.flow).code(), code);
        bed.expect_silence();
    }
    bed.close(&carol.flow);
    let route = format!("Route: {path}\r\n");
    let message = of_pbx(&registrar.request("MESSAGE", &carol.contact, "message-3", &route, "hello"));
    bed.send(&registrar.flow, &message);
    bed.expect(&registrar.flow, "SIP/2.0 430 ");
}

/// Two browsers of the domain: the call comes through here twice, and is bridged twice.
#[test]
fn two_of_the_domain_call_each_other() {
    let (mut bed, mut registrar) = edge();
    let mut carol = Phone::browser(&mut bed, "carol", "203.0.113.9:41000");
    let mut dave = Phone::browser(&mut bed, "dave", "203.0.113.10:42000");
    registered(&mut bed, &registrar, &mut carol);
    let (_, path) = registered(&mut bed, &registrar, &mut dave);
    bed.discard();
    let more = format!("Contact: <{}>\r\n", carol.contact);
    let invite = of_pbx(&carol.request("INVITE", "sip:dave@pbx.example", "call-1", &more, &browser_sdp("c")));
    bed.send(&carol.flow, &invite);
    bed.expect(&carol.flow, "SIP/2.0 100 ");
    let passing = bed.expect(&registrar.flow, "INVITE ");
    let (via, record) = (registrar.branch(), "Record-Route: <sip:203.0.113.5;lr>\r\nRoute: ");
    let top = format!("Via: {}\r\nVia:", registrar.via(&via));
    let onward = passing.text.replacen("Via:", &top, 1).replacen(passing.uri(), &dave.contact, 1);
    let onward = onward.replacen("Record-Route:", &format!("{record}{path}\r\nRecord-Route:"), 1);
    bed.send(&registrar.flow, &onward);
    bed.expect(&registrar.flow, "SIP/2.0 100 ");
    let offered = bed.expect(&dave.flow, "INVITE ");
    assert_eq!(offered.uri(), dave.contact);
    assert_eq!(bed.media.open.borrow().len(), 2);
    bed.send(&dave.flow, &dave.reply(&offered, 200, "OK", &browser_sdp("d")));
    let back = bed.expect(&registrar.flow, "SIP/2.0 200 ");
    let top = format!("Via: {}\r\n", back.headers("Via")[0]);
    bed.send(&registrar.flow, &back.text.replacen(&top, "", 1));
    assert!(bed.expect(&carol.flow, "SIP/2.0 200 ").body().contains("answer Legacy Browser"));
}

/// A browser comes back over another WebSocket: with its REGISTER, and before it says a word in them, its calls are there, those
/// that it made and those that it took. Another page of hers takes nothing over, and neither does a REGISTER that is refused.
#[test]
fn a_browser_takes_its_calls_along_when_it_registers_again() {
    for caller in [false, true] {
        let (mut bed, mut registrar) = edge();
        let mut carol = Phone::browser(&mut bed, "carol", "203.0.113.9:41000");
        let (_, path) = registered(&mut bed, &registrar, &mut carol);
        bed.discard();
        let mut dialog = if caller {
            let more = format!("Contact: <{}>\r\n", carol.contact);
            let invite = carol.request("INVITE", "sip:5000@pbx.example", "call-1", &more, &browser_sdp("c"));
            bed.send(&carol.flow, &of_pbx(&invite));
            let passing = bed.expect(&registrar.flow, "INVITE ");
            let answer = registrar.reply(&passing, 200, "OK", &legacy_sdp("r"));
            bed.send(&registrar.flow, &answer);
            Dialog::of_callee(&passing, &Sip { text: answer })
        } else {
            let more = format!("Route: {path}\r\nContact: <sip:alice@198.51.100.7:5060>\r\n");
            let invite = registrar.request("INVITE", &carol.contact, "call-1", &more, &legacy_sdp("alice"));
            bed.send(&registrar.flow, &of_pbx(&invite));
            let offered = bed.expect(&carol.flow, "INVITE ");
            bed.send(&carol.flow, &carol.reply(&offered, 200, "OK", &browser_sdp("carol")));
            bed.expect(&registrar.flow, "SIP/2.0 100 ");
            let answered = bed.expect(&registrar.flow, "SIP/2.0 200 ");
            Dialog::of_caller(&Sip { text: of_pbx(&invite) }, &answered)
        };
        let mut other = Phone::browser(&mut bed, "carol", "203.0.113.11:43000");
        other.contact_params = ";reg-id=1;+sip.instance=\"<urn:uuid:other>\"".into();
        registered(&mut bed, &registrar, &mut other);
        let before = carol.flow;
        carol.flow = bed.flow(Protocol::Wss, "203.0.113.9:41999");
        for (code, at) in [(403, before), (200, carol.flow)] {
            let request = of_pbx(&carol.register_text(600));
            bed.send(&carol.flow, &request);
            let passing = bed.expect(&registrar.flow, "REGISTER ");
            bed.send(&registrar.flow, &registrar.reply(&passing, code, "Said", ""));
            bed.discard();
            let info = dialog.request(&mut registrar, "INFO", "", "hello");
            bed.send(&registrar.flow, &info);
            let there = bed.expect(&at, "INFO ");
            bed.send(&at, &carol.reply(&there, 200, "OK", ""));
            bed.expect(&registrar.flow, "SIP/2.0 200 ");
        }
        // The old one was silent, not closed, until now.
        bed.close(&before);
        let bye = dialog.request(&mut registrar, "BYE", "", "");
        bed.send(&registrar.flow, &bye);
        bed.expect(&carol.flow, "BYE ");
        bed.expect_silence();
    }
}
