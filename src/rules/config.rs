//! The configuration file: parsed and validated, with all its mistakes at once.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::draft::{ConditionDraft, Draft, Drafts};
use super::json_tree::{self, At, KeyAt, Node};
use super::model::{Filter, Severity};
use super::packs;
use super::reader::Reader;
use super::suggest::{nearest, suggestion};
use super::topic_arn::TopicArn;
use crate::log::is_account;

/// The largest configuration, in bytes.
pub(crate) const SIZE_LIMIT: usize = 1 << 20;

/// The longest name of a rule, in characters. Names stand in subjects of summaries and in filter policies.
const NAME_LIMIT: usize = 100;

/// What a rule takes beside its patterns while it is read, in bytes: measured, and rounded up.
const RULE_MEMORY: usize = 1 << 10;

const NO_CONDITION: &str = "has no condition: give at least one of source, regexp, where, unless and any";

/// The name of the rule that the top-level `source` and `regexp` make.
pub(crate) const DEFAULT_RULE: &str = "default";

/// Parses and validates a configuration file. `default_topic` is `TOPIC_ARN`, for a configuration that names none.
///
/// # Errors
/// Every mistake of the file, each with the rule and the key that it is in and what to do.
pub fn parse(file: &[u8], default_topic: Option<&str>) -> Result<Filter, Vec<String>> {
    if file.len() > SIZE_LIMIT {
        return Err(vec![format!("it is larger than {SIZE_LIMIT} bytes, the limit")]);
    }
    // Windows' editors begin UTF-8 with it.
    let file = file.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(file);
    let text = str::from_utf8(file).map_err(|e| vec![not_json(file, &format!("{e}: save it as UTF-8"))])?;
    let document = json_tree::parse(text).map_err(|e| vec![not_json(file, &e)])?;
    let mut reader = Reader::default();
    let filter = reader.filter(document, default_topic);
    match filter {
        Some(filter) if reader.problems.0.is_empty() => Ok(filter),
        _ => Err(reader.problems.0),
    }
}

fn not_json(file: &[u8], error: &str) -> String {
    match file {
        [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => "it is UTF-16, as PowerShell's `>` writes: save it as UTF-8".to_owned(),
        [0x1F, 0x8B, ..] => "it is gzipped: unpack it".to_owned(),
        _ if file.trim_ascii().is_empty() => "it is empty".to_owned(),
        _ => format!("it is not valid JSON: {error}"),
    }
}

/// A pack's rule that a name probably means.
pub(super) struct MeantRule {
    pub(super) name: &'static str,
    pub(super) pack: &'static str,
    /// The names of all rules of the pack.
    pub(super) rules: &'static [String],
}

/// How many characters a name may miss that of a pack's rule by.
const MISSED: usize = 3;

/// The pack's rule that has a name, or else one that the name misses by a few characters.
pub(super) fn meant_pack_rule(name: &str) -> Option<MeantRule> {
    static RULES: LazyLock<Vec<Vec<String>>> = LazyLock::new(|| packs::NAMES.map(rules_of).to_vec());
    let packs = || packs::NAMES.into_iter().zip(&*RULES);
    let near = |rules: &'static [String]| {
        // Most names are far longer or shorter, and telling how near a name is takes time.
        let of_length = |rule: &&str| rule.chars().count().abs_diff(name.chars().count()) <= MISSED;
        let names: Vec<&str> = rules.iter().map(String::as_str).filter(of_length).collect();
        nearest(name, &names).filter(|near| strsim::damerau_levenshtein(near, name) <= MISSED)
    };
    let exact = |rules: &'static [String]| rules.iter().map(String::as_str).find(|rule| *rule == name);
    let exact = packs().find_map(|(pack, rules)| Some(MeantRule { name: exact(rules)?, pack, rules }));
    exact.or_else(|| packs().find_map(|(pack, rules)| Some(MeantRule { name: near(rules)?, pack, rules })))
}

/// Whether a pack has a rule of that name.
pub(crate) fn is_of_pack(name: &str) -> bool {
    meant_pack_rule(name).is_some_and(|meant| meant.name == name)
}

