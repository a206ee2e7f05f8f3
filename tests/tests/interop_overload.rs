//! Five times the calls that the gateway can carry: what it refuses hears 503 with Retry-After, what it accepts completes, its
//! memory stays bounded, and soon afterwards all is as before.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::baresip::Account;
use e2e::bystanders::Bystanders;
use e2e::digest::Client;
use e2e::gateway::{DOMAIN, Gateway};
use e2e::phone::Phone;
use e2e::sip::Message;
use e2e::wait::PATIENCE;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// RFC 3261's T1, and a shorter T2 than its own, so that a call that has lost a datagram has its end soon.
const T1: Duration = Duration::from_millis(500);
const T2: Duration = Duration::from_secs(2);
/// How long capacity is measured, and how long five times as much lasts.
const MEASURE: Duration = Duration::from_secs(2);
const LOAD: Duration = Duration::from_secs(4);
/// Never more calls than this, however fast the machine.
const MOST_CALLS: usize = 40_000;

/// Where a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The INVITE without credentials is out.
    Asked,
    /// The one with them is.
    Called,
    /// It was answered, and the BYE is out.
    Ending,
    Completed,
    /// 503 to the INVITE.
    Refused,
    /// Any other end.
    Failed(u16),
}

#[derive(Debug)]
struct Call {
    state: State,
    /// The request to repeat until it is answered, and when next.
    request: String,
    due: Instant,
    pause: Duration,
    /// Whether a provisional response says that repeating is of no use.
    heard: bool,
}

/// Many callers on one socket.
struct Callers {
    socket: UdpSocket,
    proxy: SocketAddr,
    account: Account,
    calls: HashMap<String, Call>,
    /// Those that are not over.
    open: usize,
    next: usize,
}

impl Callers {
    async fn new(gateway: &Gateway, account: Account) -> Result<Self> {
        let socket = UdpSocket::bind((gateway.address, 0)).await?;
        Ok(Self { socket, proxy: gateway.proxy(), account, calls: HashMap::new(), open: 0, next: 0 })
    }

    /// A request of the call `id`; `more` are whole header lines.
    fn request(
        &self,
        method: &str,
        id: &str,
        cseq: u32,
        branch: &str,
        to_tag: &str,
        more: &str,
    ) -> Result<String> {
        let local = self.socket.local_addr()?;
        let user = &self.account.user;
        Ok(format!(
            "{method} sip:bob@{DOMAIN} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{branch};rport\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{DOMAIN}>;tag=f{id}\r\nTo: <sip:bob@{DOMAIN}>{to_tag}\r\n\
             Call-ID: {id}\r\nCSeq: {cseq} {method}\r\nContact: <sip:{user}@{local}>\r\n{more}Content-Length: 0\r\n\r\n"
        ))
    }

    /// Sends what the kernel takes; the rest is lost, as on a wire, and sent again.
    fn send(&self, text: &str) {
        let _ = self.socket.try_send_to(text.as_bytes(), self.proxy);
    }

    fn begin(&mut self, now: Instant) -> Result<()> {
        self.next += 1;
        let id = format!("o{}-{}", self.next, self.socket.local_addr()?.port());
        let request = self.request("INVITE", &id, 1, &format!("{id}a"), "", "")?;
        self.send(&request);
        self.calls.insert(id, Call { state: State::Asked, request, due: now + T1, pause: T1, heard: false });
        self.open += 1;
        Ok(())
    }

    /// Repeats what nobody has answered (RFC 3261 §17.1).
    fn repeat(&mut self, now: Instant) {
        let mut due = Vec::new();
        for call in self.calls.values_mut() {
            let waits = matches!(call.state, State::Asked | State::Called | State::Ending) && !call.heard;
            if waits && call.due <= now {
                // Timer A of an INVITE doubles without end, timer E of the others up to T2 (RFC 3261 §17.1).
                let longest = if call.state == State::Ending { T2 } else { Duration::MAX };
                call.pause = (call.pause * 2).min(longest);
                call.due = now + call.pause;
                due.push(call.request.clone());
            }
        }
        for request in due {
            self.send(&request);
        }
    }

