//! One registered contact as it is kept.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::flow::Protocol;

/// One copy of a text that many bindings share: thin, for there are as many of these as bindings.
pub type SharedText = Arc<Box<str>>;

/// One row of Kamailio's `location` table, in this crate's words: what a [`StoredBinding`] is made from, and what one says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BindingRow<'a> {
    /// Unique name of the row (Kamailio's `ruid`).
    pub ruid: &'a str,
    /// The Contact URI as registered.
    pub contact: &'a str,
    /// Where the REGISTER came from and over what: the address to send to.
    pub received: SocketAddr,
    /// The transport of that flow.
    pub protocol: Protocol,
    /// Our end of it; `None` when it is not known or not ours any more (Kamailio's `socket`).
    pub local: Option<&'a Arc<SocketAddr>>,
    /// Path header field values, joined by commas (RFC 3327); empty when there are none.
    pub path: &'a str,
    /// End of the binding, seconds since 1970.
    pub expires_at: u64,
    /// When it was registered last, seconds since 1970.
    pub last_modified: u64,
    /// Preference, 0 to 1000 thousandths (RFC 3261 §10.2.1.2).
    pub q: u16,
    /// Call-ID of the REGISTER (RFC 3261 §10.3 step 7).
    pub call_id: &'a str,
    /// Its CSeq number.
    pub cseq: u32,
    /// Its User-Agent.
    pub user_agent: &'a SharedText,
    /// `+sip.instance` without the angle brackets' quotes (RFC 5626 §4.1); empty when absent.
    pub instance: &'a str,
    /// `reg-id`; 0 when absent or not heeded (RFC 5626 §4.2).
    pub reg_id: u32,
    /// The methods of the Allow header as Kamailio's bit mask; all ones when there was none.
    pub methods: u32,
}

/// A [`BindingRow`] that owns what it says. There may be hundreds of thousands: its own texts stand in one allocation without
/// room to grow, those that many share are kept once, and times end in 2106.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredBinding {
    /// `contact`, `ruid`, `call_id`, `instance` and `path`, one after the other.
    texts: Box<str>,
    /// Where each but the last of them ends.
    ends: [u32; 4],
    user_agent: SharedText,
    local: Option<Arc<SocketAddr>>,
    received: SocketAddr,
    expires_at: u32,
    last_modified: u32,
    cseq: u32,
    reg_id: u32,
    methods: u32,
    q: u16,
    protocol: Protocol,
}

impl From<BindingRow<'_>> for StoredBinding {
    fn from(row: BindingRow<'_>) -> Self {
        let parts = [row.contact, row.ruid, row.call_id, row.instance, row.path];
        let mut texts = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        let ends = [0, 1, 2, 3].map(|part| {
            texts.push_str(parts[part]);
            narrow(texts.len())
        });
        texts.push_str(row.path);
        Self {
            texts: texts.into(),
            ends,
            user_agent: Arc::clone(row.user_agent),
            local: row.local.cloned(),
            received: row.received,
            expires_at: narrow(row.expires_at),
            last_modified: narrow(row.last_modified),
            cseq: row.cseq,
            reg_id: row.reg_id,
            methods: row.methods,
            q: row.q,
            protocol: row.protocol,
        }
    }
}

/// What is larger counts as the largest: no message is that long, and a time after 2106 is as good as never.
fn narrow(number: impl TryInto<u32>) -> u32 {
    number.try_into().unwrap_or(u32::MAX)
}

