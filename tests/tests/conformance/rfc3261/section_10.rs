//! RFC 3261 §10: Registrations.

use anyhow::{Context, Result};
use e2e::phone::Phone;
use e2e::sip::Message;
use e2e::subject::Subject;

/// §10.3 step 8: the 200 lists every binding with the expiry that was granted.
#[tokio::test]
async fn the_answer_lists_all_bindings() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    register(&mut phone, &["<sip:alice@192.0.2.1>;expires=120;q=0.5"]).await?;
    let answer = register(&mut phone, &["<sip:alice@192.0.2.2:5070>;expires=300"]).await?;
    let bindings = bindings(&answer);
    assert_eq!(bindings.len(), 2, "{answer}");
    let first = bindings.iter().find(|b| b.contains("sip:alice@192.0.2.1")).context("the first binding")?;
    assert!((1..=120).contains(&expires(first)) && first.contains("q=0.5"), "{first}");
    let second =
        bindings.iter().find(|b| b.contains("sip:alice@192.0.2.2:5070")).context("the second binding")?;
    assert!((121..=300).contains(&expires(second)), "{second}");
    Ok(())
}

/// §10.2.1: several contacts in one request.
#[tokio::test]
async fn one_request_adds_several_contacts() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let answer = register(&mut phone, &["<sip:a@192.0.2.1>, <sip:b@192.0.2.1>", "<sip:c@192.0.2.1>"]).await?;
    assert_eq!(bindings(&answer).len(), 3, "{answer}");
    Ok(())
}

/// §10.2.3: a REGISTER without Contact asks, and changes nothing.
#[tokio::test]
async fn a_request_without_contact_only_asks() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let nothing = register(&mut phone, &[]).await?;
    assert_eq!((nothing.status(), bindings(&nothing).len()), (Some(200), 0), "{nothing}");
    register(&mut phone, &["<sip:alice@192.0.2.1>"]).await?;
    assert_eq!(bindings(&register(&mut phone, &[]).await?).len(), 1);
    Ok(())
}

/// §10.2.2: expires=0 removes one binding, `*` with Expires: 0 all of them.
#[tokio::test]
async fn bindings_are_removed() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    register(&mut phone, &["<sip:a@192.0.2.1>, <sip:b@192.0.2.1>, <sip:c@192.0.2.1>"]).await?;
    let answer = register(&mut phone, &["<sip:b@192.0.2.1>;expires=0"]).await?;
    assert_eq!(bindings(&answer).len(), 2, "{answer}");
    let answer = register_with(&mut phone, &["*"], Some("0")).await?;
    assert_eq!((answer.status(), bindings(&answer).len()), (Some(200), 0), "{answer}");
    Ok(())
}

/// §10.3 step 6: `*` beside another contact, or with an expiry that is not zero, is 400.
#[tokio::test]
async fn a_star_stands_alone() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let answer = register_with(&mut phone, &["*"], Some("60")).await?;
    assert_eq!(answer.status(), Some(400), "{answer}");
    let answer = register_with(&mut phone, &["*", "<sip:a@192.0.2.1>"], Some("0")).await?;
    assert_eq!(answer.status(), Some(400), "{answer}");
    Ok(())
}

/// §10.3 step 7: under the same Call-ID an older CSeq changes nothing; the same contact is updated, not added.
#[tokio::test]
async fn an_older_request_changes_nothing() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let uri = "sip:causeway.test";
    let aor = phone.aor();
    let mut newer = phone.request("REGISTER", uri, &aor);
    e2e::phone::set(&mut newer, "CSeq", "20 REGISTER".into());
    newer.headers.push(("Contact".into(), "<sip:a@192.0.2.1>;expires=300".into()));
    assert_eq!(phone.transact(newer.clone()).await?.status(), Some(200));
    let mut older = phone.request("REGISTER", uri, &aor);
    e2e::phone::set(&mut older, "Call-ID", newer.header("Call-ID").to_owned());
    e2e::phone::set(&mut older, "CSeq", "5 REGISTER".into());
    older.headers.push(("Contact".into(), "<sip:a@192.0.2.1>;expires=0".into()));
    let answer = phone.transact(older).await?;
    let left = register(&mut phone, &[]).await?;
    assert_eq!(bindings(&left).len(), 1, "after {answer}\n{left}");
    Ok(())
}

