//! baresip, a real legacy phone: G.711 and RFC 4733 over plain RTP, SIP over UDP.
//!
//! It is driven through its `ctrl_tcp` module (JSON in netstrings), speaks a tone out of a file and records what it hears.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;

use crate::chromium::find;
use crate::ports::Ports;
use crate::process::Process;
use crate::tone::{self, Heard, Sound};
use crate::voice;
use crate::wait::{self, PATIENCE};

/// The account a phone signs in with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User part of the address of record.
    pub user: String,
    /// Its password.
    pub password: String,
    /// The SIP domain.
    pub domain: String,
}

impl Account {
    /// Its address of record.
    #[must_use]
    pub fn uri(&self) -> String {
        format!("sip:{}@{}", self.user, self.domain)
    }
}

/// A running baresip.
#[derive(Debug)]
pub struct Baresip {
    control: OwnedWriteHalf,
    events: Arc<Mutex<Vec<Value>>>,
    process: Process,
    home: TempDir,
    _ports: Ports,
}

impl Baresip {
    /// Starts a phone that speaks `tone` Hz and signs in at `proxy` over `transport` (`udp`, `tcp` or `tls`); returns once
    /// it runs, registered or not.
    pub async fn start(account: &Account, proxy: SocketAddr, transport: &str, tone: f64) -> Result<Self> {
        Self::start_with(account, proxy, transport, tone, "").await
    }

    /// The same with one codec alone, as `PCMA/8000/1`; empty for all that it has.
    async fn start_with(
        account: &Account,
        proxy: SocketAddr,
        transport: &str,
        tone: impl Into<Sound>,
        codec: &str,
    ) -> Result<Self> {
        let Account { user, password, domain } = account;
        let codecs = if codec.is_empty() { String::new() } else { format!(";audio_codecs={codec}") };
        let line = format!(
            "<sip:{user}@{domain};transport={transport}>;auth_pass={password};regint=60;\
             outbound=\"sip:{proxy};transport={transport}\"{codecs}\n"
        );
        // Port 0: the kernel chooses.
        let any = if proxy.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        Self::launch(&line, any, tone.into(), Ports::take().await?).await
    }

    /// Starts a phone without an account anywhere, and tells by which URI it is called on the loopback.
    pub async fn direct(user: &str, tone: f64) -> Result<(Self, String)> {
        let mut ports = Ports::take().await?;
        let uri = format!("{user}@127.0.0.1:{}", ports.listener()?);
        let listen = uri.split_once('@').map_or("", |(_, host)| host);
        // Its TLS listener is on the next one without being asked.
        ports.listener()?;
        let phone = Self::launch(&format!("<sip:{uri}>;regint=0\n"), listen, tone.into(), ports).await?;
        Ok((phone, format!("sip:{uri}")))
    }

    async fn launch(account: &str, listen: &str, tone: Sound, mut ports: Ports) -> Result<Self> {
        let home = tempfile::tempdir()?;
        let control = ports.listener()?;
        let path = home.path().to_str().context("the path of the home is no text")?;
        tone::write_wav(&home.path().join("tone.wav"), tone, RATE, 120)?;
        fs::write(home.path().join("config"), config(path, listen, control, ports.media()))?;
        fs::write(home.path().join("contacts"), "")?;
        fs::write(home.path().join("accounts"), account)?;
        let mut process = Process::start(&find(&["baresip"])?, &["-f", path, "-v"], &[], home.path())?;
        process
            .line("baresip is ready", PATIENCE, |line| line.contains("baresip is ready").then_some(()))
            .await?;
        let stream = TcpStream::connect(("127.0.0.1", control))
            .await
            .context("cannot reach baresip's control port")?;
        let (mut reader, writer) = stream.into_split();
        let events = Arc::<Mutex<Vec<Value>>>::default();
        let kept = Arc::clone(&events);
        tokio::spawn(async move {
            let mut unread = Vec::new();
            while reader.read_buf(&mut unread).await.is_ok_and(|read| read > 0) {
                while let Some(text) = next_netstring(&mut unread) {
                    if let Ok(value) = serde_json::from_slice(&text) {
                        kept.lock().unwrap_or_else(PoisonError::into_inner).push(value);
                    }
                }
            }
        });
        Ok(Self { control: writer, events, process, home, _ports: ports })
    }

