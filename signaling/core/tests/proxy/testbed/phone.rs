//! Phones, and the dialogs that they have.

use std::fmt::Write as _;

use super::*;

/// What a phone says that it is.
const AGENT: &str = "Anyphone/1.2.3 (0123456789ab)";

/// A user agent: builds what it sends from what it received, as RFC 3261 §8 and §12 say.
#[derive(Debug, Clone)]
pub struct Phone {
    /// Its user name.
    pub user: String,
    /// What it calls itself in credentials.
    pub login: String,
    /// Its password.
    pub password: String,
    /// Its way to the proxy.
    pub flow: Flow,
    /// Its Contact URI.
    pub contact: String,
    /// Its tag in every dialog.
    pub tag: String,
    /// Parameters of its Contact header in REGISTER.
    pub contact_params: String,
    /// CSeq of its next request outside of dialogs.
    pub cseq: u32,
    sequence: u32,
}

impl Phone {
    /// A legacy phone on UDP whose Contact is its true address.
    pub fn legacy(bed: &mut Bed, user: &str, remote: &str) -> Self {
        let flow = bed.flow(Protocol::Udp, remote);
        Self::on(flow, user, format!("sip:{user}@{remote}"))
    }

    /// A browser on WSS with a Contact that means nothing.
    pub fn browser(bed: &mut Bed, user: &str, remote: &str) -> Self {
        let flow = bed.flow(Protocol::Wss, remote);
        let mut phone = Self::on(flow, user, format!("sip:k{user}@df7jal23ls0d.invalid;transport=ws"));
        phone.contact_params = format!(";reg-id=1;+sip.instance=\"<urn:uuid:{user}>\"");
        phone
    }

    /// Any phone.
    pub fn on(flow: Flow, user: &str, contact: String) -> Self {
        let tag = format!("tag-{user}-{}", flow.remote.port());
        let contact_params = String::new();
        Self {
            user: user.to_owned(),
            login: user.to_owned(),
            password: password(user),
            flow,
            contact,
            tag,
            contact_params,
            cseq: 1,
            sequence: 0,
        }
    }

    /// Its address of record as a URI.
    pub fn aor(&self) -> String {
        format!("sip:{}@{DOMAIN}", self.user)
    }

    /// A branch never used before by this phone.
    pub fn branch(&mut self) -> String {
        self.sequence += 1;
        format!("z9hG4bK-{}-{}-{}", self.user, self.flow.remote.port(), self.sequence)
    }

    /// Its Via with the given branch.
    pub fn via(&self, branch: &str) -> String {
        let host = if self.flow.protocol.is_websocket() {
            "df7jal23ls0d.invalid".to_owned()
        } else {
            self.flow.remote.to_string()
        };
        format!("SIP/2.0/{} {host};branch={branch}", self.flow.protocol)
    }

    /// A request outside of any dialog, no terser than those of phones. `more` are whole header lines.
    pub fn request(&mut self, method: &str, uri: &str, call_id: &str, more: &str, body: &str) -> String {
        let (via, cseq) = (self.branch(), self.cseq);
        self.cseq += 1;
        let (via, aor, tag) = (self.via(&via), self.aor(), self.tag.clone());
        let to = if method == "REGISTER" { aor.clone() } else { uri.to_owned() };
        format!(
            "{method} {uri} SIP/2.0\r\nVia: {via}\r\nMax-Forwards: 69\r\nTo: <{to}>\r\nFrom: <{aor}>;tag={tag}\r\n\
             Call-ID: {call_id}\r\nCSeq: {cseq} {method}\r\n{more}{}User-Agent: {AGENT}\r\nContent-Length: {}\r\n\r\n{body}",
            content_type(body),
            body.len()
        )
    }

