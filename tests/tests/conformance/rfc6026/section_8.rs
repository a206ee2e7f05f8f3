//! RFC 6026 §8.9: what a proxy does with responses that belong to no transaction.

use anyhow::Result;
use e2e::sip::Message;

use crate::pair::{Pair, SDP};

/// A stray response is dropped. Kamailio passes it on by the second Via, as RFC 3261 §16.7 had it.
#[tokio::test]
async fn a_stray_response_goes_no_further() -> Result<()> {
    let mut pair = Pair::new().await?;
    let (_, invited) = pair.invite(&[], SDP).await?;
    let mut stray: Message = pair.bob.response(&invited, 200, "OK", "stray");
    for (name, value) in &mut stray.headers {
        if name == "Via" && value.contains("z9hG4bK") {
            *value = value.replacen("branch=z9hG4bK", "branch=z9hG4bKnever", 1);
            break;
        }
    }
    pair.bob.send(&stray).await?;
    let came = pair.alice.drain().await?;
    let passed = came.iter().any(|m| m.parameter("To", "tag") == Some("stray"));
    assert!(!passed || pair.subject.is_kamailio(), "{came:?}");
    // The call itself goes on.
    pair.respond(&invited, 180, &[], "").await?;
    Ok(())
}
