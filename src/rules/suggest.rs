//! "Did you mean …?" for names that are not known.

/// The end of a sentence about an unknown name: the known name that was probably meant, or else all of them.
pub(crate) fn suggestion(name: &str, known: &[&str]) -> String {
    match nearest(name, known) {
        Some(near) => format!("; did you mean `{near}`?"),
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
