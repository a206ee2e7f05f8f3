//! The table of keys. Adding a key is adding a row; a row whose field nobody reads does not belong here.

mod acme;
mod alarm;
mod dialog;
mod dispatcher;
mod dns;
mod dtmf;
mod edge;
mod guard;
mod limits;
mod pike;
mod recording;
mod registrar;
mod relays;
mod routing;
mod rpc;
mod siptrace;
mod tm;
mod tokens;
mod tolls;
mod topoh;
mod topos;

use std::net::SocketAddr;

use signaling_core::digest::Algorithm;
use signaling_core::settings::Referral;
use toml::de::DeValue;

use super::Config;
use super::value::Value;
use crate::post::Url;
use crate::store::sql::Place;

/// One key: its name, what it may hold, what it is when left out, and what it does.
pub struct Key {
    /// `section.key`, as in the file.
    pub name: &'static str,
    /// What is allowed, with its unit.
    pub allowed: &'static str,
    /// The default as TOML.
    pub default: &'static str,
    /// What it does, in a sentence or two.
    pub about: &'static str,
    /// Puts a value in its field.
    pub(super) set: fn(&mut Config, &Value) -> Result<(), String>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// The part before the dot.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    /// The part after the dot.
    #[must_use]
    pub fn leaf(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, leaf)| leaf)
    }

    /// Whether a command can change it while the gateway runs.
    #[must_use]
    pub fn is_live(&self) -> bool {
        LIVE.iter().any(|live| match live.strip_suffix('.') {
            Some(section) => self.section() == section,
            None => self.name == *live,
        })
    }

    /// Whether `causeway reload` takes it up.
    #[must_use]
    pub fn is_reloaded(&self) -> bool {
        self.is_live() || RELOADED.contains(&self.name)
    }

    /// Whether it may hold what nobody is to see.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        SECRET.contains(&self.name)
    }

    pub(super) fn set_default(&self, config: &mut Config) -> Result<(), String> {
        let value = DeValue::parse(self.default).map_err(|error| error.message().to_owned())?;
        (self.set)(config, &Value::of(value.get_ref())?)
    }
}

const LISTENER: &str = "\"off\", \"*:PORT\" or \"ADDRESS:PORT\"; a port alone means \"*:PORT\"";
const NETWORKS: &str = "a list of addresses and networks such as \"192.0.2.0/24\"; empty for none";
const HOSTS: &str = "a list of host names and addresses";

/// The keys, and sections with a dot behind them, of [`Config::policy`].
const LIVE: &[&str] = &[
    "routing.",
    "pstn.",
    "jwt.",
    "auth_ephemeral.",
    "dispatcher.routes",
    "dispatcher.algorithm",
    "dispatcher.hash_pvar",
    "dialog.max_calls",
    "dialog.max_calls_per_user",
    "dialog.max_calls_per_group",
    "dialog.max_calls_to_gateway",
    "tolls.",
    "secfilter.premium_dst",
    "secfilter.premium_group",
    "secfilter.dst_exact_match",
];

/// Those besides that are read again with the file, but not changed by a command: it would have to read files of its own, or has
/// another command.
const RELOADED: &[&str] = &["acl.allow_file", "acl.deny_file", "log.level"];

/// Passwords and keys, and URLs that may have one in them.
const SECRET: &[&str] = &[
    "acme.eab_hmac_key",
    "alarm.webhook_url",
    "alarm.webhook_secret",
    "events.webhooks",
    "events.webhook_secret",
    "siptrace.auth_key",
    "database.db_url",
    "acc.cdr_url",
    "jwt.secret",
    "auth_ephemeral.secret",
    "topoh.mask_key",
];

