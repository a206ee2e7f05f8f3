//! Forwarding, under the names of Kamailio's `tm` module and core.

use signaling_core::settings::{CancelBMethod, FailureReplyMode};

use super::{FLAG, Key};

const METHODS: &str = "a sum of INVITE 1, CANCEL 2, BYE 8, INFO 16, REGISTER 32, SUBSCRIBE 64, NOTIFY 128, MESSAGE 256, \
     OPTIONS 512, PRACK 1024, UPDATE 2048, REFER 4096, PUBLISH 8192, others 524288; -1 for all, minus what is left out";

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "tm.auto_inv_100",
        allowed: FLAG,
        default: "true",
        about: "Whether an INVITE that takes time is answered 100 by itself, so that its sender stops repeating it.",
        set: |c, v| v.flag().map(|flag| c.tm.auto_inv_100 = flag),
    },
    Key {
        name: "tm.auto_inv_100_reason",
        allowed: "text",
        default: "\"trying -- your call is important to us\"",
        about: "The reason phrase of that 100.",
        set: |c, v| v.text().map(|text| c.tm.auto_inv_100_reason = text),
    },
    Key {
        name: "tm.noisy_ctimer",
        allowed: FLAG,
        default: "true",
        about: "Whether a caller hears 408 when the only contact has never replied; false leaves him to his own timer.",
        set: |c, v| v.flag().map(|flag| c.tm.noisy_ctimer = flag),
    },
    Key {
        name: "tm.aggregate_challenges",
        allowed: FLAG,
        default: "true",
        about: "Whether a 401 or 407 carries the challenges of all branches (RFC 3261 section 16.7 step 7).",
        set: |c, v| v.flag().map(|flag| c.tm.aggregate_challenges = flag),
    },
    Key {
        name: "tm.remap_503_500",
        allowed: FLAG,
        default: "true",
        about: "Whether a 503 goes back as 500: that one server is full does not mean that this one is (RFC 3261 section 16.7 step 6).",
        set: |c, v| v.flag().map(|flag| c.tm.remap_503_500 = flag),
    },
    Key {
        name: "tm.disable_6xx_block",
        allowed: FLAG,
        default: "false",
        about: "Whether a 6xx is a refusal like others; RFC 3261 section 16.7 wants it to end every other branch.",
        set: |c, v| v.flag().map(|flag| c.tm.disable_6xx_block = flag),
    },
    Key {
        name: "tm.local_cancel_reason",
        allowed: FLAG,
        default: "true",
        about: "Whether a CANCEL says that another branch has answered or refused (Reason, RFC 3326); phones do not show such a call as missed.",
        set: |c, v| v.flag().map(|flag| c.tm.local_cancel_reason = flag),
    },
    Key {
        name: "tm.e2e_cancel_reason",
        allowed: FLAG,
        default: "true",
        about: "Whether the Reason of a caller's CANCEL goes on to the callees.",
        set: |c, v| v.flag().map(|flag| c.tm.e2e_cancel_reason = flag),
    },
    Key {
        name: "tm.cancel_b_method",
        allowed: "0, 1 or 2",
        default: "1",
        about: "How a branch is cancelled that has not replied at all: 0 forgets it, 1 repeats the INVITE until something is heard (RFC 3261 section 9.1), 2 sends the CANCEL all the same.",
        set: |c, v| {
            let methods = [CancelBMethod::Stop, CancelBMethod::Wait, CancelBMethod::AtOnce];
            v.number(0, 2).map(|number: usize| c.tm.cancel_b_method = methods[number])
        },
    },
    Key {
        name: "tm.unmatched_cancel",
        allowed: "\"reply\" or \"drop\"",
        default: "\"reply\"",
        about: "What becomes of a CANCEL that matches no INVITE: it is answered 481, or dropped (Kamailio's 2). It is never forwarded, as no INVITE is without a transaction.",
        set: |c, v| v.choice(&["reply", "drop"]).map(|place| c.tm.drop_unmatched_cancel = place == 1),
    },
    Key {
        name: "tm.ac_extra_hdrs",
        allowed: "text; empty for none",
        default: "\"\"",
        about: "Headers of an INVITE that begin with this go into its CANCEL and into the ACK to a negative reply.",
        set: |c, v| v.text().map(|text| c.tm.ac_extra_hdrs = text),
    },
    Key {
        name: "tm.serial_forking",
        allowed: FLAG,
        default: "true",
        about: "Whether contacts are tried in the order of their q, those of one q at once (RFC 3261 section 16.6; one without q comes last); false rings all at once.",
        set: |c, v| v.flag().map(|flag| c.tm.serial_forking = flag),
    },
    Key {
        name: "tm.failure_reply_mode",
        allowed: "0, 1, 2 or 3",
        default: "3",
        about: "Which refusals count when a failed call went to voicemail and failed there too: 0 all, 2 all but those just before, 1 and 3 only the last ones.",
        set: |c, v| {
            let drop_all = FailureReplyMode::DropAll;
            let modes = [FailureReplyMode::KeepAll, drop_all, FailureReplyMode::DropLast, drop_all];
            v.number(0, 3).map(|number: usize| c.tm.failure_reply_mode = modes[number])
        },
    },
    Key {
        name: "tm.use_dst_blocklist",
        allowed: FLAG,
        default: "false",
        about: "Whether a server that does not reply, or to which nothing can be sent, is avoided for a while.",
        set: |c, v| v.flag().map(|flag| c.blst.use_dst_blocklist = flag),
    },
    Key {
        name: "tm.dst_blocklist_expire",
        allowed: "1 to 86400 seconds",
        default: "60",
        about: "For how long.",
        set: |c, v| v.seconds(1, 86_400).map(|time| c.blst.dst_blocklist_expire = time),
    },
    Key {
        name: "tm.blst_methods_add",
        allowed: METHODS,
        default: "1",
        about: "Methods whose time-out makes a server avoided.",
        set: |c, v| v.mask().map(|mask| c.blst.methods_add = mask),
    },
    Key {
        name: "tm.blst_methods_lookup",
        allowed: METHODS,
        default: "-9",
        about: "Methods that are not sent to a server that is avoided.",
        set: |c, v| v.mask().map(|mask| c.blst.methods_lookup = mask),
    },
    Key {
        name: "tm.blst_503",
        allowed: FLAG,
        default: "false",
        about: "Whether a server that answers 503 is avoided for as long as its Retry-After says.",
        set: |c, v| v.flag().map(|flag| c.blst.blst_503 = flag),
    },
    Key {
        name: "tm.blst_503_def_timeout",
        allowed: "0 to 86400 seconds; 0 for not at all",
        default: "0",
        about: "The same for a 503 without Retry-After.",
        set: |c, v| v.seconds(0, 86_400).map(|time| c.blst.blst_503_def_timeout = time),
    },
    Key {
        name: "tm.blst_503_min_timeout",
        allowed: "0 to 86400 seconds",
        default: "0",
        about: "The least that Retry-After can ask for.",
        set: |c, v| v.seconds(0, 86_400).map(|time| c.blst.blst_503_min_timeout = time),
    },
    Key {
        name: "tm.blst_503_max_timeout",
        allowed: "0 to 86400 seconds",
        default: "3600",
        about: "The most that it can ask for.",
        set: |c, v| v.seconds(0, 86_400).map(|time| c.blst.blst_503_max_timeout = time),
    },
    Key {
        name: "voicemail.srv_ip",
        allowed: "an address or host name; empty for no voicemail",
        default: "\"\"",
        about: "The server that gets calls of users who are offline, busy (486) or do not answer (408), under the number dialled.",
        set: |c, v| v.host().map(|host| c.voicemail_host = host),
    },
    Key {
        name: "voicemail.srv_port",
        allowed: "1 to 65535",
        default: "5060",
        about: "Its port.",
        set: |c, v| v.number(1, 65_535).map(|number| c.voicemail_port = number),
    },
];
