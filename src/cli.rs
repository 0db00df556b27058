//! The command line: checks a configuration, and shows what it would alert on, with the code that runs in Lambda.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use console::style;

use crate::configuration::suggestion;
use crate::filter::{self, Filter};
use crate::scan::scan;
use crate::settings::{DEFAULT_CONFIG_FILE, Settings, TOPIC_ARN};
use crate::summary::counted;
use crate::{advice, configuration, packs};

/// What a run that did its work ends with, although some logs could not be read.
pub const SOME_FAILED: u8 = 1;
/// What a wrong command line or configuration ends with.
pub const WRONG_INPUT: u8 = 2;

/// Turns CloudTrail log files into SNS alerts.
///
/// In AWS Lambda this program is the function. Here it checks a filter configuration, and shows what alerts it would
/// send for logs that you have as files.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Example:\n  cloudtrail-alerter scan --config filter_config.json AWSLogs/")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Validate a filter configuration.
    ///
    /// All mistakes of the file are shown at once. The exit status is 0 for a valid file, else 2.
    #[command(after_help = "Example:\n  cloudtrail-alerter check filter_config.json")]
    Check {
        /// The configuration
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
        file: PathBuf,
    },
    /// Show the alerts that logs would send.
    ///
    /// Alerts go to stdout, in the order of the paths; the summary and everything else to stderr. An event that stands
    /// in several logs counts once. The exit status is 0; 1 if a log could not be read (the others are scanned all the
    /// same); 2 for a wrong command line or configuration.
    #[command(after_help = "Examples:
  aws s3 sync s3://my-trail-bucket/AWSLogs/ AWSLogs/
  cloudtrail-alerter scan --config filter_config.json AWSLogs/
  zcat log.json.gz | cloudtrail-alerter scan --format json - | jq .event.eventName")]
    Scan {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
        config: PathBuf,
        /// Only this rule's alerts
        #[arg(long, value_name = "NAME")]
        rule: Option<String>,
        /// How alerts are written: as an email shows them, or as lines of JSON
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
        /// Logs, gzipped or plain; folders, of which every .json.gz and .json file is read, except what Lambda would
        /// skip by its key; - for stdin
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
    /// List the built-in packs of rules, or print one, ready to copy and edit.
    ///
    /// A configuration uses a pack by its name, `"packs": ["cis"]`; a rule of its own with the name of a pack's rule
    /// overrides the keys that it gives.
    #[command(after_help = "Example:\n  cloudtrail-alerter packs cis > cis.json")]
    Packs {
        /// The pack to print
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Text,
    Json,
}

impl From<Format> for filter::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Text => filter::Format::Text,
            Format::Json => filter::Format::Json,
        }
    }
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { file } => check(&file),
        Command::Scan { config, rule, format, paths } => scan(&config, rule.as_deref(), format.into(), paths),
        Command::Packs { name } => show_packs(name.as_deref()),
    }
}

/// Writes a line to stderr. A closed stderr is no reason to stop, or to panic as `eprintln!` does.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Says on stderr what is wrong.
pub fn say_error(what: &str) {
    say(&format!("{} {what}", style("error:").red().bold().for_stderr()));
}

/// Says on stderr what is probably wrong.
pub fn say_warning(what: &str) {
    say(&format!("{} {what}", style("warning:").yellow().bold().for_stderr()));
}

/// Writes to stdout what a command is asked for. A reader who has gone is no error.
fn give(text: &str) -> ExitCode {
    match io::stdout().write_all(text.as_bytes()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            say_error(&format!("stdout: {e}"));
            ExitCode::from(SOME_FAILED)
        }
        _ => ExitCode::SUCCESS,
    }
}

/// The configuration in a file, or none after saying what is wrong with it.
#[must_use]
pub fn load(file: &Path) -> Option<Filter> {
    let name = file.display();
    let problems = match fs::read(file) {
        Ok(bytes) => match configuration::parse(&bytes, Settings::from_env().topic_arn.as_deref()) {
            Ok(filter) => {
                if filter.topics.iter().any(|topic| topic.arn.is_none()) {
                    say_warning(&format!(
                        "{name}: no topic is named: the function needs {TOPIC_ARN} in its environment (template.yaml sets \
                         it), or the file \"sns\": {{\"topicARN\": …}}"
                    ));
                }
                return Some(filter);
            }
            Err(problems) => problems,
        },
        Err(e) => vec![format!("it can't be read: {e}")],
    };
    for problem in problems {
        say_error(&format!("{name}: {problem}"));
    }
    None
}

fn check(file: &Path) -> ExitCode {
    let Some(filter) = load(file) else { return ExitCode::from(WRONG_INPUT) };
    for warning in advice::warnings(&filter) {
        say_warning(&format!("{}: {warning}", file.display()));
    }
    let mut text = format!("{} is valid: {}\n", file.display(), counted(filter.rules.len(), "rule"));
    for (i, topic) in filter.topics.iter().enumerate() {
        let Some(arn) = &topic.arn else { continue };
        let rules = filter.rules.iter().filter(|rule| rule.topic == i).count();
        let _ = writeln!(text, "  {arn}: {} as {}", counted(rules, "rule"), topic.format.name());
    }
    give(&text)
}

fn show_packs(name: Option<&str>) -> ExitCode {
    let Some(name) = name else {
        let list = packs::NAMES.iter().map(|name| format!("{name:10}{}\n", packs::purpose(name)));
        return give(&list.collect::<String>());
    };
    if let Some(file) = packs::file(name) {
        return give(file);
    }
    say_error(&format!("the pack `{name}` is not known{}", suggestion(name, &packs::NAMES)));
    ExitCode::from(WRONG_INPUT)
}