    /// Takes the responses that come until `deadline`.
    async fn listen(&mut self, deadline: Instant) -> Result<()> {
        let mut buffer = vec![0; 65_536];
        while let Ok(received) =
            timeout(deadline.saturating_duration_since(Instant::now()), self.socket.recv_from(&mut buffer))
                .await
        {
            let message = Message::parse(&buffer[..received?.0])?;
            self.take(&message)?;
            while let Ok((length, _)) = self.socket.try_recv_from(&mut buffer) {
                self.take(&Message::parse(&buffer[..length])?)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, response: &Message) -> Result<()> {
        let id = response.header("Call-ID").to_owned();
        let (Some(status), (cseq, method)) = (response.status(), response.cseq()) else { return Ok(()) };
        let Some(call) = self.calls.get_mut(&id) else { return Ok(()) };
        let state = call.state;
        if status < 200 {
            call.heard |=
                method == "INVITE" && matches!((state, cseq), (State::Asked, 1) | (State::Called, 2));
            return Ok(());
        }
        let to_tag = format!(";tag={}", response.parameter("To", "tag").unwrap_or_default());
        match (method, status) {
            ("INVITE", 200) => self.answered(&id, response, &to_tag, state),
            ("INVITE", _) => {
                let branch = if cseq == 1 { "a" } else { "b" };
                let ack = self.request("ACK", &id, cseq, &format!("{id}{branch}"), &to_tag, "")?;
                self.send(&ack);
                match (state, status) {
                    (State::Asked, 407) => self.call(&id, response),
                    (State::Asked | State::Called, 503) => {
                        ensure!(!response.header("Retry-After").is_empty(), "{response}");
                        self.end(&id, State::Refused)
                    }
                    (State::Called, _) => self.end(&id, State::Failed(status)),
                    _ => Ok(()),
                }
            }
            ("BYE", _) if state == State::Ending => {
                self.end(&id, if status == 200 { State::Completed } else { State::Failed(status) })
            }
            _ => Ok(()),
        }
    }

    /// The INVITE once more, with credentials.
    fn call(&mut self, id: &str, challenge: &Message) -> Result<()> {
        let uri = format!("sip:bob@{DOMAIN}");
        let (user, password) = (&self.account.user, &self.account.password);
        let client = Client { user, password, method: "INVITE", uri: &uri, nc: 1 };
        let credentials = client.answer(challenge.header("Proxy-Authenticate"))?;
        let more = format!("Proxy-Authorization: {credentials}\r\n");
        let request = self.request("INVITE", id, 2, &format!("{id}b"), "", &more)?;
        self.go_on(id, State::Called, request)
    }

    /// ACK, and BYE at once.
    fn answered(&mut self, id: &str, response: &Message, to_tag: &str, state: State) -> Result<()> {
        let mut routes: Vec<&str> = response.all("Record-Route").flat_map(|line| line.split(',')).collect();
        routes.reverse();
        let routes: String = routes.iter().map(|route| format!("Route: {}\r\n", route.trim())).collect();
        let uri = format!("sip:bob@{DOMAIN}");
        let in_dialog = |text: String| text.replacen(&uri, response.address("Contact"), 1);
        let ack = in_dialog(self.request("ACK", id, 2, &format!("{id}k"), to_tag, &routes)?);
        self.send(&ack);
        if state != State::Called {
            return Ok(());
        }
        let bye = in_dialog(self.request("BYE", id, 3, &format!("{id}e"), to_tag, &routes)?);
        self.go_on(id, State::Ending, bye)
    }

    fn go_on(&mut self, id: &str, state: State, request: String) -> Result<()> {
        self.send(&request);
        let call = self.calls.get_mut(id).context("the call")?;
        *call = Call { state, request, due: Instant::now() + T1, pause: T1, heard: false };
        Ok(())
    }

    fn end(&mut self, id: &str, state: State) -> Result<()> {
        self.calls.get_mut(id).context("the call")?.state = state;
        self.open -= 1;
        Ok(())
    }

    /// How many are where.
    fn summary(&self) -> String {
        let count = |name, wanted: fn(State) -> bool| format!("{} {name}", self.count(wanted));
        [
            count("asked", |state| state == State::Asked),
            count("called", |state| state == State::Called),
            count("ending", |state| state == State::Ending),
            count("completed", |state| state == State::Completed),
            count("refused", |state| state == State::Refused),
            format!("failed with {:?}", self.failures()),
        ]
        .join(", ")
    }

    /// The status codes of those that had any other end.
    fn failures(&self) -> Vec<u16> {
        let code = |call: &Call| if let State::Failed(code) = call.state { Some(code) } else { None };
        self.calls.values().filter_map(code).collect()
    }

    fn count(&self, wanted: impl Fn(State) -> bool) -> usize {
        self.calls.values().filter(|call| wanted(call.state)).count()
    }
}

/// Answers every call until told to stop, and repeats each answer until it is acknowledged.
async fn answer(mut bob: Phone, stop: Arc<AtomicBool>) -> Result<()> {
    let mut unacknowledged: HashMap<String, (Message, Instant)> = HashMap::new();
    while !stop.load(Ordering::Relaxed) {
        if let Ok(request) =
            bob.receive_within("a request", Duration::from_millis(50), |m| m.method().is_some()).await
        {
            let id = request.header("Call-ID").to_owned();
            match request.method() {
                Some("ACK") => drop(unacknowledged.remove(&id)),
                Some("INVITE") => {
                    let response = bob.response(&request, 200, "OK", "b");
                    bob.send(&response).await?;
                    unacknowledged.insert(id, (response, Instant::now() + T1));
                }
                _ => {
                    let response = bob.response(&request, 200, "OK", "b");
                    bob.send(&response).await?;
                }
            }
        }
        let now = Instant::now();
        for (response, due) in unacknowledged.values_mut().filter(|(_, due)| *due <= now) {
            *due = now + T2;
            bob.send(response).await?;
        }
    }
    Ok(())
}

/// Resident memory of a process, in MiB.
fn memory(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).context("no number")?.parse::<u64>()? / 1024)
}

