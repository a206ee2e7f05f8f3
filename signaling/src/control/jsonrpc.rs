//! JSON-RPC 2.0: bytes to calls, answers to bytes.

use serde_json::{Map, Value, json};

/// The longest message taken.
pub const MAX_MESSAGE: usize = 1 << 20;
/// Calls in one message.
pub const MAX_BATCH: usize = 100;
/// The longest answer made.
pub const MAX_ANSWER: usize = 64 << 20;

/// The message is no JSON.
pub const PARSE_ERROR: i64 = -32700;
/// It is JSON and no request.
pub const INVALID_REQUEST: i64 = -32600;
/// There is no such method.
pub const METHOD_NOT_FOUND: i64 = -32601;
/// Its parameters are others.
pub const INVALID_PARAMS: i64 = -32602;
/// A fault of this program.
pub const INTERNAL_ERROR: i64 = -32603;

/// What goes wrong, as JSON-RPC's error object. Codes of the specification are negative; those of methods are Kamailio's, which
/// are SIP's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The code.
    pub code: i64,
    /// The words.
    pub message: String,
}

impl Fault {
    /// A fault with these words.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// What comes back from a method.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A value.
    Value(Value),
    /// One that is written already, for there is much of it.
    Written(String),
}

/// One call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method.
    pub method: String,
    /// Its parameters.
    pub params: Params,
    /// `None` for a notification, which is not answered.
    pub id: Option<Value>,
}

/// The parameters of a call.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Params {
    /// None are said.
    #[default]
    None,
    /// By their places.
    List(Vec<Value>),
    /// By their names.
    Named(Map<String, Value>),
}

/// What a message holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Each call, or what is wrong with it and the id to say so with.
    pub calls: Vec<Result<Call, (Value, Fault)>>,
    /// Whether the answer is a list.
    pub is_batch: bool,
}

/// Reads a message.
///
/// # Errors
/// It is no JSON, an empty batch, or too many calls.
pub fn parse(message: &[u8]) -> Result<Message, Fault> {
    if message.len() > MAX_MESSAGE {
        return Err(Fault::new(INVALID_REQUEST, format!("a message has at most {MAX_MESSAGE} bytes")));
    }
    let value = serde_json::from_slice(message).map_err(|_| Fault::new(PARSE_ERROR, "Parse error"))?;
    match value {
        Value::Array(calls) if calls.is_empty() => Err(Fault::new(INVALID_REQUEST, "Invalid Request")),
        Value::Array(calls) if calls.len() > MAX_BATCH => {
            Err(Fault::new(INVALID_REQUEST, format!("a batch has at most {MAX_BATCH} calls")))
        }
        Value::Array(calls) => Ok(Message { calls: calls.into_iter().map(call).collect(), is_batch: true }),
        one => Ok(Message { calls: vec![call(one)], is_batch: false }),
    }
}

fn call(value: Value) -> Result<Call, (Value, Fault)> {
    let invalid = |id: Option<Value>, what: &str| {
        let message =
            if what.is_empty() { "Invalid Request".to_owned() } else { format!("Invalid Request: {what}") };
        (id.unwrap_or_default(), Fault::new(INVALID_REQUEST, message))
    };
    let Value::Object(mut object) = value else { return Err(invalid(None, "")) };
    let id = object.remove("id");
    let is_id = match &id {
        None | Some(Value::Null | Value::String(_)) => true,
        // A fraction, or what is too large, might come back as another number.
        Some(Value::Number(number)) => number.is_i64() || number.is_u64(),
        Some(_) => false,
    };
    if !is_id {
        return Err(invalid(None, "an id is text or a whole number"));
    }
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(invalid(id, "jsonrpc is not \"2.0\""));
    }
    let Some(Value::String(method)) = object.remove("method") else {
        return Err(invalid(id, "method is not text"));
    };
    let params = match object.remove("params") {
        None => Params::None,
        Some(Value::Array(list)) => Params::List(list),
        Some(Value::Object(named)) => Params::Named(named),
        Some(_) => return Err(invalid(id, "params is neither a list nor an object")),
    };
    Ok(Call { method, params, id })
}

/// The answer to a message that cannot be read.
#[must_use]
pub fn refusal(fault: &Fault) -> Vec<u8> {
    let mut answers = Answers::new(false);
    answers.add(Some(&Value::Null), Err(fault.clone()));
    answers.finish().unwrap_or_default()
}

/// The answer to a message in the making.
#[derive(Debug)]
pub struct Answers {
    text: String,
    is_batch: bool,
}

impl Answers {
    /// None so far.
    #[must_use]
    pub const fn new(is_batch: bool) -> Self {
        Self { text: String::new(), is_batch }
    }

    /// The answer to one call; a notification, without an id, has none.
    pub fn add(&mut self, id: Option<&Value>, outcome: Result<Answer, Fault>) {
        let Some(id) = id else { return };
        let (word, value) = match outcome {
            Ok(Answer::Value(value)) => ("result", value.to_string()),
            Ok(Answer::Written(text)) => ("result", text),
            Err(fault) => ("error", error(&fault)),
        };
        let too_long = self.text.len() + value.len() > MAX_ANSWER;
        let (word, value) = match too_long {
            true => ("error", error(&Fault::new(500, format!("an answer has at most {MAX_ANSWER} bytes")))),
            false => (word, value),
        };
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push_str(&format!("{{\"jsonrpc\":\"2.0\",\"{word}\":{value},\"id\":{id}}}"));
    }

