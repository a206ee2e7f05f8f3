//! Domains whose registrar stands behind this gateway.

use signaling_core::message::Uri;
use signaling_core::settings::Edge;

use super::{Config, Key, Value};

pub(super) const KEYS: &[Key] = &[Key {
    name: "edge.domains",
    allowed: "a list of \"DOMAIN\" and \"DOMAIN=URI\", such as \"pbx.example=sip:192.0.2.5:5060;transport=tcp\"",
    default: "[]",
    about: "Domains of an existing registrar for which this gateway is the edge: it takes their browsers and phones, bridges their media, and sends everything on to the registrar, with a Path that leads back (RFC 3327, RFC 5626). Without a URI the registrar is looked up by the name of the domain. Passwords are the registrar's.",
    set: set_domains,
}];

fn set_domains(config: &mut Config, value: &Value) -> Result<(), String> {
    let mut edges = Vec::<Edge>::new();
    for text in value.list()? {
        let (domain, registrar) = match text.split_once('=') {
            Some((domain, registrar)) => (domain, registrar.to_owned()),
            None => (text.as_str(), format!("sip:{text}")),
        };
        let domain = super::super::value::host(domain)?;
        if !Uri::parse(&registrar).is_ok_and(|uri| uri.is_sip()) {
            return Err(format!("{registrar:?} is no SIP URI"));
        }
        if edges.iter().any(|edge| edge.domain == domain) {
            return Err(format!("{domain:?} stands twice"));
        }
        edges.push(Edge { domain, registrar });
    }
    config.edge = edges;
    Ok(())
}
