//! RFC 5626 §6: Registrar procedures.

use anyhow::Result;
use e2e::phone::Phone;
use e2e::subject::Subject;

use crate::registering::{bindings, parameter, register};

const INSTANCE: &str = "+sip.instance=\"<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>\"";

/// A Contact of this phone for one of its flows.
fn contact(phone: &Phone, user: &str, reg_id: u32) -> String {
    format!("<sip:{user}@{}>;reg-id={reg_id};{INSTANCE}", phone.local())
}

/// A registration over a flow says so in its answer.
#[tokio::test]
async fn the_answer_requires_outbound() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let contact = contact(&phone, "alice", 1);
    let lines = [("Contact", &*contact), ("Supported", "path, outbound")];
    let answer = register(&mut phone, None, &lines).await?;
    assert_eq!(answer.status(), Some(200), "{answer}");
    assert!(answer.all("Require").any(|require| require.contains("outbound")), "{answer}");
    assert_eq!(parameter(&bindings(&answer)[0], "reg-id").as_deref(), Some("1"), "{answer}");
    Ok(())
}

/// One binding for each reg-id of an instance; the same one replaces its Contact, whatever that says. (Kamailio takes the
/// other flow away with it.)
#[tokio::test]
async fn a_flow_has_one_binding() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let left = if subject.is_kamailio() { 1 } else { 2 };
    for (user, reg_id, expected) in [("one", 1, 1), ("two", 2, 2), ("three", 1, left)] {
        let contact = contact(&phone, user, reg_id);
        let lines = [("Contact", &*contact), ("Supported", "path, outbound")];
        let answer = register(&mut phone, None, &lines).await?;
        assert_eq!((answer.status(), bindings(&answer).len()), (Some(200), expected), "{user}: {answer}");
    }
    let listed = bindings(&register(&mut phone, None, &[("Supported", "path, outbound")]).await?);
    assert!(listed.iter().any(|binding| binding.contains("sip:three@")), "{listed:?}");
    assert_eq!(
        listed.iter().any(|binding| binding.contains("sip:two@")),
        !subject.is_kamailio(),
        "{listed:?}"
    );
    Ok(())
}

/// Without `Supported: outbound` there is no such registration.
#[tokio::test]
async fn who_does_not_ask_for_outbound_has_none() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let contact = contact(&phone, "alice", 1);
    let answer = register(&mut phone, None, &[("Contact", &*contact)]).await?;
    assert_eq!(answer.status(), Some(200), "{answer}");
    assert!(!answer.all("Require").any(|require| require.contains("outbound")), "{answer}");
    Ok(())
}

/// A first hop that keeps no flow: 439. One that says `ob` in its Path does.
#[tokio::test]
async fn the_first_hop_must_keep_the_flow() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let contact = contact(&phone, "alice", 1);
    for (path, status) in
        [(None, 439), (Some("<sip:192.0.2.1;lr>"), 439), (Some("<sip:token@192.0.2.1;lr;ob>"), 200)]
    {
        let mut lines = vec![("Contact", &*contact), ("Supported", "path, outbound")];
        lines.extend(path.map(|path| ("Path", path)));
        lines.push(("Via", "SIP/2.0/UDP 192.0.2.7:5060;branch=z9hG4bKphone"));
        let answer = register(&mut phone, None, &lines).await?;
        assert_eq!(answer.status(), Some(status), "{path:?}: {answer}");
    }
    Ok(())
}

/// A registration is for one flow: with a reg-id there is one Contact that stays. (Kamailio takes several.)
#[tokio::test]
async fn one_request_registers_one_flow() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let (first, second) = (contact(&phone, "one", 1), contact(&phone, "two", 2));
    let lines = [("Contact", &*first), ("Contact", &*second), ("Supported", "path, outbound")];
    let answer = register(&mut phone, None, &lines).await?;
    if !subject.is_kamailio() {
        assert_eq!(answer.status(), Some(400), "{answer}");
    }
    Ok(())
}
