//! The Chrome DevTools Protocol, as far as the tests drive a page: commands, evaluated expressions, and what a page complains of.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

/// Longest wait for the answer of one command. A busy page on a slow machine takes seconds, never this long.
const ANSWER: Duration = Duration::from_secs(30);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Result<Value>>>>>;

/// One connection to a browser. Sessions with its tabs share it.
#[derive(Debug, Clone)]
pub struct DevTools {
    outgoing: mpsc::UnboundedSender<String>,
    waiting: Waiting,
    last_id: Arc<AtomicU64>,
    events: Arc<Mutex<Vec<Value>>>,
}

impl DevTools {
    /// Connects to the address that the browser prints at its start (`ws://127.0.0.1:PORT/devtools/browser/...`).
    pub async fn connect(url: &str) -> Result<Self> {
        let authority =
            url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).context("no ws:// address")?;
        let stream = TcpStream::connect(authority).await.context("cannot reach the browser")?;
        // A screenshot comes as one message of some megabytes.
        let limits =
            WebSocketConfig::default().max_message_size(Some(256 << 20)).max_frame_size(Some(256 << 20));
        let (socket, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(limits)).await?;
        let (mut sink, mut source) = socket.split();
        let (outgoing, mut to_send) = mpsc::unbounded_channel::<String>();
        let (waiting, events) = (Waiting::default(), Arc::<Mutex<Vec<Value>>>::default());
        tokio::spawn(async move {
            while let Some(text) = to_send.recv().await {
                if sink.send(Message::text(text)).await.is_err() {
                    break;
                }
            }
        });
        let (answers, kept) = (Arc::clone(&waiting), Arc::clone(&events));
        tokio::spawn(async move {
            while let Some(Ok(message)) = source.next().await {
                let Ok(value) = serde_json::from_slice::<Value>(&message.into_data()) else { continue };
                deliver(value, &answers, &kept);
            }
            // Dropping the senders tells everybody who still waits that the browser is gone.
            answers.lock().unwrap_or_else(PoisonError::into_inner).clear();
        });
        Ok(Self { outgoing, waiting, last_id: Arc::default(), events })
    }

    /// Sends a command, to the browser itself or to one session, and returns its result.
    pub async fn command(&self, session: Option<&str>, method: &str, params: Value) -> Result<Value> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let mut command = json!({ "id": id, "method": method, "params": params });
        if let Some(session) = session {
            command["sessionId"] = json!(session);
        }
        let (answer, answered) = oneshot::channel();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, answer);
        self.outgoing.send(command.to_string()).map_err(|_| anyhow!("the browser is gone"))?;
        match tokio::time::timeout(ANSWER, answered).await {
            Ok(Ok(result)) => result.with_context(|| format!("{method} failed")),
            Ok(Err(_)) => bail!("the browser went away during {method}"),
            Err(_) => bail!("no answer to {method} in {} s", ANSWER.as_secs()),
        }
    }

    /// What the console and the log of one session said, oldest first.
    #[must_use]
    pub fn console(&self, session: &str) -> Vec<String> {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        events.iter().filter(|event| event["sessionId"] == session).map(said).collect()
    }
}

fn deliver(mut value: Value, waiting: &Waiting, events: &Mutex<Vec<Value>>) {
    let Some(id) = value["id"].as_u64() else {
        let kept = ["Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"];
        if kept.iter().any(|method| value["method"] == *method) {
            events.lock().unwrap_or_else(PoisonError::into_inner).push(value);
        }
        return;
    };
    let Some(answer) = waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id) else { return };
    let result = match value["error"].is_null() {
        true => Ok(value["result"].take()),
        false => Err(anyhow!("{}", value["error"])),
    };
    // The asker may have given up already.
    let _ = answer.send(result);
}

