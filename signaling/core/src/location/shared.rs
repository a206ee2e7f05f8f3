//! Texts and addresses that many bindings have in common, each kept once.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::lock;
use crate::outside::SharedText;

/// User agents tell others apart by version and platform. Beyond this many, texts are not looked for any more: peers choose
/// them, and a table that they fill must end somewhere.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Shared {
    texts: Mutex<HashMap<Box<str>, SharedText>>,
    addresses: Mutex<HashSet<Arc<SocketAddr>>>,
}

impl Shared {
    /// The shared copy of `text`.
    pub(super) fn text(&self, text: &str) -> SharedText {
        let mut texts = lock(&self.texts);
        if let Some(known) = texts.get(text) {
            return Arc::clone(known);
        }
        let fresh = SharedText::new(text.into());
        if texts.len() < MOST {
            texts.insert(text.into(), Arc::clone(&fresh));
        }
        fresh
    }

    /// The shared copy of an address of ours.
    pub(super) fn address(&self, address: SocketAddr) -> Arc<SocketAddr> {
        let mut addresses = lock(&self.addresses);
        if let Some(known) = addresses.get(&address) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(address);
        if addresses.len() < MOST {
            addresses.insert(Arc::clone(&fresh));
        }
        fresh
    }

    /// Forgets what nobody has any more.
    pub(super) fn tidy(&self) {
        lock(&self.texts).retain(|_, text| Arc::strong_count(text) > 1);
        lock(&self.addresses).retain(|address| Arc::strong_count(address) > 1);
    }
}
