//! JSON in the layout of the packs: a value stands on one line if it fits there.

/// The most characters of a line, unless one text is longer.
const WIDTH: usize = 120;

pub(super) enum Json {
    Text(String),
    Number(f64),
    List(Vec<Json>),
    Object(Entries),
}

pub(super) type Entries = Vec<(String, Json)>;

impl Json {
    pub(super) fn texts(texts: impl IntoIterator<Item = impl ToString>) -> Json {
        Json::List(texts.into_iter().map(|text| Json::Text(text.to_string())).collect())
    }

    /// The value on one line.
    fn line(&self) -> String {
        match self {
            Json::Text(text) => serde_json::Value::from(text.as_str()).to_string(),
            Json::Number(number) => number.to_string(),
            Json::List(items) => format!("[{}]", items.iter().map(Json::line).collect::<Vec<_>>().join(", ")),
            Json::Object(entries) => {
                let entry = |(key, value): &(String, Json)| format!("{}: {}", quoted(key), value.line());
                format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// The value behind `before` characters of a line that is indented by `indent`.
    fn lines(&self, indent: usize, before: usize) -> String {
        let line = self.line();
        let (open, items, close): (_, Vec<(String, &Json)>, _) = match self {
            Json::List(items) => ('[', items.iter().map(|item| (String::new(), item)).collect(), ']'),
            Json::Object(entries) => {
                ('{', entries.iter().map(|(key, value)| (format!("{}: ", quoted(key)), value)).collect(), '}')
            }
            _ => return line,
        };
        // Two characters may follow it.
        if before + line.chars().count() + 2 <= WIDTH {
            return line;
        }
        let indent = indent + 2;
        let item = |(key, value): &(String, &Json)| {
            format!("\n{:indent$}{key}{}", "", value.lines(indent, indent + key.chars().count()))
        };
        format!("{open}{} {close}", items.iter().map(item).collect::<Vec<_>>().join(","))
    }
}

fn quoted(key: &str) -> String {
    Json::Text(key.to_owned()).line()
}

/// A rule, of which each group of entries stands on lines of its own.
pub(super) fn rule(groups: &[Entries]) -> String {
    let entry = |(key, value): &(String, Json)| {
        let key = format!("{}: ", quoted(key));
        let value = value.lines(4, 4 + key.chars().count());
        key + &value
    };
    let group = |entries: &Entries| entries.iter().map(entry).collect::<Vec<_>>().join(", ");
    format!(
        "  {{ {} }}",
        groups.iter().map(group).filter(|group| !group.is_empty()).collect::<Vec<_>>().join(",\n    ")
    )
}

/// A configuration of these rules.
pub(super) fn configuration(rules: &[String]) -> String {
    if rules.is_empty() {
        "{ \"rules\": [] }\n".to_owned()
    } else {
        format!("{{ \"rules\": [\n{}\n] }}\n", rules.join(",\n\n"))
    }
}
