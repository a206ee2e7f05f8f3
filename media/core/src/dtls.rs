//! DTLS-SRTP (RFC 5764) for one transport: the crate `dimpl` behind a type of our own, so that it can be replaced.
//!
//! Keys leave this module only after the peer's certificate matched a fingerprint of its SDP (RFC 8122 §5): whoever
//! holds a [`DtlsEvent::Connected`] may trust the media.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use dimpl::{Config, DtlsCertificate, KeyingMaterial, Output, UnexpectedMessageError};

use crate::srtp::{DtlsRole, MasterKey, Profile};

/// First retransmission, doubled after each. Short, since the path is known to work when a handshake starts
/// (RFC 8842 §5.4 wants it after ICE), and every lost flight is silence at the start of a call.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(200);

/// Retransmissions of one flight: with the doubling more than [`HANDSHAKE_TIMEOUT`].
const RETRANSMISSIONS: usize = 8;

/// After this a handshake has failed.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Largest record `dimpl` hands out; it cuts its flights at 1150 octets.
const RECORD_BUFFER: usize = 2048;

/// The certificate of this relay, and its private key, both DER; shared by all calls of a start.
#[derive(Clone)]
pub struct Certificate {
    der: Arc<[u8]>,
    key: Arc<[u8]>,
    digest: Vec<u8>,
    fingerprint: String,
}

impl Certificate {
    /// `der` is an X.509 certificate with an ECDSA P-256 key, `pkcs8_key` that key.
    pub fn new(der: Vec<u8>, pkcs8_key: Vec<u8>) -> Certificate {
        let digest = digest::digest(&digest::SHA256, &der);
        let digest = digest.as_ref().to_vec();
        Certificate { fingerprint: colon_hex(&digest), digest, der: der.into(), key: pkcs8_key.into() }
    }

    /// SHA-256 of the certificate.
    pub fn digest(&self) -> &[u8] {
        &self.digest
    }

    /// The digest of the certificate by a hash function of RFC 8122 §5, named in any case; `None` for others.
    pub fn digest_by(&self, hash: &str) -> Option<Vec<u8>> {
        let algorithm = match hash.to_ascii_lowercase().as_str() {
            "sha-1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            "sha-224" => &digest::SHA224,
            "sha-256" => &digest::SHA256,
            "sha-384" => &digest::SHA384,
            "sha-512" => &digest::SHA512,
            _ => return None,
        };
        Some(digest::digest(algorithm, &self.der).as_ref().to_vec())
    }

    /// The SHA-256 fingerprint as `a=fingerprint:sha-256` shows it: upper-case hexadecimal with colons (RFC 8122 §5).
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

/// The keys of an association: what we send with, then what we receive with.
pub type SrtpKeys = (MasterKey, MasterKey);

/// A certificate digest out of the peer's SDP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The hash function's name, such as `sha-256`, in any case.
    pub hash: String,
    /// The digest's octets.
    pub digest: Vec<u8>,
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DtlsFailure {
    /// The peer's certificate is not the one of its SDP.
    #[error("certificate does not match the fingerprint in the SDP")]
    FingerprintMismatch,
    /// The SDP names only hash functions unknown here.
    #[error("no fingerprint with a known hash function in the SDP")]
    UnknownHash,
    /// No common SRTP profile.
    #[error("no common SRTP profile")]
    NoProfile,
    /// The peer closed the association before it was complete.
    #[error("closed by the peer")]
    Closed,
    /// The handshake failed or took too long; the library's words.
    #[error("{0}")]
    Handshake(String),
}

/// What an association has to say.
#[allow(missing_debug_implementations)]
pub enum DtlsEvent {
    /// The handshake is complete and the fingerprint holds: media may pass.
    Connected(SrtpKeys),
    /// It never will be; told once.
    Failed(DtlsFailure),
    /// It was, and the peer has ended it (RFC 5246 §7.2.1): how a browser leaves a call.
    Closed,
}

/// The settings shared by all associations of a relay.
#[derive(Debug, Clone)]
pub struct DtlsConfig {
    config: Arc<Config>,
    /// The same for peers whose address nothing has proved.
    cautious: Arc<Config>,
    only_12: bool,
}

impl DtlsConfig {
    /// `only_12` refuses DTLS 1.3, for peers whose 1.3 is faulty.
    pub fn new(only_12: bool) -> Result<DtlsConfig, DtlsFailure> {
        let config = |with_cookie: bool| {
            let config = Config::builder()
                .flight_start_rto(FIRST_RETRANSMISSION)
                .flight_retries(RETRANSMISSIONS)
                .handshake_timeout(HANDSHAKE_TIMEOUT)
                .use_server_cookie(with_cookie)
                .build();
            config.map(Arc::new).map_err(|error| DtlsFailure::Handshake(error.to_string()))
        };
        Ok(DtlsConfig { config: config(false)?, cautious: config(true)?, only_12 })
    }

