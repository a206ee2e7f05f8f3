//! The softphone page, driven as a person drives it: by its fields and buttons, each found by its `data-testid`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::baresip::Account;
use crate::bystanders::Passed;
use crate::chromium::Chromium;
use crate::devtools::Tab;
use crate::gateway::Gateway;
use crate::tone::{self, Heard};
use crate::voice;
use crate::wait::{self, PATIENCE};

/// The page in a tab.
#[derive(Debug)]
pub struct Page {
    /// The tab it is in.
    pub tab: Tab,
}

impl Page {
    /// Opens the gateway's page and waits for its sign-in form.
    pub async fn open(browser: &Chromium, gateway: &Gateway) -> Result<Self> {
        Self::open_at(browser, &gateway.page_url()).await
    }

    /// The same, by an address that somebody read.
    pub async fn open_at(browser: &Chromium, url: &str) -> Result<Self> {
        let page = Self::in_tab(browser.tab().await?).await?;
        page.tab.navigate(url).await?;
        page.shown("sign-in-user").await?;
        Ok(page)
    }

    /// Opens the page at `url`, but its WebSocket goes to `websocket`: the page as a site would serve it for a proxy of its own.
    pub async fn open_for(browser: &Chromium, url: &str, websocket: &str) -> Result<Self> {
        let page = Self::in_tab(browser.tab().await?).await?;
        let script = format!(
            "{{ const Own = window.WebSocket; window.WebSocket = class extends Own {{ \
             constructor(_url, protocols) {{ super({}, protocols); }} }}; }}",
            json!(websocket)
        );
        page.tab.before_every_document(&script).await?;
        page.tab.navigate(url).await?;
        page.shown("sign-in-user").await?;
        Ok(page)
    }

    /// Puts the instruments into a tab that has loaded nothing yet.
    pub async fn in_tab(tab: Tab) -> Result<Self> {
        tab.before_every_document(INSTRUMENTS).await?;
        Ok(Self { tab })
    }

    /// Opens the page and signs in; waits for the registration.
    pub async fn registered(browser: &Chromium, gateway: &Gateway, account: &Account) -> Result<Self> {
        let page = Self::open(browser, gateway).await?;
        page.sign_in(account).await?;
        page.registration("registered").await?;
        Ok(page)
    }

    /// Fills the sign-in form and sends it.
    pub async fn sign_in(&self, account: &Account) -> Result<()> {
        self.fill("sign-in-user", &account.user).await?;
        self.fill("sign-in-password", &account.password).await?;
        self.fill("sign-in-domain", &account.domain).await?;
        self.click("sign-in-submit").await
    }

    /// Waits for this state of the registration.
    pub async fn registration(&self, state: &str) -> Result<()> {
        let reached = format!("find('registration-state')?.dataset.state === {}", json!(state));
        self.until(&format!("the registration to be {state}"), &reached).await
    }

    /// Waits for one of these states of the call.
    pub async fn call(&self, states: &[&str]) -> Result<()> {
        let reached = format!("calls().some(c => {}.includes(c.dataset.state))", json!(states));
        self.until(&format!("a call that is {}", states.join(" or ")), &reached).await
    }

    /// Waits until a call is over, with this outcome (a code of the page's `words.ts`) when one is given.
    pub async fn call_over(&self, outcome: Option<&str>) -> Result<()> {
        let over = match outcome {
            Some(outcome) => {
                format!("calls().length && calls().every(c => c.dataset.outcome === {})", json!(outcome))
            }
            None => "!visible('incoming') && calls().every(c => c.dataset.state === 'ended')".to_owned(),
        };
        self.until(&format!("the end of the call, {outcome:?}"), &over).await
    }

    /// Waits until the call in progress is put on hold by `none`, `local`, `remote` or `both` ends.
    pub async fn hold_is(&self, holder: &str) -> Result<()> {
        let held = format!("call()?.dataset.hold === {}", json!(holder));
        self.until(&format!("hold: {holder}"), &held).await
    }

    /// Calls `target`, with video or without.
    pub async fn dial(&self, target: &str, video: bool) -> Result<()> {
        self.fill("dial-input", target).await?;
        self.click(if video { "dial-video-call" } else { "dial-call" }).await
    }

    /// Waits for the ring of a call and answers it.
    pub async fn answer(&self) -> Result<()> {
        self.shown("incoming").await?;
        self.click("answer").await
    }

