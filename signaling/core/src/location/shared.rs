//! Texts and addresses that many bindings have in common, each kept once.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use crate::outside::SharedText;

/// User agents tell others apart by version and platform. Beyond this many, texts are not looked for any more: peers choose
/// them, and a table that they fill must end somewhere.
const MOST: usize = 4096;

/// See the module. Each worker has its own, so that none waits for another: a few copies more are no matter.
#[derive(Debug, Default)]
pub struct Shared {
    texts: HashMap<Box<str>, SharedText>,
    addresses: HashSet<Arc<SocketAddr>>,
}

impl Shared {
    /// The shared copy of `text`.
    pub fn text(&mut self, text: &str) -> SharedText {
        if let Some(known) = self.texts.get(text) {
            return Arc::clone(known);
        }
        let fresh = SharedText::new(text.into());
        if self.texts.len() < MOST {
            self.texts.insert(text.into(), Arc::clone(&fresh));
        }
        fresh
    }

    /// The shared copy of an address of ours.
    pub fn address(&mut self, address: SocketAddr) -> Arc<SocketAddr> {
        if let Some(known) = self.addresses.get(&address) {
            return Arc::clone(known);
        }
        let fresh = Arc::new(address);
        if self.addresses.len() < MOST {
            self.addresses.insert(Arc::clone(&fresh));
        }
        fresh
    }

    /// Forgets what nobody has any more.
    pub fn tidy(&mut self) {
        self.texts.retain(|_, text| Arc::strong_count(text) > 1);
        self.addresses.retain(|address| Arc::strong_count(address) > 1);
    }
}
