//! What the operator chose: a plain struct that the shell's configuration fills in.

mod dtmf;
mod guard;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::digest::Algorithm;
use crate::dispatcher;
use crate::flow::Protocol;
use crate::message::uri::host_ip;
use crate::secret::Secret;
use crate::topology::Topoh;

pub use self::dtmf::{Dtmf, Keys, is_named};
pub use self::guard::{AuthBlock, BadNetwork, Network, Pike, Sanity, Secfilter, Words};

/// Everything a worker needs to know before the first message. Names follow Kamailio where it has one.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The SIP domains served here, lower case. The first one is the *home* domain: names in [`Settings::aliases`]
    /// stand for it. A domain is also the digest realm of its users.
    pub domains: Vec<String>,
    /// Other names and addresses by which people reach the home domain (Kamailio's `alias`), lower case, IPv6
    /// without brackets. The addresses of the listeners count without being listed.
    pub aliases: Vec<String>,
    /// The sockets on which this process answers.
    pub listeners: Vec<Listener>,
    /// Value of the Server header of replies; `None` sends none (Kamailio's `server_header`; default `Causeway`, which tells no
    /// version).
    pub server_header: Option<String>,
    /// Value of the User-Agent header of requests that are made here; `None` sends none (Kamailio's `user_agent_header`; default
    /// none).
    pub user_agent_header: Option<String>,
    /// The transaction timers.
    pub timers: Timers,
    /// How requests are forwarded.
    pub tm: Tm,
    /// Which destinations are avoided for a while.
    pub blst: Blst,
    /// How the gateways of the table `dispatcher` are asked and judged.
    pub dispatcher: dispatcher::Settings,
    /// Domains whose registrar stands behind this process (default none).
    pub edge: Vec<Edge>,
    /// Where calls go that nobody takes; `None` for nowhere.
    pub voicemail: Option<Voicemail>,
    /// What the relay says by itself, and what it records.
    pub sounds: Sounds,
    /// How ends have keys.
    pub dtmf: Dtmf,
    /// The registrar.
    pub registrar: Registrar,
    /// What becomes of a REFER within a call (default [`Referral::Pass`]).
    pub refer: Referral,
    /// The shortest session timer taken, in seconds (RFC 4028, Kamailio's `min_se`; default and least 90).
    pub min_se: u32,
    /// Calls.
    pub dialog: Dialog,
    /// The table of bindings.
    pub usrloc: Usrloc,
    /// What keeps phones behind a NAT reachable.
    pub nathelper: Nathelper,
    /// Digest authentication.
    pub auth: Auth,
    /// Requests too long for a datagram.
    pub udp: Udp,
    /// What one peer may ask of us.
    pub limits: Limits,
    /// Which requests are not looked at.
    pub secfilter: Secfilter,
    /// What a request is checked for.
    pub sanity: Sanity,
    /// How much one source may send.
    pub pike: Pike,
    /// What tells one peer where others are is hidden from it; `None` (default): it is not.
    pub topoh: Option<Topoh>,
    /// Whether a certificate is shown to those who are dialled over TLS and ask for one, so that such a connection is offered for
    /// requests of theirs (RFC 5923; default no).
    pub tls_alias: bool,
    /// The key of what others carry for us: GRUUs and flow tokens. The shell makes it once and keeps it.
    pub secret: Secret,
}

/// One socket (Kamailio's `listen`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Where it is bound; the address may be a wildcard.
    pub addr: SocketAddr,
    /// What Via and Record-Route say instead of the concrete address (Kamailio's `advertise`): a host name or an
    /// address, and a port. `None` says the address on which the peer reached us.
    pub advertised: Option<(String, u16)>,
}

