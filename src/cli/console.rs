//! The terminal: what goes to stdout and stderr, exit statuses, and the configuration file that commands read.
//!
//! Names of files, keys, rules and callers, and arguments, may be a stranger's: all of them are escaped, so that they can
//! neither control the terminal nor forge a line.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use console::style;

use crate::alert::escape;
use crate::environment::{Settings, TOPIC_ARN};
use crate::rules::{Filter, config};

/// The status of a run that did its work, although something could not be read or written.
pub(super) const SOME_FAILED: u8 = 1;
/// The status of a wrong command line or configuration.
pub(super) const WRONG_INPUT: u8 = 2;

/// Writes a line to stderr. A closed stderr does not end the program, as it would with `eprintln!`.
pub(super) fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

pub(super) fn say_error(what: &str) {
    say(&format!("{} {}", style("error:").red().bold().for_stderr(), escape(what)));
}

pub(super) fn say_warning(what: &str) {
    say(&format!("{} {}", style("warning:").yellow().bold().for_stderr(), escape(what)));
}

/// Writes a command's result to stdout; gives the status of the run.
pub(super) fn print(text: &str, status: ExitCode) -> ExitCode {
    let mut stdout = io::stdout();
    printed(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()), status)
}

static STDOUT_WAS_CLOSED: AtomicBool = AtomicBool::new(false);

/// Runs before `main`: by then the standard library has put `/dev/null` in place of a closed stdout.
#[cfg(unix)]
#[ctor::ctor]
fn look_at_stdout() {
    STDOUT_WAS_CLOSED.store(copy_of_stdout().is_err(), Ordering::Relaxed);
}

#[cfg(unix)]
fn copy_of_stdout() -> io::Result<fs::File> {
    use std::os::fd::AsFd;
    io::stdout().as_fd().try_clone_to_owned().map(fs::File::from)
}

#[cfg(not(unix))]
fn copy_of_stdout() -> io::Result<io::Stdout> {
    Ok(io::stdout())
}

/// Whether the program was started with a stdout that can't be written to: a closed one, or one that is open for reading.
/// The standard library takes that (`EBADF`) for success, but not in a file. Nothing is written to find out.
pub(super) fn stdout_is_useless() -> bool {
    const EBADF: Option<i32> = Some(9);
    let wrote = copy_of_stdout().and_then(|mut file| file.write(&[]));
    STDOUT_WAS_CLOSED.load(Ordering::Relaxed) || wrote.is_err_and(|e| e.raw_os_error() == EBADF)
}

/// Shows what is wrong with a command line, or the help or version that it asks for.
pub(super) fn explain(error: &clap::Error) -> ExitCode {
    let shown = error.print();
    if error.use_stderr() { ExitCode::from(WRONG_INPUT) } else { printed(shown, ExitCode::SUCCESS) }
}

/// The status after writing to stdout. A reader who has gone is not an error.
pub(super) fn printed(result: io::Result<()>, status: ExitCode) -> ExitCode {
    match result {
        Ok(()) => status,
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(e) => {
            say_error(&format!("stdout: {e}"));
            ExitCode::from(SOME_FAILED)
        }
    }
}

/// What to do where a command that takes `--config` can't read the file.
pub(super) const NAME_IT: &str = ": name the configuration with --config";

/// The configuration in a file, or its mistakes, which are also written to stderr. `hint` says what to do if it can't be
/// read.
pub(super) fn load(file: &Path, hint: &str) -> Result<Filter, Vec<String>> {
    let name = file.display();
    let parsed = match fs::read(file) {
        Ok(bytes) => config::parse(&bytes, Settings::from_env().topic_arn.as_deref()),
        Err(e) => Err(vec![format!("it can't be read: {e}{hint}")]),
    };
    for problem in parsed.as_ref().err().into_iter().flatten() {
        say_error(&format!("{name}: {problem}"));
    }
    if parsed.as_ref().is_ok_and(|filter| filter.topics.iter().any(|topic| topic.arn.is_none())) {
        say_warning(&format!(
            "{name}: no topic is named: set {TOPIC_ARN} in the function's environment (template.yaml does), or add \
             \"sns\": {{\"topicARN\": …}} to the file"
        ));
    }
    parsed
}

pub(super) fn counted(n: impl TryInto<u64>, noun: &str) -> String {
    let n = n.try_into().unwrap_or(u64::MAX);
    let plural = match n {
        1 => "",
        _ if noun.ends_with("ch") => "es",
        _ => "s",
    };
    format!("{n} {noun}{plural}")
}