    /// Sends a request again with credentials for the challenge it met.
    pub fn with_credentials(&mut self, request: &str, challenge: &Sip) -> String {
        let (header, answer) = match challenge.code() {
            401 => ("WWW-Authenticate", "Authorization"),
            _ => ("Proxy-Authenticate", "Proxy-Authorization"),
        };
        let credentials = self.credentials(challenge.header(header), request);
        let sip = Sip { text: request.to_owned() };
        let cseq: u32 = sip.header("CSeq").split(' ').next().and_then(|n| n.parse().ok()).expect("CSeq");
        let old_via = sip.header("Via").to_owned();
        let branch = self.branch();
        self.cseq = self.cseq.max(cseq + 2);
        request
            .replace(&format!("CSeq: {cseq} "), &format!("CSeq: {} ", cseq + 1))
            .replace(&old_via, &self.via(&branch))
            .replacen("Call-ID:", &format!("{answer}: {credentials}\r\nCall-ID:"), 1)
    }

    /// The credentials for a challenge (RFC 7616 §3.4.1 with qop=auth).
    pub fn credentials(&self, challenge: &str, request: &str) -> String {
        let sip = Sip { text: request.to_owned() };
        let param = |name: &str| quoted(challenge, name).unwrap_or_default();
        let (realm, nonce, uri) = (param("realm"), param("nonce"), sip.uri());
        let ha1 = md5_hex(&format!("{}:{realm}:{}", self.login, self.password));
        let ha2 = md5_hex(&format!("{}:{uri}", sip.method()));
        let (nc, cnonce) = ("00000001", "0a4f113b");
        let response = md5_hex(&format!("{ha1}:{nonce}:{nc}:{cnonce}:auth:{ha2}"));
        format!(
            "Digest username=\"{}\", realm=\"{realm}\", nonce=\"{nonce}\", uri=\"{uri}\", response=\"{response}\", \
             algorithm=MD5, qop=auth, nc={nc}, cnonce=\"{cnonce}\"",
            self.login
        )
    }

    /// The REGISTER of this phone.
    pub fn register_text(&mut self, expires: u32) -> String {
        let supported = if self.contact_params.is_empty() { "" } else { "Supported: path,gruu,outbound\r\n" };
        let (contact, params) = (&self.contact, &self.contact_params);
        let more = format!("Contact: <{contact}>{params};expires={expires}\r\n{supported}");
        let call_id = format!("reg-{}-{}", self.user, self.flow.remote.port());
        self.request("REGISTER", &format!("sip:{DOMAIN}"), &call_id, &more, "")
    }

    /// Registers, with the challenge on the way; returns the 200.
    #[track_caller]
    pub fn register(&mut self, bed: &mut Bed) -> Sip {
        let request = self.register_text(600);
        self.authorized(bed, &request)
    }

    /// Sends a request, answers the challenge, returns the first reply after it.
    #[track_caller]
    pub fn authorized(&mut self, bed: &mut Bed, request: &str) -> Sip {
        let (_, reply) = self.authorize(bed, request);
        reply
    }

    /// Sends a request and answers the challenge; what comes of it is the caller's to look at.
    #[track_caller]
    pub fn authorize_only(&mut self, bed: &mut Bed, request: &str) {
        bed.send(&self.flow, request);
        let challenge = bed.receive(&self.flow);
        assert!(matches!(challenge.code(), 401 | 407), "no challenge but:\n{}", challenge.text);
        let again = self.with_credentials(request, &challenge);
        bed.send(&self.flow, &again);
    }

    /// The same, and the request as it was let through.
    #[track_caller]
    pub fn authorize(&mut self, bed: &mut Bed, request: &str) -> (String, Sip) {
        bed.send(&self.flow, request);
        let mut challenge = bed.receive(&self.flow);
        if challenge.code() == 100 {
            challenge = bed.receive(&self.flow);
        }
        assert!(matches!(challenge.code(), 401 | 407), "no challenge but:\n{}", challenge.text);
        if request.starts_with("INVITE") {
            let ack = ack_of(request, &challenge);
            bed.send(&self.flow, &ack);
        }
        let again = self.with_credentials(request, &challenge);
        bed.send(&self.flow, &again);
        let reply = bed.receive(&self.flow);
        (again, reply)
    }