/// The transaction timers, under the names of Kamailio's `tm` module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timers {
    /// RFC 3261's T1: the first retransmission interval (default 500 ms).
    pub retr_timer1: Duration,
    /// RFC 3261's T2: the longest one (default 4 s).
    pub retr_timer2: Duration,
    /// How long a branch may stay without any reply, and a negative INVITE reply without its ACK (default 30 s).
    pub fr_timer: Duration,
    /// How long a branch may ring after a provisional reply (default 120 s).
    pub fr_inv_timer: Duration,
    /// The same for a group of contacts after which others are tried (default 30 s, as `fr_inv_timer_next` of SER had it).
    /// It never starts again with a reply of no higher code, lest a phone that rings on keeps the others silent.
    pub fr_inv_timer_next: Duration,
    /// Whether `fr_inv_timer` starts again with each provisional reply, as RFC 3261's timer C does (§16.8; default yes);
    /// if not, with the first one and with each of a higher code than those before.
    pub restart_fr_on_each_reply: bool,
    /// The hard end of an INVITE that is not answered (default 180 s).
    pub max_inv_lifetime: Duration,
    /// The hard end of any other request (default 32 s).
    pub max_noninv_lifetime: Duration,
    /// How long a finished transaction absorbs late messages (default 5 s).
    pub wt_timer: Duration,
}

/// How requests are forwarded, under the names of Kamailio's `tm` module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tm {
    /// Whether an INVITE that takes time is answered 100 by itself (default yes).
    pub auto_inv_100: bool,
    /// The reason phrase of that 100 (default "trying -- your call is important to us").
    pub auto_inv_100_reason: String,
    /// Whether the caller of a single contact that has never replied hears 408 (default yes); if not, he hears nothing.
    pub noisy_ctimer: bool,
    /// Whether the challenges of all branches go back with a 401 or 407 (default yes, RFC 3261 §16.7 step 7).
    pub aggregate_challenges: bool,
    /// Whether a 503 becomes 500 upstream (default yes, RFC 3261 §16.7 step 6).
    pub remap_503_500: bool,
    /// Whether a 6xx is a refusal like others, which ends no other branch and no search (default no: RFC 3261 §16.7 step 5
    /// wants it to end both).
    pub disable_6xx_block: bool,
    /// Whether a CANCEL that follows from a reply of another branch says so in a Reason header (default yes, RFC 3326).
    pub local_cancel_reason: bool,
    /// Whether the Reason headers of a caller's CANCEL go on to the callees (default yes, RFC 3326).
    pub e2e_cancel_reason: bool,
    /// Whether contacts are tried in the order of their q, those of one q at once (default yes, RFC 3261 §16.6); if not,
    /// all at once.
    pub serial_forking: bool,
    /// How a branch is cancelled that has not replied at all.
    pub cancel_b_method: CancelBMethod,
    /// Whether a CANCEL that matches no INVITE is dropped (Kamailio's `unmatched_cancel` 2) instead of answered 481
    /// (default). It is never forwarded (0 and 1 there): no INVITE goes on without a transaction here, so that nobody
    /// behind us could know what it means.
    pub drop_unmatched_cancel: bool,
    /// Which refusals still count when a failed call has been sent elsewhere.
    pub failure_reply_mode: FailureReplyMode,
    /// Headers of the INVITE that begin with this, in any case, are copied into its CANCEL and into the ACK to a negative
    /// reply; empty for none (default).
    pub ac_extra_hdrs: String,
}

/// Which destinations are avoided for a while after they have failed, under the names of Kamailio's core and `tm`. A list
/// of addresses: flows of registered phones end by themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Blst {
    /// Whether a destination that does not reply, or to which nothing can be sent, is put on the list (default no).
    pub use_dst_blocklist: bool,
    /// For how long (default 60 s).
    pub dst_blocklist_expire: Duration,
    /// Whether one that answers 503 is put on it, for as long as Retry-After says (default no).
    pub blst_503: bool,
    /// How long that is without Retry-After; zero for not at all (default).
    pub blst_503_def_timeout: Duration,
    /// The least that Retry-After can ask for (default 0 s).
    pub blst_503_min_timeout: Duration,
    /// The most (default 3600 s).
    pub blst_503_max_timeout: Duration,
    /// Methods whose time-out puts a destination on the list, as Kamailio's bit mask (`blst_methods_add`, default 1:
    /// INVITE).
    pub methods_add: u32,
    /// Methods that are not sent to a destination on the list (`blst_methods_lookup`, default -9: all but BYE).
    pub methods_lookup: u32,
}