    /// For peers whose address ICE has not proved: as a server we send nothing larger than a cookie before it comes back
    /// (RFC 9147 §5.1). Where ICE has, it would only cost a round trip.
    pub fn cautious(&self) -> DtlsConfig {
        DtlsConfig { config: Arc::clone(&self.cautious), ..self.clone() }
    }
}

/// One DTLS association.
pub struct Dtls {
    inner: dimpl::Dtls,
    role: DtlsRole,
    /// The peer's fingerprints; empty until its SDP is known, for a ClientHello may come before the answer.
    expected: Vec<Fingerprint>,
    peer_certificate: Option<Vec<u8>>,
    keys: Option<SrtpKeys>,
    connected: bool,
    over: bool,
    timeout: Option<Instant>,
}

impl std::fmt::Debug for Dtls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dtls")
            .field("role", &self.role)
            .field("connected", &self.connected)
            .finish_non_exhaustive()
    }
}

impl Dtls {
    /// An association in `role`. A client sends its first flight at the first [`Dtls::handle_timeout`].
    pub fn new(config: &DtlsConfig, certificate: &Certificate, role: DtlsRole, now: Instant) -> Dtls {
        let own =
            DtlsCertificate { certificate: certificate.der.to_vec(), private_key: certificate.key.to_vec() };
        let mut inner = if config.only_12 {
            dimpl::Dtls::new_12(config.config.clone(), own, now)
        } else {
            dimpl::Dtls::new_auto(config.config.clone(), own, now)
        };
        if role == DtlsRole::Client {
            inner.set_active(true);
        }
        Dtls {
            inner,
            role,
            expected: Vec::new(),
            peer_certificate: None,
            keys: None,
            connected: false,
            over: false,
            timeout: None,
        }
    }

    /// Our role.
    pub fn role(&self) -> DtlsRole {
        self.role
    }

    /// Whether the handshake is complete and the fingerprint held.
    pub fn is_connected(&self) -> bool {
        self.connected
    }

    /// Tells the fingerprints of the peer's SDP. The result of the check comes out of [`Dtls::poll`].
    pub fn set_fingerprints(&mut self, fingerprints: &[Fingerprint]) {
        if !self.connected {
            self.expected = fingerprints.to_vec();
        }
    }

    /// The fingerprints last told.
    pub fn fingerprints(&self) -> &[Fingerprint] {
        &self.expected
    }

