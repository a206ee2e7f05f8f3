//! JSON-RPC: what an operator's program, or somebody who would be one, sends.

use causeway::control::jsonrpc::{Answer, Answers, INVALID_REQUEST, MAX_BATCH, PARSE_ERROR, parse, refusal};
use serde_json::Value;

/// A message: it is refused by the code of the specification, or each of its calls has one answer with its id, and a
/// notification has none.
pub fn jsonrpc(input: &[u8]) {
    let message = match parse(input) {
        Ok(message) => message,
        Err(fault) => {
            let is_json = serde_json::from_slice::<Value>(input).is_ok();
            assert_eq!(fault.code, if is_json { INVALID_REQUEST } else { PARSE_ERROR });
            let answer: Value = serde_json::from_slice(&refusal(&fault)).expect("a refusal is JSON");
            assert!(answer["id"].is_null() && answer["error"]["code"] == fault.code);
            return;
        }
    };
    assert!((1..=MAX_BATCH).contains(&message.calls.len()) && (message.is_batch || message.calls.len() == 1));
    let mut answers = Answers::new(message.is_batch);
    let mut ids = Vec::new();
    for call in message.calls {
        match call {
            Ok(call) => {
                ids.extend(call.id.clone());
                answers.add(call.id.as_ref(), Ok(Answer::Value(Value::String(call.method))));
            }
            Err((id, fault)) => {
                assert_eq!(fault.code, INVALID_REQUEST);
                ids.push(id.clone());
                answers.add(Some(&id), Err(fault));
            }
        }
    }
    let Some(answer) = answers.finish() else { return assert!(ids.is_empty()) };
    let answer: Value = serde_json::from_slice(&answer).expect("an answer is JSON");
    let list = if message.is_batch { answer.as_array().cloned().expect("a list") } else { vec![answer] };
    assert_eq!(list.iter().map(|answer| answer["id"].clone()).collect::<Vec<_>>(), ids);
    assert!(list.iter().all(|answer| answer["result"].is_null() != answer["error"].is_null()));
}