/// The names of a pack's rules.
fn rules_of(pack: &str) -> Vec<String> {
    let file = packs::without_tests(pack).unwrap_or_default();
    let pack = json_tree::parse_known(&file);
    let rules = pack.as_ref().and_then(|pack| pack.as_object()?.get_array("rules"));
    let names = rules.into_iter().flat_map(|rules| &rules.elements).filter_map(|rule| json_tree::member(rule, "name"));
    names.map(str::to_owned).collect()
}

impl Reader {
    fn filter(&mut self, document: Node<'_>, default_topic: Option<&str>) -> Option<Filter> {
        let [schema, source, regexp, sns, format, packs, rules, ignore, accounts, max_alerts] = self.problems.object(
            &"",
            document,
            ["$schema", "source", "regexp", "sns", "format", "packs", "rules", "ignore", "accounts", "maxAlertsPerLog"],
        )?;
        // Only editors read it.
        schema.and_then(|schema| self.problems.text(&"$schema", schema));
        let mut drafts = Drafts::default();
        if source.is_some() || regexp.is_some() {
            drafts.add(DEFAULT_RULE.to_owned(), self.default_rule(source, regexp));
        }
        let (region, topic) = sns.map(|sns| self.sns(sns)).unwrap_or_default();
        let topic = topic.or_else(|| self.topic(&"TOPIC_ARN in the environment", default_topic?));
        if let (Some(region), Some(topic)) = (region, &topic)
            && region != topic.region()
        {
            let of_topic = topic.region();
            let what = format!("`{region}`, but the topic is in {of_topic}: correct one, or leave it out");
            self.problems.add(&"sns.region", what);
        }
        let format = format.and_then(|format| self.format(&"format", format));
        let packs = packs.map(|packs| self.problems.array(&"packs", packs)).unwrap_or_default();
        self.patterns.are_known = true;
        let packs = packs.into_iter().filter_map(|pack| self.pack(pack, &mut drafts)).collect();
        self.patterns.are_known = false;
        for (i, rule) in
            rules.map(|rules| self.problems.array(&"rules", rules)).unwrap_or_default().into_iter().enumerate()
        {
            self.rule(i, rule, &mut drafts);
        }
        let ignore = ignore.map(|ignore| self.problems.array(&"ignore", ignore)).unwrap_or_default();
        let ignore = self.ignore(&"ignore", ignore);
        let accounts = accounts.map(|accounts| self.accounts(accounts)).unwrap_or_default();
        let max_alerts_per_log =
            max_alerts.and_then(|max| self.problems.count(&"maxAlertsPerLog", max, "; leave it out for no limit"));
        if drafts.is_empty() && self.problems.0.is_empty() {
            self.problems.add(&"", "it has no rules: give `source` and `regexp`, or `rules`, or `packs`");
        }
        let (rules, topics) = drafts.into_rules(topic.as_ref(), format, &mut self.problems);
        self.problems.0.extend(self.patterns.problem());
        let memory = self.patterns.memory();
        Some(Filter { rules, ignore, topics, packs, accounts, max_alerts_per_log, test_count: self.tests, memory })
    }

