//! A certificate from an ACME server.

use base64::Engine as _;
use base64::engine::general_purpose::{URL_SAFE, URL_SAFE_NO_PAD};

use super::{Config, Key, LISTENER};
use crate::config::Challenge;
use crate::config::value::Value;
use crate::post::Url;

pub(super) const KEYS: &[Key] = &[
    Key {
        name: "acme.domains",
        allowed: "a list of host names; empty to ask no server",
        default: "[]",
        about: "Names for which a certificate is got from an ACME server (RFC 8555) and renewed, whose terms of service you agree to by this. Until it has issued one, and to whoever asks for another name, the certificate of the local CA is shown.",
        set: |c, v| {
            c.acme.domains = v.hosts()?;
            // A server that issues for addresses has other rules for them, and wildcards want DNS (RFC 8555 section 8.4).
            match c.acme.domains.iter().find(|name| name.parse::<std::net::IpAddr>().is_ok()) {
                Some(address) => Err(format!("{address:?} is an address")),
                None => Ok(()),
            }
        },
    },
    Key {
        name: "acme.directory",
        allowed: "an https URL",
        default: "\"https://acme-v02.api.letsencrypt.org/directory\"",
        about: "The directory of the server. That of Let's Encrypt for trials is https://acme-staging-v02.api.letsencrypt.org/directory; each has an account of its own, made at the first use and kept in the data directory.",
        set: |c, v| {
            let url = v.text()?;
            if !Url::parse(&url)?.is_secure() {
                return Err(format!("{url:?} is no https URL"));
            }
            c.acme.directory = url;
            Ok(())
        },
    },
    Key {
        name: "acme.contact",
        allowed: "a list of e-mail addresses or URLs such as \"mailto:ops@example.com\"",
        default: "[]",
        about: "Whom the server may write to, said when the account is made.",
        set: |c, v| {
            let url =
                |text: &String| if text.contains(':') { text.clone() } else { format!("mailto:{text}") };
            c.acme.contact = v.list()?.iter().map(url).collect();
            Ok(())
        },
    },
    Key {
        name: "acme.challenge",
        allowed: "\"tls-alpn-01\" or \"http-01\"",
        default: "\"tls-alpn-01\"",
        about: "How the server sees that the names are ours: by a connection to port 443 (RFC 8737), which has to reach https.listen, or by one to port 80, which has to reach acme.http or https.listen.",
        set: |c, v| {
            let kinds = [Challenge::TlsAlpn01, Challenge::Http01];
            v.choice(&["tls-alpn-01", "http-01"]).map(|place| c.acme.challenge = kinds[place])
        },
    },
    Key {
        name: "acme.http",
        allowed: LISTENER,
        default: "\"off\"",
        about: "Plain HTTP for http-01: \"*:80\" if nothing else is there. Whatever else is asked for there is sent to https.listen.",
        set: |c, v| v.listen().map(|listen| c.acme.http = listen),
    },
    Key {
        name: "acme.eab_kid",
        allowed: "text; empty together with acme.eab_hmac_key",
        default: "\"\"",
        about: "The name of an account that the server's operator has given you, for servers that want one (external account binding, RFC 8555 section 7.3.4).",
        set: |c, v| v.optional().map(|text| c.acme.eab_kid = text),
    },
    Key {
        name: "acme.eab_hmac_key",
        allowed: "a key in URL-safe base64; empty together with acme.eab_kid",
        default: "\"\"",
        about: "The key of that account.",
        set: set_hmac_key,
    },
    Key {
        name: "acme.ca_list",
        allowed: "a path of a PEM file; empty for none",
        default: "\"\"",
        about: "Authorities by which the server's own certificate may be signed besides those that browsers trust: for a server within an organization.",
        set: |c, v| v.optional().map(|path| c.acme.ca_list = path.map(Into::into)),
    },
    Key {
        name: "acme.retry",
        allowed: "1 to 86400 seconds",
        default: "300",
        about: "When it is tried again after a failure; twice as long each time, 12 hours at most, and not before the server says (Retry-After).",
        set: |c, v| v.seconds(1, 86_400).map(|time| c.acme.retry = time),
    },
];

fn set_hmac_key(config: &mut Config, value: &Value) -> Result<(), String> {
    let key = |text: String| {
        let bytes = URL_SAFE_NO_PAD.decode(&text).or_else(|_| URL_SAFE.decode(&text));
        bytes.ok().filter(|bytes| !bytes.is_empty()).ok_or_else(|| "it is no URL-safe base64".to_owned())
    };
    config.acme.eab_hmac_key = value.optional()?.map(key).transpose()?.map(Into::into);
    Ok(())
}
