//! A model on loopback that says what it was told to: Anthropic's Messages, OpenAI's Responses and Chat Completions, and Gemini's generateContent, streamed, and as
//! much of HTTP/1.1 as their clients need.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What it says to every prompt.
pub const REPLY: &str = "The tide is at nine.";
/// A prompt with this word makes it call [`COMMAND`] first.
pub const CALL: &str = "measure";
/// The tool call: the program's shell is to run this.
pub const COMMAND: &str = "printf 'metres %s' 7";
/// What that prints.
pub const PRINTED: &str = "metres 7";

/// A server for as long as the test lives; the requests it was sent, in order.
pub struct ModelServer {
    pub port: u16,
    requests: mpsc::Receiver<Value>,
}

impl ModelServer {
    pub fn start() -> ModelServer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, requests) = mpsc::channel();
        // Both end with the test process; a connection ends with its client.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sender = sender.clone();
                std::thread::spawn(move || serve(stream, &sender));
            }
        });
        ModelServer { port, requests }
    }

    /// Waits for a request that holds these words in what the conversation said so far; the beginnings of those that came instead.
    pub fn until(&self, words: &[&str], deadline: Duration) -> Result<(), Vec<String>> {
        let (start, mut seen) = (Instant::now(), vec![]);
        while let Ok(request) = self.requests.recv_timeout(deadline.saturating_sub(start.elapsed())) {
            let text = conversation(&request).to_string();
            if words.iter().all(|w| text.contains(w)) {
                return Ok(());
            }
            seen.push(text.chars().rev().take(300).collect::<Vec<_>>().into_iter().rev().collect());
        }
        Err(seen)
    }
}

/// The messages so far, in each program's words.
fn conversation(request: &Value) -> &Value {
    ["messages", "input", "contents"].iter().map(|key| &request[*key]).find(|said| !said.is_null()).unwrap_or(&Value::Null)
}

fn serve(stream: TcpStream, sender: &mpsc::Sender<Value>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let (mut length, mut chunked) = (0, false);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            match name {
                "content-length" => length = value.trim().parse().ok()?,
                "transfer-encoding" => chunked = value.contains("chunked"),
                _ => {}
            }
        }
        let body = if chunked { read_chunks(&mut reader)? } else { read_exact(&mut reader, length)? };
        let path = first.split(' ').nth(1).unwrap_or_default();
        let request: Value = serde_json::from_slice(&body).unwrap_or_default();
        let named = |events: Vec<Value>| {
            events.iter().map(|e| format!("event: {}\ndata: {e}\n\n", e["type"].as_str().unwrap_or_default())).collect()
        };
        let frames: Vec<String> = if path.starts_with("/v1/messages") && !path.contains("count_tokens") {
            named(messages(&request))
        } else if path.starts_with("/v1/responses") {
            named(responses(&request))
        } else if path.starts_with("/v1/chat/completions") && request["stream"] == true {
            completions(&request)
        } else if path.contains(":streamGenerateContent") {
            vec![format!("data: {}\r\n\r\n", generated())]
        } else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n{}").ok()?;
            continue;
        };
        let _ = sender.send(request);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").ok()?;
        for text in frames {
            write!(stream, "{:x}\r\n{text}\r\n", text.len()).ok()?;
        }
        stream.write_all(b"0\r\n\r\n").ok()?;
    }
}

fn read_exact(reader: &mut impl Read, length: usize) -> Option<Vec<u8>> {
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(body)
}

fn read_chunks(reader: &mut impl BufRead) -> Option<Vec<u8>> {
    let mut body = vec![];
    loop {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        body.extend(read_exact(reader, size)?);
        read_exact(reader, 2)?;
        if size == 0 {
            return Some(body);
        }
    }
}

/// Whether the last thing said asks for the tool: its result would stand last.
fn is_call(last: &Value) -> bool {
    let text = last.to_string();
    text.contains(CALL) && !text.contains("tool_result") && last["type"] != "function_call_output"
}