/// A domain of which this process is the edge (RFC 5626 §2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Its name, lower case.
    pub domain: String,
    /// A SIP URI that leads to its registrar.
    pub registrar: String,
}

/// What the relay says by itself, and what it records. Files are WAV files at the relay.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sounds {
    /// What an end hears that is on hold; `None` for silence.
    pub music_on_hold: Option<String>,
    /// What a caller hears before a final response with this code.
    pub announcements: BTreeMap<u16, String>,
    /// Callers who play no early media, and are answered to hear it ([`is_named`]).
    pub answered: Vec<String>,
    /// What both ends hear when a recording begins; `None` for nothing.
    pub recording_notice: Option<String>,
    /// Users whose calls are recorded; `*` for all.
    pub record_users: Vec<String>,
}

/// The server that takes calls which nobody takes (`voicemail.srv_ip` and `voicemail.srv_port` of kamailio.cfg).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voicemail {
    /// Its address or name.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// How a branch is cancelled that has not replied at all; RFC 3261 §9.1 allows a CANCEL only after a provisional reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CancelBMethod {
    /// The INVITE is not sent again, and the branch counts as answered 487 at once.
    Stop,
    /// The INVITE is sent on until something is heard, and then cancelled.
    #[default]
    Wait,
    /// The CANCEL is sent in place of the INVITE.
    AtOnce,
}

/// Which refusals still count when failure routing has sent a call to other targets, and those fail as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FailureReplyMode {
    /// All of them.
    KeepAll,
    /// Those of the last targets, and those before the last but one.
    DropLast,
    /// Those of the last targets only.
    #[default]
    DropAll,
}

/// What becomes of a REFER within a call (RFC 3515).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Referral {
    /// It goes to the other end, which calls whom it names.
    #[default]
    Pass,
    /// It is carried out here, in the name of the other end.
    Terminate,
    /// It is carried out here where the other end has said, by Allow, that it takes none.
    Auto,
}

/// The registrar, under the names of Kamailio's `registrar` module.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a parameter of its own that operators know")]
pub struct Registrar {
    /// Given to a contact that asks for no lifetime, in seconds (default 3600).
    pub default_expires: u32,
    /// Such a lifetime is chosen at random within so many percent around `default_expires`, so that phones which
    /// registered together do not come back together (default 0).
    pub default_expires_range: u8,
    /// A lifetime that was asked for is shortened at random by up to so many percent (default 0).
    pub expires_range: u8,
    /// Below it a REGISTER is refused with 423, in seconds (default 60).
    pub min_expires: u32,
    /// Longer wishes are shortened to it, in seconds (default 3600).
    pub max_expires: u32,
    /// Contacts per address of record (default 10); one more is answered with 503.
    pub max_contacts: usize,
    /// Retry-After of that 503, in seconds; 0 sends none (default 0).
    pub retry_after: u32,
    /// Preference of a contact without `q`, in thousandths (default 0: after all that have one).
    pub default_q: u16,
    /// Longest Contact URI taken, in bytes (default 512).
    pub contact_max_size: usize,
    /// Whether `Alice` and `alice` are two addresses of record (default false).
    pub case_sensitive: bool,
    /// Whether a request goes only to contacts that allow its method (default true).
    pub method_filtering: bool,
    /// Whether a request goes to all contacts of an address, not only to the most wanted one (default true).
    pub append_branches: bool,
    /// Whether Path is heeded at all (RFC 3327; default true).
    pub use_path: bool,
    /// What becomes of a Path whose user agent does not say that it knows of it (default [`PathMode::Strict`]).
    pub path_mode: PathMode,
    /// Whether the `received` parameter of the first Path says where the contact is (default false).
    pub path_use_received: bool,
    /// Whether values of the Path that name this process are left out when a request goes along it (default false).
    pub path_check_local: bool,
    /// What a name may have before that of a served domain and still mean it, such as `sip.`; empty for nothing (default).
    pub realm_prefix: String,
    /// The Contact parameter of a 200 that says where a contact was seen when that is not what its URI says; empty for
    /// none (default `received`).
    pub received_param: String,
    /// Registrations over several flows (RFC 5626; default [`OutboundMode::Supported`]).
    pub outbound_mode: OutboundMode,
    /// Whether `reg-id` counts for a user agent that does not say `Supported: outbound` (default false).
    pub regid_mode: bool,
    /// Flow-Timer of a 200 to such a registration, in seconds; 0 sends none (RFC 5626 §6; default 0).
    pub flow_timer: u32,
    /// Whether user agents are given GRUUs (RFC 5627; default true).
    pub gruu_enabled: bool,
}

