//! SIP Torture Test Messages for Internet Protocol Version 6 (IPv6).

use anyhow::Result;

use crate::torture::{self, Deviation};

/// Where Kamailio says something else than the table, and why that is.
const KAMAILIO: &[Deviation] = &[];

/// §4: every message gets the answer of the table, and what is forwarded is forwarded as it came.
#[tokio::test]
async fn every_message_is_treated_as_it_should_be() -> Result<()> {
    torture::judge(&e2e::torture::rfc5118(), KAMAILIO).await
}
