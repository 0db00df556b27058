//! Mails about alerts that SNS has delivered: one alert as it is, or many as one message.

use super::id;
use super::message::{Alert, Attribute, NOTHING, SIZE_LIMIT, TRUNCATED, overhead};
use super::sanitize::{escape, to_ascii, truncate};
use super::subject::LIMIT;
use super::tally::Tally;
use crate::rules::Severity;

/// The most alerts of one mail: so many lines fit even if each subject has its full length.
pub(crate) const ALERTS_LIMIT: usize = 1_000;

/// The most kinds of event that a subject names, and the most characters of a name.
const TOP: usize = 5;
const NAME_LIMIT: usize = 40;

/// The least room for which a body is cut, in bytes. Less would say too little.
const USEFUL: usize = 1 << 10;

/// Stands before the subjects of alerts whose bodies are left out.
const CUT: &str =
    "(cut: the other alerts have no text here, because the message was over SNS's limit of 262144 bytes)\n";

/// An alert as a subscription to its topic gets it.
#[derive(Debug, PartialEq)]
pub struct Delivered {
    /// A hash that only repeats of the alert share.
    pub(crate) key: u128,
    pub(crate) severity: Severity,
    /// The name of its event, or `summary`.
    event: String,
    subject: String,
    body: String,
}

impl Delivered {
    /// Takes the fields of SNS's message. An alert without `eventID` is known by the message's id.
    ///
    /// Alerts of this program stay as they are. Anything else is made fit for SNS, so that it takes no other alert along.
    pub(crate) fn new<'m>(
        subject: &str,
        body: &str,
        message_id: &str,
        attribute: impl Fn(&str) -> Option<&'m str>,
    ) -> Self {
        let event_id = attribute("eventID");
        // A summary has no event's id, and has a name only if its events have the same.
        let unnamed = if event_id.is_some() { NOTHING } else { "summary" };
        Delivered {
            key: event_id.map_or_else(|| id::hash([message_id]), |event_id| id::hash([event_id, subject, body])),
            severity: attribute("severity").and_then(Severity::named).unwrap_or(Severity::Info),
            event: truncate(to_ascii(attribute("eventName").unwrap_or(unnamed)), NAME_LIMIT, "...").into_owned(),
            subject: truncate(to_ascii(subject.trim_start()), LIMIT, "...").into_owned(),
            body: body.split('\n').map(escape).collect::<Vec<_>>().join("\n"),
        }
    }
}

/// Makes the mail about these alerts, at least one, in their order. It has no attribute `rule`, so nobody takes it for an
/// alert.
pub(crate) fn mail(alerts: &[&Delivered]) -> Alert {
    let severity = alerts.iter().map(|alert| alert.severity).max().unwrap_or(Severity::Info);
    let attributes = vec![Attribute { name: "severity", data_type: "String", value: severity.name().to_owned() }];
    let subject = if let [alert] = alerts { alert.subject.clone() } else { subject(alerts, severity) };
    let room = SIZE_LIMIT.saturating_sub(overhead(&subject, &attributes));
    let body =
        if let [alert] = alerts { truncate(&alert.body, room, TRUNCATED).into_owned() } else { body(alerts, room) };
    Alert {
        topic: None,
        rules: Vec::new(),
        id: None,
        time: None,
        account: None,
        subject,
        body,
        attributes,
        receipts: Vec::new(),
    }
}

/// `[severity] n alerts: 7 CreateUser, 3 DeleteUser, 2 others`, with as many kinds of event as there is room for.
fn subject(alerts: &[&Delivered], severity: Severity) -> String {
    let (mut events, mut room) = (Tally::new(ALERTS_LIMIT), usize::MAX);
    for alert in alerts {
        events.count(&alert.event.as_str(), 0, &mut room);
    }
    let with = |kinds: usize| {
        let top = events.top(kinds, alerts.len() as u64);
        let others = (top.others.alerts > 0).then_some((&"other", top.others.alerts));
        let counted = top.named.into_iter().chain(others).map(|(what, count)| match (count, *what) {
            (2.., "summary") => format!("{count} summaries"),
            (2.., "other") => format!("{count} others"),
            (_, what) => format!("{count} {what}"),
        });
        format!("[{severity}] {} alerts: {}", alerts.len(), counted.collect::<Vec<_>>().join(", "))
    };
    let fitting = (1..=TOP).rev().map(with).find(|subject| subject.len() <= LIMIT);
    fitting.unwrap_or_else(|| format!("[{severity}] {} alerts", alerts.len()))
}

