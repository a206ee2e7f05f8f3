//! RFC 3261 §20 and §7.3: header fields, in every form in which they may come.

use std::time::Duration;

use anyhow::Result;
use e2e::phone::{Phone, set};
use e2e::sip::Message;
use e2e::subject::Subject;

/// Sends text with `$` in place of the sender's address and `#` of a number that is another for each message; the final answer.
async fn say(phone: &mut Phone, text: &str) -> Result<Message> {
    let number = phone.unique();
    let text = text.replace('$', &phone.local().to_string()).replace('#', &number).replace('\n', "\r\n");
    phone.send_bytes(text.as_bytes()).await?;
    phone.receive("an answer", |m| m.status() >= Some(200) && m.header("Call-ID") == number).await
}

/// A REGISTER with these fields in place of its own, credentials added; the answer.
async fn register(phone: &mut Phone, fields: &[(&str, &str)]) -> Result<Message> {
    let mut request = phone.query();
    for (name, value) in fields {
        set(&mut request, name, (*value).to_owned());
    }
    phone.transact(request).await
}

/// §7.3.1, §7.3.3: names without case and in compact form, white space around the colon, folded lines, lists in one line or
/// in several, values that are empty.
///
/// Kamailio does not answer the one in which every field is folded.
#[tokio::test]
async fn fields_are_found_in_every_form() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    for text in [
        "OPTIONS sip:causeway.test SIP/2.0\nv: SIP/2.0/UDP $;branch=z9hG4bK#;rport\nf: <sip:x@y.test>;tag=1\n\
         t: <sip:causeway.test>\ni: #\nCSeq: 1 OPTIONS\nl: 0\n\n",
        "OPTIONS sip:causeway.test SIP/2.0\nVIA : SIP/2.0/UDP $;branch=z9hG4bK#;rport\nfRoM\t: sip:x@y.test;tag=1\n\
         to:sip:causeway.test\nCALL-id: #\ncseq:1 OPTIONS\nMAX-FORWARDS:070\nContent-length:000\n\n",
        "OPTIONS sip:causeway.test SIP/2.0\nVia:\n SIP / 2.0 / UDP\n  $\n ;branch = z9hG4bK#\n ;rport\nFrom: \"x\n y\"\n <sip:x@y.test>\n\
         \t;tag=1\nTo:\n <sip:causeway.test>\nCall-ID:\n #\nCSeq:\n  1\n  OPTIONS\n\n",
        "OPTIONS sip:causeway.test SIP/2.0\nVia: SIP/2.0/UDP $;branch=z9hG4bK#;rport, SIP/2.0/TCP a.test;branch=z9hG4bKa,\n \
         SIP/2.0/TLS [2001:db8::1]:5061\nVia: SIP/2.0/UDP b.test\nFrom: <sip:x@y.test>;tag=1\nTo: <sip:causeway.test>\n\
         Call-ID: #\nCSeq: 1 OPTIONS\nSubject:\nX-Nobody-Knows: ;;,,\nContent-Length: 0\n\n",
    ] {
        if subject.is_kamailio() && text.contains("Call-ID:\n") {
            continue;
        }
        let answer = say(&mut phone, text).await?;
        assert_eq!(answer.status(), Some(200), "{text}\n{answer}");
        assert_eq!(answer.cseq(), (1, "OPTIONS"), "{answer}");
    }
    Ok(())
}

/// §7.1, §20.16: methods have case, and CSeq is a number below 2^32 and the method.
///
/// Kamailio does not mind the size of the number.
#[tokio::test]
async fn cseq_is_a_number_and_the_method() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    for (cseq, served) in [
        ("1 OPTIONS", true),
        ("0 OPTIONS", true),
        ("0000000001 OPTIONS", true),
        ("2147483647 OPTIONS", true),
        ("4294967296 OPTIONS", false),
        ("-1 OPTIONS", false),
        ("1 options", false),
        ("1", false),
        ("OPTIONS", false),
        ("x OPTIONS", false),
    ] {
        let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
        set(&mut request, "CSeq", cseq.into());
        phone.send(&request).await?;
        let call_id = request.header("Call-ID").to_owned();
        let answer =
            phone.receive_within("an answer", Duration::from_millis(if served { 5000 } else { 300 }), |m| {
                m.header("Call-ID") == call_id
            });
        let status = answer.await.ok().and_then(|answer| answer.status());
        // 400, or nothing where nothing of it could be read.
        let served = served || subject.is_kamailio() && cseq.starts_with("4294967296");
        assert!(
            if served { status == Some(200) } else { [None, Some(400)].contains(&status) },
            "{cseq}: {status:?}"
        );
    }
    Ok(())
}

