//! REFER as a wish to be carried out here (RFC 3515 §2.4): whom to call in place of the sender.

use crate::message::header::NameAddr;
use crate::message::uri::percent_decoded;
use crate::message::{Name, Request, StatusCode, Uri};

/// What a REFER asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// Whom to call.
    pub target: Uri,
    /// The dialog there that the call is to replace or to join, as header and value (RFC 3891, RFC 3911).
    pub dialog: Option<(Name<'static>, String)>,
    /// Whether the sender wants to hear nothing of it (RFC 4488).
    pub silent: bool,
}

/// Reads a REFER; an error is what its sender hears.
///
/// # Errors
/// 400 without exactly one Refer-To that can be read (§2.4.2), 416 for a target that is no SIP URI, 603 for another method
/// than INVITE: that is all that is done in somebody's name.
pub fn wish(request: &Request) -> Result<Wish, (StatusCode, &'static str)> {
    let bad = (StatusCode::BAD_REQUEST, "Bad Refer-To");
    let mut values = request.raw_all(Name::ReferTo);
    let (Some(value), None) = (values.next(), values.next()) else { return Err(bad) };
    let uri = NameAddr::parse("Refer-To", value).ok().and_then(|address| address.uri().ok()).ok_or(bad)?;
    if !uri.is_sip() {
        return Err((StatusCode::UNSUPPORTED_URI_SCHEME, ""));
    }
    if uri.param("method").is_some_and(|method| method != "INVITE") {
        return Err((StatusCode::DECLINE, "Not an INVITE"));
    }
    let dialog = dialog_of(&uri).map_err(|()| bad)?;
    let silent = request.text(Name::Other("Refer-Sub")).is_some_and(|value| {
        let word = value.split(';').next().unwrap_or_default().trim();
        word.eq_ignore_ascii_case("false")
    });
    Ok(Wish { target: uri.as_request_uri(), dialog, silent })
}

/// The dialog in the headers of a URI. Other headers are not the sender's to put into a message of ours (RFC 3261 §19.1.5).
fn dialog_of(uri: &Uri) -> Result<Option<(Name<'static>, String)>, ()> {
    for (name, value) in uri.headers().split('&').filter_map(|header| header.split_once('=')) {
        let name = match Name::of(name) {
            Name::Replaces => Name::Replaces,
            Name::Join => Name::Join,
            _ => continue,
        };
        let value = String::from_utf8(percent_decoded(value)).map_err(|_| ())?;
        if value.is_empty() || value.chars().any(char::is_control) {
            return Err(());
        }
        return Ok(Some((name, value)));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    fn read(more: &str) -> Result<(String, Option<String>, bool), u16> {
        let text = format!(
            "REFER sip:b@sip.example SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\n\
             To: <sip:b@sip.example>;tag=2\r\nCall-ID: c\r\nCSeq: 1 REFER\r\n{more}\r\n"
        );
        let Ok(Message::Request(request)) = Message::parse(text.into_bytes().into()) else {
            panic!("a request")
        };
        let wish = wish(&request).map_err(|(status, _)| status.code())?;
        let dialog = wish.dialog.map(|(name, value)| format!("{}: {value}", name.as_str()));
        Ok((wish.target.to_string(), dialog, wish.silent))
    }

    #[test]
    fn a_refer_names_whom_to_call() {
        let replaces = "Replaces: x@y;to-tag=1;from-tag=2";
        for (more, target, dialog, silent) in [
            ("Refer-To: sip:c@d\r\n", "sip:c@d", None, false),
            ("r: \"C\" <sip:c@d;method=INVITE>\r\nRefer-Sub: true\r\n", "sip:c@d", None, false),
            (
                "Refer-To: <sips:c@d:5;x?Replaces=x%40y%3Bto-tag%3D1%3Bfrom-tag%3D2&Subject=z>\r\nRefer-Sub: False;x\r\n",
                "sips:c@d:5;x",
                Some(replaces),
                true,
            ),
            ("Refer-To: <sip:c@d?Route=%3Csip:e%3E&join=1>\r\n", "sip:c@d", Some("Join: 1"), false),
        ] {
            assert_eq!(read(more), Ok((target.to_owned(), dialog.map(str::to_owned), silent)), "{more}");
        }
        for (more, code) in [
            ("", 400),
            ("Refer-To: <sip:c@d>\r\nRefer-To: <sip:e@d>\r\n", 400),
            ("Refer-To: <sip:c@d\r\n", 400),
            ("Refer-To: <sip:c@d?Replaces=x%0D%0AVia:%20y>\r\n", 400),
            ("Refer-To: <sip:c@d?Replaces=%ff>\r\n", 400),
            ("Refer-To: <sip:c@d?Replaces=>\r\n", 400),
            ("Refer-To: <tel:+431234>\r\n", 416),
            ("Refer-To: <http://c.d/>\r\n", 416),
            ("Refer-To: <sip:c@d;method=BYE>\r\n", 603),
        ] {
            assert_eq!(read(more), Err(code), "{more}");
        }
    }
}
