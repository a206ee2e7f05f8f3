//! RFC 3261 §16: Proxy Behavior.

use std::time::Duration;

use anyhow::{Context, Result};
use e2e::phone::{Dialog, Phone, ack_of_refusal, set};
use e2e::subject::Subject;

use crate::pair::{SDP, cancel_of, place_call, refuse, refused, rung};

/// §16.3 step 3: Max-Forwards 0 is answered 483 and not forwarded.
#[tokio::test]
async fn the_last_hop_is_refused() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let mut request = alice.request("MESSAGE", &bob.aor(), &bob.aor());
    set(&mut request, "Max-Forwards", "0".into());
    assert_eq!(alice.transact(request).await?.status(), Some(483));
    assert!(bob.drain().await?.iter().all(|m| m.method() != Some("MESSAGE")));
    Ok(())
}

/// §16.3 step 4: a request that comes back for another target is a spiral and no loop: it goes on, and so do those of its dialog.
/// (Kamailio, set up as here, asks for the caller's password again, which the proxy in between does not know.)
#[tokio::test]
async fn a_spiral_goes_on() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut forward = subject.registered("bob").await?;
    let mut carol = subject.registered("carol").await?;
    if subject.is_kamailio() {
        return Ok(());
    }
    let invite = place_call(&mut alice, &forward.aor()).await?;
    let came = rung(&mut forward).await?;
    // Bob's phone is a proxy that sends all his calls to Carol.
    let mut onward = came.clone();
    let via = forward.request("INVITE", &carol.aor(), &carol.aor()).header("Via").to_owned();
    onward.headers.insert(0, ("Via".into(), via));
    onward.start = format!("INVITE {} SIP/2.0", carol.aor());
    forward.send(&onward).await?;
    let offered = rung(&mut carol).await?;
    assert_eq!(offered.header("Call-ID"), invite.header("Call-ID"));
    carol.answer(&offered, 200, "OK", "c1", SDP).await?;
    let mut back = forward.receive("the answer", |m| m.status() == Some(200)).await?;
    back.headers.remove(0);
    forward.send(&back).await?;
    let ok = alice.receive("the answer", |m| m.status() == Some(200)).await?;
    let mut dialog = Dialog::of_caller(&invite, &ok);
    let ack = dialog.request(&mut alice, "ACK");
    alice.send(&ack).await?;
    carol.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    let bye = dialog.request(&mut alice, "BYE");
    let (ended, _) = tokio::join!(alice.transact(bye), async {
        let bye = carol.receive("the BYE", |m| m.method() == Some("BYE")).await?;
        carol.answer(&bye, 200, "OK", "c1", "").await
    });
    assert_eq!(ended?.status(), Some(200));
    Ok(())
}

/// §16.6: a request goes on with Max-Forwards lowered, our Via on top of the others, the Request-URI of the contact, and
/// everything it does not know as it was.
#[tokio::test]
async fn a_request_is_forwarded() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let mut request = alice.request("MESSAGE", &bob.aor(), &bob.aor());
    request.headers.push(("X-Unknown".into(), "  kept; as=\"it is\" ,".trim().into()));
    request.headers.push(("Content-Type".into(), "text/plain".into()));
    request.body = "hello\r\n".into();
    let sent = request.clone();
    let (response, received) = tokio::join!(alice.transact(request), async {
        let received = bob.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
        bob.answer(&received, 200, "OK", "b1", "").await?;
        anyhow::Ok(received)
    });
    let (response, received) = (response?, received?);
    assert_eq!(response.status(), Some(200), "{response}");
    assert_eq!(received.header("Max-Forwards"), "69");
    assert_eq!(received.header("X-Unknown"), sent.header("X-Unknown"));
    assert_eq!(received.body, "hello\r\n");
    assert!(received.uri().is_some_and(|uri| uri.starts_with(&bob.contact())), "{received}");
    assert_eq!(received.all("Via").flat_map(|v| v.split(',')).count(), 2, "{received}");
    assert_eq!(response.all("Via").flat_map(|v| v.split(',')).count(), 1, "{response}");
    // §16.6 step 8: the branch begins with the magic cookie.
    assert!(received.parameter("Via", "branch").is_some_and(|branch| branch.starts_with("z9hG4bK")));
    // A password is for the proxy alone.
    assert_eq!(received.all("Proxy-Authorization").count(), 0, "{received}");
    Ok(())
}