/// Each alert under a line with its subject, and the first body that is too long cut to the room that is left; then the lines
/// of those whose bodies found no useful room.
fn body(alerts: &[&Delivered], room: usize) -> String {
    let line =
        |(number, alert): (usize, &&Delivered)| format!("---- {number} of {}: {}\n", alerts.len(), alert.subject);
    let lines: Vec<_> = (1..).zip(alerts).map(line).collect();
    let mut room = room.saturating_sub(CUT.len() + lines.iter().map(String::len).sum::<usize>());
    let (mut whole, mut rest) = (String::new(), String::new());
    for (line, alert) in lines.iter().zip(alerts) {
        let body = alert.body.trim_end_matches('\n').to_owned() + "\n\n";
        if room < USEFUL.min(body.len()) {
            rest += line;
            continue;
        }
        let body = truncate(body, room, TRUNCATED);
        room -= body.len();
        whole = whole + line + &body;
    }
    if rest.is_empty() { whole } else { whole + CUT + &rest }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An alert of this severity about this event.
    fn alert(severity: &str, event: Option<&str>, subject: &str, body: &str) -> Delivered {
        Delivered::new(subject, body, "m", |name| match name {
            "severity" => Some(severity.to_owned().leak()),
            "eventName" => event.map(|event| &*event.to_owned().leak()),
            _ => None,
        })
    }

    fn mail_of<'a>(alerts: impl IntoIterator<Item = &'a Delivered>) -> Alert {
        let mail = mail(&alerts.into_iter().collect::<Vec<_>>());
        assert!((1..100).contains(&mail.subject.len()) && !mail.subject.starts_with(' '), "{}", mail.subject);
        assert!(mail.subject.bytes().all(|b| (b' '..=b'~').contains(&b)), "{}", mail.subject);
        assert!(mail.size() <= SIZE_LIMIT && !mail.body.is_empty(), "{}", mail.size());
        assert_eq!(mail.attributes.iter().map(|a| a.name).collect::<Vec<_>>(), ["severity"]);
        mail
    }

    #[test]
    fn one_alert_is_passed_on_word_for_word() {
        for body in ["Event  : CreateUser\n\nRule    : ü\n", "{\"a\":\"\\n\"}", "x"] {
            let mail = mail_of(&[alert("high", Some("CreateUser"), "[high] CreateUser by alice", body)]);
            assert_eq!((mail.subject.as_str(), mail.body.as_str()), ("[high] CreateUser by alice", body));
            assert_eq!(mail.attributes[0].value, "high");
        }
    }

    #[test]
    fn a_subject_counts_the_most_frequent_events_as_far_as_there_is_room() {
        let subject = |events: &[(usize, Option<&str>)], severity: &str| {
            let all = events.iter().flat_map(|(count, event)| std::iter::repeat_n(*event, *count));
            let severities = std::iter::once(severity).chain(std::iter::repeat("low"));
            mail_of(&all.zip(severities).map(|(event, severity)| alert(severity, event, "s", "b")).collect::<Vec<_>>())
                .subject
        };
        let long = "x".repeat(300);
        for (events, severity, expected) in [
            (
                &[(7, Some("CreateUser")), (3, Some("DeleteUser"))][..],
                "high",
                "[high] 10 alerts: 7 CreateUser, 3 DeleteUser",
            ),
            (&[(1, None), (1, Some("A"))], "info", "[low] 2 alerts: 1 A, 1 summary"),
            (&[(2, None), (3, Some("A"))], "critical", "[critical] 5 alerts: 3 A, 2 summaries"),
            (&[(2, Some("ü\n"))], "unheard of", "[low] 2 alerts: 2 ??"),
            (
                &[(1, Some("A")), (2, Some("B")), (3, Some("C")), (4, Some("D")), (5, Some("E")), (6, Some("F"))],
                "medium",
                "[medium] 21 alerts: 6 F, 5 E, 4 D, 3 C, 2 B, 1 other",
            ),
            (
                &[(498, Some(&*long)), (2, Some("y")), (500, Some("AuthorizeSecurityGroupIngressAndMuchMore"))],
                "critical",
                "[critical] 1000 alerts: 500 AuthorizeSecurityGroupIngressAndMuchMore, 500 others",
            ),
        ] {
            assert_eq!(subject(events, severity), expected);
        }
    }

    #[test]
    fn a_severity_that_is_not_known_is_the_lowest() {
        let severity = |name: &str| alert(name, None, "s", "b").severity;
        assert_eq!(
            ["critical", "Critical", "", "urgent"].map(severity),
            [Severity::Critical, Severity::Info, Severity::Info, Severity::Info,]
        );
    }

    #[test]
    fn bodies_follow_their_subjects_and_the_first_that_is_too_long_is_cut_in_its_place() {
        let large = "x".repeat(200_000);
        let alerts = [
            alert("high", Some("A"), "[high] A", "first\n"),
            alert("high", Some("B"), "[high] B", &large),
            alert("low", Some("C"), "[low] C", &large),
            alert("low", Some("D"), "[low] D", "{\"last\":1}"),
        ];
        let mail = mail_of(&alerts);
        let start =
            format!("---- 1 of 4: [high] A\nfirst\n\n---- 2 of 4: [high] B\n{large}\n\n---- 3 of 4: [low] C\nxxx");
        let end = format!("xxx{TRUNCATED}{CUT}---- 4 of 4: [low] D\n");
        assert!(mail.body.starts_with(&start) && mail.body.ends_with(&end));
        assert_eq!(mail.size(), SIZE_LIMIT);
    }

    #[test]
    fn a_body_for_which_less_than_a_kilobyte_is_left_holds_up_no_smaller_one() {
        let large = "x".repeat(261_500);
        let alerts = ["first", &large, &large, "last"].map(|body| alert("low", Some("A"), "A", body));
        let expected = format!(
            "---- 1 of 4: A\nfirst\n\n---- 2 of 4: A\n{large}\n\n---- 4 of 4: A\nlast\n\n{CUT}---- 3 of 4: A\n"
        );
        assert_eq!(mail_of(&alerts).body, expected);
    }

    #[test]
    fn a_thousand_alerts_with_the_longest_subjects_are_all_told() {
        for body in ["x".repeat(1_000), "ü".repeat(131_072), "x".repeat(300_000)] {
            let subject = format!("[critical] {}", "s".repeat(88));
            let alert = alert("critical", Some("A"), &subject, &body);
            let mail = mail_of(std::iter::repeat_n(&alert, ALERTS_LIMIT));
            for number in 1..=ALERTS_LIMIT {
                assert!(mail.body.contains(&format!("---- {number} of 1000: {subject}\n")), "{number}");
            }
            let whole = mail.body.matches(&body).count() + mail.body.matches(TRUNCATED).count();
            assert_eq!(mail.body.split_once(CUT).map(|(_, rest)| rest.lines().count()), Some(1_000 - whole));
            assert!(mail.size() > SIZE_LIMIT - USEFUL, "{}", mail.size());
            let alone = mail_of([&alert]).body;
            assert_eq!(alone.contains("(cut: the message"), body.len() > SIZE_LIMIT - 200, "{}", body.len());
        }
    }

    #[test]
    fn repeats_have_the_same_key_and_nothing_else_has() {
        let key = |event_id: Option<&str>, message_id: &str, subject: &str, body: &str| {
            Delivered::new(subject, body, message_id, |name| {
                event_id.filter(|_| name == "eventID").map(|id| &*id.to_owned().leak())
            })
            .key
        };
        let first = key(Some("e"), "m1", "s", "b");
        assert_eq!(first, key(Some("e"), "m2", "s", "b"), "SNS took it twice");
        for other in [key(Some("e"), "m1", "s", "c"), key(Some("e"), "m1", "t", "b"), key(Some("f"), "m1", "s", "b")] {
            assert_ne!(first, other);
        }
        assert_eq!(key(None, "m1", "s", "b"), key(None, "m1", "s", "b"), "SQS delivered it twice");
        assert_ne!(key(None, "m1", "s", "b"), key(None, "m2", "s", "b"));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes, SNS takes the mail, and each line that separates alerts is one of ours or of a body.
        #[test]
        fn every_mail_is_valid(
            texts in prop::collection::vec(prop::array::uniform4("[\\PC\\x00-\\x20\u{2028}\u{202e}-]{0,60}"), 1..9),
        ) {
            let alerts: Vec<_> = texts.iter().map(|[severity, event, subject, body]| {
                alert(severity, Some(event), &format!("s{subject}"), &format!("b{body}"))
            }).collect();
            let mail = mail_of(&alerts);
            let dangerous = ['\0', '\r', '\t', '\u{2028}', '\u{202e}', '\u{1b}'];
            prop_assert!(!mail.body.contains(dangerous));
            prop_assert!(alerts.iter().all(|alert| mail.body.contains(alert.body.trim_end_matches('\n'))));
        }
    }
}