/// §20.22, §16.3: Max-Forwards is a number from 0 to 255, and at 0 the request goes no further.
///
/// Kamailio takes what is no such number for one that has run out or for a good one.
#[tokio::test]
async fn max_forwards_is_counted() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    for (value, expected) in [
        ("0", 483),
        ("1", 200),
        ("70", 200),
        ("255", 200),
        ("00", 483),
        ("256", 400),
        ("x", 400),
        ("-1", 400),
        ("", 400),
    ] {
        let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
        set(&mut request, "Max-Forwards", value.into());
        let answer = phone.transact_once(&request).await?;
        let right = answer.status() == Some(expected) || subject.is_kamailio() && expected == 400;
        assert!(right, "{value}: {answer}");
    }
    let mut without = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    without.headers.retain(|(name, _)| name != "Max-Forwards");
    assert_eq!(phone.transact_once(&without).await?.status(), Some(200));
    Ok(())
}

/// §20.10: Contact with and without brackets, in lists, with parameters in any case and order.
#[tokio::test]
async fn contact_is_read_in_every_form() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    for (contact, uri, expires) in [
        ("<sip:a@192.0.2.9:5070>;expires=600", "sip:a@192.0.2.9:5070", 600),
        ("sip:b@192.0.2.9:5070;EXPIRES=1200", "sip:b@192.0.2.9:5070", 1200),
        ("\"A, \\\"B\\\" <C>\" <sip:c@192.0.2.9:5070>;q=0.5;Expires=1800", "sip:c@192.0.2.9:5070", 1800),
        (
            "Nobody <sip:d@192.0.2.9:5070;transport=udp;x=y>;expires=2400",
            "sip:d@192.0.2.9:5070;transport=udp;x=y",
            2400,
        ),
        ("<sip:e@192.0.2.9:5070?X=y> ; x = \"a;b,c\" ; expires = 3000", "sip:e@192.0.2.9:5070?X=y", 3000),
    ] {
        let answer = register(&mut phone, &[("Contact", contact)]).await?;
        assert_eq!(answer.status(), Some(200), "{contact}: {answer}");
        let bound = answer
            .headers
            .iter()
            .filter(|(name, _)| name == "Contact")
            .flat_map(|(_, value)| value.split(", "));
        let bound: Vec<&str> = bound.filter(|value| value.contains(&format!("<{uri}>"))).collect();
        let left =
            bound.first().and_then(|bound| bound.split("expires=").nth(1)?.split(';').next()?.parse().ok());
        // What is left of it when the answer is made.
        let right = left.is_some_and(|left: u32| left <= expires && left > expires - 600);
        assert!(bound.len() == 1 && right, "{contact}: {answer}");
        // Gone again, so that the next finds room.
        assert_eq!(register(&mut phone, &[("Contact", "*"), ("Expires", "0")]).await?.status(), Some(200));
    }
    for contact in
        ["<sip:a@192.0.2.9", "\"a <sip:a@192.0.2.9>", "<>", "sip:", "<sip:a@192.0.2.9> x", "<http://a.test>"]
    {
        let answer = register(&mut phone, &[("Contact", contact)]).await?;
        // Kamailio binds whatever has a scheme and a closing bracket.
        let taken =
            subject.is_kamailio() && ["<http://a.test>", "sip:", "<sip:a@192.0.2.9> x"].contains(&contact);
        assert!(answer.status() == Some(400) || taken, "{contact}: {answer}");
    }
    Ok(())
}

/// §20.19: Expires is a number of seconds. One that is too large is shortened; one that is none is a bad request.
///
/// Kamailio takes what is no number for its default.
#[tokio::test]
async fn expires_is_a_number() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let contact = format!("<{}>", phone.contact());
    for (value, granted) in [("600", "600"), ("0600", "600"), ("4294967295", "3600")] {
        let answer = register(&mut phone, &[("Contact", &contact), ("Expires", value)]).await?;
        assert_eq!(answer.status(), Some(200), "{value}: {answer}");
        assert!(answer.header("Contact").contains(&format!("expires={granted}")), "{value}: {answer}");
    }
    for value in ["x", "-1", "6 0", "60.5"] {
        let answer = register(&mut phone, &[("Contact", &contact), ("Expires", value)]).await?;
        assert!(answer.status() == Some(400) || subject.is_kamailio(), "{value}: {answer}");
    }
    Ok(())
}