/// As many calls as are carried when each waits for another's end.
async fn capacity(mut callers: Callers) -> Result<usize> {
    let end = Instant::now() + MEASURE;
    while Instant::now() < end {
        while callers.open < 20 {
            callers.begin(Instant::now())?;
        }
        callers.listen(Instant::now() + Duration::from_millis(5)).await?;
        callers.repeat(Instant::now());
    }
    let carried = callers.count(|state| state == State::Completed);
    ensure!(carried > 10, "only {carried} calls in {MEASURE:?}");
    Ok(carried)
}

/// Begins `rate` calls a second, whether or not they can be carried; the most memory that was seen meanwhile.
async fn press(many: &mut Callers, rate: f64, process: u32) -> Result<u64> {
    let begun = Instant::now();
    let mut most = 0;
    while begun.elapsed() < LOAD {
        let owed = (begun.elapsed().as_secs_f64() * rate) as usize;
        while many.next < owed.min(MOST_CALLS) {
            many.begin(Instant::now())?;
        }
        many.listen(Instant::now() + Duration::from_millis(5)).await?;
        many.repeat(Instant::now());
        most = most.max(memory(process)?);
    }
    Ok(most)
}

/// Waits until whoever calls gets through at the first attempt again; how long that takes. Five seconds are enough on a machine
/// that does nothing else; here others may be at work.
async fn normal_again(many: &mut Callers, mut one: Callers) -> Result<Duration> {
    let over = Instant::now();
    while over.elapsed() < PATIENCE {
        let (begun, before) = (Instant::now(), one.count(|state| state == State::Completed));
        one.begin(begun)?;
        while begun.elapsed() < 2 * T1 {
            let moment = Instant::now() + Duration::from_millis(5);
            tokio::try_join!(one.listen(moment), many.listen(moment))?;
            many.repeat(Instant::now());
            if one.count(|state| state == State::Completed) > before {
                return Ok(over.elapsed());
            }
        }
    }
    bail!("no call is served at once long after the load; then: {}; now: {}", many.summary(), one.summary())
}

/// Beside a page and a phone that talk, and others who call each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_times_what_it_can_carry() -> Result<()> {
    let mut all = Bystanders::begin(Gateway::start().await?).await?;
    let gateway = &mut all.ends.gateway;
    let bob = Phone::registered(gateway.account("bob", "many-calls-1")?, gateway.proxy()).await?;
    let account = gateway.account("frank", "many-calls-2")?;
    let process = gateway.process().id();
    let stop = Arc::new(AtomicBool::new(false));
    let callee = tokio::spawn(answer(bob, Arc::clone(&stop)));
    let mut callers = Vec::new();
    for _ in 0..3 {
        callers.push(Callers::new(gateway, account.clone()).await?);
    }
    let (one, mut many, measure) =
        callers.pop().zip(callers.pop()).zip(callers.pop()).map(|((a, b), c)| (a, b, c)).context("three")?;

    let flood = async {
        let carried = capacity(measure).await?;
        let before = memory(process)?;
        let rate = 5.0 * carried as f64 / MEASURE.as_secs_f64();
        let most = press(&mut many, rate, process).await?;
        let normal_after = normal_again(&mut many, one).await?;
        // Every call has its end.
        let patience = Instant::now() + 2 * PATIENCE;
        while many.open > 0 && Instant::now() < patience {
            many.listen(Instant::now() + Duration::from_millis(20)).await?;
            many.repeat(Instant::now());
        }
        let summary = format!(
            "{carried} calls in {MEASURE:?}; then {} at {rate:.0}/s: {}, {} open; memory {before} MiB, at most {most} MiB; \
             normal after {normal_after:?}",
            many.next,
            many.summary(),
            many.open
        );
        let completed = many.count(|state| state == State::Completed);
        let refused = many.count(|state| state == State::Refused);
        ensure!(
            refused > 0 && completed > carried / 4 && many.failures().is_empty() && many.open == 0,
            "{summary}"
        );
        ensure!(most.saturating_sub(before) < 192, "{summary}");
        Ok(summary)
    };
    let (summary, measured) = all.goes_on_during(flood).await?;
    stop.store(true, Ordering::Relaxed);
    callee.await??;
    report(&format!("{summary}; {measured:?}"));
    ensure!(measured.calls > 0, "{measured:?}");
    let log = all.ends.gateway.log();
    ensure!(log.iter().any(|line| line.contains("overload: new requests are refused")), "{summary}");
    ensure!(!log.iter().any(|line| line.contains("panicked")), "{summary}");
    Ok(())
}

/// The figures, for whoever runs it to see them (`--nocapture`).
#[allow(clippy::print_stdout, reason = "that is what they are for")]
fn report(figures: &str) {
    println!("{figures}");
}
