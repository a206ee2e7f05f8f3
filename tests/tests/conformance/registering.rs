//! REGISTER with whatever lines, and what the answers to it say.

use anyhow::Result;
use e2e::phone::Phone;
use e2e::sip::Message;

/// One REGISTER of this phone with more lines, with a Call-ID of its own unless `call_id` gives one; the last answer.
pub(crate) async fn register(
    phone: &mut Phone,
    call_id: Option<&str>,
    lines: &[(&str, &str)],
) -> Result<Message> {
    let aor = phone.aor();
    let mut request = phone.request("REGISTER", &format!("sip:{}", phone.account.domain), &aor);
    if let Some(call_id) = call_id {
        e2e::phone::set(&mut request, "Call-ID", call_id.to_owned());
        let next = u32::from_str_radix(&phone.unique(), 16).unwrap_or(u32::MAX) & 0x7fff_ffff;
        e2e::phone::set(&mut request, "CSeq", format!("{next} REGISTER"));
    }
    request.headers.extend(lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    phone.transact(request).await
}

/// The bindings listed in an answer, several to a line or one on each.
pub(crate) fn bindings(answer: &Message) -> Vec<String> {
    let lines = answer.all("Contact").flat_map(|line| line.split(", <"));
    lines.map(|binding| format!("<{}", binding.trim().trim_start_matches('<'))).collect()
}

/// A parameter of a binding, without quotes.
pub(crate) fn parameter(binding: &str, name: &str) -> Option<String> {
    let at = binding.find(&format!(";{name}="))? + name.len() + 2;
    let rest = &binding[at..];
    Some(match rest.strip_prefix('"') {
        Some(quoted) => quoted.split('"').next().unwrap_or_default().to_owned(),
        None => rest.split(';').next().unwrap_or_default().to_owned(),
    })
}