    /// Takes a datagram of the peer. What it brings comes out of [`Dtls::poll`]; call it until it returns `None`.
    pub fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) -> Option<DtlsFailure> {
        if self.over {
            return None;
        }
        let result = self.inner.handle_timeout(now).and_then(|()| self.inner.handle_packet(datagram));
        // Whoever forges the peer's address must not end the call once the keys are out (RFC 9147 §4.5.2), nor keep it from
        // coming up by a record that answers nothing.
        if self.connected || result.as_ref().is_err_and(is_no_answer) {
            return None;
        }
        self.check(result)
    }

    /// Retransmits what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<DtlsFailure> {
        if self.over {
            return None;
        }
        let result = self.inner.handle_timeout(now);
        self.check(result)
    }

    /// The next moment [`Dtls::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.over { None } else { self.timeout }
    }

    /// Hands out pending records to `send` until something is to be told or nothing is left.
    pub fn poll(&mut self, mut send: impl FnMut(&[u8])) -> Option<DtlsEvent> {
        let mut buffer = [0u8; RECORD_BUFFER];
        while !self.over {
            match self.inner.poll_output(&mut buffer) {
                Output::Packet(record) => send(record),
                Output::PeerCert(der) => self.peer_certificate = Some(der.to_vec()),
                Output::KeyingMaterial(material, profile) => {
                    let Some(keys) = srtp_keys(&material, profile, self.role) else {
                        return Some(self.fail(DtlsFailure::NoProfile));
                    };
                    self.keys = Some(keys);
                }
                Output::CloseNotify if self.connected => {
                    self.over = true;
                    return Some(DtlsEvent::Closed);
                }
                Output::CloseNotify => return Some(self.fail(DtlsFailure::Closed)),
                Output::Timeout(at) => {
                    self.timeout = Some(at);
                    return self.verify();
                }
                // Larger than RECORD_BUFFER: the library would offer it forever.
                Output::BufferTooSmall { .. } => {
                    return Some(self.fail(DtlsFailure::Handshake("record too large".to_owned())));
                }
                // There are no data channels: application data has no receiver.
                Output::Connected | Output::ApplicationData(_) => {}
                _ => {}
            }
        }
        None
    }

    /// Releases the keys once certificate, keys and fingerprints are all there and agree.
    fn verify(&mut self) -> Option<DtlsEvent> {
        if self.connected || self.expected.is_empty() || self.keys.is_none() {
            return None;
        }
        let certificate = self.peer_certificate.take()?;
        match matches_fingerprint(&certificate, &self.expected) {
            Ok(()) => {
                self.connected = true;
                self.keys.take().map(DtlsEvent::Connected)
            }
            Err(failure) => Some(self.fail(failure)),
        }
    }

    fn check(&mut self, result: Result<(), dimpl::Error>) -> Option<DtlsFailure> {
        let error = result.err()?;
        self.over = true;
        Some(DtlsFailure::Handshake(error.to_string()))
    }

    /// Ends the association as a browser does that leaves the call.
    #[cfg(test)]
    pub(crate) fn close(&mut self) {
        self.inner.close().expect("an association to close");
    }

    fn fail(&mut self, failure: DtlsFailure) -> DtlsEvent {
        self.over = true;
        self.connected = false;
        self.keys = None;
        DtlsEvent::Failed(failure)
    }
}

/// Whether a client was sent something that is no answer to its hello, and still waits for one.
fn is_no_answer(error: &dimpl::Error) -> bool {
    matches!(error, dimpl::Error::UnexpectedMessage(UnexpectedMessageError::UnrecognizedAutoServerResponse))
}

/// RFC 8122 §5: one certificate, and all fingerprints of a hash function are of equal standing; a match with any counts.
fn matches_fingerprint(certificate: &[u8], expected: &[Fingerprint]) -> Result<(), DtlsFailure> {
    let mut known = false;
    for fingerprint in expected {
        let Some(algorithm) = hash_by_name(&fingerprint.hash) else { continue };
        known = true;
        if digest::digest(algorithm, certificate).as_ref() == fingerprint.digest.as_slice() {
            return Ok(());
        }
    }
    Err(if known { DtlsFailure::FingerprintMismatch } else { DtlsFailure::UnknownHash })
}

/// The hash functions of RFC 8122 §5 that still mean something; MD2 and MD5 do not.
fn hash_by_name(name: &str) -> Option<&'static digest::Algorithm> {
    match name.to_ascii_lowercase().as_str() {
        "sha-1" => Some(&digest::SHA1_FOR_LEGACY_USE_ONLY),
        "sha-224" => Some(&digest::SHA224),
        "sha-256" => Some(&digest::SHA256),
        "sha-384" => Some(&digest::SHA384),
        "sha-512" => Some(&digest::SHA512),
        _ => None,
    }
}

fn srtp_keys(material: &KeyingMaterial, profile: dimpl::SrtpProfile, role: DtlsRole) -> Option<SrtpKeys> {
    let profile = match profile {
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => Profile::Aes128CmHmacSha1_80,
        dimpl::SrtpProfile::AEAD_AES_128_GCM => Profile::AeadAes128Gcm,
        dimpl::SrtpProfile::AEAD_AES_256_GCM => Profile::AeadAes256Gcm,
        _ => return None,
    };
    MasterKey::from_dtls(profile, material, role).ok()
}

fn colon_hex(octets: &[u8]) -> String {
    let pairs: Vec<String> = octets.iter().map(|octet| format!("{octet:02X}")).collect();
    pairs.join(":")
}
