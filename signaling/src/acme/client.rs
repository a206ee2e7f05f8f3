//! HTTPS to an ACME server: a connection for each request, for there are a dozen in two months.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio_rustls::TlsConnector;

use crate::post::{self, Url};
use crate::store::unix_now;

/// How long a request and its answer may take.
const LIMIT: Duration = Duration::from_secs(30);
/// A chain of certificates has some kilobytes.
const LARGEST_ANSWER: usize = 1 << 20;

/// The client.
#[derive(Clone)]
pub(super) struct Client {
    tls: TlsConnector,
    /// Until when a server that has refused something wants to be left alone, in seconds since 1970; 0: it has not said.
    retry_at: Arc<AtomicI64>,
}

impl Client {
    /// One that trusts, besides those that browsers trust, the authorities of a PEM file.
    ///
    /// # Errors
    /// The file cannot be read, or holds none.
    pub(super) fn new(ca_list: Option<&Path>) -> anyhow::Result<Self> {
        let mut roots = post::roots();
        if let Some(path) = ca_list {
            let name = || format!("acme.ca_list {}", path.display());
            let pem = std::fs::read(path).with_context(name)?;
            let (added, _) = roots.add_parsable_certificates(crate::certs::certificates(&pem));
            ensure!(added > 0, "{} holds no certificate in PEM form", name());
        }
        Ok(Self { tls: post::connector(roots)?, retry_at: Arc::default() })
    }

    /// What the server has said since it was asked last of when to come again.
    pub(super) fn take_retry_at(&self) -> Option<i64> {
        Some(self.retry_at.swap(0, Ordering::Relaxed)).filter(|at| *at != 0)
    }

    async fn exchange(
        self,
        mut request: Request<BodyWrapper<Bytes>>,
    ) -> anyhow::Result<Response<Full<Bytes>>> {
        let url = Url::parse(&request.uri().to_string()).map_err(anyhow::Error::msg)?;
        ensure!(url.is_secure(), "{} is no https URL", request.uri());
        let mut sender = post::connect(&url, &self.tls).await.with_context(|| url.authority())?;
        *request.uri_mut() = url.path().parse()?;
        request.headers_mut().insert(header::HOST, HeaderValue::from_str(&url.authority())?);
        let (parts, body) = sender.send_request(request).await.with_context(|| url.authority())?.into_parts();
        if !parts.status.is_success()
            && let Some(at) = retry_after(parts.headers.get(header::RETRY_AFTER), unix_now())
        {
            self.retry_at.store(at, Ordering::Relaxed);
        }
        let body = Limited::new(body, LARGEST_ANSWER).collect().await.map_err(anyhow::Error::from_boxed)?;
        Ok(Response::from_parts(parts, Full::new(body.to_bytes())))
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let (client, url) = (self.clone(), request.uri().to_string());
        Box::pin(async move {
            let answer = tokio::time::timeout(LIMIT, client.exchange(request)).await;
            let answer = answer.unwrap_or_else(|_| anyhow::bail!("{url}: no answer in time"));
            // The whole chain of causes: its Display is all that is kept of it.
            answer.map(BytesResponse::from).map_err(|error| Error::Other(format!("{error:#}").into()))
        })
    }
}

/// The time that Retry-After tells (RFC 9110 §10.2.3), in seconds since 1970.
fn retry_after(value: Option<&HeaderValue>, now: u64) -> Option<i64> {
    let (text, now) = (value?.to_str().ok()?.trim(), i64::try_from(now).ok()?);
    match text.parse::<u32>() {
        Ok(seconds) => Some(now + i64::from(seconds)),
        Err(_) => jiff::fmt::rfc2822::parse(text).ok().map(|at| at.timestamp().as_second()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |text: &'static str| retry_after(Some(&HeaderValue::from_static(text)), 1_800_000_000);
        assert_eq!(of("120"), Some(1_800_000_120));
        assert_eq!(of("Fri, 15 Jan 2027 09:00:00 GMT"), Some(1_800_003_600));
        assert_eq!((of("soon"), of("-5"), retry_after(None, 0)), (None, None, None));
    }

    #[test]
    fn a_list_without_authorities_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = Client::new(Some(file.path())).err().unwrap().to_string();
        assert!(error.contains("acme.ca_list") && error.contains("no certificate"), "{error}");
        Client::new(None).unwrap();
    }
}
