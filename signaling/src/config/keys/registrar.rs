//! Registrations, under the names of Kamailio's `registrar` and `usrloc` modules.

use signaling_core::settings::{MatchingMode, OutboundMode, PathMode};

use super::{FLAG, Key};
use crate::store::DbMode;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "registrar.default_expires",
        allowed: "60 to 86400 seconds",
        default: "3600",
        about: "Life of a registration that asks for none (RFC 3261 section 10.3).",
        set: |c, v| v.number(60, 86400).map(|number| c.registrar.default_expires = number),
    },
    Key {
        name: "registrar.default_expires_range",
        allowed: "0 to 100 percent",
        default: "0",
        about: "Such a life is chosen at random within this part of it, up or down, so that phones do not come back all at once.",
        set: |c, v| v.number(0, 100).map(|number| c.registrar.default_expires_range = number),
    },
    Key {
        name: "registrar.expires_range",
        allowed: "0 to 100 percent",
        default: "0",
        about: "A life that was asked for is shortened at random by up to this part of it, for the same reason.",
        set: |c, v| v.number(0, 100).map(|number| c.registrar.expires_range = number),
    },
    Key {
        name: "registrar.min_expires",
        allowed: "1 to 3600 seconds",
        default: "60",
        about: "The shortest registration; one that asks for less gets 423 Interval Too Brief.",
        set: |c, v| v.number(1, 3600).map(|number| c.registrar.min_expires = number),
    },
    Key {
        name: "registrar.max_expires",
        allowed: "60 to 86400 seconds",
        default: "3600",
        about: "The longest registration; one that asks for more gets this.",
        set: |c, v| v.number(60, 86400).map(|number| c.registrar.max_expires = number),
    },
    Key {
        name: "registrar.max_contacts",
        allowed: "1 to 100",
        default: "10",
        about: "Contacts that one account can have at a time; one more gets 503.",
        set: |c, v| v.number(1, 100).map(|number| c.registrar.max_contacts = number),
    },
    Key {
        name: "registrar.retry_after",
        allowed: "0 to 86400 seconds; 0 for none",
        default: "0",
        about: "Retry-After of that 503.",
        set: |c, v| v.number(0, 86400).map(|number| c.registrar.retry_after = number),
    },
    Key {
        name: "registrar.default_q",
        allowed: "0 to 1000 thousandths",
        default: "0",
        about: "Preference of a contact that says none. Those with a higher one are tried first.",
        set: |c, v| v.number(0, 1000).map(|number| c.registrar.default_q = number),
    },
    Key {
        name: "registrar.contact_max_size",
        allowed: "64 to 4096 bytes",
        default: "512",
        about: "Longest Contact URI taken; a longer one gets 400.",
        set: |c, v| v.number(64, 4096).map(|number| c.registrar.contact_max_size = number),
    },
    Key {
        name: "registrar.case_sensitive",
        allowed: FLAG,
        default: "false",
        about: "Whether Alice and alice are two addresses.",
        set: |c, v| v.flag().map(|flag| c.registrar.case_sensitive = flag),
    },
    Key {
        name: "registrar.method_filtering",
        allowed: FLAG,
        default: "true",
        about: "Whether a request goes only to contacts that allow its method; when none does, the caller gets 405.",
        set: |c, v| v.flag().map(|flag| c.registrar.method_filtering = flag),
    },
    Key {
        name: "registrar.append_branches",
        allowed: FLAG,
        default: "true",
        about: "Whether a call rings at all contacts of an account, not only at the most wanted one.",
        set: |c, v| v.flag().map(|flag| c.registrar.append_branches = flag),
    },
    Key {
        name: "registrar.use_path",
        allowed: FLAG,
        default: "true",
        about: "Whether Path is heeded (RFC 3327): calls go back through the proxies that a registration came through.",
        set: |c, v| v.flag().map(|flag| c.registrar.use_path = flag),
    },
    Key {
        name: "registrar.path_mode",
        allowed: "\"off\", \"lazy\" or \"strict\" (0, 1 and 2 of Kamailio)",
        default: "\"strict\"",
        about: "A Path whose phone does not say that it knows of it: never shown to any phone, shown to those that know of it, or refused with 420.",
        set: |c, v| {
            let modes = [PathMode::Off, PathMode::Lazy, PathMode::Strict];
            v.choice(&["off", "lazy", "strict"]).map(|place| c.registrar.path_mode = modes[place])
        },
    },
    Key {
        name: "registrar.path_use_received",
        allowed: FLAG,
        default: "false",
        about: "Whether the received parameter of the first Path says where a phone is.",
        set: |c, v| v.flag().map(|flag| c.registrar.path_use_received = flag),
    },
    Key {
        name: "registrar.path_check_local",
        allowed: FLAG,
        default: "false",
        about: "Whether values of a Path that name this gateway are left out when a call goes along it.",
        set: |c, v| v.flag().map(|flag| c.registrar.path_check_local = flag),
    },
    Key {
        name: "registrar.realm_prefix",
        allowed: "a text such as \"sip.\"; empty for none",
        default: "\"\"",
        about: "What a name may have before the domain and still mean it, for phones that know no SRV records.",
        set: |c, v| v.token().map(|text| c.registrar.realm_prefix = text.to_ascii_lowercase()),
    },
    Key {
        name: "registrar.received_param",
        allowed: "a parameter name; empty for none",
        default: "\"received\"",
        about: "The Contact parameter of a 200 that tells a phone behind NAT where it was seen.",
        set: |c, v| v.token().map(|text| c.registrar.received_param = text),
    },
    Key {
        name: "registrar.outbound_mode",
        allowed: "\"off\", \"supported\" or \"required\" (0, 1 and 2 of Kamailio)",
        default: "\"supported\"",
        about: "Registrations over several connections (RFC 5626). Required refuses others with 421.",
        set: |c, v| {
            let modes = [OutboundMode::Off, OutboundMode::Supported, OutboundMode::Required];
            v.choice(&["off", "supported", "required"]).map(|place| c.registrar.outbound_mode = modes[place])
        },
    },
    Key {
        name: "registrar.regid_mode",
        allowed: FLAG,
        default: "false",
        about: "Whether reg-id counts although the phone does not say Supported: outbound.",
        set: |c, v| v.flag().map(|flag| c.registrar.regid_mode = flag),
    },
    Key {
        name: "registrar.flow_timer",
        allowed: "0 to 86400 seconds; 0 for none",
        default: "0",
        about: "Flow-Timer of a 200: how long a phone may stay silent on its connection (RFC 5626 section 6).",
        set: |c, v| v.number(0, 86400).map(|number| c.registrar.flow_timer = number),
    },
    Key {
        name: "registrar.gruu_enabled",
        allowed: FLAG,
        default: "true",
        about: "Whether phones that ask for it are given addresses of their own, public and temporary (RFC 5627).",
        set: |c, v| v.flag().map(|flag| c.registrar.gruu_enabled = flag),
    },
    Key {
        name: "usrloc.db_mode",
        allowed: "0 never, 1 before the phone hears 200, 2 a second or two later, 3 as 1, and they are read before each use",
        default: "1",
        about: "When registrations are written to the database. Those that are not end with the process. With 3 several gateways, or Kamailio, may share one database: what another has written counts at once, and while the database does not answer (2 s at the most), what was read last.",
        set: |c, v| v.number(0, 3).map(|number: u8| c.db_mode = DbMode::of(number)),
    },
    Key {
        name: "usrloc.matching_mode",
        allowed: "0 Contact, 1 Contact and Call-ID, 2 Contact and Path, 3 Call-ID",
        default: "0",
        about: "What makes two registrations of an account the same one when the phone tells no instance (RFC 5626).",
        set: |c, v| {
            let modes = [
                MatchingMode::Contact,
                MatchingMode::ContactCallId,
                MatchingMode::ContactPath,
                MatchingMode::CallId,
            ];
            v.number(0, 3).map(|place: usize| c.usrloc.matching_mode = modes[place])
        },
    },
    Key {
        name: "usrloc.cseq_delay",
        allowed: "0 to 3600 seconds",
        default: "20",
        about: "A REGISTER with the CSeq of the one before counts as its repetition within this time, and is refused after it.",
        set: |c, v| v.seconds(0, 3600).map(|time| c.usrloc.cseq_delay = time),
    },
    Key {
        name: "usrloc.handle_lost_tcp",
        allowed: FLAG,
        default: "true",
        about: "Whether registrations end with the connection that was the only way to the phone.",
        set: |c, v| v.flag().map(|flag| c.usrloc.handle_lost_tcp = flag),
    },
    Key {
        name: "usrloc.lost_tcp_grace",
        allowed: "0 to 3600 seconds",
        default: "0",
        about: "How long such a registration is held for its phone to come back.",
        set: |c, v| v.seconds(0, 3600).map(|time| c.usrloc.lost_tcp_grace = time),
    },
    Key {
        name: "usrloc.close_expired_tcp",
        allowed: FLAG,
        default: "false",
        about: "Whether a connection is closed when the last registration over it has run out.",
        set: |c, v| v.flag().map(|flag| c.usrloc.close_expired_tcp = flag),
    },
    Key {
        name: "nathelper.natping_interval",
        allowed: "0 to 3600 seconds; 0 for never",
        default: "30",
        about: "Each phone on UDP is asked with OPTIONS once in this time, which keeps the NAT before it open.",
        set: |c, v| v.seconds(0, 3600).map(|time| c.nathelper.natping_interval = time),
    },
    Key {
        name: "nathelper.ping_nated_only",
        allowed: FLAG,
        default: "true",
        about: "Whether only phones are asked that are seen elsewhere than their Contact says.",
        set: |c, v| v.flag().map(|flag| c.nathelper.ping_nated_only = flag),
    },
    Key {
        name: "nathelper.sipping_from",
        allowed: "a SIP URI; empty for sip:pinger@ with the domain",
        default: "\"\"",
        about: "The From of those requests.",
        set: |c, v| v.sip_uri().map(|uri| c.nathelper.sipping_from = uri),
    },
    Key {
        name: "nathelper.keepalive_timeout",
        allowed: "0 to 86400 seconds; 0 for never",
        default: "0",
        about: "A phone that has answered none of them for this long is taken for gone, and its registration removed.",
        set: |c, v| v.seconds(0, 86_400).map(|time| c.nathelper.keepalive_timeout = time),
    },
];
