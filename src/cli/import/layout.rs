//! JSON in the layout of the packs.

/// The most characters of a list or object on one line.
const WIDTH: usize = 100;

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

pub(super) fn member(key: &str, json: &str) -> String {
    format!("{}: {json}", quoted(key))
}

pub(super) fn list(texts: &[String], indent: usize) -> String {
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", separated(&texts, indent))
}

pub(super) fn object(members: &[String], indent: usize) -> String {
    let members = separated(members, indent);
    let blank = if members.starts_with('\n') { "" } else { " " };
    format!("{{{blank}{members} }}")
}

/// Items on one line, or each on its own.
fn separated(items: &[String], indent: usize) -> String {
    let (line, start) = (items.join(", "), format!("\n{:indent$}", ""));
    if line.chars().count() <= WIDTH { line } else { start.clone() + &items.join(&format!(",{start}")) }
}

/// A configuration of rules, each given by its lines.
pub(super) fn configuration(rules: &[Vec<String>]) -> String {
    let rules: Vec<_> = rules.iter().map(|lines| format!("\n  {{ {} }}", lines.join(",\n    "))).collect();
    format!("{{ \"rules\": [{}\n] }}\n", rules.join(",\n"))
}