/// Every key there is, in the order of the sample file.
pub fn all() -> impl Iterator<Item = &'static Key> + Clone {
    [
        KEYS,
        acme::KEYS,
        relays::KEYS,
        recording::KEYS,
        dtmf::KEYS,
        routing::KEYS,
        tokens::KEYS,
        rpc::KEYS,
        dispatcher::KEYS,
        dialog::KEYS,
        tolls::KEYS,
        registrar::KEYS,
        edge::KEYS,
        tm::KEYS,
        limits::KEYS,
        pike::KEYS,
        guard::KEYS,
        alarm::KEYS,
        siptrace::KEYS,
        topoh::KEYS,
        topos::KEYS,
        dns::KEYS,
    ]
    .into_iter()
    .flatten()
}

/// Names that Kamailio knows and that say nothing here, with the reason. They are accepted, and a warning tells it.
pub const OBSOLETE: &[(&str, &str)] = &[
    ("timers.delete_timer", "a transaction is freed when it ends"),
    ("timers.unix_tx_timeout", "there is no such socket"),
    ("timers.fr_timer_avp", "there are no AVPs; see timers.fr_timer"),
    ("timers.fr_inv_timer_avp", "there are no AVPs; see timers.fr_inv_timer"),
    ("tm.ruri_matching", "the Request-URI always counts where RFC 2543 clients need it"),
    ("tm.via1_matching", "the topmost Via always counts"),
    ("tm.callid_matching", "the branch names the transaction (RFC 3261 section 17.1.3)"),
    ("tm.reparse_invite", "CANCEL and negative ACK are always made from the INVITE as sent"),
    ("topoh.sanity_checks", "only what was masked with the key is ever unmasked"),
    ("topoh.uri_prefix_checks", "only what was masked with the key is ever unmasked"),
    ("topoh.event_callback", "there is no script"),
    ("topos.db_url", "what is hidden is kept in the database of database.db_url"),
    ("topos.mask_callid", "see topoh.mask_callid, which is for both"),
    ("topos.sanity_checks", "every request is checked before anything is done with it"),
    ("topos.event_callback", "there is no script"),
    ("registrar.aor_avp", "there are no AVPs; the address of record is that of To"),
    ("registrar.received_avp", "there are no AVPs; where a phone was seen is always noted"),
    ("registrar.reg_callid_avp", "there are no AVPs; see usrloc.matching_mode"),
    ("registrar.xavp_cfg", "there are no AVPs; each parameter is a key"),
    ("registrar.xavp_rcd", "there are no AVPs"),
    ("registrar.sock_flag", "see registrar.sock_hdr_name"),
    (
        "registrar.sock_hdr_name",
        "the socket of a registration is the one that it came to; behind an edge, Path says more (registrar.use_path)",
    ),
    ("tm.reparse_on_dns_failover", "every branch is made from the request as it came"),
    (
        "tm.on_sl_reply",
        "there is no script; a response without a transaction goes no further (RFC 6026 section 8.9)",
    ),
    ("tm.xavp_contact", "there are no AVPs; see tm.serial_forking"),
    ("tm.contacts_avp", "there are no AVPs; see tm.serial_forking"),
    (
        "tm.contact_flows_avp",
        "there are no AVPs; the flows of an instance are tried one after the other (RFC 5626 section 7)",
    ),
    ("tm.pass_provisional_replies", "there is no script that could be told"),
    ("tm.default_code", "there is no script that could leave it out"),
    ("tm.default_reason", "there is no script that could leave it out"),
    ("tm.local_ack_mode", "an ACK of our own goes along its dialog, as with 0"),
    ("tm.faked_reply_prio", "of two replies of one rank that which somebody has said goes back"),
    ("tm.failure_exec_mode", "a branch that failed here counts like one that was refused"),
    ("tm.dns_reuse_rcv_socket", "each destination is sent to from the listener that fits it"),
    ("tm.event_callback", "there is no script"),
    (
        "tm.relay_100",
        "a 100 is between neighbours where there are transactions (RFC 3261 section 16.7 step 5)",
    ),
    ("tm.rich_redirect", "a redirection goes back as it came, as with 0"),
];

const FLAG: &str = "true or false";