impl StoredBinding {
    /// All that it says.
    #[must_use]
    pub fn row(&self) -> BindingRow<'_> {
        BindingRow {
            ruid: self.ruid(),
            contact: self.contact(),
            received: self.received,
            protocol: self.protocol,
            local: self.local.as_ref(),
            path: self.path(),
            expires_at: self.expires_at(),
            last_modified: self.last_modified(),
            q: self.q,
            call_id: self.call_id(),
            cseq: self.cseq,
            user_agent: &self.user_agent,
            instance: self.instance(),
            reg_id: self.reg_id,
            methods: self.methods,
        }
    }

    /// Whether `other` is the same but for when it ends and which request has brought it.
    #[must_use]
    pub fn is_renewed_by(&self, other: &Self) -> bool {
        let BindingRow { expires_at, last_modified, call_id, cseq, .. } = other.row();
        BindingRow { expires_at, last_modified, call_id, cseq, ..self.row() } == other.row()
    }

    /// See [`BindingRow::contact`].
    #[must_use]
    pub fn contact(&self) -> &str {
        self.text(0, self.ends[0])
    }

    /// See [`BindingRow::ruid`].
    #[must_use]
    pub fn ruid(&self) -> &str {
        self.text(self.ends[0], self.ends[1])
    }

    /// See [`BindingRow::call_id`].
    #[must_use]
    pub fn call_id(&self) -> &str {
        self.text(self.ends[1], self.ends[2])
    }

    /// See [`BindingRow::instance`].
    #[must_use]
    pub fn instance(&self) -> &str {
        self.text(self.ends[2], self.ends[3])
    }

    /// See [`BindingRow::path`].
    #[must_use]
    pub fn path(&self) -> &str {
        self.texts.get(self.ends[3] as usize..).unwrap_or_default()
    }

    /// See [`BindingRow::received`].
    #[must_use]
    pub const fn received(&self) -> SocketAddr {
        self.received
    }

    /// See [`BindingRow::protocol`].
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// See [`BindingRow::local`].
    #[must_use]
    pub fn local(&self) -> Option<SocketAddr> {
        self.local.as_deref().copied()
    }

    /// See [`BindingRow::expires_at`].
    #[must_use]
    pub fn expires_at(&self) -> u64 {
        self.expires_at.into()
    }

    /// See [`BindingRow::last_modified`].
    #[must_use]
    pub fn last_modified(&self) -> u64 {
        self.last_modified.into()
    }

    /// See [`BindingRow::q`].
    #[must_use]
    pub const fn q(&self) -> u16 {
        self.q
    }

    /// See [`BindingRow::cseq`].
    #[must_use]
    pub const fn cseq(&self) -> u32 {
        self.cseq
    }

    /// See [`BindingRow::user_agent`].
    #[must_use]
    pub fn user_agent(&self) -> &str {
        &self.user_agent
    }

    /// See [`BindingRow::reg_id`].
    #[must_use]
    pub const fn reg_id(&self) -> u32 {
        self.reg_id
    }

    /// See [`BindingRow::methods`].
    #[must_use]
    pub const fn methods(&self) -> u32 {
        self.methods
    }

    /// The socket of its flow is not ours any more.
    pub fn forget_local(&mut self) {
        self.local = None;
    }

    fn text(&self, start: u32, end: u32) -> &str {
        self.texts.get(start as usize..end as usize).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_back_as_it_was() {
        let (local, user_agent) =
            (Arc::new("192.0.2.1:5060".parse().expect("address")), SharedText::new("Phone".into()));
        let row = BindingRow {
            ruid: "uloc-1",
            contact: "sip:ü@198.51.100.7",
            received: "[2001:db8::7]:40000".parse().expect("address"),
            protocol: Protocol::Wss,
            local: Some(&local),
            path: "<sip:edge.example;lr>",
            expires_at: 4_000_000_000,
            last_modified: 500,
            q: 700,
            call_id: "c@x",
            cseq: u32::MAX,
            user_agent: &user_agent,
            instance: "urn:uuid:1",
            reg_id: 1,
            methods: 3,
        };
        assert_eq!(StoredBinding::from(row).row(), row);
        let bare = BindingRow { ruid: "", contact: "", path: "", call_id: "", instance: "", ..row };
        assert_eq!(StoredBinding::from(bare).row(), bare);
        let never = StoredBinding::from(BindingRow { expires_at: u64::MAX, ..row });
        assert_eq!(never.expires_at(), u64::from(u32::MAX));
    }

    #[test]
    fn only_what_a_refresh_changes_makes_a_renewal() {
        let user_agent = SharedText::new("Phone".into());
        let row = BindingRow {
            ruid: "uloc-1",
            contact: "sip:a@198.51.100.7",
            received: "198.51.100.7:5060".parse().expect("address"),
            protocol: Protocol::Udp,
            local: None,
            path: "",
            expires_at: 1000,
            last_modified: 500,
            q: 700,
            call_id: "c@x",
            cseq: 1,
            user_agent: &user_agent,
            instance: "urn:uuid:1",
            reg_id: 1,
            methods: 3,
        };
        let renewed = |other: BindingRow<'_>| StoredBinding::from(row).is_renewed_by(&other.into());
        assert!(renewed(row));
        assert!(renewed(BindingRow { expires_at: 2000, last_modified: 600, call_id: "d@x", cseq: 7, ..row }));
        let (local, newer) =
            (Arc::new("192.0.2.1:5060".parse().expect("address")), SharedText::new("Phone 2".into()));
        for other in [
            BindingRow { ruid: "uloc-2", ..row },
            BindingRow { contact: "sip:a@198.51.100.8", ..row },
            BindingRow { received: "198.51.100.7:5062".parse().expect("address"), ..row },
            BindingRow { protocol: Protocol::Tcp, ..row },
            BindingRow { local: Some(&local), ..row },
            BindingRow { path: "<sip:edge.example;lr>", ..row },
            BindingRow { q: 1000, ..row },
            BindingRow { user_agent: &newer, ..row },
            BindingRow { instance: "", ..row },
            BindingRow { reg_id: 2, ..row },
            BindingRow { methods: 1, ..row },
        ] {
            assert!(!renewed(other), "{other:?}");
        }
    }

    #[test]
    fn it_is_small() {
        assert!(size_of::<StoredBinding>() <= 104, "{} bytes beside its texts", size_of::<StoredBinding>());
    }
}