/// What becomes of a Path in a REGISTER without `Supported: path` (RFC 3327 §5.3), numbered as Kamailio does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathMode {
    /// It is kept, and never shown to the user agent.
    Off,
    /// It is kept, and shown to those that know of it.
    Lazy,
    /// 420: a user agent that does not know of Path would not see who has put himself in between.
    Strict,
}

/// Whether user agents may register over several flows (RFC 5626), numbered as Kamailio does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboundMode {
    /// `outbound` is not known.
    Off,
    /// Those that want to.
    Supported,
    /// Others are refused with 421.
    Required,
}

/// Calls, under the names of Kamailio's `dialog` module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dialog {
    /// The longest call without session timer, from its last answered INVITE or UPDATE on (default 43200 s).
    pub default_timeout: Duration,
    /// How often it is looked which calls are to be asked whether they are still there; zero for never (default).
    pub ka_timer: Duration,
    /// How often both ends of a call are asked by OPTIONS (default 30 s).
    pub ka_interval: Duration,
    /// So many questions in a row that an end has not answered, or answered 408 or 481, end the call (default 1).
    pub ka_failed_limit: u32,
}

/// The table of bindings, under the names of Kamailio's `usrloc` module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usrloc {
    /// What makes two registrations of one address the same contact (default [`MatchingMode::Contact`]).
    pub matching_mode: MatchingMode,
    /// A REGISTER with the Call-ID and CSeq of the one before counts as a repetition within this time, and as a mistake
    /// after it (default 20 s).
    pub cseq_delay: Duration,
    /// Whether bindings end with the connection that was the only way to them (default true).
    pub handle_lost_tcp: bool,
    /// How long such a binding is held for its owner to come back (default 0).
    pub lost_tcp_grace: Duration,
    /// Whether the connection of a binding that has run out is closed when it carries no other (default false).
    pub close_expired_tcp: bool,
}

/// What makes a contact the same one when it has no instance (RFC 5626 §6), numbered as Kamailio does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MatchingMode {
    /// Its URI (RFC 3261 §10.3).
    Contact,
    /// Its URI and the Call-ID.
    ContactCallId,
    /// Its URI and the Path.
    ContactPath,
    /// The Call-ID.
    CallId,
}

/// Keep-alive of UDP phones, under the names of Kamailio's `nathelper` module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nathelper {
    /// Each contact is asked with OPTIONS once in this time; zero for never (default 30 s).
    pub natping_interval: Duration,
    /// Whether only contacts behind a NAT are asked (default true).
    pub ping_nated_only: bool,
    /// The From URI of those requests; `None` is `sip:pinger@` with the home domain.
    pub sipping_from: Option<String>,
    /// A contact that has answered nothing for this long is removed; zero for never (default zero).
    pub keepalive_timeout: Duration,
}

/// Digest authentication (RFC 7616, RFC 8760).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Auth {
    /// Whether a user of ours proves who he is (default yes). Without it everybody is whom he says: for a laboratory.
    pub required: bool,
    /// How long a nonce is good; afterwards the challenge says `stale=true` (default 300 s).
    pub nonce_expire: Duration,
    /// The algorithms that are offered, the most preferred first, and taken (default MD5 alone: many phones fail at any
    /// other, or at a second challenge).
    pub algorithms: Vec<Algorithm>,
    /// When whoever guesses is not heard any more.
    pub block: AuthBlock,
    /// Signs the nonces of all workers and, if it is kept, over restarts (Kamailio's `secret`); `None` has each worker make
    /// its own.
    pub secret: Option<Secret>,
}

