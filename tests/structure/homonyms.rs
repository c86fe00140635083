//! One name for one thing: no two modules declare types of the same name that others can see. The simulator shares no
//! idea with the gateway, so its names are held against each other alone.

use std::collections::BTreeMap;

use crate::sources::packages;

/// Names that stand for several things with good reason, and the reason.
const ALLOWED: &[(&str, &str)] = &[
    ("Access", "the operator's `access`, and what decides by it"),
    (
        "ClientKey",
        "a key as it is configured, and with what it has used",
    ),
    (
        "Provider",
        "a provider as it is configured, and with its health and its limits",
    ),
    (
        "Usage",
        "the section `usage`, and the tokens of one answer, which is the providers' word",
    ),
];

/// Where a section of the configuration is declared as it is written, and as it is used.
const SECTIONS: [&str; 2] = ["config", "settings"];

const SIMULATOR: &str = "remuda-sim";

#[test]
fn no_two_modules_declare_types_of_the_same_name() {
    let mut declared: BTreeMap<(&str, String), Vec<String>> = BTreeMap::new();
    let mut types = 0;
    for (name, package) in packages() {
        for (module, source) in &package {
            for declaration in &source.types {
                types += 1;
                let place = format!("{name}:{}", module.join("/"));
                let apart = if name == SIMULATOR { SIMULATOR } else { "" };
                let key = (apart, declaration.clone());
                declared.entry(key).or_default().push(place);
            }
        }
    }
    assert!(types > 300, "only {types} types were found");
    let is_section = |places: &[String]| {
        let [one, other] = places else { return false };
        let of = |place: &String, folder| place.split([':', '/']).any(|part| part == folder);
        of(one, SECTIONS[0]) && of(other, SECTIONS[1])
    };
    let is_allowed = |name: &str| ALLOWED.iter().any(|(allowed, _)| *allowed == name);
    let several: Vec<String> = declared
        .iter()
        .filter(|((_, name), places)| places.len() > 1 && !is_section(places) && !is_allowed(name))
        .map(|((_, name), places)| format!("{name}: {}", places.join(", ")))
        .collect();
    assert!(several.is_empty(), "\n{}", several.join("\n"));
}
