//! RFC 3911 §4: User Agent Server Behavior, as it comes through a proxy.

use anyhow::Result;

use crate::pair::{Pair, SDP};

/// Join and the option that requires it arrive as they were, and what the callee says to them comes back.
#[tokio::test]
async fn a_join_arrives_as_it_was() -> Result<()> {
    for status in [481, 488, 603] {
        let mut pair = Pair::new().await?;
        let value = "12adf2f34456gs5;to-tag=12345;from-tag=54321";
        let (_, invited) = pair.invite(&[("Join", value), ("Require", "join")], SDP).await?;
        assert_eq!((invited.header("Join"), invited.header("Require")), (value, "join"));
        assert_eq!(pair.respond(&invited, status, &[], "").await?.status(), Some(status));
    }
    Ok(())
}