    /// The same, and waits for the registration.
    pub async fn registered(
        account: &Account,
        proxy: SocketAddr,
        transport: &str,
        tone: f64,
    ) -> Result<Self> {
        Self::registered_with(account, proxy, transport, tone, "").await
    }

    /// The same with one codec alone, as `PCMA/8000/1`.
    pub async fn registered_with(
        account: &Account,
        proxy: SocketAddr,
        transport: &str,
        tone: impl Into<Sound>,
        codec: &str,
    ) -> Result<Self> {
        let mut phone = Self::start_with(account, proxy, transport, tone, codec).await?;
        // Printed, not asked of the control port: it may be registered before that port is.
        phone
            .process
            .line("its registration", PATIENCE, |line| line.contains("[1 binding]").then_some(()))
            .await?;
        Ok(phone)
    }

    /// Runs a command of baresip's menu: `dial`, `accept`, `hangup`, `hold`, `resume`, `sndcode` (one DTMF digit).
    pub async fn command(&mut self, command: &str, parameters: &str) -> Result<()> {
        let text = json!({ "command": command, "params": parameters }).to_string();
        self.control.write_all(format!("{}:{text},", text.len()).as_bytes()).await?;
        Ok(())
    }

    /// Calls `uri`.
    pub async fn dial(&mut self, uri: &str) -> Result<()> {
        self.command("dial", uri).await
    }

    /// Answers the call that rings.
    pub async fn accept(&mut self) -> Result<()> {
        self.command("accept", "").await
    }

    /// Ends the call, refuses the one that rings, or gives up the one that is being placed.
    pub async fn hang_up(&mut self) -> Result<()> {
        self.command("hangup", "").await
    }

    /// Presses a key of the dial pad.
    pub async fn press(&mut self, digit: char) -> Result<()> {
        self.command("sndcode", &digit.to_string()).await
    }

    /// How many events came so far: where [`Baresip::event_after`] begins to look.
    #[must_use]
    pub fn mark(&self) -> usize {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The first event of this kind (`CALL_INCOMING`, `CALL_ESTABLISHED`, `CALL_CLOSED`, `CALL_DTMF_START` ...).
    pub async fn event(&self, kind: &str) -> Result<Value> {
        self.event_after(0, kind).await
    }

    /// The first such event after a [`Baresip::mark`].
    pub async fn event_after(&self, mark: usize, kind: &str) -> Result<Value> {
        let found = wait::until_now(format!("{kind} at baresip"), PATIENCE, || {
            let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.iter().skip(mark).find(|event| event["type"] == kind).cloned()
        });
        found.await.with_context(|| self.process.tail())
    }

    /// The DTMF digits heard since a [`Baresip::mark`].
    #[must_use]
    pub fn digits_after(&self, mark: usize) -> String {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let digits = events.iter().skip(mark).filter(|event| event["type"] == "CALL_DTMF_START");
        digits.filter_map(|event| event["param"].as_str()).collect()
    }

    /// What it hears from now on for `span`, once that much has come in; silence when nothing comes.
    pub async fn listen(&self, span: Duration) -> Result<Heard> {
        let (samples, rate) = self.capture(span).await?;
        Ok(tone::hear(&samples, rate))
    }

    /// The same as samples, and their rate.
    async fn capture(&self, span: Duration) -> Result<(Vec<i16>, u32)> {
        let start = self.recorded()?;
        let rate = || self.recording()?.map(|file| tone::rate_of(&file)).transpose();
        let recorded = wait::until("sound at baresip", span * 8, || async {
            // A wideband codec is recorded at its own rate.
            let Some(rate) = rate()? else { return Ok(None) };
            let wanted = (f64::from(rate) * span.as_secs_f64()) as usize * 2;
            Ok((self.recorded()? >= start + wanted).then_some((rate, wanted)))
        });
        let Ok((rate, wanted)) = recorded.await else { return Ok((Vec::new(), RATE)) };
        let file = self.recording()?.context("no recording")?;
        let (mut samples, _) = tone::read_wav(&file, start)?;
        samples.truncate(wanted / 2);
        Ok((samples, rate))
    }

    /// Waits until it hears the voice, and so much of it.
    pub async fn hears_voice(&self, least: f64) -> Result<()> {
        voice::heard("the voice at baresip", least, async || self.capture(voice::PIECE).await)
            .await
            .with_context(|| self.process.tail())
    }

    /// Waits until it hears the tone of `frequency` Hz.
    pub async fn hears(&self, frequency: f64) -> Result<()> {
        let mut last = None;
        let heard = wait::until(format!("{frequency} Hz at baresip"), PATIENCE, || async {
            let heard = self.listen(Duration::from_millis(400)).await?;
            Ok(heard.is(frequency).then_some(()))
        });
        if let Err(error) = heard.await {
            last.replace(self.listen(Duration::from_millis(400)).await?);
            bail!("{error}; heard {last:?}\n{}", self.process.tail());
        }
        Ok(())
    }

    /// Waits until RTP goes on coming in: the packets counted in its RTCP rise by a second's worth.
    ///
    /// This stands in for [`Baresip::hears`] after a re-INVITE: baresip 1.0 then forgets the filter that records.
    pub async fn goes_on_receiving(&self) -> Result<()> {
        let mark = self.mark();
        let mut first = None;
        let rising = wait::until_now("RTP at baresip", PATIENCE, || {
            let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            let mut counts =
                events.iter().skip(mark).filter_map(|event| event["rtcp_stats"]["rx"]["sent"].as_u64());
            let last = counts.next_back()?;
            let first = *first.get_or_insert(last);
            (last >= first + 50).then_some(())
        });
        rising.await.with_context(|| self.process.tail())
    }

    /// Everything it printed.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.process.lines()
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    fn recorded(&self) -> Result<usize> {
        Ok(match self.recording()? {
            Some(file) => fs::metadata(file)?.len() as usize,
            None => 0,
        })
    }

    /// The file into which its `sndfile` module writes what the call in progress (or the last one) let it hear.
    fn recording(&self) -> Result<Option<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(self.home.path())? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with("-dec.wav") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files.pop())
    }
}