/// <https://docs.anthropic.com/en/docs/build-with-claude/streaming>, as events.
fn messages(request: &Value) -> Vec<Value> {
    let last = request["messages"].as_array().and_then(|m| m.last()).cloned().unwrap_or_default();
    let has_tools = request["tools"].as_array().is_some_and(|t| t.iter().any(|t| t["name"] == "Bash"));
    let call = has_tools && is_call(&last);
    let (block, delta, stop) = if call {
        let input = json!({ "command": COMMAND, "description": "Measures" }).to_string();
        (
            json!({ "type": "tool_use", "id": "toolu_1", "name": "Bash", "input": {} }),
            json!({ "type": "input_json_delta", "partial_json": input }),
            "tool_use",
        )
    } else {
        (json!({ "type": "text", "text": "" }), json!({ "type": "text_delta", "text": REPLY }), "end_turn")
    };
    let message = json!({ "id": "msg_1", "type": "message", "role": "assistant", "model": request["model"], "content": [], "stop_reason": null,
        "stop_sequence": null, "usage": { "input_tokens": 1, "output_tokens": 1 } });
    vec![
        json!({ "type": "message_start", "message": message }),
        json!({ "type": "content_block_start", "index": 0, "content_block": block }),
        json!({ "type": "content_block_delta", "index": 0, "delta": delta }),
        json!({ "type": "content_block_stop", "index": 0 }),
        json!({ "type": "message_delta", "delta": { "stop_reason": stop, "stop_sequence": null }, "usage": { "output_tokens": 9 } }),
        json!({ "type": "message_stop" }),
    ]
}

/// <https://platform.openai.com/docs/api-reference/responses-streaming>, as events.
fn responses(request: &Value) -> Vec<Value> {
    let last = request["input"].as_array().and_then(|i| i.last()).cloned().unwrap_or_default();
    let tools = request["tools"].as_array().cloned().unwrap_or_default();
    let has = |name: &str| tools.iter().any(|t| t["name"] == name);
    let call = if !is_call(&last) {
        None
    } else if has("exec_command") {
        Some(("exec_command", json!({ "cmd": COMMAND })))
    } else if has("shell_command") {
        Some(("shell_command", json!({ "command": COMMAND })))
    } else {
        Some(("shell", json!({ "command": ["sh", "-c", COMMAND] })))
    };
    let usage =
        json!({ "input_tokens": 1, "input_tokens_details": null, "output_tokens": 1, "output_tokens_details": null, "total_tokens": 2 });
    let mut events = vec![json!({ "type": "response.created", "response": { "id": "resp_1" } })];
    if let Some((name, arguments)) = call {
        let item = json!({ "type": "function_call", "id": "fc_1", "call_id": "call_1", "name": name, "arguments": arguments.to_string() });
        events.push(json!({ "type": "response.output_item.done", "output_index": 0, "item": item }));
    } else {
        let item = |content: Value| json!({ "type": "message", "role": "assistant", "id": "msg_1", "content": content });
        events.push(json!({ "type": "response.output_item.added", "output_index": 0, "item": item(json!([])) }));
        events.push(
            json!({ "type": "response.output_text.delta", "item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": REPLY }),
        );
        let said = item(json!([{ "type": "output_text", "text": REPLY, "annotations": [] }]));
        events.push(json!({ "type": "response.output_item.done", "output_index": 0, "item": said }));
    }
    events.push(json!({ "type": "response.completed", "response": { "id": "resp_1", "usage": usage } }));
    events
}

/// <https://platform.openai.com/docs/api-reference/chat-streaming>, as frames.
fn completions(request: &Value) -> Vec<String> {
    let last = request["messages"].as_array().and_then(|m| m.last()).cloned().unwrap_or_default();
    let has_tools = request["tools"].as_array().is_some_and(|t| t.iter().any(|t| t["function"]["name"] == "bash"));
    let arguments = json!({ "command": COMMAND, "description": "Measures" }).to_string();
    let (delta, end) = if has_tools && is_call(&last) && last["role"] == "user" {
        let call = json!({ "index": 0, "id": "call_1", "type": "function", "function": { "name": "bash", "arguments": arguments } });
        (json!({ "role": "assistant", "tool_calls": [call] }), "tool_calls")
    } else {
        (json!({ "role": "assistant", "content": REPLY }), "stop")
    };
    let chunk = |delta: Value, end: Option<&str>| {
        json!({ "id": "chat_1", "object": "chat.completion.chunk", "created": 1, "model": request["model"],
            "choices": [{ "index": 0, "delta": delta, "finish_reason": end }] })
    };
    let mut last = chunk(json!({}), Some(end));
    last["usage"] = json!({ "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2 });
    let mut frames: Vec<String> = [chunk(delta, None), last].iter().map(|e| format!("data: {e}\n\n")).collect();
    frames.push("data: [DONE]\n\n".into());
    frames
}

/// <https://ai.google.dev/api/generate-content>, one answer.
fn generated() -> Value {
    json!({ "candidates": [{ "content": { "role": "model", "parts": [{ "text": REPLY }] }, "finishReason": "STOP", "index": 0 }],
        "usageMetadata": { "promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2 }, "modelVersion": "tide-1" })
}