/// §16.6 step 4, §16.12: the proxy stays on the path of the dialog in both directions, and goes by the route.
#[tokio::test]
async fn a_dialog_passes_by_its_record_route() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let invite = alice.invite(&bob.aor(), SDP);
    let (ok, invited) = tokio::join!(alice.transact(invite.clone()), async {
        let invited = bob.receive("the call", |m| m.method() == Some("INVITE")).await?;
        bob.answer(&invited, 200, "OK", "b1", SDP).await?;
        anyhow::Ok(invited)
    });
    let (ok, invited) = (ok?, invited?);
    assert_eq!(ok.status(), Some(200), "{ok}");
    assert!(!ok.header("Record-Route").is_empty() && ok.header("Record-Route").contains(";lr"), "{ok}");
    let mut caller = Dialog::of_caller(&invite, &ok);
    let ack = caller.request(&mut alice, "ACK");
    alice.send(&ack).await?;
    bob.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    let mut callee = Dialog::of_callee(&invited, "b1");
    let bye = callee.request(&mut bob, "BYE");
    let (answer, received) = tokio::join!(bob.transact(bye), async {
        let received = alice.receive("the BYE", |m| m.method() == Some("BYE")).await?;
        alice.answer(&received, 200, "OK", "a1", "").await?;
        anyhow::Ok(received)
    });
    assert_eq!(answer?.status(), Some(200));
    assert_eq!(received?.all("Route").count(), 0, "the proxy removes its own routes (§16.4)");
    Ok(())
}

/// §16.7 step 6: of several refusals the best is chosen; 6xx ends the search, else the lowest class wins.
#[tokio::test]
async fn the_best_refusal_of_a_fork_is_passed() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut desk = subject.registered("bob").await?;
    let mut sofa = Phone::registered(desk.account.clone(), subject.proxy()).await?;
    let invite = alice.invite(&desk.aor(), SDP);
    let (response, first, second) = tokio::join!(
        alice.transact(invite),
        async {
            let invited = desk.receive("the call", |m| m.method() == Some("INVITE")).await?;
            desk.answer(&invited, 500, "Broken", "d1", "").await?;
            desk.receive("the ACK", |m| m.method() == Some("ACK")).await
        },
        async {
            let invited = sofa.receive("the call", |m| m.method() == Some("INVITE")).await?;
            sofa.answer(&invited, 486, "Busy Here", "s1", "").await?;
            sofa.receive("the ACK", |m| m.method() == Some("ACK")).await
        }
    );
    first.context("desk")?;
    second.context("sofa")?;
    assert_eq!(response?.status(), Some(486));
    Ok(())
}

/// §16.7 step 10: when one branch answers, the others are cancelled.
#[tokio::test]
async fn an_answer_cancels_the_other_branches() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut desk = subject.registered("bob").await?;
    let mut sofa = Phone::registered(desk.account.clone(), subject.proxy()).await?;
    let invite = alice.invite(&desk.aor(), SDP);
    let (response, cancelled) = tokio::join!(alice.transact(invite), async {
        let at_desk = desk.receive("the call", |m| m.method() == Some("INVITE")).await?;
        let at_sofa = sofa.receive("the call", |m| m.method() == Some("INVITE")).await?;
        sofa.answer(&at_sofa, 180, "Ringing", "s1", "").await?;
        desk.answer(&at_desk, 200, "OK", "d1", SDP).await?;
        let cancel = sofa.receive("the CANCEL", |m| m.method() == Some("CANCEL")).await?;
        sofa.answer(&cancel, 200, "OK", "s1", "").await?;
        sofa.answer(&at_sofa, 487, "Request Terminated", "s1", "").await?;
        sofa.receive("the ACK", |m| m.method() == Some("ACK")).await?;
        anyhow::Ok((at_sofa, cancel))
    });
    let response = response?;
    assert_eq!(response.status(), Some(200), "{response}");
    let (invited, cancel) = cancelled?;
    // §9.1: same Request-URI, Call-ID, From, To, number of CSeq and top Via as what it cancels.
    assert_eq!(cancel.uri(), invited.uri());
    for name in ["Call-ID", "From", "To"] {
        assert_eq!(cancel.header(name), invited.header(name), "{name}");
    }
    assert_eq!(cancel.cseq().0, invited.cseq().0);
    assert_eq!(cancel.parameter("Via", "branch"), invited.parameter("Via", "branch"));
    Ok(())
}