/// Requests too long for a datagram (RFC 3261 §18.1.1), under the names of Kamailio's core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Udp {
    /// The longest request sent over UDP as it is, in bytes; 0 for any (default 1300).
    pub mtu: usize,
    /// Whether a longer one goes over TCP where the target's URI leaves the choice (Kamailio's `udp_mtu_try_proto`; default
    /// yes). When TCP is refused it goes over UDP all the same.
    pub mtu_try_tcp: bool,
    /// Headers left out of a longer one that must go over UDP (default User-Agent, Organization, Date).
    pub mtu_strip: Vec<String>,
}

/// What one peer may ask of us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest message looked at, in bytes; longer ones are dropped before parsing (default 65535).
    pub max_message_size: usize,
    /// How long an answer to a stranger over UDP may be, in percent of his request: whoever forges the address of somebody else
    /// makes us send that much (default 100: no more than he sends himself).
    pub stranger_percent: usize,
    /// Max-Forwards given to a request that has none (default 70, RFC 3261 §16.6 step 3).
    pub max_forwards: u8,
    /// Branches of one request (default 12).
    pub max_branches: usize,
    /// Branches that a request may be in at once, whatever it asks for (default 60, which RFC 5393 §5.3.3 recommends).
    pub max_breadth: u32,
    /// Requests of one worker that may wait for the store, the resolver or the relay at once; beyond it the answer
    /// is 503 (default 10000). Those within dialogs may be twice as many.
    pub max_pending: usize,
    /// How long a message may wait for its worker; when they keep waiting longer, new requests that have are refused
    /// (default 200 ms).
    pub max_delay: Duration,
    /// Seconds of Retry-After in a 503 of ours (default 10).
    pub retry_after: u32,
}

impl Default for Dialog {
    fn default() -> Self {
        Self {
            default_timeout: Duration::from_secs(43_200),
            ka_timer: Duration::ZERO,
            ka_interval: Duration::from_secs(30),
            ka_failed_limit: 1,
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            domains: vec!["localhost".into()],
            aliases: Vec::new(),
            listeners: Vec::new(),
            server_header: Some("Causeway".into()),
            user_agent_header: None,
            timers: Timers::default(),
            tm: Tm::default(),
            dispatcher: dispatcher::Settings::default(),
            blst: Blst::default(),
            edge: Vec::new(),
            voicemail: None,
            sounds: Sounds::default(),
            dtmf: Dtmf::default(),
            registrar: Registrar::default(),
            refer: Referral::Pass,
            min_se: 90,
            dialog: Dialog::default(),
            usrloc: Usrloc::default(),
            nathelper: Nathelper::default(),
            auth: Auth::default(),
            udp: Udp::default(),
            limits: Limits {
                max_message_size: 65_535,
                stranger_percent: 100,
                max_forwards: 70,
                max_branches: 12,
                max_breadth: 60,
                max_pending: 10_000,
                max_delay: Duration::from_millis(200),
                retry_after: 10,
            },
            secfilter: Secfilter::default(),
            sanity: Sanity::default(),
            pike: Pike::default(),
            topoh: None,
            tls_alias: false,
            secret: Secret::default(),
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            required: true,
            nonce_expire: Duration::from_secs(300),
            algorithms: vec![Algorithm::MD5],
            block: AuthBlock::default(),
            secret: None,
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            retr_timer1: Duration::from_millis(500),
            retr_timer2: Duration::from_secs(4),
            fr_timer: Duration::from_secs(30),
            fr_inv_timer: Duration::from_secs(120),
            fr_inv_timer_next: Duration::from_secs(30),
            restart_fr_on_each_reply: true,
            max_inv_lifetime: Duration::from_secs(180),
            max_noninv_lifetime: Duration::from_secs(32),
            wt_timer: Duration::from_secs(5),
        }
    }
}

impl Default for Tm {
    fn default() -> Self {
        Self {
            auto_inv_100: true,
            auto_inv_100_reason: "trying -- your call is important to us".into(),
            noisy_ctimer: true,
            aggregate_challenges: true,
            remap_503_500: true,
            disable_6xx_block: false,
            local_cancel_reason: true,
            e2e_cancel_reason: true,
            serial_forking: true,
            cancel_b_method: CancelBMethod::default(),
            drop_unmatched_cancel: false,
            failure_reply_mode: FailureReplyMode::default(),
            ac_extra_hdrs: String::new(),
        }
    }
}