    /// Calls `uri` up to the 100; returns the INVITE as it was let through.
    #[track_caller]
    pub fn invite(&mut self, bed: &mut Bed, uri: &str, call_id: &str, sdp: &str) -> Sip {
        let more = format!("Contact: <{}>\r\nSupported: timer\r\n", self.contact);
        let request = self.request("INVITE", uri, call_id, &more, sdp);
        let (text, trying) = self.authorize(bed, &request);
        assert_eq!(trying.code(), 100, "expected 100:\n{}", trying.text);
        Sip { text }
    }

    /// A reply to `request`. Replies of one phone have one tag.
    pub fn reply(&self, request: &Sip, code: u16, reason: &str, body: &str) -> String {
        let mut text = format!("SIP/2.0 {code} {reason}\r\n");
        for name in ["Via", "Record-Route"] {
            for value in request.headers(name) {
                let _ = write!(text, "{name}: {value}\r\n");
            }
        }
        let to = request.header("To");
        let tag = if to.contains(";tag=") { String::new() } else { format!(";tag={}", self.tag) };
        let _ = write!(
            text,
            "From: {}\r\nTo: {to}{tag}\r\nCall-ID: {}\r\nCSeq: {}\r\nContact: <{}>\r\n{}Content-Length: {}\r\n\r\n{body}",
            request.header("From"),
            request.header("Call-ID"),
            request.header("CSeq"),
            self.contact,
            content_type(body),
            body.len()
        );
        text
    }
}

/// One end of a dialog (RFC 3261 §12.1).
#[derive(Debug, Clone)]
pub struct Dialog {
    call_id: String,
    local: String,
    remote: String,
    /// The other end's Contact as this end sees it.
    pub target: String,
    /// The route set, in the order of the Route headers.
    pub routes: Vec<String>,
    /// CSeq of the last request sent.
    pub cseq: u32,
}

impl Dialog {
    /// The other end's tag.
    pub fn remote_tag(&self) -> String {
        self.remote.rsplit_once("tag=").expect("a tag").1.to_owned()
    }

    /// The caller's end, from its INVITE and the response.
    pub fn of_caller(invite: &Sip, response: &Sip) -> Self {
        let mut routes: Vec<String> =
            response.values("Record-Route").into_iter().map(str::to_owned).collect();
        routes.reverse();
        Self {
            call_id: invite.header("Call-ID").to_owned(),
            local: response.header("From").to_owned(),
            remote: response.header("To").to_owned(),
            target: uri_of(response.header("Contact")).to_owned(),
            routes,
            cseq: invite.header("CSeq").split(' ').next().and_then(|n| n.parse().ok()).expect("CSeq"),
        }
    }

    /// The callee's end, from the INVITE it got and the response it gave.
    pub fn of_callee(invite: &Sip, response: &Sip) -> Self {
        Self {
            call_id: invite.header("Call-ID").to_owned(),
            local: response.header("To").to_owned(),
            remote: response.header("From").to_owned(),
            target: uri_of(invite.header("Contact")).to_owned(),
            routes: invite.values("Record-Route").into_iter().map(str::to_owned).collect(),
            cseq: 100,
        }
    }

    /// A request of this dialog. An ACK repeats the CSeq number (RFC 3261 §13.2.2.4).
    pub fn request(&mut self, phone: &mut Phone, method: &str, more: &str, body: &str) -> String {
        if method != "ACK" {
            self.cseq += 1;
        }
        let branch = phone.branch();
        let mut text = format!("{method} {} SIP/2.0\r\nVia: {}\r\n", self.target, phone.via(&branch));
        for route in &self.routes {
            let _ = write!(text, "Route: {route}\r\n");
        }
        let _ = write!(
            text,
            "Max-Forwards: 70\r\nFrom: {}\r\nTo: {}\r\nCall-ID: {}\r\nCSeq: {} {method}\r\nContact: <{}>\r\n{more}{}\
             Content-Length: {}\r\n\r\n{body}",
            self.local,
            self.remote,
            self.call_id,
            self.cseq,
            phone.contact,
            content_type(body),
            body.len()
        );
        text
    }
}