    fn default_rule(&mut self, source: Option<Node<'_>>, regexp: Option<Node<'_>>) -> Draft {
        let mut pattern = |key: &str, node: Option<Node<'_>>, example: &str| match node {
            Some(node) => self.pattern(&key, node),
            None => {
                self.problems
                    .add(&"", format!("`{key}` is missing: give a regular expression, for example \"{example}\""));
                None
            }
        };
        let source = pattern("source", source, "iam|signin|sts");
        let regexp = pattern("regexp", regexp, "Password|AccessKey|Login");
        Draft { condition: ConditionDraft { source, regexp, ..ConditionDraft::default() }, ..Draft::default() }
    }

    /// The region and the topic, as far as they are given.
    fn sns(&mut self, sns: Node<'_>) -> (Option<String>, Option<TopicArn>) {
        let Some([region, topic]) = self.problems.object(&"sns", sns, ["region", "topicARN"]) else {
            return (None, None);
        };
        let region = region.and_then(|region| self.problems.text(&"sns.region", region));
        let topic = topic.and_then(|topic| self.problems.text(&"sns.topicARN", topic));
        (region, topic.and_then(|topic| self.topic(&"sns.topicARN", &topic)))
    }

    /// Reads the rules of a pack; gives its name.
    fn pack(&mut self, pack: Node<'_>, drafts: &mut Drafts) -> Option<String> {
        let name = self.problems.text(&"packs", pack)?;
        // The tests are about the pack as it is, whatever this file overrides and ignores.
        let Some(file) = packs::without_tests(&name) else {
            let known = packs::NAMES;
            self.problems.add(&"packs", format!("`{name}` is not known{}", suggestion(&name, &known)));
            return None;
        };
        let pack = json_tree::parse_known(&file)?;
        for (_, rules) in self.problems.entries(&name, pack) {
            for (i, rule) in self.problems.array(&name, rules).into_iter().enumerate() {
                if let Some((rule, draft)) = self.draft(i, rule) {
                    if drafts.known(&rule).is_some() {
                        self.problems.add(&"packs", format!("`{name}` is there twice: delete one"));
                        return None;
                    }
                    drafts.from_packs.push(rule.clone());
                    drafts.add(rule, draft);
                }
            }
        }
        Some(name)
    }

    fn rule(&mut self, i: usize, rule: Node<'_>, drafts: &mut Drafts) {
        let before = self.problems.0.len();
        let Some((name, draft)) = self.draft(i, rule) else { return };
        let of_pack = drafts.from_packs.iter().position(|pack_rule| *pack_rule == name);
        if let Some(known) = drafts.known(&name) {
            match of_pack {
                Some(at) => {
                    known.override_with(draft);
                    if self.is_missing(known.has_no_condition(), before) {
                        self.problems.add(&format_args!("rule {name}"), NO_CONDITION);
                    }
                    drafts.from_packs.swap_remove(at);
                }
                None => self.problems.add(&"", format!("two rules have the name `{name}`: rename one")),
            }
            return;
        }
        if self.is_missing(draft.has_no_condition(), before) {
            let what = match meant_pack_rule(&name) {
                Some(MeantRule { name: meant, pack, .. }) if meant == name => {
                    format!(
                        "it only overrides, and `packs` does not name `{pack}`, which has a rule of that name: add `{pack}` to `packs`, \
                         or delete this rule"
                    )
                }
                Some(meant) => format!("{NO_CONDITION}; or did you mean to override `{}`?", meant.name),
                None => NO_CONDITION.to_owned(),
            };
            self.problems.add(&format_args!("rule {name}"), what);
        }
        drafts.add(name, draft);
    }

    /// A rule as written, with its name.
    fn draft(&mut self, i: usize, rule: Node<'_>) -> Option<(String, Draft)> {
        let named = json_tree::member(&rule, "name");
        let at = named.map_or_else(|| format!("rules[{i}]"), |name| format!("rule {name}"));
        let [
            name,
            description,
            severity,
            source,
            regexp,
            wheres,
            unless,
            any,
            ignore,
            enabled,
            dry_run,
            metrics,
            threshold,
            first_seen,
            suppress,
            runbook,
            references,
            tags,
            author,
            tests,
            topic,
            format,
        ] = self.problems.object(
            &at,
            rule,
            [
                "name", "description", "severity", "source", "regexp", "where", "unless", "any", "ignore", "enabled",
                "dryRun", "metrics", "threshold", "firstSeen", "suppress", "runbook", "references", "tags", "author",
                "tests", "topicARN", "format",
            ],
        )?;
        let key = |key| KeyAt(&at, key);
        let name = self.rule_name(&at, name);
        self.patterns.spend(RULE_MEMORY);
        // Only people read it.
        author.and_then(|author| self.problems.some_text(&key("author"), author));
        let draft = Draft {
            condition: self.condition(&at, [source, regexp, wheres, unless]),
            any: any.map(|any| self.any(&key("any"), any)),
            ignore: ignore.map(|ignore| {
                let entries = self.problems.some_array(&key("ignore"), ignore);
                self.ignore(&key("ignore"), entries)
            }),
            description: description.and_then(|text| self.problems.text(&key("description"), text)),
            severity: severity.and_then(|severity| self.problems.choice(&key("severity"), severity, &Severity::NAMES)),
            enabled: enabled.and_then(|enabled| self.problems.boolean(&key("enabled"), enabled)),
            dry_run: dry_run.and_then(|dry_run| self.problems.boolean(&key("dryRun"), dry_run)),
            metrics: metrics.and_then(|metrics| self.problems.boolean(&key("metrics"), metrics)),
            threshold: threshold.and_then(|node| self.threshold(&key("threshold"), node)),
            first_seen: first_seen.and_then(|node| self.first_seen(&key("firstSeen"), node)),
            suppress: suppress.and_then(|node| self.suppress(&key("suppress"), node)),
            runbook: runbook.and_then(|text| self.problems.some_text(&key("runbook"), text)),
            references: references.map(|texts| self.texts(&key("references"), texts)),
            tags: tags.map(|texts| self.texts(&key("tags"), texts)),
            tests: tests.map(|tests| self.rule_tests(&key("tests"), tests)),
            topic: topic
                .and_then(|arn| self.problems.text(&key("topicARN"), arn))
                .and_then(|arn| self.topic(&key("topicARN"), &arn)),
            format: format.and_then(|format| self.format(&key("format"), format)),
        };
        Some((name?, draft))
    }

    fn rule_name(&mut self, at: At<'_>, name: Option<Node<'_>>) -> Option<String> {
        let Some(name) = name else {
            self.problems.add(at, "`name` is missing: alerts name the rule that they come from");
            return None;
        };
        let name = self.problems.text(&KeyAt(at, "name"), name)?;
        let fits = !name.is_empty() && name.chars().count() <= NAME_LIMIT && !name.contains(char::is_control);
        if !fits {
            let what = format!("its name must have 1 to {NAME_LIMIT} characters, and no control characters");
            self.problems.add(at, what);
        }
        fits.then_some(name)
    }

    fn accounts(&mut self, accounts: Node<'_>) -> HashMap<String, String> {
        let mut names = HashMap::new();
        for (account, name) in self.problems.entries(&"accounts", accounts) {
            if !is_account(&account) {
                self.problems.add(&"accounts", format!("`{account}` is not an account number, which has 12 digits"));
            }
            match self.problems.text(&format!("accounts, {account}"), name) {
                Some(name) if name.is_empty() => {
                    self.problems.add(&"accounts", format!("the name of {account} is empty"));
                }
                Some(name) => drop(names.insert(account, name)),
                None => {}
            }
        }
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(config: &str) -> Vec<String> {
        let filter = parse(config.as_bytes(), None).unwrap();
        filter.rules.into_iter().map(|rule| format!("{} {}", rule.name, rule.severity)).collect()
    }

    #[test]
    fn default_comes_first_then_packs_then_rules() {
        let names = rules(
            r#"{"rules": [{"name": "own", "regexp": "x"}], "packs": ["threats", "cis"], "regexp": "y", "source": "z"}"#,
        );
        let first = |prefix: &str| names.iter().position(|name| name.starts_with(prefix)).unwrap();
        assert_eq!((first("default"), first("threat"), names.len() - first("own")), (0, 1, 1));
        assert!(first("threat") < first("cis"));
    }

    #[test]
    fn the_topic_of_the_environment_is_for_configurations_that_name_none() {
        let topic = |config: &str, default: Option<&str>| {
            parse(config.as_bytes(), default)
                .map(|filter| filter.topics[0].arn.as_ref().map(|arn| arn.as_str().to_owned()))
        };
        let (own, other) = ("arn:aws:sns:eu-west-1:123456789012:own", "arn:aws:sns:eu-west-1:123456789012:other");
        let named = format!(r#"{{"source": "a", "regexp": "b", "sns": {{"topicARN": "{own}"}}}}"#);
        let unnamed = r#"{"source": "a", "regexp": "b"}"#;
        assert_eq!(topic(&named, Some(other)), Ok(Some(own.to_owned())));
        assert_eq!(topic(unnamed, Some(other)), Ok(Some(other.to_owned())));
        assert_eq!(topic(unnamed, None), Ok(None));
        assert!(topic(unnamed, Some("x")).unwrap_err()[0].starts_with("TOPIC_ARN in the environment: `x`"));
        let elsewhere = r#"{"source": "a", "regexp": "b", "sns": {"region": "us-west-2"}}"#;
        assert_eq!(topic(elsewhere, None), Ok(None));
        assert!(topic(elsewhere, Some(other)).unwrap_err()[0].starts_with("sns.region: `us-west-2`, but the topic"));
    }
}