/// §16.10, §9.2: CANCEL is answered 200 hop by hop and goes on to the callee; the caller's INVITE ends with 487.
#[tokio::test]
async fn a_cancel_goes_on() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let mut invite = alice.invite(&bob.aor(), SDP);
    alice.send(&invite).await?;
    let challenge = alice.receive("a challenge", |m| m.status() == Some(407)).await?;
    alice.send(&ack_of_refusal(&invite, &challenge)).await?;
    alice.authorize(&mut invite, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
    alice.send(&invite).await?;
    let invited = bob.receive("the call", |m| m.method() == Some("INVITE")).await?;
    bob.answer(&invited, 180, "Ringing", "b1", "").await?;
    alice.receive("ringing", |m| m.status() == Some(180)).await?;
    let mut cancel = invite.clone();
    cancel.start = cancel.start.replacen("INVITE", "CANCEL", 1);
    let number = invite.cseq().0;
    set(&mut cancel, "CSeq", format!("{number} CANCEL"));
    cancel
        .headers
        .retain(|(name, _)| !["Contact", "Content-Type", "Proxy-Authorization"].contains(&name.as_str()));
    cancel.body.clear();
    alice.send(&cancel).await?;
    let answer =
        alice.receive("the answer to CANCEL", |m| m.cseq().1 == "CANCEL" && m.status().is_some()).await?;
    assert_eq!(answer.status(), Some(200), "{answer}");
    let cancelled = bob.receive("the CANCEL", |m| m.method() == Some("CANCEL")).await?;
    bob.answer(&cancelled, 200, "OK", "b1", "").await?;
    bob.answer(&invited, 487, "Request Terminated", "b1", "").await?;
    let refusal = alice.receive("487", |m| m.cseq().1 == "INVITE" && m.status() >= Some(300)).await?;
    assert_eq!(refusal.status(), Some(487), "{refusal}");
    alice.send(&ack_of_refusal(&invite, &refusal)).await?;
    Ok(())
}

/// §9.2: a CANCEL that matches nothing is 481.
#[tokio::test]
async fn a_cancel_of_nothing_is_481() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let cancel = alice.request("CANCEL", "sip:bob@causeway.test", "sip:bob@causeway.test");
    assert_eq!(alice.transact(cancel).await?.status(), Some(481));
    Ok(())
}

/// §16.5: nobody is registered, or there is no such user: the caller learns that the callee cannot be found.
#[tokio::test]
async fn an_absent_callee_is_not_found() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let invite = alice.invite("sip:nobody-here@causeway.test", SDP);
    let answer = alice.transact(invite).await?;
    assert!([Some(404), Some(480)].contains(&answer.status()), "{answer}");
    Ok(())
}

/// No open relay: a user of the domain may not have a foreign address called through it.
#[tokio::test]
async fn a_stranger_is_not_relayed_to() -> Result<()> {
    let subject = Subject::start().await?;
    let mut mallory = subject.registered("mallory").await?;
    mallory.account.domain = "elsewhere.example".into();
    let request = mallory.request("MESSAGE", "sip:victim@192.0.2.77", "sip:victim@192.0.2.77");
    mallory.send(&request).await?;
    let answer =
        mallory.receive_within("an answer", Duration::from_secs(5), |m| m.status() >= Some(200)).await?;
    assert!(matches!(answer.status(), Some(403 | 407)), "{answer}");
    Ok(())
}

