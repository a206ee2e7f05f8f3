//! A dictionary as read, whatever its encoding; text is borrowed from the message where it can be.

use std::borrow::Cow;

/// A value of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node<'a> {
    Integer(i64),
    Text(Cow<'a, [u8]>),
    List(Vec<Node<'a>>),
    Dictionary(Vec<(Cow<'a, [u8]>, Node<'a>)>),
}

impl<'a> Node<'a> {
    /// The entries of a dictionary.
    pub(super) fn entries(&self) -> &[(Cow<'a, [u8]>, Node<'a>)] {
        match self {
            Self::Dictionary(entries) => entries,
            _ => &[],
        }
    }

    /// As text; numbers too.
    pub(super) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Integer(number) => Some(Cow::Owned(number.to_string())),
            Self::Text(text) => std::str::from_utf8(text).ok().map(Cow::Borrowed),
            _ => None,
        }
    }

    /// The words of a list, or of a string that stands for a list.
    pub(super) fn words(&self) -> Vec<String> {
        match self {
            Self::List(nodes) => nodes.iter().filter_map(|node| node.text().map(Cow::into_owned)).collect(),
            _ => self.text().iter().flat_map(|text| text.split_whitespace()).map(str::to_owned).collect(),
        }
    }

    /// From JSON. Null says nothing.
    pub(super) fn from_json(value: serde_json::Value) -> Option<Node<'static>> {
        use serde_json::Value;
        Some(match value {
            Value::Null => return None,
            Value::Bool(flag) => Node::Integer(i64::from(flag)),
            Value::Number(number) => match number.as_i64() {
                Some(number) => Node::Integer(number),
                None => Node::Text(Cow::Owned(number.to_string().into_bytes())),
            },
            Value::String(text) => Node::Text(Cow::Owned(text.into_bytes())),
            Value::Array(values) => Node::List(values.into_iter().filter_map(Node::from_json).collect()),
            Value::Object(entries) => {
                let entries = entries.into_iter();
                let node = |(key, value): (String, Value)| {
                    Some((Cow::Owned(key.into_bytes()), Node::from_json(value)?))
                };
                Node::Dictionary(entries.filter_map(node).collect())
            }
        })
    }
}
