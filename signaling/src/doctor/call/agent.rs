//! The signalling of an end of a test call: a user agent over UDP or a WebSocket, with one registration and one dialog at a time.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use rand::RngExt as _;
use signaling_core::digest::Answer;
use signaling_core::flow::Protocol;
use signaling_core::message::build::{self, NewRequest, Reply};
use signaling_core::message::header::{Challenge, Contact, ProxyAuthenticate, RecordRoute, WwwAuthenticate};
use signaling_core::message::{Fields, Message, Method, Name, Request, Response, StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

use crate::doctor::tls;

/// How long a response to anything is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// T1 of RFC 3261 §17.1.1.1.
const T1: Duration = Duration::from_millis(500);
const SDP: &str = "application/sdp";

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

enum Line {
    Datagrams(UdpSocket),
    Socket(Box<WebSocketStream<Box<dyn Stream>>>),
}

/// A user agent.
pub(super) struct Agent {
    line: Line,
    protocol: Protocol,
    user: String,
    password: String,
    domain: String,
    /// What its Via and Contact name: its address, or for a browser one that nobody can reach (RFC 7118 §5).
    host: String,
    call_id: String,
    cseq: u32,
    /// Requests that came while something else was waited for.
    waiting: VecDeque<Request>,
}

/// The caller's end of a dialog (RFC 3261 §12).
pub(super) struct Dialog {
    target: Uri,
    routes: Vec<String>,
    from: String,
    to: String,
    call_id: String,
    cseq: u32,
}

impl Agent {
    /// A phone at `ip` that talks to `gateway`.
    pub(super) async fn phone(gateway: SocketAddr, ip: std::net::IpAddr) -> anyhow::Result<Self> {
        let socket = UdpSocket::bind((ip, 0)).await?;
        socket.connect(gateway).await?;
        let host = socket.local_addr()?.to_string();
        Ok(Self::of(Line::Datagrams(socket), Protocol::Udp, host))
    }

    /// A browser that talks to `gateway` over a WebSocket, as a page of `domain` would.
    pub(super) async fn browser(gateway: SocketAddr, is_secure: bool, domain: &str) -> anyhow::Result<Self> {
        let connected = async {
            let stream = TcpStream::connect(gateway).await?;
            let scheme = if is_secure { "wss" } else { "ws" };
            let mut request = format!("{scheme}://{gateway}/").into_client_request()?;
            request.headers_mut().insert("Sec-WebSocket-Protocol", "sip".parse()?);
            let stream: Box<dyn Stream> = match is_secure {
                true => {
                    Box::new(TlsConnector::from(tls::client()?).connect(tls::name(domain)?, stream).await?)
                }
                false => Box::new(stream),
            };
            let (socket, _) = tokio_tungstenite::client_async(request, stream).await?;
            anyhow::Ok(socket)
        };
        let socket = timeout(PATIENCE, connected).await.context("no WebSocket in time")??;
        let host = format!("{}.invalid", build::random_tag(&mut rand::rng()));
        let protocol = if is_secure { Protocol::Wss } else { Protocol::Ws };
        Ok(Self::of(Line::Socket(Box::new(socket)), protocol, host))
    }

    fn of(line: Line, protocol: Protocol, host: String) -> Self {
        let call_id = build::random_call_id(&mut rand::rng());
        let [user, password, domain] = <[String; 3]>::default();
        Self { line, protocol, user, password, domain, host, call_id, cseq: 0, waiting: VecDeque::new() }
    }

    /// Signs in, or with `expires` 0 out.
    ///
    /// # Errors
    /// The registrar refuses, or does not answer.
    pub(super) async fn register(
        &mut self,
        [user, password, domain]: [&str; 3],
        expires: u32,
    ) -> anyhow::Result<()> {
        [self.user, self.password, self.domain] = [user, password, domain].map(str::to_owned);
        let own = format!("<{}>", self.uri(user));
        let call_id = self.call_id.clone();
        let registrar = Uri::sip(None, domain.trim_matches(['[', ']']), None)?;
        let from = format!("{own};tag={}", build::random_tag(&mut rand::rng()));
        let contact = format!("{};expires={expires}", self.contact());
        let response = self
            .ask(|agent, via, cseq| {
                let request = NewRequest::new(Method::Register, &registrar, via, &from, &own, &call_id, cseq);
                agent.named(request).header(Name::Contact, &contact)
            })
            .await?;
        accept(&response).map(drop).context("REGISTER")
    }

    /// Calls somebody; the dialog, and the answer.
    ///
    /// # Errors
    /// The call is refused, or nobody answers.
    pub(super) async fn call(&mut self, callee: &str, offer: String) -> anyhow::Result<(Dialog, String)> {
        let (uri, call_id) = (self.uri(callee), build::random_call_id(&mut rand::rng()));
        let from = format!("<{}>;tag={}", self.uri(&self.user), build::random_tag(&mut rand::rng()));
        let to = format!("<{uri}>");
        let (target, contact) = (Uri::parse(&uri)?, self.contact());
        let offer = Bytes::from(offer);
        let response = self
            .ask(|agent, via, cseq| {
                let request = NewRequest::new(Method::Invite, &target, via, &from, &to, &call_id, cseq);
                let request = agent.named(request).header(Name::Contact, &contact);
                WithBody { request, offer: Some(offer.clone()) }
            })
            .await?;
        let response = accept(&response).context("INVITE")?;
        let mut dialog = Dialog {
            target: contact_of(response)?,
            routes: response
                .all::<RecordRoute<'_>>()
                .flatten()
                .map(|route| format!("<{}>", route.uri_text()))
                .collect(),
            from,
            to: response.text(Name::To).unwrap_or_default().to_owned(),
            call_id,
            cseq: self.cseq,
        };
        dialog.routes.reverse();
        let ack = self.within(&dialog, Method::Ack);
        self.send(ack.to_bytes()).await?;
        Ok((dialog, text(response.body())?))
    }

    /// Waits for a call, and takes it with what `answer` says to its offer.
    ///
    /// # Errors
    /// No call comes, or its offer cannot be answered.
    pub(super) async fn take(
        &mut self,
        answer: impl FnOnce(&str) -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        let invite = self.request(&Method::Invite, until).await.context("the INVITE has not come")?;
        let tag = build::random_tag(&mut rand::rng());
        let ringing = Reply::new(&invite, StatusCode::RINGING).to_tag(&tag).record_route();
        self.send(ringing.header(Name::Contact, self.contact()).build().to_bytes()).await?;
        let sdp = match answer(&text(invite.body())?) {
            Ok(sdp) => sdp,
            Err(error) => {
                let refused = Reply::new(&invite, StatusCode::NOT_ACCEPTABLE_HERE).to_tag(&tag).build();
                self.send(refused.to_bytes()).await?;
                return Err(error);
            }
        };
        let ok = Reply::new(&invite, StatusCode::OK).to_tag(&tag).record_route();
        let ok = ok.header(Name::Contact, self.contact()).body(SDP, sdp.into()).build().to_bytes();
        let mut wait = T1;
        loop {
            self.send(ok.clone()).await?;
            // Until the ACK has come (RFC 3261 §13.3.1.4).
            match self.request(&Method::Ack, (Instant::now() + wait).min(until)).await {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() >= until => return Err(error.context("the ACK has not come")),
                Err(_) => wait *= 2,
            }
        }
    }

    /// Ends a dialog.
    ///
    /// # Errors
    /// The other end does not answer, or refuses.
    pub(super) async fn hang_up(&mut self, mut dialog: Dialog) -> anyhow::Result<()> {
        self.cseq += 1;
        dialog.cseq = self.cseq;
        let bye = self.within(&dialog, Method::Bye);
        accept(&self.exchange(&bye).await?).map(drop).context("BYE")
    }

    /// Waits until the other end hangs up.
    ///
    /// # Errors
    /// It does not.
    pub(super) async fn be_hung_up(&mut self) -> anyhow::Result<()> {
        let bye =
            self.request(&Method::Bye, Instant::now() + PATIENCE).await.context("the BYE has not come")?;
        self.send(Reply::new(&bye, StatusCode::OK).build().to_bytes()).await
    }

    fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{}", self.domain)
    }

    fn contact(&self) -> String {
        let transport = if self.protocol.is_websocket() { ";transport=ws" } else { "" };
        format!("<sip:{}@{}{transport}>", self.user, self.host)
    }

    fn via(&self) -> String {
        build::via(self.protocol, &self.host, &build::random_branch(&mut rand::rng()))
    }

    fn named(&self, request: NewRequest) -> NewRequest {
        request.header(Name::UserAgent, "causeway doctor")
    }

    fn within(&self, dialog: &Dialog, method: Method) -> Request {
        let Dialog { target, routes, from, to, call_id, cseq } = dialog;
        let request = NewRequest::new(method, target, &self.via(), from, to, call_id, *cseq);
        routes.iter().fold(request, |request, route| request.header(Name::Route, route)).build()
    }

    /// Sends what `make` makes of a Via and a number, and once more with the answer to a challenge; the last response.
    async fn ask<R: Into<WithBody>>(
        &mut self,
        make: impl Fn(&Self, &str, u32) -> R,
    ) -> anyhow::Result<Response> {
        self.cseq += 1;
        let request = make(self, &self.via(), self.cseq).into().build(None);
        let response = self.exchange(&request).await?;
        let Some((name, credentials)) = self.prove(&request, &response) else { return Ok(response) };
        self.cseq += 1;
        let request = make(self, &self.via(), self.cseq).into().build(Some((name, &credentials)));
        self.exchange(&request).await
    }

    fn prove(&self, request: &Request, response: &Response) -> Option<(Name<'static>, String)> {
        let cnonce = format!("{:016x}", rand::rng().random::<u64>());
        let prove = |challenge: &Challenge<'_>| {
            let (username, password) = (self.user.as_str(), self.password.as_str());
            let (method, uri) = (request.method(), request.uri_text());
            Answer { username, password, method, uri, cnonce: &cnonce, count: 1 }.to(challenge)
        };
        match response.status().code() {
            401 => {
                let mut challenges = response.all::<WwwAuthenticate<'_>>().flatten();
                challenges.find_map(|challenge| prove(&challenge.0)).map(|value| (Name::Authorization, value))
            }
            407 => {
                let mut challenges = response.all::<ProxyAuthenticate<'_>>().flatten();
                challenges
                    .find_map(|challenge| prove(&challenge.0))
                    .map(|value| (Name::ProxyAuthorization, value))
            }
            _ => None,
        }
    }

    /// The final response to a request; one that refuses an INVITE is acknowledged.
    async fn exchange(&mut self, request: &Request) -> anyhow::Result<Response> {
        let until = Instant::now() + PATIENCE;
        let branch = request.top_via()?.branch().unwrap_or_default().to_owned();
        let (bytes, mut wait, mut is_heard) = (request.to_bytes(), T1, self.protocol.is_reliable());
        loop {
            self.send(bytes.clone()).await?;
            let again = if is_heard { until } else { (Instant::now() + wait).min(until) };
            wait *= 2;
            while let Some(message) = self.receive(again).await? {
                let response = match message {
                    Message::Request(request) => {
                        self.note(request).await?;
                        continue;
                    }
                    Message::Response(response) => response,
                };
                let is_its = response.top_via().ok().and_then(|via| via.branch()) == Some(&branch)
                    && response.cseq().is_ok_and(|cseq| cseq.method() == *request.method());
                if is_its && response.status().is_final() {
                    if *request.method() == Method::Invite && !response.status().is_success() {
                        self.send(build::ack(request, &response, "").to_bytes()).await?;
                    }
                    return Ok(response);
                }
                is_heard |= is_its;
            }
            if Instant::now() >= until {
                bail!("{} is not answered in {} s", request.method(), PATIENCE.as_secs());
            }
        }
    }

    /// The next request of a method.
    async fn request(&mut self, method: &Method, until: Instant) -> anyhow::Result<Request> {
        loop {
            if let Some(at) = self.waiting.iter().position(|request| request.method() == method) {
                return self.waiting.remove(at).context("a request");
            }
            match self.receive(until).await?.context("nothing more came in time")? {
                Message::Request(request) => self.note(request).await?,
                Message::Response(_) => {}
            }
        }
    }

    /// Keeps a request for whoever waits for it; keep-alives are answered.
    async fn note(&mut self, request: Request) -> anyhow::Result<()> {
        if *request.method() == Method::Options {
            let ok = Reply::new(&request, StatusCode::OK).to_tag("doctor").build();
            return self.send(ok.to_bytes()).await;
        }
        self.waiting.push_back(request);
        Ok(())
    }

    async fn send(&mut self, bytes: Bytes) -> anyhow::Result<()> {
        match &mut self.line {
            Line::Datagrams(socket) => _ = socket.send(&bytes).await?,
            Line::Socket(socket) => socket.send(Frame::text(String::from_utf8(bytes.into())?)).await?,
        }
        Ok(())
    }

    /// The next message; `None` when none comes in time.
    async fn receive(&mut self, until: Instant) -> anyhow::Result<Option<Message>> {
        let mut buffer = vec![0; 65_536];
        loop {
            let bytes = match &mut self.line {
                Line::Datagrams(socket) => match timeout_at(until, socket.recv(&mut buffer)).await {
                    Err(_) => return Ok(None),
                    // What is told of a port that is closed comes as an error, once.
                    Ok(received) => {
                        Bytes::copy_from_slice(&buffer[..received.context("the gateway is not there")?])
                    }
                },
                Line::Socket(socket) => match timeout_at(until, socket.next()).await {
                    Err(_) => return Ok(None),
                    Ok(None) => bail!("the gateway has closed the WebSocket"),
                    Ok(Some(frame)) => match frame? {
                        Frame::Text(text) => Bytes::copy_from_slice(text.as_bytes()),
                        Frame::Binary(bytes) => bytes,
                        _ => continue,
                    },
                },
            };
            // Keep-alives are no messages.
            if let Ok(message) = Message::parse(bytes) {
                return Ok(Some(message));
            }
        }
    }
}

/// A request in the making, with what it offers.
struct WithBody {
    request: NewRequest,
    offer: Option<Bytes>,
}

impl From<NewRequest> for WithBody {
    fn from(request: NewRequest) -> Self {
        Self { request, offer: None }
    }
}

impl WithBody {
    fn build(self, credentials: Option<(Name<'static>, &str)>) -> Request {
        let request = match credentials {
            Some((name, value)) => self.request.header(name, value),
            None => self.request,
        };
        match self.offer {
            Some(offer) => request.body(SDP, offer),
            None => request.build(),
        }
    }
}

fn accept(response: &Response) -> anyhow::Result<&Response> {
    let status = response.status();
    anyhow::ensure!(status.is_success(), "{} {}", status.code(), response.reason());
    Ok(response)
}

fn contact_of(message: &Fields) -> anyhow::Result<Uri> {
    let contact = message.get::<Contact<'_>>()?.context("no Contact")?;
    Ok(contact.address().context("no Contact")?.uri()?)
}

fn text(body: &Bytes) -> anyhow::Result<String> {
    Ok(std::str::from_utf8(body).context("the body is no text")?.to_owned())
}