/// Bob's phones, one registered with each q.
async fn phones_of_bob<const N: usize>(subject: &Subject, qs: [&str; N]) -> Result<[Phone; N]> {
    let account = subject.phone("bob").await?.account;
    let mut phones = Vec::with_capacity(N);
    for q in qs {
        let mut phone = Phone::new(account.clone(), subject.proxy()).await?;
        let domain = format!("sip:{}", account.domain);
        let mut request = phone.request("REGISTER", &domain, &phone.aor());
        request.headers.push(("Contact".into(), format!("<{}>;q={q};expires=300", phone.contact())));
        let answer = phone.transact(request).await?;
        anyhow::ensure!(answer.status() == Some(200), "not registered: {answer}");
        phones.push(phone);
    }
    phones.try_into().map_err(|_| anyhow::anyhow!("as many phones as q"))
}

async fn is_quiet(phone: &mut Phone) -> Result<bool> {
    Ok(phone.drain().await?.iter().all(|m| m.method() != Some("INVITE")))
}

/// §16.6: the contact of the highest q is tried first, the next one when it has refused; the best of all goes back.
#[tokio::test]
async fn contacts_are_tried_in_the_order_of_q() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let [mut last, mut first, mut middle] = phones_of_bob(&subject, ["0.1", "1.0", "0.5"]).await?;
    let invite = place_call(&mut alice, &first.aor()).await?;
    let invited = rung(&mut first).await?;
    assert!(is_quiet(&mut middle).await? && is_quiet(&mut last).await?, "one after the other");
    refuse(&mut first, &invited, 486, &[]).await?;
    let invited = rung(&mut middle).await?;
    assert!(is_quiet(&mut last).await?);
    refuse(&mut middle, &invited, 500, &[]).await?;
    let invited = rung(&mut last).await?;
    refuse(&mut last, &invited, 503, &[]).await?;
    let refusal = refused(&mut alice, &invite).await?;
    // Kamailio's failure_reply_mode of the usual configuration lets the last step alone decide; 503 is then 500.
    assert!(refusal.status() == Some(if subject.is_kamailio() { 500 } else { 486 }), "{refusal}");
    Ok(())
}

/// §16.7 step 5: a 6xx ends the search: nobody else is tried, and it goes back.
#[tokio::test]
async fn nobody_is_tried_after_a_6xx() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let [mut first, mut second] = phones_of_bob(&subject, ["1.0", "0.5"]).await?;
    let invite = place_call(&mut alice, &first.aor()).await?;
    let invited = rung(&mut first).await?;
    refuse(&mut first, &invited, 603, &[]).await?;
    assert_eq!(refused(&mut alice, &invite).await?.status(), Some(603));
    assert!(is_quiet(&mut second).await?);
    Ok(())
}

/// §16.7 step 5: a 6xx of one branch cancels the others, and wins over what they answered.
#[tokio::test]
async fn a_6xx_cancels_the_other_branches() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut desk = subject.registered("bob").await?;
    let mut sofa = Phone::registered(desk.account.clone(), subject.proxy()).await?;
    let invite = place_call(&mut alice, &desk.aor()).await?;
    let (at_desk, at_sofa) = (rung(&mut desk).await?, rung(&mut sofa).await?);
    sofa.answer(&at_sofa, 180, "Ringing", "s1", "").await?;
    alice.receive("ringing", |m| m.status() == Some(180)).await?;
    refuse(&mut desk, &at_desk, 600, &[]).await?;
    let cancel = sofa.receive("the CANCEL", |m| m.method() == Some("CANCEL")).await?;
    sofa.answer(&cancel, 200, "OK", "s1", "").await?;
    refuse(&mut sofa, &at_sofa, 487, &[]).await?;
    assert_eq!(refused(&mut alice, &invite).await?.status(), Some(600));
    Ok(())
}

/// §16.7 step 6: that one contact has no time is no 503 of the domain.
#[tokio::test]
async fn a_503_of_a_branch_goes_back_as_500() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let invite = place_call(&mut alice, &bob.aor()).await?;
    let invited = rung(&mut bob).await?;
    refuse(&mut bob, &invited, 503, &[("Retry-After", "60")]).await?;
    let refusal = refused(&mut alice, &invite).await?;
    assert_eq!(refusal.status(), Some(500), "{refusal}");
    assert!(
        subject.is_kamailio() || refusal.header("Retry-After").is_empty(),
        "not of this server: {refusal}"
    );
    Ok(())
}

