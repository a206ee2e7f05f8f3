//! RFC 3891 §3, §5: User Agent Server and Proxy Behavior: a proxy passes Replaces and looks at nothing in it.

use anyhow::Result;

use crate::pair::{Pair, SDP, exchange};

/// The identifiers of the dialog to be replaced arrive octet for octet: those at both ends are the same, for a proxy changes
/// neither Call-ID nor tags.
#[tokio::test]
async fn a_replaces_arrives_as_it_was() -> Result<()> {
    let mut pair = Pair::new().await?;
    let value = "98732@sip.example.com ;from-tag=r33th4x0r;to-tag=ff87ff;early-only";
    let (_, invited) = pair.invite(&[("Replaces", value), ("Require", "replaces")], SDP).await?;
    assert_eq!((invited.header("Replaces"), invited.header("Require")), (value, "replaces"));
    // §3: there is no such dialog.
    let refusal = pair.respond(&invited, 481, &[], "").await?;
    assert_eq!(refusal.status(), Some(481));
    Ok(())
}

/// The dialog as the callee knows it is the dialog as a third phone would name it: the tags of both ends are the same at both.
#[tokio::test]
async fn both_ends_name_a_dialog_alike() -> Result<()> {
    let mut pair = Pair::new().await?;
    let call = pair.answered().await?;
    assert_eq!(call.ok.header("Call-ID"), call.invited.header("Call-ID"));
    assert_eq!(call.ok.parameter("From", "tag"), call.invited.parameter("From", "tag"));
    assert_eq!(call.ok.parameter("To", "tag"), Some(crate::pair::TAG));
    Ok(())
}

/// RFC 3515 §2.4: REFER with Replaces in Refer-To, and the NOTIFYs about it, within the dialog and both ways.
#[tokio::test]
async fn a_refer_and_its_notify_pass() -> Result<()> {
    let mut pair = Pair::new().await?;
    let mut call = pair.answered().await?;
    let refer_to = "<sip:carol@198.51.100.7;transport=tcp?Replaces=a84b4c%40x%3Bto-tag%3D1%3Bfrom-tag%3D2&Require=replaces>";
    let mut refer = call.caller.request(&mut pair.alice, "REFER");
    let headers =
        [("Refer-To", refer_to), ("Referred-By", "<sip:alice@causeway.test>"), ("Refer-Sub", "true")];
    refer.headers.extend(headers.map(|(name, value)| (name.into(), value.into())));
    let (arrived, _) = exchange(&mut pair.alice, &mut pair.bob, refer, (202, &[], "")).await?;
    for (name, value) in headers {
        assert_eq!(arrived.header(name), value);
    }
    let mut notify = call.callee.request(&mut pair.bob, "NOTIFY");
    let headers = [
        ("Event", "refer"),
        ("Subscription-State", "terminated;reason=noresource"),
        ("Content-Type", "message/sipfrag;version=2.0"),
    ];
    notify.headers.extend(headers.map(|(name, value)| (name.into(), value.into())));
    notify.body = "SIP/2.0 200 OK\r\n".into();
    let (arrived, _) = exchange(&mut pair.bob, &mut pair.alice, notify, (200, &[], "")).await?;
    assert_eq!((arrived.header("Event"), arrived.body.as_str()), ("refer", "SIP/2.0 200 OK\r\n"));
    // RFC 4488: without a subscription of its own.
    let mut refer = call.callee.request(&mut pair.bob, "REFER");
    let headers =
        [("Refer-To", "<sip:dave@203.0.113.5>"), ("Refer-Sub", "false"), ("Supported", "norefersub")];
    refer.headers.extend(headers.map(|(name, value)| (name.into(), value.into())));
    let (arrived, ok) =
        exchange(&mut pair.bob, &mut pair.alice, refer, (200, &[("Refer-Sub", "false")], "")).await?;
    assert_eq!((arrived.header("Refer-Sub"), ok.header("Refer-Sub")), ("false", "false"));
    Ok(())
}