fn said(event: &Value) -> String {
    let params = &event["params"];
    match event["method"].as_str() {
        Some("Runtime.consoleAPICalled") => {
            let words = params["args"].as_array().map(Vec::as_slice).unwrap_or_default();
            let words: Vec<String> = words
                .iter()
                .map(|word| match (&word["value"], &word["description"]) {
                    (Value::String(text), _) | (Value::Null, Value::String(text)) => text.clone(),
                    (value, _) => value.to_string(),
                })
                .collect();
            format!("{}: {}", params["type"].as_str().unwrap_or("log"), words.join(" "))
        }
        Some("Runtime.exceptionThrown") => {
            let details = &params["exceptionDetails"];
            format!("exception: {} {}", details["text"], details["exception"]["description"])
        }
        _ => format!("log: {} {}", params["entry"]["text"], params["entry"]["url"]),
    }
}

/// One tab.
#[derive(Debug, Clone)]
pub struct Tab {
    devtools: DevTools,
    session: String,
    target: String,
}

impl Tab {
    /// Opens an empty tab that shares no storage with any other.
    pub async fn open(devtools: &DevTools) -> Result<Self> {
        let context = devtools.command(None, "Target.createBrowserContext", json!({})).await?;
        let target = devtools
            .command(
                None,
                "Target.createTarget",
                json!({ "url": "about:blank", "browserContextId": context["browserContextId"] }),
            )
            .await?;
        let target = target["targetId"].as_str().context("no targetId")?.to_owned();
        let attached = devtools
            .command(None, "Target.attachToTarget", json!({ "targetId": target, "flatten": true }))
            .await?;
        let session = attached["sessionId"].as_str().context("no sessionId")?.to_owned();
        let tab = Self { devtools: devtools.clone(), session, target };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            tab.command(&format!("{domain}.enable"), json!({})).await?;
        }
        Ok(tab)
    }

    /// Sends a command to this tab.
    pub async fn command(&self, method: &str, params: Value) -> Result<Value> {
        self.devtools.command(Some(&self.session), method, params).await
    }

    /// Has `script` run in every document before the scripts of that document.
    pub async fn before_every_document(&self, script: &str) -> Result<()> {
        self.command("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await.map(drop)
    }

    /// Goes to `url`; an error when the browser shows an error page instead, as it does for an untrusted certificate.
    pub async fn navigate(&self, url: &str) -> Result<()> {
        let answer = self.command("Page.navigate", json!({ "url": url })).await?;
        match answer["errorText"].as_str() {
            Some(error) if !error.is_empty() => bail!("{url}: {error}"),
            _ => Ok(()),
        }
    }

    /// The value of a JavaScript expression; a promise is awaited.
    pub async fn evaluate(&self, expression: &str) -> Result<Value> {
        let answer = self
            .command(
                "Runtime.evaluate",
                json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true }),
            )
            .await?;
        if !answer["exceptionDetails"].is_null() {
            bail!("{}", answer["exceptionDetails"]["exception"]["description"]);
        }
        Ok(answer["result"]["value"].clone())
    }

    /// A picture of what the tab shows, as PNG.
    pub async fn screenshot(&self) -> Result<Vec<u8>> {
        let answer = self.command("Page.captureScreenshot", json!({ "format": "png" })).await?;
        base64_decode(answer["data"].as_str().context("no picture")?)
    }

    /// What its console said.
    #[must_use]
    pub fn console(&self) -> Vec<String> {
        self.devtools.console(&self.session)
    }

    /// Closes the tab as a person does, without a word to the page's own code.
    pub async fn close(&self) -> Result<()> {
        self.devtools.command(None, "Target.closeTarget", json!({ "targetId": self.target })).await.map(drop)
    }
}

fn base64_decode(text: &str) -> Result<Vec<u8>> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0u32, 0u32);
    for c in text.bytes().filter(|c| *c != b'=') {
        let digit = DIGITS.iter().position(|d| *d == c).context("not base64")?;
        bits = bits << 6 | digit as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64() {
        for (text, bytes) in
            [("", &b""[..]), ("Zg==", b"f"), ("Zm8=", b"fo"), ("Zm9vYmFy", b"foobar"), ("/+8=", b"\xff\xef")]
        {
            assert_eq!(super::base64_decode(text).unwrap(), bytes);
        }
        assert!(super::base64_decode("a*").is_err());
    }
}
