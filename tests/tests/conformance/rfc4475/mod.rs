//! SIP Torture Test Messages.

use anyhow::Result;

use crate::torture::{self, Deviation};

/// Where Kamailio says something else than the table, and why that is.
const KAMAILIO: &[Deviation] = &[
    ("wsinv", "silence", "goes along the foreign Route, as it does for any dialog"),
    ("intmeth", "silence", "does not read the message"),
    ("esc02", "silence", "does not read the message"),
    ("dblreq", "400", "takes what stands behind the body for a wrong Content-Length"),
    ("badinv01", "silence", "does not read the message"),
    ("ncl", "silence", "does not read the message"),
    ("quotbal", "silence", "does not read the message"),
    ("lwsruri", "silence", "does not read the message"),
    ("lwsstart", "silence", "does not read the message"),
    ("trws", "407", "passes over the spaces, as §3.1.2.10 permits"),
    ("badaspec", "407", "passes over the spaces, as §3.1.2.14 permits"),
    ("badvers", "silence", "does not read the message"),
    ("unkscm", "400", "has one status for every Request-URI that it does not know"),
    ("novelsc", "400", "has one status for every Request-URI that it does not know"),
    ("bext01", "silence", "forwards it: the usual checks leave Proxy-Require out"),
    ("multi01", "silence", "does not read the message"),
    ("mcl01", "silence", "does not read the message"),
];

/// §3: every message gets the answer of the table, or the silence, and what is forwarded is forwarded as it came.
#[tokio::test]
async fn every_message_is_treated_as_it_should_be() -> Result<()> {
    torture::judge(&e2e::torture::rfc4475(), KAMAILIO).await
}