    /// Writes into a field as a keyboard does, so that the page's own code notices.
    pub async fn fill(&self, id: &str, text: &str) -> Result<()> {
        self.shown(id).await?;
        self.run(&format!(
            "const field = find({id}); field.focus();\
             Object.getOwnPropertyDescriptor(Object.getPrototypeOf(field), 'value').set.call(field, {text});\
             field.dispatchEvent(new Event('input', {{ bubbles: true }}));\
             field.dispatchEvent(new Event('change', {{ bubbles: true }}));",
            id = json!(id),
            text = json!(text)
        ))
        .await
        .map(drop)
    }

    /// Chooses `value` in a list.
    pub async fn choose(&self, id: &str, value: &str) -> Result<()> {
        self.shown(id).await?;
        self.run(&format!(
            "const list = find({}); list.value = {}; list.dispatchEvent(new Event('change', {{ bubbles: true }}));",
            json!(id),
            json!(value)
        ))
        .await
        .map(drop)
    }

    /// Clicks a button, once it is there and can be clicked.
    pub async fn click(&self, id: &str) -> Result<()> {
        self.until(
            &format!("an enabled {id}"),
            &format!("visible({id}) && !find({id}).disabled", id = json!(id)),
        )
        .await?;
        self.run(&format!("find({}).click();", json!(id))).await.map(drop)
    }

    /// Waits until an element is shown.
    pub async fn shown(&self, id: &str) -> Result<()> {
        self.until(&format!("{id} to be shown"), &format!("visible({})", json!(id))).await
    }

    /// Waits until an element is not shown.
    pub async fn hidden(&self, id: &str) -> Result<()> {
        self.until(&format!("{id} to go away"), &format!("!visible({})", json!(id))).await
    }

    /// The text of an element; empty when it is not there.
    pub async fn text(&self, id: &str) -> Result<String> {
        let text = self.run(&format!("return find({})?.innerText ?? '';", json!(id))).await?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Waits until an error with this code (of the page's `words.ts`) is shown.
    pub async fn problem(&self, code: &str) -> Result<()> {
        let shown = format!(
            "[...document.querySelectorAll('[data-testid=error]')].some(e => e.dataset.code === {})",
            json!(code)
        );
        self.until(&format!("the error {code}"), &shown).await
    }

    /// Waits until `condition`, a JavaScript expression, holds. `find(id)`, `visible(id)`, `calls()`
    /// and `call()` (the one that is not over) are at hand.
    pub async fn until(&self, what: &str, condition: &str) -> Result<()> {
        let held = wait::until(what, PATIENCE, || async {
            let value = self.run(&format!("return Boolean({condition});")).await.unwrap_or(Value::Null);
            Ok((value == true).then_some(()))
        });
        match held.await {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error}\n{}", self.report().await),
        }
    }

    /// Listens to what the remote end says, for `span`.
    pub async fn listen(&self, span: Duration) -> Result<Heard> {
        let (samples, rate) = self.capture(span).await?;
        // Some milliseconds of a processor, in which others would wait for their packets.
        Ok(tokio::task::spawn_blocking(move || tone::hear(&samples, rate)).await?)
    }

    /// The same as samples, and their rate.
    async fn capture(&self, span: Duration) -> Result<(Vec<i16>, u32)> {
        let script =
            format!("return await instruments.listen({}, {});", json!("remote-audio"), span.as_millis());
        let answer = self.run(&script).await?;
        let rate = answer["rate"].as_u64().unwrap_or(48_000) as u32;
        let samples = answer["samples"].as_array().map(Vec::as_slice).unwrap_or_default();
        Ok((samples.iter().filter_map(|sample| sample.as_i64().map(|s| s as i16)).collect(), rate))
    }

    /// Waits until the voice comes out of the page's loudspeaker, and so much of it.
    pub async fn hears_voice(&self, least: f64) -> Result<()> {
        let heard = voice::heard("the voice at the page", least, async || self.capture(voice::PIECE).await);
        match heard.await {
            Ok(()) => Ok(()),
            Err(error) => bail!("{error}\n{}", self.report().await),
        }
    }

    /// Waits until the tone of `frequency` Hz comes out of the page's loudspeaker.
    pub async fn hears(&self, frequency: f64) -> Result<()> {
        self.listens_until(&format!("{frequency} Hz at the page"), |heard| heard.is(frequency)).await
    }

    /// Waits until nothing comes out of the page's loudspeaker.
    pub async fn hears_nothing(&self) -> Result<()> {
        self.listens_until("silence at the page", |heard| heard.is_silence()).await
    }

    async fn listens_until(&self, what: &str, wanted: impl Fn(&Heard) -> bool) -> Result<()> {
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let heard = self.listen(Duration::from_millis(350)).await?;
            if wanted(&heard) {
                return Ok(());
            }
            last = Some(heard);
        }
        bail!("no {what}; heard {last:?}\n{}", self.report().await)
    }

