//! HEP to Homer, by the names of Kamailio's `siptrace` module.

use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "siptrace.duplicate_uri",
        allowed: "\"sip:HOST:PORT\"; empty for none",
        default: "\"\"",
        about: "Where every SIP message goes in copy, as it was sent or received, over HEP version 3 (UDP): a Homer. What does not get there is lost and counted; calls wait for none of it.",
        set: |c, v| {
            let Some(uri) = v.optional()? else {
                c.siptrace.collector = None;
                return Ok(());
            };
            let place = uri.strip_prefix("sip:").unwrap_or(&uri).to_owned();
            let port = place.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                return Err(format!("{uri:?} is not sip:HOST:PORT"));
            }
            c.siptrace.collector = Some(place);
            Ok(())
        },
    },
    Key {
        name: "siptrace.hep_capture_id",
        allowed: "0 to 4294967295",
        default: "1",
        about: "The number of this gateway among those that send to the same Homer.",
        set: |c, v| v.number(0, 4_294_967_295).map(|id| c.siptrace.agent.id = id),
    },
    Key {
        name: "siptrace.auth_key",
        allowed: "text; empty for none",
        default: "\"\"",
        about: "The password that Homer wants to see, if any.",
        set: |c, v| v.optional().map(|key| c.siptrace.agent.key = key.unwrap_or_default()),
    },
    Key {
        name: "siptrace.mask_secrets",
        allowed: "true or false",
        default: "true",
        about: "Digest responses, tokens and the keys of SRTP are stars in these copies.",
        set: |c, v| v.flag().map(|on| c.siptrace.mask_secrets = on),
    },
    Key {
        name: "siptrace.rtcp",
        allowed: "true or false",
        default: "true",
        about: "What ends of calls report by RTCP goes there too, as JSON. Of the relay of this process.",
        set: |c, v| v.flag().map(|on| c.siptrace.rtcp = on),
    },
    Key {
        name: "siptrace.reports",
        allowed: "true or false",
        default: "true",
        about: "How each end of a call was heard goes there when the call is over (HEP type 34). Call records must be on (section acc).",
        set: |c, v| v.flag().map(|on| c.siptrace.reports = on),
    },
];