const RATE: u32 = 8000;

/// `aubridge` is a loudspeaker that nobody hears but that plays at the right pace.
fn config(home: &str, listen: &str, control: u16, (first, last): (u16, u16)) -> String {
    format!(
        "poll_method epoll\n\
         sip_listen {listen}\n\
         audio_source aufile,{home}/tone.wav\n\
         audio_player aubridge,ear\n\
         audio_alert aubridge,bell\n\
         ausrc_srate {RATE}\n\
         auplay_srate {RATE}\n\
         ausrc_channels 1\n\
         auplay_channels 1\n\
         jitter_buffer_delay 2-10\n\
         rtp_ports {first}-{last}\n\
         snd_path {home}\n\
         module_path {MODULES}\n\
         module g711.so\n\
         module g722.so\n\
         module aufile.so\n\
         module aubridge.so\n\
         module sndfile.so\n\
         module_tmp account.so\n\
         module_app menu.so\n\
         module_app ctrl_tcp.so\n\
         ctrl_tcp_listen 127.0.0.1:{control}\n"
    )
}

const MODULES: &str = "/usr/lib/baresip/modules";

/// Takes one netstring (`LENGTH:TEXT,`) off the front, when it is whole.
fn next_netstring(unread: &mut Vec<u8>) -> Option<Vec<u8>> {
    let colon = unread.iter().position(|b| *b == b':')?;
    let length: usize = std::str::from_utf8(&unread[..colon]).ok()?.parse().ok()?;
    let end = colon + 1 + length + 1;
    if unread.len() < end {
        return None;
    }
    let text = unread[colon + 1..end - 1].to_vec();
    unread.drain(..end);
    Some(text)
}

/// Fails unless `digits` came in this order since a [`Baresip::mark`], and nothing else.
pub async fn expect_digits(phone: &Baresip, mark: usize, digits: &str) -> Result<()> {
    let heard = wait::until_now(format!("digits {digits}"), PATIENCE, || {
        (phone.digits_after(mark).len() >= digits.len()).then_some(())
    });
    heard.await.with_context(|| format!("heard {:?}", phone.digits_after(mark)))?;
    ensure!(phone.digits_after(mark) == digits, "wanted {digits:?}, heard {:?}", phone.digits_after(mark));
    Ok(())
}
