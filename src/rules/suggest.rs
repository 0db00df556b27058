//! "Did you mean …?" for names that are not known.

/// The most names that are listed.
const LISTED: usize = 30;

/// Keys of other languages, the key beside which people look for them, and what to do instead.
const FOREIGN: [(&str, &str, &str); 2] = [
    (
        "count window timeframe groupBy",
        "threshold",
        "to count matches, write {\"threshold\": {\"count\": 5, \"by\": [\"sourceIPAddress\"], \"within\": \"10m\"}}",
    ),
    ("exists not equals", "sameAs", "`\".\"` asks for any value; for an absent or a different one use `unless`"),
];

/// The end of a sentence about an unknown name: what to do instead, the known name that was probably meant, or else all of
/// them, unless they are too many.
pub(crate) fn suggestion(name: &str, known: &[&str]) -> String {
    let is_it = |(names, beside, _): &&(&str, &str, &str)| {
        known.contains(beside) && names.split(' ').any(|foreign| foreign.eq_ignore_ascii_case(name))
    };
    if let Some((_, _, hint)) = FOREIGN.iter().find(is_it) {
        return format!("; {hint}");
    }
    match nearest(name, known) {
        Some(near) => format!("; did you mean `{near}`?"),
        None if known.len() > LISTED => String::new(),
        None => format!("; known names: {}", known.join(", ")),
    }
}

/// The known name that is most like an unknown one, if a third of its letters or fewer differ.
pub(crate) fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |known: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase());
    let near = known.iter().min_by_key(|known| distance(known))?;
    (distance(near) <= near.chars().count().div_ceil(3)).then_some(*near)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_is_near() {
        let known = ["severity", "source", "regexp", "topicARN"];
        for (name, near) in [
            ("serverity", Some("severity")),
            ("regex", Some("regexp")),
            ("topicArn", Some("topicARN")),
            ("colour", None),
        ] {
            assert_eq!(nearest(name, &known), near, "{name}");
        }
    }
}
