//! JSON posted to a URL, over one connection for as long as it lasts.

use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Body;
use hyper::client::conn::http1;
use hyper::header;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio_rustls::TlsConnector;

/// How long a connection and an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two tries, and the longest it becomes.
const RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// Where something is posted to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Url {
    secure: bool,
    host: String,
    port: u16,
    path: String,
}

impl Url {
    /// Reads `http://HOST[:PORT]/PATH` or `https://...`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: hyper::Uri = text.parse().map_err(|_| format!("{text:?} is no URL"))?;
        let secure = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(format!("{text:?} is no http or https URL")),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(format!("{text:?} names no host"))?;
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { secure, host: host.to_owned(), port, path })
    }

    /// Whether it is under TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.secure
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// What is asked for there.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// For a socket: without the brackets of an IPv6 address.
    fn name(&self) -> &str {
        self.host.trim_start_matches('[').trim_end_matches(']')
    }
}

type Sender = http1::SendRequest<Full<Bytes>>;

/// What has become of what was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is there.
    Yes,
    /// It is refused, and would be again.
    Never(hyper::StatusCode),
}

/// The client.
pub(crate) struct Post {
    url: Url,
    tls: TlsConnector,
    connection: Mutex<Option<Sender>>,
}

impl Post {
    /// # Errors
    /// No TLS.
    pub(crate) fn new(url: Url) -> anyhow::Result<Self> {
        Ok(Self { url, tls: connector(roots())?, connection: Mutex::default() })
    }

    async fn connect(&self) -> anyhow::Result<Sender> {
        connect(&self.url, &self.tls).await
    }

    /// Posts JSON, with further header fields. An error is worth another try.
    ///
    /// # Errors
    /// It cannot be brought there, or is not taken now.
    pub(crate) async fn send(&self, body: Vec<u8>, fields: &[(&str, String)]) -> anyhow::Result<Taken> {
        let sent = tokio::time::timeout(LIMIT, self.post(body, fields)).await;
        sent.unwrap_or_else(|_| bail!("no answer in time"))
    }

    async fn post(&self, body: Vec<u8>, fields: &[(&str, String)]) -> anyhow::Result<Taken> {
        let mut kept = self.connection.lock().await;
        let mut sender = match kept.take() {
            Some(mut sender) => match sender.ready().await {
                Ok(()) => sender,
                Err(_) => self.connect().await?,
            },
            None => self.connect().await?,
        };
        let mut request = hyper::Request::post(&self.url.path)
            .header(header::HOST, self.url.authority())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, "Causeway");
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        let response = sender.send_request(request.body(Full::new(Bytes::from(body)))?).await?;
        let status = response.status();
        // What it says does not matter; a connection with an unread body is not used again.
        if http_body_util::BodyExt::collect(http_body_util::Limited::new(response.into_body(), 65_536))
            .await
            .is_ok()
        {
            *kept = Some(sender);
        }
        if status.is_success() {
            return Ok(Taken::Yes);
        }
        // It would say the same again, but for these.
        if status.is_client_error() && !matches!(status.as_u16(), 401 | 403 | 404 | 408 | 425 | 429) {
            return Ok(Taken::Never(status));
        }
        bail!("HTTP status {status}")
    }
}

/// The pauses between tries at something that fails: a second, then twice as long each time, a minute at most.
#[derive(Debug)]
pub(crate) struct Pauses(Duration);

impl Default for Pauses {
    fn default() -> Self {
        Self(RETRY)
    }
}

impl Pauses {
    /// Waits for the next one to be over.
    pub(crate) async fn wait(&mut self) {
        tokio::time::sleep(self.0).await;
        self.0 = (self.0 * 2).min(LONGEST_RETRY);
    }
}

/// The authorities that browsers trust.
pub(crate) fn roots() -> rustls::RootCertStore {
    rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }
}

/// TLS to servers that these authorities vouch for.
///
/// # Errors
/// No TLS.
pub(crate) fn connector(roots: rustls::RootCertStore) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Opens a connection to where `url` is.
///
/// # Errors
/// There is nobody, or nobody who can be believed.
pub(crate) async fn connect<B>(url: &Url, tls: &TlsConnector) -> anyhow::Result<http1::SendRequest<B>>
where
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let stream = TcpStream::connect((url.name(), url.port)).await?;
    if !url.secure {
        return handshake(TokioIo::new(stream)).await;
    }
    let name = rustls_pki_types::ServerName::try_from(url.name().to_owned())?;
    handshake(TokioIo::new(tls.connect(name, stream).await?)).await
}

async fn handshake<T, B>(io: TokioIo<T>) -> anyhow::Result<http1::SendRequest<B>>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin + 'static,
    B: Body<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
{
    let (sender, connection) = http1::handshake(io).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection of a poster");
        }
    });
    Ok(sender)
}