/// The keys of everything but what has a file of its own.
const KEYS: &[Key] = &[
    Key {
        name: "general.data_directory",
        allowed: "a path, relative to the working directory or absolute",
        default: "\"var\"",
        about: "Directory of the accounts and registrations (SQLite), the local CA and the certificates. Made if missing.",
        set: |c, v| v.text().map(|text| c.data_directory = text.into()),
    },
    Key {
        name: "general.drain_timeout",
        allowed: "0 to 86400 seconds; 0 to end all calls at once",
        default: "0",
        about: "How long calls may go on after SIGTERM, while no new ones are taken; a second one ends them. Whoever sends it (systemd's TimeoutStopSec, docker stop -t) has to wait longer. SIGINT always ends them at once, and causeway drain has a limit of its own.",
        set: |c, v| v.seconds(0, 86_400).map(|time| c.drain_timeout = time),
    },
    Key {
        name: "network.addresses",
        allowed: "a list of IP addresses of this host; empty for all of them",
        default: "[]",
        about: "The local addresses that `*` of a listener stands for.",
        set: |c, v| v.addresses().map(|list| c.addresses = list),
    },
    Key {
        name: "network.advertised",
        allowed: "an IP address; empty for the local one by which the peer is reached",
        default: "\"\"",
        about: "The address under which others reach this host when it is none of its own (1:1 NAT, cloud); written into SIP and SDP.",
        set: |c, v| v.address().map(|address| c.advertised = address),
    },
    Key {
        name: "network.proxy_protocol_from",
        allowed: NETWORKS,
        default: "[]",
        about: "Reverse proxies that begin each connection with a header of the PROXY protocol, version 1 or 2, on any listener of streams. From there no connection is taken without it.",
        set: |c, v| v.networks().map(|list| c.proxy_protocol_from = list),
    },
    Key {
        name: "sip.domain",
        allowed: "a host name or address; empty for the advertised or primary address of the host",
        default: "\"\"",
        about: "The SIP domain: the part after the @ of every account, and the realm of its password.",
        set: |c, v| v.host().map(|host| c.domain = host),
    },
    Key {
        name: "sip.aliases",
        allowed: HOSTS,
        default: "[]",
        about: "More names of the same domain. The addresses and the name of the host are always among them.",
        set: |c, v| v.hosts().map(|list| c.aliases = list),
    },
    Key {
        name: "sip.udp",
        allowed: LISTENER,
        default: "\"*:5060\"",
        about: "SIP over UDP.",
        set: |c, v| v.listen().map(|listen| c.udp = listen),
    },
    Key {
        name: "sip.tcp",
        allowed: LISTENER,
        default: "\"*:5060\"",
        about: "SIP over TCP.",
        set: |c, v| v.listen().map(|listen| c.tcp = listen),
    },
    Key {
        name: "sip.tls",
        allowed: LISTENER,
        default: "\"*:5061\"",
        about: "SIP over TLS.",
        set: |c, v| v.listen().map(|listen| c.tls = listen),
    },
    Key {
        name: "sip.server_header",
        allowed: "text; empty for no such header",
        default: "\"Causeway\"",
        about: "The Server header of answers. It tells no version unless you say one.",
        set: |c, v| v.optional().map(|text| c.server_header = text),
    },
    Key {
        name: "sip.user_agent_header",
        allowed: "text; empty for no such header",
        default: "\"\"",
        about: "The User-Agent header of requests that are made here: OPTIONS to phones and gateways, BYE and re-INVITE of the gateway itself, and what it sends on command. Those of others keep theirs.",
        set: |c, v| v.optional().map(|text| c.user_agent_header = text),
    },
    Key {
        name: "sip.min_se",
        allowed: "90 to 86400 seconds",
        default: "90",
        about: "The shortest session timer (RFC 4028): a call that asks for less is answered 422 with this as Min-SE.",
        set: |c, v| v.number(90, 86_400).map(|number| c.min_se = number),
    },
    Key {
        name: "sip.refer",
        allowed: "\"pass\", \"terminate\" or \"auto\"",
        default: "\"pass\"",
        about: "What becomes of a transfer (REFER): it is left to the other phone, carried out here in its name, or that only where its Allow names no REFER, as with most carriers. Here it is on the account of whoever transfers.",
        set: |c, v| {
            let modes = [Referral::Pass, Referral::Terminate, Referral::Auto];
            v.choice(&["pass", "terminate", "auto"]).map(|place| c.refer = modes[place])
        },
    },
    Key {
        name: "sip.udp_mtu",
        allowed: "0 to 65535 bytes; 0 for no limit",
        default: "1300",
        about: "The longest request that goes over UDP as it is (RFC 3261 section 18.1.1); a longer one is written in compact form first.",
        set: |c, v| v.number(0, 65_535).map(|number| c.udp_settings.mtu = number),
    },
    Key {
        name: "sip.udp_mtu_try_proto",
        allowed: "\"TCP\" or \"UDP\"",
        default: "\"TCP\"",
        about: "How a request goes that is still longer. TCP is tried where the target leaves the choice, and UDP when it is refused.",
        set: |c, v| v.choice(&["TCP", "UDP"]).map(|place| c.udp_settings.mtu_try_tcp = place == 0),
    },
    Key {
        name: "sip.udp_mtu_strip",
        allowed: "a list of header names",
        default: "[\"User-Agent\", \"Organization\", \"Date\"]",
        about: "What such a request leaves out when it must go over UDP.",
        set: |c, v| v.list().map(|list| c.udp_settings.mtu_strip = list),
    },
    Key {
        name: "sip.workers",
        allowed: "0 to 64 threads; 0 for one per processor",
        default: "0",
        about: "Signalling threads. A call lives on one of them.",
        set: |c, v| v.number(0, 64).map(|number| c.workers = number),
    },
    Key {
        name: "https.listen",
        allowed: LISTENER,
        default: "\"*:8443\"",
        about: "The page, the CA certificate, /healthz and SIP over secure WebSocket (any path), all on one port.",
        set: |c, v| v.listen().map(|listen| c.https = listen),
    },
    Key {
        name: "https.websocket",
        allowed: LISTENER,
        default: "\"off\"",
        about: "The same without TLS, for a reverse proxy in front; browsers refuse the microphone on such a page.",
        set: |c, v| v.listen().map(|listen| c.websocket = listen),
    },
    Key {
        name: "https.origins",
        allowed: "a list of \"self\" (this page), \"*\" (any page) and origins such as \"https://example.com\"",
        default: "[\"self\"]",
        about: "Pages that may open a WebSocket. A client that sends no Origin header is no page and is always let in.",
        set: |c, v| v.list().map(|list| c.origins = list),
    },
    Key {
        name: "https.forwarded_from",
        allowed: NETWORKS,
        default: "[]",
        about: "Reverse proxies that pass HTTP on, most often to https.websocket: their X-Forwarded-For says from whom a request or a WebSocket comes. Anybody else's says nothing.",
        set: |c, v| v.networks().map(|list| c.forwarded_from = list),
    },
    Key {
        name: "https.hsts",
        allowed: "0 to 63072000 seconds; 0 for never",
        default: "15552000",
        about: "Strict-Transport-Security (RFC 6797). Sent only with a certificate of your own or from an ACME server: under the local CA it would lock out browsers that do not know it.",
        set: |c, v| v.seconds(0, 63_072_000).map(|time| c.hsts = time),
    },
    Key {
        name: "https.ping_interval",
        allowed: "1 to 300 seconds",
        default: "25",
        about: "Time between WebSocket pings, shorter than the idle timeouts of proxies and NATs on the way.",
        set: |c, v| v.seconds(1, 300).map(|time| c.ping_interval = time),
    },
    Key {
        name: "https.missed_pongs",
        allowed: "1 to 10",
        default: "2",
        about: "A WebSocket that leaves this many pings in a row unanswered is closed.",
        set: |c, v| v.number(1, 10).map(|number| c.missed_pongs = number),
    },
    Key {
        name: "certificate.chain",
        allowed: "a path of a PEM file; empty for a certificate made here and signed by a local CA",
        default: "\"\"",
        about: "Your own certificate, followed by its intermediates.",
        set: |c, v| v.optional().map(|path| c.certificate = path.map(Into::into)),
    },
    Key {
        name: "certificate.private_key",
        allowed: "a path of a PEM file; empty together with certificate.chain",
        default: "\"\"",
        about: "The key of that certificate.",
        set: |c, v| v.optional().map(|path| c.private_key = path.map(Into::into)),
    },
    Key {
        name: "certificate.names",
        allowed: HOSTS,
        default: "[]",
        about: "More names in the certificate made here. It always has the domain and every name and address of the host.",
        set: |c, v| v.hosts().map(|list| c.certificate_names = list),
    },
    Key {
        name: "tls.ca_list",
        allowed: "a path of a PEM file; empty to ask nobody for a certificate",
        default: "\"\"",
        about: "Authorities whose certificates peers on sip.tls, such as trunks, may show. Requests to one that did, and that says alias in its Via, go back over its connection (RFC 5923).",
        set: |c, v| v.optional().map(|path| c.tls_settings.ca_list = path.map(Into::into)),
    },
    Key {
        name: "tls.require_certificate",
        allowed: FLAG,
        default: "false",
        about: "Whether a peer on sip.tls without such a certificate is refused. Phones have none.",
        set: |c, v| v.flag().map(|flag| c.tls_settings.require_certificate = flag),
    },
    Key {
        name: "auth.required",
        allowed: FLAG,
        default: "true",
        about: "Whether users prove who they are by password. With false everybody is whom he says: only for a laboratory that nobody else reaches.",
        set: |c, v| v.flag().map(|flag| c.auth.required = flag),
    },
    Key {
        name: "auth.nonce_expire",
        allowed: "10 to 86400 seconds",
        default: "300",
        about: "How long a phone can answer one challenge; afterwards it is given another, without asking its user again.",
        set: |c, v| v.seconds(10, 86_400).map(|time| c.auth.nonce_expire = time),
    },
    Key {
        name: "auth.algorithms",
        allowed: "a list of \"MD5\", \"MD5-sess\", \"SHA-256\", \"SHA-256-sess\", \"SHA-512-256\", \"SHA-512-256-sess\"",
        default: "[\"MD5\"]",
        about: "Digest algorithms offered, the most preferred first (RFC 8760). Browsers are offered MD5 alone where it is in the list: JsSIP knows no other. An account that another program made has no hash but that of MD5 until its password is set here.",
        set: set_algorithms,
    },
    Key {
        name: "timers.fr_timer",
        allowed: "1000 to 300000 ms",
        default: "30000",
        about: "Wait for a final reply to a request, or for the ACK to a negative reply to INVITE.",
        set: |c, v| v.milliseconds(1000, 300_000).map(|time| c.timers.fr_timer = time),
    },
    Key {
        name: "timers.fr_inv_timer",
        allowed: "1000 to 600000 ms",
        default: "120000",
        about: "Wait for a final reply to an INVITE once a provisional one came on that branch: how long a phone rings.",
        set: |c, v| v.milliseconds(1000, 600_000).map(|time| c.timers.fr_inv_timer = time),
    },
    Key {
        name: "timers.fr_inv_timer_next",
        allowed: "1000 to 600000 ms",
        default: "30000",
        about: "The same for contacts after which others, of a lower q, are tried; see tm.serial_forking.",
        set: |c, v| v.milliseconds(1000, 600_000).map(|time| c.timers.fr_inv_timer_next = time),
    },
    Key {
        name: "timers.restart_fr_on_each_reply",
        allowed: FLAG,
        default: "true",
        about: "Whether fr_inv_timer begins anew with each provisional reply (RFC 3261 section 16.7), or only with those of a higher code than before.",
        set: |c, v| v.flag().map(|flag| c.timers.restart_fr_on_each_reply = flag),
    },
    Key {
        name: "timers.max_inv_lifetime",
        allowed: "1000 to 3600000 ms",
        default: "180000",
        about: "Hard end of an INVITE transaction.",
        set: |c, v| v.milliseconds(1000, 3_600_000).map(|time| c.timers.max_inv_lifetime = time),
    },
    Key {
        name: "timers.max_noninv_lifetime",
        allowed: "1000 to 300000 ms",
        default: "32000",
        about: "Hard end of any other transaction.",
        set: |c, v| v.milliseconds(1000, 300_000).map(|time| c.timers.max_noninv_lifetime = time),
    },
    Key {
        name: "timers.wt_timer",
        allowed: "0 to 60000 ms",
        default: "5000",
        about: "How long an ended transaction is kept to absorb late messages.",
        set: |c, v| v.milliseconds(0, 60_000).map(|time| c.timers.wt_timer = time),
    },
    Key {
        name: "timers.retr_timer1",
        allowed: "100 to 10000 ms",
        default: "500",
        about: "First retransmission over UDP (T1 of RFC 3261 section 17); doubles each time.",
        set: |c, v| v.milliseconds(100, 10_000).map(|time| c.timers.retr_timer1 = time),
    },
    Key {
        name: "timers.retr_timer2",
        allowed: "100 to 60000 ms",
        default: "4000",
        about: "Longest time between retransmissions (T2).",
        set: |c, v| v.milliseconds(100, 60_000).map(|time| c.timers.retr_timer2 = time),
    },
    Key {
        name: "database.db_url",
        allowed: "\"sqlite:///FILE\", \"postgres://USER:PASSWORD@HOST/NAME\" or \"mysql://USER:PASSWORD@HOST/NAME\"; empty for a file of its own in the data directory",
        default: "\"\"",
        about: "The database of accounts, registrations and call records: one with Kamailio's tables can be pointed at, an empty one is given them.",
        set: set_db_url,
    },
    Key {
        name: "acc.db",
        allowed: FLAG,
        default: "true",
        about: "Whether calls are recorded as rows of acc, missed_calls and acc_cdrs.",
        set: |c, v| v.flag().map(|flag| c.acc.db = flag),
    },
    Key {
        name: "acc.cdr_file",
        allowed: "a path; empty for none",
        default: "\"\"",
        about: "File to which the record of each call is added as a line of JSON.",
        set: |c, v| v.optional().map(|path| c.acc.cdr_file = path.map(Into::into)),
    },
    Key {
        name: "acc.cdr_url",
        allowed: "an http or https URL; empty for none",
        default: "\"\"",
        about: "Where the record of each call is posted as JSON, again and again until it is taken.",
        set: set_cdr_url,
    },
    Key {
        name: "media.first_port",
        allowed: "1024 to 65520",
        default: "30000",
        about: "First UDP port of media. The first few carry all browsers, the others two each a legacy phone.",
        set: |c, v| v.number(1024, 65_520).map(|number| c.media.first_port = number),
    },
    Key {
        name: "media.last_port",
        allowed: "1039 to 65535",
        default: "40000",
        about: "Last UDP port of media.",
        set: |c, v| v.number(1039, 65_535).map(|number| c.media.last_port = number),
    },
    Key {
        name: "media.workers",
        allowed: "0 to 64 threads; 0 for one per processor",
        default: "0",
        about: "Media threads. A call lives on one of them.",
        set: |c, v| v.number(0, 64).map(|number| c.media.workers = number),
    },
    Key {
        name: "media.ng",
        allowed: "\"off\" or \"ADDRESS:PORT\"",
        default: "\"127.0.0.1:2223\"",
        about: "Where the relay of this process takes ng commands over UDP. They need no password: keep it on loopback.",
        set: |c, v| door(v).map(|door| c.media.ng = door),
    },
    Key {
        name: "media.cli",
        allowed: "\"off\" or \"ADDRESS:PORT\"",
        default: "\"off\"",
        about: "Where the relay of this process takes the commands of rtpengine-ctl over TCP (rtpengine's listen-cli). They need no password: keep it on loopback.",
        set: |c, v| door(v).map(|door| c.media.cli = door),
    },
    Key {
        name: "media.http",
        allowed: "\"off\" or \"ADDRESS:PORT\"",
        default: "\"off\"",
        about: "Where the relay of this process serves /metrics for Prometheus, /ping, /cli/COMMAND, and ng as POST /ng and over WebSocket (rtpengine's listen-http). Nothing of it needs a password: keep it on loopback.",
        set: |c, v| door(v).map(|door| c.media.http = door),
    },
    Key {
        name: "media.dtls",
        allowed: "\"auto\" (1.2 and 1.3) or \"1.2\"",
        default: "\"auto\"",
        about: "DTLS versions towards browsers; \"1.2\" helps when a browser's 1.3 is at fault.",
        set: |c, v| v.choice(&["auto", "1.2"]).map(|place| c.media.dtls_12_only = place == 1),
    },
    Key {
        name: "media.ice",
        allowed: "\"full\" or \"lite\"",
        default: "\"full\"",
        about: "How ICE is done towards browsers; \"lite\" only answers checks, and needs a public advertised address.",
        set: |c, v| v.choice(&["full", "lite"]).map(|place| c.media.ice_lite = place == 1),
    },
    Key {
        name: "media.timeout",
        allowed: "5 to 86400 seconds",
        default: "60",
        about: "A call in which no media comes for this long gives its ports back.",
        set: |c, v| v.seconds(5, 86_400).map(|time| c.media.timeout = time),
    },
    Key {
        name: "media.silent_timeout",
        allowed: "5 to 86400 seconds",
        default: "3600",
        about: "The same for a call on hold.",
        set: |c, v| v.seconds(5, 86_400).map(|time| c.media.silent_timeout = time),
    },
    Key {
        name: "media.max_sessions",
        allowed: "-1 to 1000000",
        default: "-1",
        about: "Calls of the relay at most, a further one hears 503; -1 for as many as it has ports for.",
        set: |c, v| {
            v.number(-1, 1_000_000).map(|limit: i64| c.media.max_sessions = usize::try_from(limit).ok())
        },
    },
    Key {
        name: "media.max_packet_rate",
        allowed: "0 to 1000000",
        default: "5000",
        about: "Packets that an end of a call may send in a second; those beyond are dropped. 0 for no limit.",
        set: |c, v| v.number(0, 1_000_000).map(|rate| c.media.max_packet_rate = rate),
    },
    Key {
        name: "media.music_on_hold",
        allowed: "\"default\", \"off\" or the path of a WAV file at the relay",
        default: "\"default\"",
        about: "What an end hears that the other has put on hold with sendonly (RFC 3264). The default is a melody in `sounds` of the data directory.",
        set: |c, v| recording::sound(v).map(|sound| c.music_on_hold = sound),
    },
    Key {
        name: "log.format",
        allowed: "\"text\" or \"json\"",
        default: "\"text\"",
        about: "How log lines look on standard error.",
        set: |c, v| v.choice(&["text", "json"]).map(|place| c.log.json = place == 1),
    },
    Key {
        name: "log.level",
        allowed: "\"error\", \"warn\", \"info\", \"debug\", \"trace\", or per module: \"info,causeway::transport=debug\"",
        default: "\"info\"",
        about: "What is logged. Passwords, nonces and keys are not, at any level, which is why libraries stay at info.",
        set: set_level,
    },
];