    /// Frames decoded so far over all peer connections of the page.
    pub async fn frames_decoded(&self) -> Result<u64> {
        Ok(self.run("return await instruments.framesDecoded();").await?.as_u64().unwrap_or(0))
    }

    /// What became of the audio packets that were sent to the page, over all of its calls.
    pub async fn passed(&self) -> Result<Passed> {
        let packets = self.run("return await instruments.audioPackets();").await?;
        let number = |name: &str| packets[name].as_i64().unwrap_or(0).max(0).unsigned_abs();
        Ok(Passed { received: number("received"), lost: number("lost") })
    }

    /// From the next call on the page has no audio codec but this one (in lower case), and telephone-event.
    pub async fn only_codec(&self, name: &str) -> Result<()> {
        self.run(&format!("instruments.onlyCodec = {};", json!(name))).await.map(drop)
    }

    /// From the next call on the page has all its codecs again.
    pub async fn all_codecs(&self) -> Result<()> {
        self.run("instruments.onlyCodec = undefined;").await.map(drop)
    }

    /// The SDPs the page's peer connections were given and made: `[{ kind, type, sdp }]`, kind `local` or `remote`.
    pub async fn descriptions(&self) -> Result<Vec<(String, String, String)>> {
        let list = self.run("return instruments.descriptions;").await?;
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let list = list.as_array().map(Vec::as_slice).unwrap_or_default();
        Ok(list.iter().map(|d| (word(&d["kind"]), word(&d["type"]), word(&d["sdp"]))).collect())
    }

    /// Runs the body of an async function in the page and returns its value.
    pub async fn run(&self, body: &str) -> Result<Value> {
        let script = format!(
            "(async () => {{ const find = id => document.querySelector(`[data-testid=\"${{id}}\"]`);\
             const visible = id => {{ const e = find(id); return Boolean(e && e.getClientRects().length); }};\
             const calls = () => [...document.querySelectorAll('[data-testid=call]')];\
             const call = () => calls().find(c => c.dataset.state !== 'ended');\n{body}\n}})()"
        );
        self.tab.evaluate(&script).await
    }

    /// Cuts the network under the page, or joins it again. WebSockets that are open are closed by the page's instruments,
    /// since DevTools leaves those alone.
    pub async fn set_online(&self, online: bool) -> Result<()> {
        let throughput = -1;
        self.tab
            .command(
                "Network.emulateNetworkConditions",
                json!({ "offline": !online, "latency": 0, "downloadThroughput": throughput, "uploadThroughput": throughput }),
            )
            .await?;
        if !online {
            self.run("instruments.cutWebSockets();").await?;
        }
        Ok(())
    }

    /// Sets the size of the window, and light or dark as the system's wish.
    pub async fn look(&self, width: u32, height: u32, scheme: &str) -> Result<()> {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600 });
        self.tab.command("Emulation.setDeviceMetricsOverride", size).await?;
        // Without motion there is no half-way between two looks in a picture.
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" },
        ]);
        self.tab.command("Emulation.setEmulatedMedia", json!({ "features": features })).await.map(drop)
    }

    /// Writes a picture of the page in `scheme` (`dark` or `light`) to `target/screenshots/NAME.png`, once the browser has
    /// painted it so: a new wish of the system reaches the screen some frames later, one element after the other.
    pub async fn screenshot(&self, name: &str, scheme: &str) -> Result<()> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("no workspace")?
            .join("target/screenshots");
        fs::create_dir_all(&folder)?;
        let deadline = Instant::now() + PATIENCE;
        let mut before = Vec::new();
        loop {
            let picture = self.tab.screenshot().await?;
            let is_dark = self.brightness(&picture).await? < 0.5;
            if is_dark == (scheme == "dark") && picture == before {
                return fs::write(folder.join(format!("{name}.png")), picture).map_err(Into::into);
            }
            ensure!(Instant::now() < deadline, "{name}: never painted {scheme} and still");
            before = picture;
        }
    }

    /// Mean brightness of a PNG, 0 for black and 1 for white, as the browser itself decodes it.
    async fn brightness(&self, png: &[u8]) -> Result<f64> {
        let script = format!(
            "const bytes = Uint8Array.from({png:?});\
             const image = await createImageBitmap(new Blob([bytes], {{ type: 'image/png' }}));\
             const canvas = new OffscreenCanvas(64, 64).getContext('2d');\
             canvas.drawImage(image, 0, 0, 64, 64);\
             const pixels = canvas.getImageData(0, 0, 64, 64).data;\
             return pixels.reduce((sum, value, n) => n % 4 < 3 ? sum + value : sum, 0) / (64 * 64 * 3 * 255);"
        );
        self.run(&script).await?.as_f64().context("no brightness")
    }

    /// What the page shows and what its console said, for the message of a test that failed.
    pub async fn report(&self) -> String {
        let text = self.run("return document.body.innerText;").await.unwrap_or_default();
        let console = self.tab.console();
        let console = &console[console.len().saturating_sub(30)..];
        format!(
            "the page shows:\n{}\nits console says:\n{}",
            text.as_str().unwrap_or("nothing"),
            console.join("\n")
        )
    }
}

