//! Forwarding, under the names of Kamailio's `tm` module.

use signaling_core::settings::CancelBMethod;

use super::{FLAG, Key};

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
];