/// §20.20, §20.39: From in every form names the same user, who is asked for a password; one that is none is refused.
#[tokio::test]
async fn from_is_read_in_every_form() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    for from in [
        "<sip:alice@causeway.test>;tag=1",
        "sip:alice@causeway.test;tag=1",
        "\"A \\\"quoted\\\" <name>, with comma\" <sip:alice@causeway.test>;tag=1",
        "Several tokens <sip:alice@causeway.test>;x=y;TAG=1",
        "<sip:%61lice@causeway.test:5060;transport=udp>;tag=1",
        "<sips:alice@CAUSEWAY.test>;tag=1",
        "\"\u{41f}\u{440}\u{438}\" <sip:alice@causeway.test> ;tag=1",
    ] {
        let mut request = phone.request("MESSAGE", "sip:bob@causeway.test", "sip:bob@causeway.test");
        set(&mut request, "From", from.into());
        let answer = phone.transact_once(&request).await?;
        assert_eq!(answer.status(), Some(407), "{from}: {answer}");
    }
    for from in ["<sip:alice@causeway.test;tag=1", "\"A <sip:alice@causeway.test>;tag=1", "<>;tag=1", "alice"]
    {
        let mut request = phone.request("MESSAGE", "sip:bob@causeway.test", "sip:bob@causeway.test");
        set(&mut request, "From", from.into());
        phone.send(&request).await?;
        let call_id = request.header("Call-ID").to_owned();
        let answer =
            phone.receive_within("an answer", Duration::from_secs(1), |m| m.header("Call-ID") == call_id);
        let status = answer.await.ok().and_then(|answer| answer.status());
        // Kamailio does not answer what it cannot read.
        let silent = subject.is_kamailio() && status.is_none();
        assert!(status == Some(400) || silent, "{from}: {status:?}");
    }
    Ok(())
}

/// §20.29, §20.40, §16.3 step 5: what of Proxy-Require is not known is named in Unsupported, however it is spread.
///
/// Kamailio looks at it only when its configuration asks for that check, which the usual one does not.
#[tokio::test]
async fn unknown_extensions_are_named() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    let mut request = phone.request("OPTIONS", "sip:causeway.test", "sip:causeway.test");
    request.headers.push(("Proxy-Require".into(), "one , two".into()));
    request.headers.push(("proxy-require".into(), "three".into()));
    let answer = phone.transact_once(&request).await?;
    if subject.is_kamailio() {
        assert_eq!(answer.status(), Some(200), "{answer}");
        return Ok(());
    }
    assert_eq!(answer.status(), Some(420), "{answer}");
    let named: Vec<&str> =
        answer.all("Unsupported").flat_map(|value| value.split(',')).map(str::trim).collect();
    assert_eq!(named, ["one", "two", "three"], "{answer}");
    Ok(())
}

/// §20.32, §8.2.2.3, §10.3 step 2: Require is for the user agent at the end, which the registrar is for a REGISTER and the
/// proxy for a question to itself; what it knows, it takes.
///
/// Kamailio's registrar does not look at it.
#[tokio::test]
async fn require_is_heeded_where_the_request_ends() -> Result<()> {
    let subject = Subject::start().await?;
    let mut phone = subject.phone("alice").await?;
    for (method, option, expected) in
        [("REGISTER", "path", 401), ("REGISTER", "nobody-knows", 420), ("OPTIONS", "nobody-knows", 420)]
    {
        let mut request = phone.request(method, "sip:causeway.test", "sip:alice@causeway.test");
        request.headers.push(("Require".into(), option.into()));
        let answer = phone.transact_once(&request).await?;
        let expected = match (subject.is_kamailio(), method) {
            (true, "REGISTER") => 401,
            (true, _) => 200,
            _ => expected,
        };
        assert_eq!(answer.status(), Some(expected), "{method} {option}: {answer}");
        if expected == 420 {
            assert_eq!(answer.header("Unsupported"), option, "{answer}");
        }
    }
    Ok(())
}

/// §16.6 step 1, §20: what a proxy does not know goes through it as it came, in order, and Require with it.
#[tokio::test]
async fn unknown_fields_go_through_as_they_came() -> Result<()> {
    let subject = Subject::start().await?;
    let mut bob = subject.registered("bob").await?;
    let stranger = subject.phone("carol").await?;
    let fields = "X-One:  two  spaces \r\nsUBJECT: caf\u{e9}, \"quoted\r\n  and folded\"\r\nRequire: nobody-knows\r\n\
                  X-One: again\r\nWarning: 399 a \"b\"\r\nDate: not a date\r\nP-Something: ;;,,\r\nk: a,b , c\r\n";
    let text = format!(
        "MESSAGE sip:bob@causeway.test SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bKthrough;rport\r\nMax-Forwards: 70\r\n\
         From: <sip:x@y.test>;tag=1\r\nTo: <sip:bob@causeway.test>\r\nCall-ID: through\r\nCSeq: 1 MESSAGE\r\n{fields}\
         Content-Type: text/plain\r\nContent-Length: 5\r\n\r\n\0hi\r\n",
        stranger.local()
    );
    stranger.send_bytes(text.as_bytes()).await?;
    let passed = loop {
        let bytes = bob.receive_bytes().await?;
        if bytes.starts_with(b"MESSAGE ") {
            break bytes;
        }
    };
    let passed = String::from_utf8(passed)?;
    assert!(passed.contains(fields), "{passed}");
    // A proxy may add fields of its own, such as Max-Breadth (RFC 5393 §5.3.3), below all that came.
    assert!(passed.contains("\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n"), "{passed}");
    assert!(passed.ends_with("\r\n\r\n\0hi\r\n"), "{passed}");
    Ok(())
}
