//! The command line: checks a configuration and shows the alerts that it would send, with the code that runs in Lambda.

mod check;
mod console;
mod ignore;
mod import;
mod report;
mod scan;
mod summary;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::console::{SOME_FAILED, WRONG_INPUT, print, say_error};
use self::scan::Selection;
use crate::alert::escape;
use crate::environment::DEFAULT_CONFIG_FILE;
use crate::rules::{Format, packs, suggestion};

/// Turns CloudTrail log files into SNS alerts.
///
/// In AWS Lambda, this program runs as the function. On the command line, it checks a filter configuration and shows the
/// alerts that it would send for log files on your disk.
#[derive(Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "Example:\n  cloudtrail-alerter scan --config filter_config.json AWSLogs/")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Validate a filter configuration, and run the tests of its rules.
    ///
    /// Shows all mistakes in the file at once. Warnings do not change the exit status, which is 0 for a valid file whose
    /// tests pass, 2 for an invalid or unreadable file or a failing test, and 1 if only the results can't be written.
    #[command(after_help = "Examples:
  cloudtrail-alerter check filter_config.json
  cloudtrail-alerter check --junit results.xml filter_config.json")]
    Check {
        /// Write the results of the tests to this file too, in the form of JUnit
        #[arg(long, value_name = "FILE")]
        junit: Option<PathBuf>,
        /// The configuration file
        #[arg(value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
        file: PathBuf,
    },
    /// Show the alerts that the function would send for logs.
    ///
    /// Alerts go to stdout, in the order of the times in the logs' names; logs without such a name come first, in the order
    /// of the paths. The summary, warnings and errors go to stderr. An event in several logs counts once. The exit status is 0
    /// if all logs were read. It is 1 if a log could not be read (the others are still scanned), or if the alerts or the report
    /// could not be written. It is 2 for a wrong command line or configuration, and 130 after Ctrl-C, which ends the scan
    /// with the summary of what was done.
    #[command(after_help = "Examples:
  cloudtrail-alerter scan --config filter_config.json AWSLogs/
  cloudtrail-alerter scan --since 7d --account 123456789012 s3://my-trail-bucket/AWSLogs/
  zcat AWSLogs/*/*.json.gz | cloudtrail-alerter scan --format json - | jq .event.eventName
  aws cloudtrail lookup-events | cloudtrail-alerter scan -")]
    Scan {
        /// The configuration file
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
        config: PathBuf,
        /// Show only the alerts of this rule, as if it were enabled and not in a dry run
        #[arg(long, value_name = "NAME")]
        rule: Option<String>,
        /// The format of the alerts: text, as in an email, or json, one object per line
        #[arg(long, default_value = "text", value_parser = ["text", "json"])]
        format: String,
        /// Show all that lies behind the table: callers, events, accounts, regions, addresses and days of each rule, the paths
        /// at which no record had a value, and the edit that would have saved most messages
        #[arg(long)]
        verbose: bool,
        /// Write what was found to this file too, as a page for a browser. Its name ends in .html
        #[arg(long, value_name = "FILE.html")]
        report: Option<PathBuf>,
        #[command(flatten)]
        selection: Selection,
        /// Log files, gzipped or plain; folders, in which .json.gz and .json files are read; - for stdin; or places in S3,
        /// `s3://bucket/prefix`. In folders, files that Lambda would skip by their keys are left out, and so is the
        /// configuration. A log may also hold several logs or records one after the other (JSON lines), arrays of them,
        /// or the output of `aws cloudtrail lookup-events`
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
    /// Print the narrowest `ignore` entry that silences an alert, ready to be filled in.
    ///
    /// The entry names the alert's caller, event source and event name, and nothing else passes. With logs, the matches are
    /// counted that the entry would silence. The entry goes to stdout, everything else to stderr. The exit status is 2 for
    /// a wrong command line, alert or configuration, and 1 if a log could not be read.
    #[command(after_help = "Examples:
  cloudtrail-alerter scan --format json log.json.gz | head -1 > alert.json
  cloudtrail-alerter ignore --from alert.json AWSLogs/")]
    Ignore {
        /// The alert, in the format json, or its record; as SNS or SQS delivered it, too; or - for stdin
        #[arg(long, value_name = "ALERT")]
        from: PathBuf,
        /// The configuration with which the logs are scanned
        #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG_FILE)]
        config: PathBuf,
        /// Logs, as for scan
        #[arg(value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, with which editors check and complete it.
    #[command(after_help = "Example:\n  cloudtrail-alerter schema > filter_config.schema.json")]
    Schema,
    /// List the built-in packs of rules, or print one, ready to copy and edit.
    ///
    /// To use a pack, name it in the configuration: `"packs": ["cis"]`. To change a rule of a pack, add a rule with the same
    /// name. Its keys replace those of the pack's rule.
    #[command(after_help = "Example:\n  cloudtrail-alerter packs cis > cis.json")]
    Packs {
        /// The pack to print; without it, all packs are listed
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
    /// Turn rules of another project into rules for the configuration.
    #[command(subcommand)]
    Import(Import),
}

#[derive(Subcommand)]
enum Import {
    /// Turn Sigma's rules for CloudTrail into rules, each exactly or not at all.
    ///
    /// A configuration with the rules goes to stdout. A line for each refused file goes to stderr, and says what can't be
    /// said in a rule, and what to do. The exit status is 0 if all files were read and none
    /// was refused, and 1 otherwise.
    #[command(after_help = "Example:\n  cloudtrail-alerter import sigma sigma/rules/cloud/aws/ > sigma.json")]
    Sigma {
        /// Sigma rules; or folders, in which .yml and .yaml files are read. In folders, rules for other logs are left out
        #[arg(value_name = "PATH", required = true)]
        paths: Vec<PathBuf>,
    },
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    if console::stdout_is_useless() {
        say_error("stdout can't be written to: open it for writing, since the results go there");
        return ExitCode::from(SOME_FAILED);
    }
    let command = match Cli::try_parse() {
        Ok(cli) => cli.command,
        Err(error) => {
            // The same mistake in arguments that can't control the terminal.
            let escaped = env::args_os().map(|argument| escape(&argument.to_string_lossy()));
            return console::explain(&Cli::try_parse_from(escaped).err().unwrap_or(error));
        }
    };
    match command {
        Command::Check { junit, file } => check::check(&file, junit.as_deref()),
        Command::Ignore { from, config, paths } => ignore::ignore(&from, &config, paths),
        Command::Schema => print(include_str!("../rules/schema.json"), ExitCode::SUCCESS),
        Command::Scan { config, rule, format, verbose, report, selection, paths } => {
            if let Some(mistake) = selection.mistake() {
                say_error(&mistake);
                return ExitCode::from(WRONG_INPUT);
            }
            let format = if format == "json" { Format::Json } else { Format::Text };
            scan::scan(&config, rule.as_deref(), format, verbose, report.as_deref(), selection, paths)
        }
        Command::Packs { name: None } => {
            let list = packs::NAMES.iter().map(|name| format!("{name:10}{}\n", packs::purpose(name)));
            print(&list.collect::<String>(), ExitCode::SUCCESS)
        }
        Command::Packs { name: Some(name) } => match packs::file(&name) {
            Some(file) => print(&file, ExitCode::SUCCESS),
            None => {
                say_error(&format!("the pack `{name}` is not known{}", suggestion(&name, &packs::NAMES)));
                ExitCode::from(WRONG_INPUT)
            }
        },
        Command::Import(Import::Sigma { paths }) => import::sigma(&paths),
    }
}