    /// All of them; `None` when nobody waits for one.
    #[must_use]
    pub fn finish(self) -> Option<Vec<u8>> {
        match (self.text.is_empty(), self.is_batch) {
            (true, _) => None,
            (false, true) => Some(format!("[{}]", self.text).into_bytes()),
            (false, false) => Some(self.text.into_bytes()),
        }
    }
}

fn error(fault: &Fault) -> String {
    json!({ "code": fault.code, "message": fault.message }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(message: &str) -> String {
        let message = match parse(message.as_bytes()) {
            Ok(message) => message,
            Err(fault) => return String::from_utf8(refusal(&fault)).unwrap(),
        };
        let mut answers = Answers::new(message.is_batch);
        for call in message.calls {
            match call {
                Ok(call) => {
                    let result = match call.params {
                        Params::None => json!("nothing"),
                        Params::List(list) => Value::Array(list),
                        Params::Named(named) => Value::Object(named),
                    };
                    answers.add(call.id.as_ref(), Ok(Answer::Value(result)));
                }
                Err((id, fault)) => answers.add(Some(&id), Err(fault)),
            }
        }
        answers.finish().map_or_else(String::new, |bytes| String::from_utf8(bytes).unwrap())
    }

    /// The examples of the specification, section 7.
    #[test]
    fn the_specification_by_its_examples() {
        const PARSE: &str = r#"{"jsonrpc":"2.0","error":{"code":-32700,"message":"Parse error"},"id":null}"#;
        const INVALID: &str =
            r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request"},"id":null}"#;
        for (message, expected) in [
            (
                r#"{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}"#,
                r#"{"jsonrpc":"2.0","result":[42,23],"id":1}"#.to_owned(),
            ),
            (
                r#"{"jsonrpc": "2.0", "method": "subtract", "params": {"b": 23, "a": 42}, "id": "x"}"#,
                r#"{"jsonrpc":"2.0","result":{"b":23,"a":42},"id":"x"}"#.to_owned(),
            ),
            (r#"{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}"#, String::new()),
            (r#"{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]"#, PARSE.to_owned()),
            (
                r#"{"jsonrpc": "2.0", "method": 1, "params": "bar"}"#,
                r#"{"jsonrpc":"2.0","error":{"code":-32600,"message":"Invalid Request: method is not text"},"id":null}"#
                    .to_owned(),
            ),
            (r#"[{"jsonrpc": "2.0", "method": "sum", "id": "1"}, {"jsonrpc": "2.0", "method""#, PARSE.to_owned()),
            ("[]", INVALID.to_owned()),
            ("[1]", format!("[{INVALID}]")),
            ("[1,2,3]", format!("[{INVALID},{INVALID},{INVALID}]")),
            (
                r#"[{"jsonrpc": "2.0", "method": "sum", "id": "1"}, {"jsonrpc": "2.0", "method": "hello"}, 1]"#,
                format!(r#"[{{"jsonrpc":"2.0","result":"nothing","id":"1"}},{INVALID}]"#),
            ),
            (r#"[{"jsonrpc": "2.0", "method": "a"}, {"jsonrpc": "2.0", "method": "b"}]"#, String::new()),
        ] {
            assert_eq!(answered(message), expected, "{message}");
        }
    }

    #[test]
    fn what_is_no_request_says_why_with_the_id_that_it_has() {
        for (message, id) in [
            (r#"{"method":"a","id":1}"#, json!(1)),
            (r#"{"jsonrpc":"1.0","method":"a","id":"x"}"#, json!("x")),
            (r#"{"jsonrpc":"2.0","method":"a","params":7,"id":-1}"#, json!(-1)),
            (r#"{"jsonrpc":"2.0","method":"a","id":1.5}"#, Value::Null),
            (r#"{"jsonrpc":"2.0","method":"a","id":123456789012345678901234567890}"#, Value::Null),
            (r#"{"jsonrpc":"2.0","method":"a","id":[1]}"#, Value::Null),
            ("7", Value::Null),
            ("null", Value::Null),
        ] {
            let answer: Value = serde_json::from_str(&answered(message)).unwrap();
            assert_eq!(
                (&answer["id"], &answer["error"]["code"]),
                (&id, &json!(INVALID_REQUEST)),
                "{message}"
            );
        }
        let null = answered(r#"{"jsonrpc":"2.0","method":"a","id":null}"#);
        assert_eq!(null, r#"{"jsonrpc":"2.0","result":"nothing","id":null}"#, "an id of null is one");
    }

    #[test]
    fn messages_and_answers_are_bounded() {
        let call = r#"{"jsonrpc":"2.0","method":"a","id":1}"#;
        let batch = |count: usize| format!("[{}]", vec![call; count].join(","));
        assert_eq!(parse(batch(MAX_BATCH).as_bytes()).unwrap().calls.len(), MAX_BATCH);
        assert_eq!(parse(batch(MAX_BATCH + 1).as_bytes()).unwrap_err().code, INVALID_REQUEST);
        assert_eq!(parse(&vec![b' '; MAX_MESSAGE + 1]).unwrap_err().code, INVALID_REQUEST);
        assert_eq!(parse("[".repeat(MAX_MESSAGE).as_bytes()).unwrap_err().code, PARSE_ERROR);
        let mut answers = Answers::new(true);
        for _ in 0..2 {
            let long = format!("\"{}\"", "x".repeat(MAX_ANSWER / 2));
            answers.add(Some(&json!(1)), Ok(Answer::Written(long)));
        }
        let answers: Value = serde_json::from_slice(&answers.finish().unwrap()).unwrap();
        assert!(answers[0]["result"].is_string() && answers[1]["error"]["code"] == 500);
    }
}