impl Default for Udp {
    fn default() -> Self {
        let mtu_strip = ["User-Agent", "Organization", "Date"].map(str::to_owned).into();
        Self { mtu: 1300, mtu_try_tcp: true, mtu_strip }
    }
}

impl Default for Blst {
    fn default() -> Self {
        Self {
            use_dst_blocklist: false,
            dst_blocklist_expire: Duration::from_secs(60),
            blst_503: false,
            blst_503_def_timeout: Duration::ZERO,
            blst_503_min_timeout: Duration::ZERO,
            blst_503_max_timeout: Duration::from_secs(3600),
            methods_add: 1,
            methods_lookup: !8,
        }
    }
}

impl Default for Registrar {
    fn default() -> Self {
        Self {
            default_expires: 3600,
            default_expires_range: 0,
            expires_range: 0,
            min_expires: 60,
            max_expires: 3600,
            max_contacts: 10,
            retry_after: 0,
            default_q: 0,
            contact_max_size: 512,
            case_sensitive: false,
            method_filtering: true,
            append_branches: true,
            use_path: true,
            path_mode: PathMode::Strict,
            path_use_received: false,
            path_check_local: false,
            realm_prefix: String::new(),
            received_param: "received".into(),
            outbound_mode: OutboundMode::Supported,
            regid_mode: false,
            flow_timer: 0,
            gruu_enabled: true,
        }
    }
}

impl Default for Usrloc {
    fn default() -> Self {
        Self {
            matching_mode: MatchingMode::Contact,
            cseq_delay: Duration::from_secs(20),
            handle_lost_tcp: true,
            lost_tcp_grace: Duration::ZERO,
            close_expired_tcp: false,
        }
    }
}

impl Default for Nathelper {
    fn default() -> Self {
        Self {
            natping_interval: Duration::from_secs(30),
            ping_nated_only: true,
            sipping_from: None,
            keepalive_timeout: Duration::ZERO,
        }
    }
}

impl Settings {
    /// The served domain that `host` means: itself, or the home domain when it is an alias or one of our addresses.
    /// `None` for a foreign one. Brackets of an IPv6 reference and a final dot are ignored (RFC 3261 §19.1.4).
    #[must_use]
    pub fn local_domain(&self, host: &str) -> Option<&str> {
        let host = normal(host);
        if let Some(domain) = self.domain_named(&host) {
            return Some(domain);
        }
        (self.is_alias(&host) || self.is_our_address(&host))
            .then(|| self.domains.first())?
            .map(String::as_str)
    }

    /// The domain `host` that has its registrar behind us.
    #[must_use]
    pub fn edge(&self, host: &str) -> Option<&Edge> {
        let host = normal(host);
        self.edge.iter().find(|edge| edge.domain == host)
    }

    /// Whether `host` and `port` are where one of the listeners answers, on any of its names.
    #[must_use]
    pub fn is_myself(&self, host: &str, port: Option<u16>) -> bool {
        let host = normal(host);
        let named = self.domain_named(&host).is_some() || self.is_alias(&host);
        let port_fits = |ours: u16| port.is_none_or(|port| port == ours);
        self.listeners.iter().any(|listener| {
            let advertised = listener
                .advertised
                .as_ref()
                .is_some_and(|(name, port)| normal(name) == host && port_fits(*port));
            advertised || (port_fits(listener.addr.port()) && (named || listener.answers_at(&host)))
        })
    }

    /// The served domain with this normal name, [`Registrar::realm_prefix`] aside.
    fn domain_named(&self, host: &str) -> Option<&str> {
        let bare = host.strip_prefix(self.registrar.realm_prefix.as_str()).unwrap_or(host);
        let named = |name: &str| self.domains.iter().find(|domain| *domain == name);
        named(host).or_else(|| named(bare)).map(String::as_str)
    }

    fn is_alias(&self, host: &str) -> bool {
        self.aliases.iter().any(|alias| alias == host)
    }

