//! Name servers: with `dns_` in place of the section, each key but `servers` and `cache_size` is Kamailio's.

use super::{FLAG, Key};

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "dns.servers",
        allowed: "a list of \"ADDRESS\" and \"ADDRESS:PORT\"; empty for those of the system",
        default: "[]",
        about: "Name servers that are asked for the way to other domains.",
        set: |c, v| v.endpoints(53).map(|list| c.dns.servers = list),
    },
    Key {
        name: "dns.try_naptr",
        allowed: FLAG,
        default: "true",
        about: "Whether a domain may choose the transport by NAPTR records (RFC 3263 section 4.1); SRV records are always asked for.",
        set: |c, v| v.flag().map(|flag| c.dns.try_naptr = flag),
    },
    Key {
        name: "dns.try_ipv6",
        allowed: FLAG,
        default: "true",
        about: "Whether IPv6 addresses of other domains are asked for. They are used only with a listener of that family.",
        set: |c, v| v.flag().map(|flag| c.dns.try_ipv6 = flag),
    },
    Key {
        name: "dns.retr_time",
        allowed: "100 to 10000 ms",
        default: "1000",
        about: "How long one question to a name server waits for its answer.",
        set: |c, v| v.milliseconds(100, 10_000).map(|time| c.dns.retr_time = time),
    },
    Key {
        name: "dns.retr_no",
        allowed: "0 to 5",
        default: "1",
        about: "How often an unanswered question is asked again.",
        set: |c, v| v.number(0, 5).map(|number| c.dns.retr_no = number),
    },
    Key {
        name: "dns.cache_size",
        allowed: "0 to 1000000 answers",
        default: "4096",
        about: "Answers that are remembered, those that a name is not there included.",
        set: |c, v| v.number(0, 1_000_000).map(|number| c.dns.cache_size = number),
    },
    Key {
        name: "dns.cache_max_ttl",
        allowed: "0 to 604800 seconds",
        default: "86400",
        about: "The longest time an answer is remembered, whatever it allows itself.",
        set: |c, v| v.seconds(0, 604_800).map(|time| c.dns.cache_max_ttl = time),
    },
    Key {
        name: "dns.cache_negative_ttl",
        allowed: "0 to 86400 seconds",
        default: "60",
        about: "The longest time it is remembered that a name is not there.",
        set: |c, v| v.seconds(0, 86_400).map(|time| c.dns.cache_negative_ttl = time),
    },
];
