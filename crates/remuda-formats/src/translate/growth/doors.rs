//! The same work behind other doors: schemas, names in histories, parts and turns.

use super::*;

/// A schema that is made of so many parts, written for every provider and for Gemini's subset too.
#[test]
#[expect(clippy::too_many_lines, reason = "it is a table of cases")]
fn schemas_of_many_parts() {
    let old = (
        ProviderForm::GoogleContent,
        ProviderKind::Google,
        "gemini-2.0-flash",
    );
    let objects = |many: usize, item: &dyn Fn(usize) -> String| {
        let members: Vec<String> = (0..many).map(item).collect();
        format!("{{{}}}", members.join(","))
    };
    type Schema<'a> = (&'static str, usize, &'a dyn Fn(usize) -> String);
    let wide = |many| {
        let properties = objects(many, &|at| format!(r#""p{at}":{{"type":"string"}}"#));
        format!(r#"{{"type":"object","properties":{properties}}}"#)
    };
    let referring = |many| {
        let properties = objects(many, &|at| {
            format!(r##""p{at}":{{"$ref":"#/$defs/a","title":"t"}}"##)
        });
        format!(
            r##"{{"type":"object","properties":{properties},"$defs":{{"a":{{"type":"string"}}}}}}"##
        )
    };
    // What is referred to is as large as all references together, and nothing of it is written.
    let heavy = |many| {
        let properties = objects(many, &|at| {
            format!(r##""p{at}":{{"$ref":"#/$defs/a","title":"t"}}"##)
        });
        let within = objects(many, &|at| format!(r#""d{at}":{{"type":"string"}}"#));
        format!(
            r##"{{"type":"object","properties":{properties},"$defs":{{"a":{{"$defs":{within}}}}}}}"##
        )
    };
    let chain = |many| {
        let defs = objects(many, &|at| {
            format!(r##""d{at}":{{"$ref":"#/$defs/d{}","title":"t"}}"##, at + 1)
        });
        format!(r##"{{"$ref":"#/$defs/d0","title":"t","$defs":{defs}}}"##)
    };
    let doubling = |many| {
        let defs = objects(many, &|at| {
            let next = format!(r##"{{"$ref":"#/$defs/d{}","title":"t"}}"##, at + 1);
            format!(r#""d{at}":{{"type":"object","properties":{{"a":{next},"b":{next}}}}}"#)
        });
        format!(r##"{{"$ref":"#/$defs/d0","title":"t","$defs":{defs}}}"##)
    };
    let types = |many| {
        let names = vec![r#""object""#; many].join(",");
        let properties = objects(many, &|at| format!(r#""p{at}":{{"type":"string"}}"#));
        format!(
            r#"{{"type":"object","properties":{{"x":{{"type":[{names}],"properties":{properties}}}}}}}"#
        )
    };
    let alternatives = |many| {
        let all = list(many, |at| {
            format!(r#"{{"type":"object","properties":{{"p{at}":{{}}}}}}"#)
        });
        format!(r#"{{"type":"object","properties":{{"x":{{"anyOf":{all}}}}}}}"#)
    };
    let deep = |many: usize| {
        let open = r#"{"type":"object","properties":{"a":"#.repeat(many);
        format!("{open}{{\"type\":\"string\"}}{}", "}}".repeat(many))
    };
    let schemas: [Schema<'_>; 8] = [
        ("wide", 1000, &wide),
        ("referring", 500, &referring),
        ("heavy", 500, &heavy),
        ("chain", 500, &chain),
        ("doubling", 20, &doubling),
        ("types", 500, &types),
        ("alternatives", 500, &alternatives),
        ("deep", 20, &deep),
    ];
    for to in CHATS.into_iter().chain([old]) {
        for (name, many, schema) in schemas {
            assert_linear(&format!("schema {name} for {to:?}"), many, &|many| {
                let schema = schema(many);
                let tool = format!(
                    r#"{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}"#
                );
                let format = format!(
                    r#"{{"type":"json_schema","json_schema":{{"name":"s","schema":{schema}}}}}"#
                );
                let messages = r#"[{"role":"user","content":"q"}]"#;
                let with_tool =
                    format!(r#"{{"model":"m","messages":{messages},"tools":[{tool}]}}"#);
                let formatted =
                    format!(r#"{{"model":"m","messages":{messages},"response_format":{format}}}"#);
                for body in [with_tool, formatted] {
                    // Either is sent as far as it goes, or refused.
                    let _ = ordered(ClientForm::OpenAiChat, &body, to);
                }
            });
        }
    }
}

/// The same work is behind other doors: calls in the history of clients of every format, without a tool that is
/// offered, and one name among many that no provider takes.
#[test]
fn names_behind_other_doors() {
    let names: [fn(usize) -> String; 3] = [alike, shadowing, |at| match at {
        0 => "an odd name, which no provider takes".to_owned(),
        at => format!("plain_{at}"),
    }];
    for name in names {
        for to in CHATS {
            assert_linear(&format!("history for {to:?}"), 250, &|many| {
                let user = r#"{"role":"user","content":"q"}"#;
                let call = |at| {
                    let name = name(at);
                    format!(r#"{{"function":{{"name":"{name}","arguments":{{}}}}}}"#)
                };
                let result = |at| {
                    format!(
                        r#"{{"role":"tool","tool_name":"{}","content":"r"}}"#,
                        name(at)
                    )
                };
                let results: Vec<String> = (0..many).map(result).collect();
                let calls = list(many, call);
                let ollama = format!(
                    r#"{{"model":"m","messages":[{user},{{"role":"assistant","content":"","tool_calls":{calls}}},{}]}}"#,
                    results.join(",")
                );
                let _ = ordered(ClientForm::OllamaChat, &ollama, to);
                let uses = list(many, |at| {
                    format!(
                        r#"{{"type":"tool_use","id":"c{at}","name":"{}","input":{{}}}}"#,
                        name(at)
                    )
                });
                let told = list(many, |at| {
                    format!(
                        r#"{{"type":"tool_result","tool_use_id":"c{}","content":"r"}}"#,
                        many - 1 - at
                    )
                });
                let anthropic = format!(
                    r#"{{"model":"m","max_tokens":9,"messages":[{user},{{"role":"assistant","content":{uses}}},{{"role":"user","content":{told}}}]}}"#
                );
                let _ = ordered(ClientForm::AnthropicMessages, &anthropic, to);
                let items = list(2 * many, |at| {
                    let (at, is_call) = (at % many, at < many);
                    if is_call {
                        format!(
                            r#"{{"type":"function_call","call_id":"c{at}","name":"{}","arguments":"{{}}"}}"#,
                            name(at)
                        )
                    } else {
                        format!(
                            r#"{{"type":"function_call_output","call_id":"c{}","output":"r"}}"#,
                            many - 1 - at
                        )
                    }
                });
                let responses = format!(r#"{{"model":"m","input":{items}}}"#);
                let _ = ordered(ClientForm::OpenAiResponses, &responses, to);
            });
        }
    }
}

/// Many parts of one turn, and many turns of one part.
#[test]
fn parts_and_turns() {
    for to in CHATS {
        assert_linear(&format!("parts for {to:?}"), 2000, &|many| {
            let parts = list(many, |at| format!(r#"{{"type":"text","text":"t{at}"}}"#));
            let one =
                format!(r#"{{"model":"m","messages":[{{"role":"user","content":{parts}}}]}}"#);
            let turns = list(many, |at| {
                let role = ["user", "assistant", "system", "developer"][at % 4];
                format!(r#"{{"role":"{role}","content":"t{at}"}}"#)
            });
            let several = format!(r#"{{"model":"m","messages":{turns}}}"#);
            for body in [one, several] {
                assert!(ordered(ClientForm::OpenAiChat, &body, to).is_ok());
            }
        });
    }
}
