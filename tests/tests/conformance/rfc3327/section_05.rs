//! RFC 3327 §5: Usage.

use anyhow::Result;
use e2e::phone::Phone;
use e2e::subject::Subject;

use crate::registering::register;

/// §5.3: the 200 shows the Path that was kept, values in order.
#[tokio::test]
async fn the_answer_shows_the_path() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let contact = format!("<{}>", phone.contact());
    let path = "<sip:192.0.2.1;lr>,<sip:192.0.2.2;lr>";
    let lines = [("Contact", &*contact), ("Path", path), ("Supported", "path")];
    let answer = register(&mut phone, None, &lines).await?;
    assert_eq!(answer.status(), Some(200), "{answer}");
    let shown: Vec<_> = answer.all("Path").flat_map(|line| line.split(',').map(str::trim)).collect();
    assert_eq!(shown, ["<sip:192.0.2.1;lr>", "<sip:192.0.2.2;lr>"], "{answer}");
    Ok(())
}

/// §5.3: a user agent that does not know of Path is refused, and told by whom it was inserted.
#[tokio::test]
async fn a_path_behind_the_back_of_the_phone_is_refused() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let contact = format!("<{}>", phone.contact());
    let lines = [("Contact", &*contact), ("Path", "<sip:192.0.2.1;lr>")];
    let answer = register(&mut phone, None, &lines).await?;
    assert_eq!((answer.status(), answer.header("Unsupported")), (Some(420), "path"), "{answer}");
    assert_eq!(answer.header("Path"), "<sip:192.0.2.1;lr>", "{answer}");
    Ok(())
}

/// §5.4: what is for the phone goes along the Path, which becomes its Route.
#[tokio::test]
async fn requests_go_along_the_path() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let mut edge = Phone::new(phone.account.clone(), subject.proxy()).await?;
    let mut bob = subject.registered("bob").await?;
    let contact = format!("<{}>", phone.contact());
    let path = format!("<sip:edge@{};lr>,<sip:192.0.2.2;lr>", edge.local());
    let lines = [("Contact", &*contact), ("Path", &*path), ("Supported", "path")];
    assert_eq!(register(&mut phone, None, &lines).await?.status(), Some(200));
    let asking = async {
        let request = bob.request("MESSAGE", &phone.aor(), &phone.aor());
        bob.transact(request).await
    };
    let answering = async {
        let message = edge.receive("MESSAGE", |m| m.method() == Some("MESSAGE")).await?;
        edge.answer(&message, 200, "OK", "edge", "").await?;
        Ok(message)
    };
    let (answer, message) = tokio::try_join!(asking, answering)?;
    assert_eq!(answer.status(), Some(200), "{answer}");
    assert_eq!(message.uri(), Some(&*phone.contact()), "{message}");
    let routes: Vec<_> = message.all("Route").flat_map(|line| line.split(',').map(str::trim)).collect();
    assert_eq!(routes, path.split(',').collect::<Vec<_>>(), "{message}");
    Ok(())
}
