//! RFC 3261 §21: the status codes that a proxy and registrar says itself, and what has to stand beside them.
//!
//! Not said by either subject, for what they mean is the user agent's to judge: 406, 413 to a body that fits a datagram, 415,
//! 485, 488 and 493. 421 is said where a registrar insists on an extension, 503 by one that has too much to do.

use anyhow::Result;
use e2e::phone::set;
use e2e::subject::Subject;

/// Method, Request-URI, fields to set, the status expected, and a header that has to come with it.
type Refused<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)], u16, &'a str);

/// §21.4, §21.5: a request for each, the status, and the header that has to come with it.
#[tokio::test]
async fn each_refusal_has_its_code_and_what_belongs_to_it() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let kamailio = subject.is_kamailio();
    let here = "sip:causeway.test";
    let unsupported = if kamailio { "" } else { "Unsupported" };
    let long = format!("sip:{}@causeway.test", "a".repeat(5000));
    let cases: Vec<Refused<'_>> = vec![
        ("OPTIONS", here, &[], 200, ""),
        // Kamailio does not answer what it cannot read.
        ("MESSAGE", "sip:b@causeway.test", &[("From", "bad <")], if kamailio { 0 } else { 400 }, ""),
        ("REGISTER", here, &[("To", "<sip:alice@causeway.test>")], 401, "WWW-Authenticate"),
        ("MESSAGE", "sip:b@elsewhere.test", &[("From", "<sip:x@y.test>;tag=1")], 403, ""),
        ("MESSAGE", "sip:nobody@causeway.test", &[("From", "<sip:x@y.test>;tag=1")], 404, ""),
        ("MESSAGE", "sip:b@causeway.test", &[], 407, "Proxy-Authenticate"),
        // Kamailio has no limit of its own for the Request-URI.
        ("OPTIONS", &long, &[("From", "<sip:x@y.test>;tag=1")], if kamailio { 404 } else { 414 }, ""),
        // Kamailio says 400 for any scheme that it does not know.
        ("OPTIONS", "http://causeway.test", &[], if kamailio { 400 } else { 416 }, ""),
        // Kamailio's usual checks leave Proxy-Require out.
        ("OPTIONS", here, &[("Proxy-Require", "x")], if kamailio { 200 } else { 420 }, unsupported),
        ("BYE", "sip:b@causeway.test", &[("To", "<sip:b@causeway.test>;tag=x")], 404, ""),
        ("OPTIONS", here, &[("Max-Forwards", "0")], 483, ""),
        ("MESSAGE", here, &[("From", "<sip:x@y.test>;tag=1")], 484, ""),
    ];
    for (method, uri, fields, status, header) in cases {
        let mut request = phone.request(method, uri, here);
        for (name, value) in fields {
            set(&mut request, name, (*value).to_owned());
        }
        if status == 0 {
            phone.send(&request).await?;
            continue;
        }
        let answer = phone.transact_once(&request).await?;
        let uri = &uri[..uri.len().min(40)];
        assert_eq!(answer.status(), Some(status), "{method} {uri} {fields:?}: {answer}");
        assert!(header.is_empty() || !answer.header(header).is_empty(), "{header}: {answer}");
        // §21: a reason phrase, and a tag in everything but 100.
        assert!(answer.start.len() > "SIP/2.0 200 ".len(), "{answer}");
        assert!(answer.parameter("To", "tag").is_some(), "{answer}");
    }
    Ok(())
}

/// §21.4.6: 405 comes with Allow, the methods that would do.
///
/// Kamailio lets every method through unless it is told to filter.
#[tokio::test]
async fn a_method_that_the_callee_does_not_allow_is_405() -> Result<()> {
    let subject = Subject::start().await?;
    let mut bob = subject.phone("bob").await?;
    let mut request = bob.query();
    request.headers.push(("Contact".into(), format!("<{}>", bob.contact())));
    request.headers.push(("Allow".into(), "INVITE, ACK, BYE".into()));
    request.headers.push(("Allow".into(), "CANCEL,OPTIONS".into()));
    assert_eq!(bob.transact(request).await?.status(), Some(200));
    let mut carol = subject.phone("carol").await?;
    let aor = bob.aor();
    let mut request = carol.request("MESSAGE", &aor, &aor);
    set(&mut request, "From", "<sip:x@y.test>;tag=1".into());
    if subject.is_kamailio() {
        carol.send(&request).await?;
        bob.receive("the message", |m| m.method() == Some("MESSAGE")).await?;
        return Ok(());
    }
    let answer = carol.transact_once(&request).await?;
    assert_eq!(answer.status(), Some(405), "{answer}");
    let allowed = answer.all("Allow").flat_map(|value| value.split(',')).map(str::trim);
    let mut allowed: Vec<&str> = allowed.collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["ACK", "BYE", "CANCEL", "INVITE", "OPTIONS"]);
    Ok(())
}

/// §21.4.17: 423 comes with Min-Expires.
///
/// Kamailio lengthens what is too short, which §10.3 step 7 does not provide for.
#[tokio::test]
async fn a_lifetime_that_is_too_short_is_423() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let mut request = phone.query();
    request.headers.push(("Contact".into(), format!("<{}>;expires=5", phone.contact())));
    let answer = phone.transact(request).await?;
    let expected = if subject.is_kamailio() { (Some(200), "") } else { (Some(423), "60") };
    assert_eq!((answer.status(), answer.header("Min-Expires")), expected, "{answer}");
    Ok(())
}

/// §21.4.24: a CANCEL of nothing is 481.
#[tokio::test]
async fn a_cancel_without_its_request_is_481() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let request = phone.request("CANCEL", "sip:b@causeway.test", "sip:b@causeway.test");
    let answer = phone.transact_once(&request).await?;
    assert_eq!(answer.status(), Some(481), "{answer}");
    Ok(())
}
