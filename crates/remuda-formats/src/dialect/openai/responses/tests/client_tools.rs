//! Tools as coding agents offer them: in namespaces, as plain text, by a search; and their calls as they are told.

use serde_json::{Value, json};

use super::super::{encoder, read_chat, write_whole};
use super::reply;
use crate::dialect::exchange::Reply;
use crate::ir::{
    Assembler, ChatRequest, ClientTools, Event, Finish, Json, Part, Refused, Text, ToolChoice,
};

fn read(body: Value) -> Result<ChatRequest<'static>, Refused> {
    read_chat(Box::leak(body.to_string().into_boxed_str()).as_bytes())
}

fn names(request: &ChatRequest<'_>) -> Vec<String> {
    let name = |tool: &crate::ir::Tool<'_>| tool.name.decoded().into_owned();
    request.tools.iter().map(name).collect()
}

fn function(name: &str) -> Value {
    json!({"type": "function", "name": name, "description": "d", "parameters": {"type": "object"}, "strict": false})
}

fn patch() -> Value {
    json!({"type": "custom", "name": "apply_patch", "description": "Edits files.",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: \"x\""}})
}

/// What a coding agent offers.
fn offer() -> Value {
    json!([
        function("shell"),
        patch(),
        {"type": "namespace", "name": "crm", "description": "Customers.",
            "tools": [function("get"), function("put"), {"type": "custom", "name": "note"}]},
        {"type": "namespace", "name": "mcp__mail__", "description": "Mail.", "tools": [function("get")]},
        {"type": "tool_search", "execution": "client", "description": "Finds tools.",
            "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
        {"type": "web_search", "external_web_access": true}, {"type": "local_shell"},
    ])
}

#[test]
fn tools_of_namespaces_are_functions_with_names_of_their_own() {
    let request = read(json!({"input": "q", "tools": offer()})).unwrap();
    let expected = [
        "shell",
        "apply_patch",
        "crm__get",
        "crm__put",
        "crm__note",
        "mcp__mail__get",
        "tool_search",
    ];
    assert_eq!(names(&request), expected);
    let description = |place: usize| request.tools[place].description.clone().unwrap();
    assert_eq!(description(2).as_escaped(), r"Customers.\n\nd");
    assert_eq!(description(3).as_escaped(), "d");
    assert_eq!(
        request.dropped.fields(),
        ["tools.web_search", "tools.local_shell"]
    );
}

#[test]
fn a_tool_that_takes_text_is_a_function_of_one_string() {
    let request = read(json!({"input": "q", "tools": [patch()]})).unwrap();
    let schema = request.tools[0].parameters.as_ref().unwrap().as_str();
    let schema: Value = serde_json::from_str(schema).unwrap();
    assert_eq!(schema["required"], json!(["input"]));
    let says = schema["properties"]["input"]["description"]
        .as_str()
        .unwrap();
    assert!(
        says.contains("(lark)") && says.contains("start: \"x\""),
        "{says}"
    );
}

#[test]
fn names_that_would_be_the_same_are_told_apart() {
    let tools = json!([
        {"type": "namespace", "name": "a", "tools": [function("b__c")]},
        {"type": "namespace", "name": "a__b", "tools": [function("c")]},
        function("a__b__c"),
        function("a__b__c"),
    ]);
    let request = read(json!({"input": [
        {"type": "function_call", "call_id": "1", "namespace": "a__b", "name": "c", "arguments": "{}"}],
        "tools": tools}))
    .unwrap();
    assert_eq!(names(&request), ["a__b__c", "a__b__c_2", "a__b__c_3"]);
    let Part::ToolCall(call) = &request.messages[0].parts[0] else {
        panic!("a call")
    };
    assert_eq!(call.name.as_escaped(), "a__b__c_2");
    let known = ClientTools::of(&request.special, &request.tools);
    let tool = known.find(&Text::escaped("a__b__c_3")).unwrap();
    assert_eq!((tool.namespace.as_deref(), &*tool.name), (None, "a__b__c"));
}

#[test]
fn tools_that_the_input_brings_are_offered() {
    let request = read(json!({"input": [
        {"type": "additional_tools", "role": "developer", "tools": [
            {"type": "namespace", "name": "functions", "description": "x", "tools": [patch(), function("wait")]}]},
        {"role": "user", "content": "q"},
        {"type": "tool_search_call", "call_id": "s", "execution": "client", "status": "completed",
            "arguments": {"query": "mail"}},
        {"type": "tool_search_output", "call_id": "s", "execution": "client", "status": "completed", "tools": [
            {"type": "namespace", "name": "mail", "tools": [function("send")]}]},
        {"type": "function_call", "call_id": "m", "namespace": "mail", "name": "send", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "m", "output": "sent"},
    ]}))
    .unwrap();
    let expected = ["functions__apply_patch", "functions__wait", "mail__send"];
    assert_eq!(names(&request), expected);
    let Part::ToolCall(call) = &request.messages[1].parts[0] else {
        panic!("a call")
    };
    assert_eq!(
        (call.name.as_escaped(), call.arguments.as_str()),
        ("tool_search", r#"{"query":"mail"}"#)
    );
    let Part::ToolResult(result) = &request.messages[2].parts[0] else {
        panic!("a result")
    };
    let [Part::Text(found)] = &result.parts[..] else {
        panic!("a text")
    };
    assert_eq!(found.decoded(), "These tools can be called now:\n- send");
    assert!(request.dropped.is_empty());
}

#[test]
fn what_the_clients_own_tools_did_stays() {
    let request = read(json!({"input": [
        {"type": "local_shell_call", "call_id": "l", "status": "completed",
            "action": {"type": "exec", "command": ["ls"]}},
        {"type": "function_call_output", "call_id": "l", "output": "a b"},
        {"type": "agent_message", "author": "a", "recipient": "b", "content": [
            {"type": "input_text", "text": "done"}, {"type": "encrypted_content", "encrypted_content": "x"}]},
    ]}))
    .unwrap();
    let Part::ToolCall(call) = &request.messages[0].parts[0] else {
        panic!("a call")
    };
    assert_eq!(
        (call.name.as_escaped(), call.arguments.as_str()),
        ("local_shell", r#"{"command":["ls"],"type":"exec"}"#)
    );
    assert_eq!(
        request.messages[2].parts,
        [Part::Text(Text::escaped("done"))]
    );
    assert_eq!(request.dropped.fields(), ["input"]);
    for kind in ["compaction", "context_compaction"] {
        let refused = read(json!({"input": [{"type": kind, "encrypted_content": "x"}]}));
        let refused = refused.unwrap_err();
        assert!(
            refused.text.contains("send the conversation itself"),
            "{refused}"
        );
    }
}

#[test]
fn a_choice_finds_the_tool_that_it_means() {
    let chosen = |choice: Value| {
        let request = read(json!({"input": "q", "tools": offer(), "tool_choice": choice}))?;
        Ok::<_, Refused>((request.tool_choice.clone(), names(&request)))
    };
    let named = |name: &'static str| ToolChoice::Named(Text::escaped(name));
    for (choice, function) in [
        (
            json!({"type": "custom", "name": "apply_patch"}),
            "apply_patch",
        ),
        (json!({"type": "function", "name": "put"}), "crm__put"),
        (
            json!({"type": "function", "namespace": "mcp__mail__", "name": "get"}),
            "mcp__mail__get",
        ),
    ] {
        assert_eq!(chosen(choice).unwrap().0, named(function));
    }
    let allowed = json!({"type": "allowed_tools", "mode": "required", "tools": [
        {"type": "namespace", "name": "mcp__mail__"}, {"type": "custom", "name": "apply_patch"}, {"type": "web_search"}]});
    let (choice, left) = chosen(allowed).unwrap();
    assert_eq!(choice, ToolChoice::Required);
    assert_eq!(left, ["apply_patch", "mcp__mail__get"]);
    assert!(chosen(json!({"type": "web_search"})).is_err());
    assert!(chosen(json!({"type": "function", "name": "delete"})).is_err());
}

/// A reply to a request that offers all that.
fn offered() -> Reply {
    let request = read(json!({"input": "q", "tools": offer()})).unwrap();
    Reply {
        tools: ClientTools::of(&request.special, &request.tools).into(),
        ..reply()
    }
}

/// The items of an answer that calls `name`, streamed and whole, which must be the same; and the deltas of the stream.
fn called(name: &'static str, fragments: &[&'static str]) -> (Value, Vec<String>) {
    let mut events = vec![Event::ToolStart {
        index: 0,
        id: Some(Text::escaped("c1")),
        name: Text::escaped(name),
        signature: None,
    }];
    events.extend(fragments.iter().map(|fragment| Event::ToolArguments {
        index: 0,
        fragment: Text::plain(fragment),
    }));
    events.push(Event::ToolEnd { index: 0 });
    events.push(Event::Finish {
        reason: Finish::ToolCalls,
        stop: None,
    });
    events.push(Event::End);
    let (mut encoder, mut stream) = (encoder(offered()), Vec::new());
    let mut assembler = Assembler::default();
    for event in &events {
        encoder.event(event, &mut stream);
        assembler.event(event);
    }
    let mut whole = Vec::new();
    write_whole(&assembler.finish().unwrap(), &offered(), &mut whole);
    let whole: Value = serde_json::from_slice(&whole).unwrap();
    let stream = String::from_utf8(stream).unwrap();
    let told: Vec<Value> = stream
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    assert_eq!(told.last().unwrap()["response"]["output"], whole["output"]);
    let deltas = told
        .iter()
        .filter_map(|event| {
            let kind = event["type"].as_str()?.strip_prefix("response.")?;
            Some(format!(
                "{} {}",
                kind.strip_suffix(".delta")?,
                event["delta"].as_str()?
            ))
        })
        .collect();
    (whole["output"].clone(), deltas)
}

#[test]
fn a_call_comes_back_with_its_namespace() {
    let (output, deltas) = called("crm__get", &["{\"id\"", ":1}"]);
    assert_eq!(
        output,
        json!([{"id": "fc_a1_0", "type": "function_call", "status": "completed", "arguments": "{\"id\":1}",
            "call_id": "c1", "name": "get", "namespace": "crm"}])
    );
    let expected = [
        "function_call_arguments {\"id\"",
        "function_call_arguments :1}",
    ];
    assert_eq!(deltas, expected);
    let (output, _) = called("shell", &["{}"]);
    assert_eq!(output[0].get("namespace"), None);
}

#[test]
fn a_call_of_a_tool_that_takes_text_is_its_text() {
    let (output, deltas) = called(
        "apply_patch",
        &["{\"input\":\"*** Begin", " Patch\\", "n+é\"", "}"],
    );
    assert_eq!(
        output,
        json!([{"id": "ctc_a1_0", "type": "custom_tool_call", "status": "completed",
            "input": "*** Begin Patch\n+é", "call_id": "c1", "name": "apply_patch"}])
    );
    let expected = [
        "custom_tool_call_input *** Begin",
        "custom_tool_call_input  Patch",
        "custom_tool_call_input \n+é",
    ];
    assert_eq!(deltas, expected);
    let (output, _) = called("crm__note", &["{\"input\":\"n\"}"]);
    assert_eq!(
        (&output[0]["namespace"], &output[0]["type"]),
        (&json!("crm"), &json!("custom_tool_call"))
    );
}

#[test]
fn a_search_is_told_with_its_arguments_as_an_object() {
    let (output, deltas) = called("tool_search", &["{\"query\":\"mail\"}"]);
    assert_eq!(
        output,
        json!([{"id": "tsc_a1_0", "type": "tool_search_call", "execution": "client", "status": "completed",
            "arguments": {"query": "mail"}, "call_id": "c1"}])
    );
    assert_eq!(deltas, [""; 0]);
}

#[test]
fn arguments_of_a_call_of_the_history_are_an_object() {
    let request = read(json!({"input": [
        {"type": "custom_tool_call", "call_id": "c", "namespace": "crm", "name": "note", "input": "a \"b\""},
        {"type": "custom_tool_call_output", "call_id": "c", "output": "ok"}], "tools": offer()}))
    .unwrap();
    let Part::ToolCall(call) = &request.messages[0].parts[0] else {
        panic!("a call")
    };
    assert_eq!(call.name.as_escaped(), "crm__note");
    assert_eq!(call.arguments, Json::trusted(r#"{"input":"a \"b\""}"#));
}
