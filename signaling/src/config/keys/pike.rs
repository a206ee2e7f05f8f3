//! Floods, under the names of Kamailio's `pike` module and of the `ipban` table of kamailio.cfg, and who is not heard at all.

use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "pike.sampling_time_unit",
        allowed: "1 to 60 seconds",
        default: "2",
        about: "Requests are counted by source address in periods of this length.",
        set: |c, v| v.seconds(1, 60).map(|time| c.pike.sampling_time_unit = time),
    },
    Key {
        name: "pike.reqs_density_per_unit",
        allowed: "0 to 1000000; 0 for any number",
        default: "16",
        about: "Requests of one address in such a period. One that sends more is banned. What a phone sends that has given a good password is counted under its user, and its neighbours at one address are slowed down and not banned.",
        set: |c, v| v.number(0, 1_000_000).map(|number| c.pike.reqs_density_per_unit = number),
    },
    Key {
        name: "pike.user_reqs_density_per_unit",
        allowed: "0 to 1000000; 0 for any number",
        default: "512",
        about: "Requests of one user who has given a good password in such a period, from wherever they come; more are dropped.",
        set: |c, v| v.number(0, 1_000_000).map(|number| c.pike.user_reqs_density_per_unit = number),
    },
    Key {
        name: "pike.remove_latency",
        allowed: "1 to 3600 seconds",
        default: "4",
        about: "How long an address is remembered after its last request, where room is short.",
        set: |c, v| v.seconds(1, 3600).map(|time| c.pike.remove_latency = time),
    },
    Key {
        name: "pike.ban",
        allowed: "1 to 86400 seconds",
        default: "300",
        about: "How long nothing is heard of a banned address (autoexpire of Kamailio's ipban).",
        set: |c, v| v.seconds(1, 86_400).map(|time| c.pike.ban = time),
    },
    Key {
        name: "pike.exempt",
        allowed: "a list of \"ADDRESS\" and \"ADDRESS/BITS\"",
        default: "[]",
        about: "Peers that are never counted. A trunk that shows no password belongs here, else its calls are a flood to pike, which is on by default. This host never is counted.",
        set: |c, v| v.networks().map(|list| c.pike.exempt = list),
    },
    Key {
        name: "acl.allow_file",
        allowed: "a path; empty for none",
        default: "\"\"",
        about: "A file of addresses that are heard whatever acl.deny_file says: an ADDRESS or ADDRESS/BITS a line, ALL for everybody, # before a remark. `causeway reload` reads both again.",
        set: |c, v| v.optional().map(|path| c.acl.allow = path.map(Into::into)),
    },
    Key {
        name: "acl.deny_file",
        allowed: "a path; empty for none",
        default: "\"\"",
        about: "The same for addresses that are not heard: datagrams are dropped, connections closed, those of the page too. This host is always heard.",
        set: |c, v| v.optional().map(|path| c.acl.deny = path.map(Into::into)),
    },
];