/// Runs before the page's own scripts.
///
/// The microphone's echo canceller and noise suppressor are switched off: they are made to remove a steady tone, and the
/// tone is how the tests know a voice. `onlyCodec` makes the page one that puts all other audio codecs aside. Everything
/// else only watches.
const INSTRUMENTS: &str = r#"
(() => {
  const connections = [], sockets = [], descriptions = [];
  window.instruments = { descriptions };

  const capture = navigator.mediaDevices?.getUserMedia.bind(navigator.mediaDevices);
  if (capture) navigator.mediaDevices.getUserMedia = wanted => {
    const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const audio = wanted.audio ? { ...(wanted.audio === true ? {} : wanted.audio), ...plain } : wanted.audio;
    return capture({ ...wanted, audio });
  };

  const Connection = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends Connection {
    constructor(...args) { super(...args); connections.push(this); }
    setLocalDescription(d) {
      return super.setLocalDescription(d).then(() => this.note('local', this.localDescription));
    }
    setRemoteDescription(d) {
      this.note('remote', d);
      return super.setRemoteDescription(d);
    }
    createOffer(...args) { this.restrict(); return super.createOffer(...args); }
    createAnswer(...args) { this.restrict(); return super.createAnswer(...args); }
    restrict() {
      const only = window.instruments.onlyCodec;
      if (!only) return;
      const names = [`audio/${only}`, 'audio/telephone-event'];
      const kept = RTCRtpReceiver.getCapabilities('audio').codecs.filter(c => names.includes(c.mimeType.toLowerCase()));
      for (const transceiver of this.getTransceivers())
        if (transceiver.receiver.track.kind === 'audio') transceiver.setCodecPreferences(kept);
    }
    note(kind, d) { if (d) descriptions.push({ kind, type: d.type, sdp: d.sdp }); }
  };

  const Socket = window.WebSocket;
  window.WebSocket = class extends Socket {
    constructor(...args) { super(...args); sockets.push(this); }
  };
  window.instruments.cutWebSockets = () => { for (const s of sockets) s.close(); };

  window.instruments.framesDecoded = async () => {
    let frames = 0;
    for (const connection of connections) {
      if (connection.connectionState === 'closed') continue;
      for (const report of (await connection.getStats()).values())
        if (report.type === 'inbound-rtp' && report.kind === 'video') frames += report.framesDecoded ?? 0;
    }
    return frames;
  };

  window.instruments.audioPackets = async () => {
    let received = 0, lost = 0;
    for (const connection of connections)
      for (const report of (await connection.getStats()).values())
        if (report.type === 'inbound-rtp' && report.kind === 'audio') {
          received += report.packetsReceived ?? 0;
          lost += report.packetsLost ?? 0;
        }
    return { received, lost };
  };

  let context;
  window.instruments.listen = async (id, milliseconds) => {
    const stream = document.querySelector(`[data-testid="${id}"]`)?.srcObject;
    if (!stream || !stream.getAudioTracks().length) return { rate: 48000, samples: [] };
    context ??= new AudioContext();
    await context.resume();
    const source = context.createMediaStreamSource(new MediaStream(stream.getAudioTracks()));
    const analyser = context.createAnalyser();
    analyser.fftSize = 16384;
    source.connect(analyser);
    await new Promise(done => setTimeout(done, milliseconds));
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    source.disconnect();
    const count = Math.min(samples.length, Math.floor(milliseconds * context.sampleRate / 1000 * 0.9));
    return { rate: context.sampleRate, samples: Array.from(samples.slice(-count), s => Math.round(s * 32767)) };
  };
})();
"#;
