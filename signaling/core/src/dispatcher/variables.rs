//! `hash_pvar`: text with pseudo-variables of a request, under Kamailio's names.

/// What of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variable {
    /// `$ci`: the Call-ID.
    CallId,
    /// `$fu`: the URI of From.
    From,
    /// `$fU`: its user.
    FromUser,
    /// `$fd`: its domain.
    FromDomain,
    /// `$tu`: the URI of To.
    To,
    /// `$tU`: its user.
    ToUser,
    /// `$td`: its domain.
    ToDomain,
    /// `$ru`: the Request-URI.
    Uri,
    /// `$rU`: its user.
    UriUser,
    /// `$rd`: its domain.
    UriDomain,
    /// `$si`: the address that it has come from.
    SourceAddress,
    /// `$sp`: the port likewise.
    SourcePort,
    /// `$au`: the user who has proved who he is.
    User,
    /// `$ua`: the value of User-Agent.
    UserAgent,
}

/// Text with some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Of(Variable),
}

/// By name.
const NAMES: [(&str, Variable); 14] = [
    ("ci", Variable::CallId),
    ("fu", Variable::From),
    ("fU", Variable::FromUser),
    ("fd", Variable::FromDomain),
    ("tu", Variable::To),
    ("tU", Variable::ToUser),
    ("td", Variable::ToDomain),
    ("ru", Variable::Uri),
    ("rU", Variable::UriUser),
    ("rd", Variable::UriDomain),
    ("si", Variable::SourceAddress),
    ("sp", Variable::SourcePort),
    ("au", Variable::User),
    ("ua", Variable::UserAgent),
];

impl Variables {
    /// Reads `$fU@$fd` and the like; `$$` is a dollar.
    ///
    /// # Errors
    /// A name behind a dollar is none of those above; it is what is returned.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some(at) = rest.find('$') {
            if at > 0 {
                parts.push(Part::Text(rest[..at].to_owned()));
            }
            rest = &rest[at + 1..];
            if let Some(behind) = rest.strip_prefix('$') {
                parts.push(Part::Text("$".to_owned()));
                rest = behind;
                continue;
            }
            let found = NAMES.iter().find_map(|(name, variable)| Some((variable, rest.strip_prefix(name)?)));
            let Some((variable, behind)) = found else {
                return Err(format!("${}", rest.chars().take(2).collect::<String>()));
            };
            parts.push(Part::Of(*variable));
            rest = behind;
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text where `of` says what each variable is.
    pub fn said(&self, mut of: impl FnMut(Variable) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Of(variable) => of(*variable),
        };
        self.0.iter().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_with_variables_is_read_and_said() {
        let of = |variable| if variable == Variable::FromUser { "alice".to_owned() } else { "x".to_owned() };
        for (text, said) in
            [("$fU@$fd", "alice@x"), ("a$$b", "a$b"), ("", ""), ("plain", "plain"), ("$ci$si", "xx")]
        {
            assert_eq!(Variables::parse(text).unwrap().said(of), said, "{text}");
        }
        for (text, what) in [("$xx", "$xx"), ("$", "$"), ("a$f", "$f"), ("$hdr(X)", "$hd")] {
            assert_eq!(Variables::parse(text).unwrap_err(), what, "{text}");
        }
    }
}