/// §10.3 step 7: an expiry that is too short is refused with 423 and Min-Expires, or granted longer (§10.3 allows the
/// registrar to choose); it is never kept as short as asked.
#[tokio::test]
async fn a_too_short_expiry_is_not_granted() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let answer = register(&mut phone, &["<sip:a@192.0.2.1>;expires=1"]).await?;
    match answer.status() {
        Some(423) => {
            assert!(answer.header("Min-Expires").parse::<u32>().is_ok_and(|least| least > 1), "{answer}")
        }
        _ => assert!(bindings(&answer).iter().all(|b| expires(b) > 1), "{answer}"),
    }
    Ok(())
}

/// §10.3 step 3: nobody changes another one's bindings.
#[tokio::test]
async fn a_user_registers_only_for_itself() -> Result<()> {
    let subject = Subject::start().await?;
    let mut alice = subject.phone("alice").await?;
    let mut bob = subject.phone("bob").await?;
    let aor = bob.aor();
    let mut request = alice.request("REGISTER", "sip:causeway.test", &aor);
    request.headers.push(("Contact".into(), format!("<{}>", alice.contact())));
    let answer = alice.transact(request).await?;
    assert!(answer.status() >= Some(400), "{answer}");
    assert_eq!(bindings(&register(&mut bob, &[]).await?).len(), 0);
    Ok(())
}

/// §10.3 step 7: the same request again, a while after its transaction, changes nothing and is no mistake.
#[tokio::test]
async fn a_repeated_request_is_harmless() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let aor = phone.aor();
    let mut request = phone.request("REGISTER", "sip:causeway.test", &aor);
    request.headers.push(("Contact".into(), "<sip:a@192.0.2.1>;expires=300".into()));
    // It comes by another way: its transaction is another one, Call-ID and CSeq are the same.
    let mut again = phone.request("REGISTER", "sip:causeway.test", &aor);
    e2e::phone::set(&mut again, "Call-ID", request.header("Call-ID").to_owned());
    again.headers.push(("Contact".into(), "<sip:a@192.0.2.1>;expires=300".into()));
    assert_eq!(phone.transact(request).await?.status(), Some(200));
    let answer = phone.transact(again).await?;
    assert_eq!((answer.status(), bindings(&answer).len()), (Some(200), 1), "{answer}");
    Ok(())
}

/// §10.2.1.2, §20.10: a preference is a number from 0 to 1.
#[tokio::test]
async fn a_preference_beyond_its_range_is_refused() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let answer = register(&mut phone, &["<sip:a@192.0.2.1>;q=1.5"]).await?;
    assert_eq!(answer.status(), Some(400), "{answer}");
    assert_eq!(bindings(&register(&mut phone, &[]).await?).len(), 0);
    Ok(())
}

/// §10.3: one contact that cannot be taken keeps the others of the request out.
#[tokio::test]
async fn a_request_is_taken_whole_or_not_at_all() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let answer = register(&mut phone, &["<sip:a@192.0.2.1>", "<sip:b@192.0.2.1>;q=1.5"]).await?;
    assert!(answer.status() >= Some(400), "{answer}");
    assert_eq!(bindings(&register(&mut phone, &[]).await?).len(), 0);
    Ok(())
}

async fn register(phone: &mut Phone, contacts: &[&str]) -> Result<Message> {
    register_with(phone, contacts, None).await
}

async fn register_with(phone: &mut Phone, contacts: &[&str], expires: Option<&str>) -> Result<Message> {
    let aor = phone.aor();
    let mut request = phone.request("REGISTER", "sip:causeway.test", &aor);
    request.headers.extend(contacts.iter().map(|contact| ("Contact".to_owned(), (*contact).to_owned())));
    request.headers.extend(expires.map(|expires| ("Expires".to_owned(), expires.to_owned())));
    phone.transact(request).await
}

/// The bindings listed in an answer, several to a line or one on each.
fn bindings(answer: &Message) -> Vec<String> {
    answer.all("Contact").flat_map(|line| line.split(',')).map(|binding| binding.trim().to_owned()).collect()
}

fn expires(binding: &str) -> u32 {
    let value = binding.split(';').find_map(|part| part.strip_prefix("expires="));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}
