//! The command line: checks a configuration and shows the alerts that it would send, with the code that runs in Lambda.

mod check;
mod console;
mod packs;
mod scan;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::environment::DEFAULT_CONFIG_FILE;
use crate::rules::Format;

/// Turns CloudTrail log files into SNS alerts.
///
/// In AWS Lambda this program is the function. Here it checks a filter configuration, and shows the alerts that it would
/// send for log files on your disk.
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
    /// All mistakes of the file are shown at once. The exit status is 0 for a valid file, 2 for any other.
    #[command(after_help = "Example:\n  cloudtrail-alerter check filter_config.json")]
    Check {
        /// The configuration
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
        file: PathBuf,
    },
    /// Show the alerts that logs would send.
    ///
    /// Alerts go to stdout, in the order of the paths. The summary, warnings and errors go to stderr. An event that is in
    /// several logs counts once. The exit status is 0; 1 if a log could not be read (the others are still scanned); 2 for
    /// a wrong command line or configuration.
    #[command(after_help = "Examples:
  aws s3 sync s3://my-trail-bucket/AWSLogs/ AWSLogs/
  cloudtrail-alerter scan --config filter_config.json AWSLogs/
  zcat log.json.gz | cloudtrail-alerter scan --format json - | jq .event.eventName")]
    Scan {
        /// The configuration
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
        config: PathBuf,
        /// Show the alerts of this rule only
        #[arg(long, value_name = "NAME")]
        rule: Option<String>,
        /// The format of the alerts: text, as an email shows them, or lines of JSON
        #[arg(long, default_value = "text", value_parser = ["text", "json"])]
        format: String,
        /// Logs, gzipped or plain; folders, whose .json.gz and .json files are read, except those that Lambda would skip
        /// by their keys; - for stdin
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
    /// List the built-in packs of rules, or print one, ready to copy and edit.
    ///
    /// A configuration uses a pack by its name: `"packs": ["cis"]`. A rule with the name of a pack's rule overrides the
    /// keys that it gives.
    #[command(after_help = "Example:\n  cloudtrail-alerter packs cis > cis.json")]
    Packs {
        /// The pack to print
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Check { file } => check::check(&file),
        Command::Scan { config, rule, format, paths } => {
            let format = if format == "json" { Format::Json } else { Format::Text };
            scan::scan(&config, rule.as_deref(), format, paths)
        }
        Command::Packs { name } => packs::show(name.as_deref()),
    }
}
