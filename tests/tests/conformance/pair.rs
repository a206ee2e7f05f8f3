//! Alice and Bob, registered at the subject, and a call between them step by step.

use anyhow::{Context, Result, ensure};
use e2e::phone::{Dialog, Phone, ack_of_refusal, set};
use e2e::sip::Message;
use e2e::subject::Subject;

/// An SDP that any relay takes.
pub(crate) const SDP: &str =
    "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\nm=audio 40000 RTP/AVP 0\r\n";

/// The two, and who is between them.
pub(crate) struct Pair {
    pub(crate) subject: Subject,
    pub(crate) alice: Phone,
    pub(crate) bob: Phone,
}

/// An answered call: what each end knows of it.
pub(crate) struct Call {
    /// Alice's end.
    pub(crate) caller: Dialog,
    /// Bob's end.
    pub(crate) callee: Dialog,
    /// The INVITE as Bob got it.
    pub(crate) invited: Message,
    /// The 200 as Alice got it.
    pub(crate) ok: Message,
}

impl Pair {
    pub(crate) async fn new() -> Result<Self> {
        let subject = Subject::start().await?;
        let (alice, bob) = (subject.registered("alice").await?, subject.registered("bob").await?);
        Ok(Self { subject, alice, bob })
    }

    /// Alice calls with these headers more: the INVITE as it was let through, and as Bob got it.
    pub(crate) async fn invite(&mut self, more: &[(&str, &str)], sdp: &str) -> Result<(Message, Message)> {
        let mut invite = self.prepared(more, sdp).await?;
        self.alice.send(&invite).await?;
        let challenge = self.alice.receive("a challenge", |m| m.status() == Some(407)).await?;
        self.alice.send(&ack_of_refusal(&invite, &challenge)).await?;
        self.alice.authorize(&mut invite, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
        self.alice.send(&invite).await?;
        let call_id = invite.header("Call-ID").to_owned();
        let invited = self
            .bob
            .receive("the call", |m| m.method() == Some("INVITE") && m.header("Call-ID") == call_id)
            .await?;
        Ok((invite, invited))
    }

    /// The INVITE, not sent.
    pub(crate) async fn prepared(&mut self, more: &[(&str, &str)], sdp: &str) -> Result<Message> {
        let mut invite = self.alice.invite(&self.bob.aor(), sdp);
        if sdp.is_empty() {
            invite.headers.retain(|(name, _)| name != "Content-Type");
        }
        let more = more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        invite.headers.extend(more);
        Ok(invite)
    }

    /// Bob responds with these headers more; the response as Alice got it.
    pub(crate) async fn respond(
        &mut self,
        invited: &Message,
        status: u16,
        more: &[(&str, &str)],
        sdp: &str,
    ) -> Result<Message> {
        respond(&mut self.bob, invited, status, more, sdp).await?;
        let cseq = invited.cseq();
        self.alice.receive(&format!("the {status}"), |m| m.status() == Some(status) && m.cseq() == cseq).await
    }

    /// A call that is answered and acknowledged.
    pub(crate) async fn answered(&mut self) -> Result<Call> {
        let (invite, invited) = self.invite(&[], SDP).await?;
        let ok = self.respond(&invited, 200, &[], SDP).await?;
        let mut caller = Dialog::of_caller(&invite, &ok);
        let ack = caller.request(&mut self.alice, "ACK");
        self.alice.send(&ack).await?;
        self.bob.receive("the ACK", |m| m.method() == Some("ACK")).await?;
        let callee = Dialog::of_callee(&invited, TAG);
        Ok(Call { caller, callee, invited, ok })
    }
}

/// Bob's tag.
pub(crate) const TAG: &str = "b1";

/// Responds with more headers and perhaps an SDP, as the phone with [`TAG`].
pub(crate) async fn respond(
    phone: &mut Phone,
    request: &Message,
    status: u16,
    more: &[(&str, &str)],
    sdp: &str,
) -> Result<()> {
    let mut response = phone.response(request, status, "Because", TAG);
    response.headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    if !sdp.is_empty() {
        response.headers.push(("Content-Type".into(), "application/sdp".into()));
        response.body = sdp.to_owned();
    }
    phone.send(&response).await
}

/// Sends `request` from one phone, has the other answer it with `status`: as it arrived, and the answer as it arrived.
pub(crate) async fn exchange(
    from: &mut Phone,
    to: &mut Phone,
    request: Message,
    (status, more, sdp): (u16, &[(&str, &str)], &str),
) -> Result<(Message, Message)> {
    let (method, number) = (request.method().unwrap_or_default().to_owned(), request.cseq().0);
    let (response, arrived) = tokio::join!(from.transact(request), async {
        let arrived = to
            .receive(&method, |m| m.method() == Some(&method) && m.cseq().0 == number)
            .await
            .with_context(|| format!("{method} did not arrive"))?;
        respond(to, &arrived, status, more, sdp).await?;
        anyhow::Ok(arrived)
    });
    let (response, arrived) = (response?, arrived?);
    ensure!(response.status() == Some(status), "{response}");
    Ok((arrived, response))
}

/// Calls `uri`; the INVITE that was let through. Nothing is answered yet.
pub(crate) async fn place_call(alice: &mut Phone, uri: &str) -> Result<Message> {
    let mut invite = alice.invite(uri, SDP);
    alice.send(&invite).await?;
    let challenge = alice.receive("a challenge", |m| m.status() == Some(407)).await?;
    alice.send(&ack_of_refusal(&invite, &challenge)).await?;
    alice.authorize(&mut invite, challenge.header("Proxy-Authenticate"), "Proxy-Authorization");
    alice.send(&invite).await?;
    Ok(invite)
}

/// The call as it arrived.
pub(crate) async fn rung(phone: &mut Phone) -> Result<Message> {
    phone.receive("the call", |m| m.method() == Some("INVITE")).await
}

/// Refuses with more headers, and waits for the ACK.
pub(crate) async fn refuse(
    phone: &mut Phone,
    invited: &Message,
    status: u16,
    more: &[(&str, &str)],
) -> Result<()> {
    let mut response = phone.response(invited, status, "No", "t1");
    response.headers.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    phone.send(&response).await?;
    phone.receive("the ACK", |m| m.method() == Some("ACK")).await?;
    Ok(())
}

/// The final response of the call, acknowledged.
pub(crate) async fn refused(alice: &mut Phone, invite: &Message) -> Result<Message> {
    let number = invite.cseq().0;
    let final_one = |m: &Message| m.status() >= Some(200) && m.cseq() == (number, "INVITE");
    let refusal = alice.receive("the final response", final_one).await?;
    alice.send(&ack_of_refusal(invite, &refusal)).await?;
    Ok(refusal)
}

/// The CANCEL of an INVITE (§9.1).
pub(crate) fn cancel_of(invite: &Message) -> Message {
    let mut cancel = invite.clone();
    cancel.start = cancel.start.replacen("INVITE", "CANCEL", 1);
    set(&mut cancel, "CSeq", format!("{} CANCEL", invite.cseq().0));
    let kept = ["Contact", "Content-Type", "Proxy-Authorization"];
    cancel.headers.retain(|(name, _)| !kept.contains(&name.as_str()));
    cancel.body.clear();
    cancel
}
