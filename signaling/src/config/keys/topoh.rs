//! Topology hiding, under the names of Kamailio's `topoh` module.

use sha2::{Digest as _, Sha256};
use signaling_core::secret::Secret;

use super::Key;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "topoh.enabled",
        allowed: super::FLAG,
        default: "false",
        about: "Whether the ends of a call are kept from seeing where the other is: Vias, Record-Routes and Contacts of others go out enciphered, and are deciphered when they come back.",
        set: |c, v| v.flag().map(|flag| c.topoh.enabled = flag),
    },
    Key {
        name: "topoh.mask_key",
        allowed: "text; empty for a key of this installation",
        default: "\"\"",
        about: "What they are enciphered with. Servers with the same one understand each other's masks.",
        set: |c, v| {
            let key = v.optional()?;
            c.topoh.mask_key = key.map(|key| Secret(Sha256::digest(key.as_bytes()).into()));
            Ok(())
        },
    },
    Key {
        name: "topoh.mask_ip",
        allowed: "a host name or address",
        default: "\"127.0.0.8\"",
        about: "The host that stands in their place. Nothing is sent there.",
        set: |c, v| v.host()?.map(|host| c.topoh.names.mask_ip = host).ok_or_else(|| "it is empty".into()),
    },
    Key {
        name: "topoh.uparam_name",
        allowed: "a token",
        default: "\"line\"",
        about: "The parameter of a masked URI.",
        set: |c, v| word(v.token()?).map(|name| c.topoh.names.uparam_name = name),
    },
    Key {
        name: "topoh.uparam_prefix",
        allowed: "a token",
        default: "\"sr-\"",
        about: "What its value begins with.",
        set: |c, v| word(v.token()?).map(|prefix| c.topoh.names.uparam_prefix = prefix),
    },
    Key {
        name: "topoh.vparam_name",
        allowed: "a token",
        default: "\"branch\"",
        about: "The parameter of a masked Via.",
        set: |c, v| word(v.token()?).map(|name| c.topoh.names.vparam_name = name),
    },
    Key {
        name: "topoh.vparam_prefix",
        allowed: "a token; with vparam_name \"branch\" it begins with z9hG4bK",
        default: "\"z9hG4bKsr-\"",
        about: "What its value begins with.",
        set: |c, v| word(v.token()?).map(|prefix| c.topoh.names.vparam_prefix = prefix),
    },
    Key {
        name: "topoh.mask_callid",
        allowed: super::FLAG,
        default: "false",
        about: "Whether the ends of a call know it by different Call-IDs: some phones write their address into it. Records have that of the caller. It is for [topos] too.",
        set: |c, v| v.flag().map(|flag| c.topoh.names.mask_callid = flag),
    },
    Key {
        name: "topoh.callid_prefix",
        allowed: "a token, or !!:",
        default: "\"!!:\"",
        about: "What a masked Call-ID begins with.",
        set: |c, v| {
            let text = v.text()?;
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~()<>:/[]?{}".contains(&byte);
            if text.is_empty() || text.len() > 32 || !text.bytes().all(fits) {
                return Err("it cannot stand in a Call-ID".into());
            }
            c.topoh.names.callid_prefix = text;
            Ok(())
        },
    },
];

fn word(text: String) -> Result<String, String> {
    if text.is_empty() { Err("it is empty".into()) } else { Ok(text) }
}