    /// Whether `host` is an address or advertised name of a listener.
    fn is_our_address(&self, host: &str) -> bool {
        self.listeners.iter().any(|listener| {
            listener.answers_at(host)
                || listener.advertised.as_ref().is_some_and(|(name, _)| normal(name) == host)
        })
    }

    /// The listener of `protocol` for peers of the address family of `remote`.
    #[must_use]
    pub fn listener(&self, protocol: Protocol, remote: IpAddr) -> Option<&Listener> {
        let speaks = |listener: &&Listener| listener.protocol == protocol;
        let same_family = |listener: &&Listener| listener.addr.is_ipv4() == remote.is_ipv4();
        let dual_stack = |listener: &&Listener| listener.addr.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
        let mut listeners = self.listeners.iter().filter(speaks);
        listeners.clone().find(same_family).or_else(|| listeners.find(dual_stack))
    }
}

impl Listener {
    /// Whether the socket is bound to the literal address `host` and no wildcard.
    fn answers_at(&self, host: &str) -> bool {
        host_ip(host).is_some_and(|ip| ip == self.addr.ip() && !ip.is_unspecified())
    }
}

/// Lower case, without the brackets of an IPv6 reference and without a final dot.
#[must_use]
pub fn normal_host(host: &str) -> String {
    normal(host).into_owned()
}

/// The same, without a copy where the host is written so.
fn normal(host: &str) -> Cow<'_, str> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => host.to_ascii_lowercase().into(),
        false => host.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        let listener = |protocol, addr: &str, advertised: Option<(&str, u16)>| Listener {
            protocol,
            addr: addr.parse().expect("address"),
            advertised: advertised.map(|(host, port)| (host.to_owned(), port)),
        };
        Settings {
            domains: vec!["sip.example".into(), "other.example".into()],
            aliases: vec!["192.0.2.1".into(), "gateway.local".into()],
            listeners: vec![
                listener(Protocol::Udp, "0.0.0.0:5060", None),
                listener(Protocol::Udp, "[2001:db8::1]:5060", None),
                listener(Protocol::Wss, "198.51.100.7:8443", Some(("Gw.Example", 443))),
            ],
            ..Settings::default()
        }
    }

    #[test]
    fn every_name_of_ours_leads_to_a_served_domain() {
        let settings = settings();
        for (host, domain) in [
            ("SIP.example.", Some("sip.example")),
            ("other.example", Some("other.example")),
            ("192.0.2.1", Some("sip.example")),
            ("gateway.LOCAL", Some("sip.example")),
            ("[2001:db8::1]", Some("sip.example")),
            ("gw.example", Some("sip.example")),
            ("0.0.0.0", None),
            ("elsewhere.example", None),
        ] {
            assert_eq!(settings.local_domain(host), domain, "{host}");
        }
    }

    #[test]
    fn a_prefix_of_the_realm_means_the_domain() {
        let mut settings = settings();
        assert_eq!(settings.local_domain("sip.sip.example"), None);
        settings.registrar.realm_prefix = "sip.".into();
        for (host, domain) in [
            ("SIP.other.example", Some("other.example")),
            ("sip.sip.example", Some("sip.example")),
            ("sip.example", Some("sip.example")),
            ("sip.elsewhere.example", None),
            ("example", None),
        ] {
            assert_eq!(settings.local_domain(host), domain, "{host}");
        }
        assert!(settings.is_myself("sip.other.example", Some(5060)));
    }

    #[test]
    fn myself_needs_a_port_of_ours() {
        let settings = settings();
        for (host, port, mine) in [
            ("sip.example", None, true),
            ("sip.example", Some(5060), true),
            ("sip.example", Some(5070), false),
            ("192.0.2.1", Some(8443), true),
            ("gw.example", Some(443), true),
            ("gw.example", Some(8443), false),
            ("[2001:db8::1]", Some(5060), true),
            ("198.51.100.7", Some(5060), false),
            ("203.0.113.9", None, false),
        ] {
            assert_eq!(settings.is_myself(host, port), mine, "{host} {port:?}");
        }
    }
}