fn set_algorithms(config: &mut Config, value: &Value) -> Result<(), String> {
    let mut algorithms = Vec::new();
    for name in value.list()? {
        let algorithm = Algorithm::parse(Some(&name)).ok_or_else(|| format!("{name:?} is no algorithm"))?;
        // RFC 8760 §2.3: each challenge of a response has another algorithm.
        if algorithms.contains(&algorithm) {
            return Err(format!("{name:?} stands twice"));
        }
        algorithms.push(algorithm);
    }
    if algorithms.is_empty() {
        return Err("nobody could sign in without an algorithm".to_owned());
    }
    config.auth.algorithms = algorithms;
    Ok(())
}

fn set_db_url(config: &mut Config, value: &Value) -> Result<(), String> {
    let text = value.text()?;
    config.db_url = if text.is_empty() { None } else { Some(Place::parse(&text)?) };
    Ok(())
}

fn set_cdr_url(config: &mut Config, value: &Value) -> Result<(), String> {
    let url = value.optional()?;
    config.acc.cdr_url = url.map(|url| Url::parse(&url)).transpose()?;
    Ok(())
}

fn door(value: &Value) -> Result<Option<SocketAddr>, String> {
    match value.text()?.as_str() {
        "off" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("{text:?} is no address with port")),
    }
}