/// §16.7 step 7: a 401 or 407 carries the challenges of all branches.
#[tokio::test]
async fn challenges_of_all_branches_go_back() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut desk = subject.registered("bob").await?;
    let mut sofa = Phone::registered(desk.account.clone(), subject.proxy()).await?;
    let invite = place_call(&mut alice, &desk.aor()).await?;
    let (at_desk, at_sofa) = (rung(&mut desk).await?, rung(&mut sofa).await?);
    refuse(&mut desk, &at_desk, 401, &[("WWW-Authenticate", "Digest realm=\"desk\", nonce=\"1\"")]).await?;
    refuse(&mut sofa, &at_sofa, 407, &[("Proxy-Authenticate", "Digest realm=\"sofa\", nonce=\"2\"")]).await?;
    let refusal = refused(&mut alice, &invite).await?;
    assert!(matches!(refusal.status(), Some(401 | 407)), "{refusal}");
    assert!(refusal.header("WWW-Authenticate").contains("desk"), "{refusal}");
    assert!(refusal.header("Proxy-Authenticate").contains("sofa"), "{refusal}");
    Ok(())
}

/// §16.7 step 6: in the 4xx, what tells the caller how to do better goes before what does not.
#[tokio::test]
async fn a_helpful_refusal_goes_before_another() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut desk = subject.registered("bob").await?;
    let mut sofa = Phone::registered(desk.account.clone(), subject.proxy()).await?;
    let invite = place_call(&mut alice, &desk.aor()).await?;
    let (at_desk, at_sofa) = (rung(&mut desk).await?, rung(&mut sofa).await?);
    refuse(&mut desk, &at_desk, 404, &[]).await?;
    refuse(&mut sofa, &at_sofa, 415, &[("Accept", "application/sdp")]).await?;
    assert_eq!(refused(&mut alice, &invite).await?.status(), Some(415));
    Ok(())
}

/// §16.10: a CANCEL ends the branch that rings, and keeps the next contact from being tried.
#[tokio::test]
async fn a_cancel_ends_the_search() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let [mut first, mut second] = phones_of_bob(&subject, ["1.0", "0.5"]).await?;
    let invite = place_call(&mut alice, &first.aor()).await?;
    let invited = rung(&mut first).await?;
    first.answer(&invited, 180, "Ringing", "f1", "").await?;
    alice.receive("ringing", |m| m.status() == Some(180)).await?;
    alice.send(&cancel_of(&invite)).await?;
    alice.receive("the answer to CANCEL", |m| m.status() == Some(200) && m.cseq().1 == "CANCEL").await?;
    let cancel = first.receive("the CANCEL", |m| m.method() == Some("CANCEL")).await?;
    first.answer(&cancel, 200, "OK", "f1", "").await?;
    refuse(&mut first, &invited, 487, &[]).await?;
    assert_eq!(refused(&mut alice, &invite).await?.status(), Some(487));
    assert!(is_quiet(&mut second).await?);
    Ok(())
}

/// §16.7 step 5: a 2xx that crosses the CANCEL goes back all the same.
#[tokio::test]
async fn a_200_that_crosses_the_cancel_goes_back() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.registered("alice").await?;
    let mut bob = subject.registered("bob").await?;
    let invite = place_call(&mut alice, &bob.aor()).await?;
    let invited = rung(&mut bob).await?;
    bob.answer(&invited, 180, "Ringing", "b1", "").await?;
    alice.receive("ringing", |m| m.status() == Some(180)).await?;
    alice.send(&cancel_of(&invite)).await?;
    bob.receive("the CANCEL", |m| m.method() == Some("CANCEL")).await?;
    bob.answer(&invited, 200, "OK", "b1", SDP).await?;
    let ok = alice.receive("the 200", |m| m.status() == Some(200) && m.cseq().1 == "INVITE").await?;
    assert_eq!(ok.parameter("To", "tag"), Some("b1"));
    Ok(())
}