fn set_level(config: &mut Config, value: &Value) -> Result<(), String> {
    let text = value.text()?;
    text.parse::<tracing_subscriber::filter::Targets>().map_err(|error| error.to_string())?;
    config.log.filter = text;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_can_be_changed_and_secret_ones_are_there() {
        for name in LIVE.iter().chain(RELOADED).chain(SECRET) {
            let known = all().any(|key| key.name == *name || name.strip_suffix('.') == Some(key.section()));
            assert!(known, "{name}");
        }
        let secret = ["secret", "mask_key", "password", "_url"];
        for key in all().filter(|key| secret.iter().any(|word| key.leaf().ends_with(word))) {
            assert!(key.is_secret(), "{}", key.name);
        }
    }

    /// Whoever knows Kamailio finds each parameter of its `tm`, `registrar` and `usrloc` modules that the articles name under its
    /// own name: as a key, or with the reason why there is none.
    #[test]
    fn every_name_of_the_articles_is_known() {
        let timers = "fr_timer fr_inv_timer restart_fr_on_each_reply max_inv_lifetime max_noninv_lifetime wt_timer delete_timer \
            retr_timer1 retr_timer2 unix_tx_timeout fr_timer_avp fr_inv_timer_avp";
        let tm = "noisy_ctimer auto_inv_100 auto_inv_100_reason aggregate_challenges blst_503 blst_503_def_timeout \
            blst_503_min_timeout blst_503_max_timeout blst_methods_add blst_methods_lookup reparse_invite ac_extra_hdrs \
            reparse_on_dns_failover on_sl_reply xavp_contact contacts_avp contact_flows_avp cancel_b_method unmatched_cancel \
            ruri_matching via1_matching callid_matching pass_provisional_replies default_code default_reason disable_6xx_block \
            local_ack_mode failure_reply_mode faked_reply_prio local_cancel_reason e2e_cancel_reason remap_503_500 \
            failure_exec_mode dns_reuse_rcv_socket event_callback relay_100 rich_redirect";
        let registrar = "default_expires default_expires_range expires_range min_expires max_expires default_q realm_prefix \
            append_branches aor_avp case_sensitive received_avp received_param max_contacts retry_after sock_flag sock_hdr_name \
            method_filtering use_path path_mode path_use_received path_check_local reg_callid_avp xavp_cfg xavp_rcd gruu_enabled \
            outbound_mode regid_mode flow_timer contact_max_size";
        let usrloc = "db_mode matching_mode cseq_delay handle_lost_tcp close_expired_tcp";
        let nathelper = "natping_interval ping_nated_only sipping_from";
        let known = |name: &str| {
            all().any(|key| key.name == name) || OBSOLETE.iter().any(|(obsolete, _)| *obsolete == name)
        };
        for (section, names) in [
            ("timers", timers),
            ("tm", tm),
            ("registrar", registrar),
            ("usrloc", usrloc),
            ("nathelper", nathelper),
        ] {
            for name in names.split_whitespace() {
                assert!(known(&format!("{section}.{name}")), "{section}.{name}");
            }
        }
    }
}
