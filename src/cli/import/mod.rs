//! `import sigma`: Sigma's rules for CloudTrail as a configuration.

mod check;
mod expression;
mod layout;
mod pattern;
mod regex;
mod sigma;
mod value;

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use walkdir::WalkDir;

use super::console::{SOME_FAILED, counted, printed, say, say_error, say_warning};
use sigma::{Imported, Refusal};

/// The most characters of a rule's name.
const NAME_LIMIT: usize = 100;

/// What a file must hold to be of interest in a folder.
const CLOUDTRAIL: &str = "cloudtrail";

#[derive(Default)]
struct Import {
    rules: Vec<String>,
    /// The file of each name.
    files: HashMap<String, PathBuf>,
    refused: usize,
    for_other_logs: usize,
}

/// Prints the rules of these files, and of those in folders that are for CloudTrail.
pub(super) fn sigma(paths: &[PathBuf]) -> ExitCode {
    let mut import = Import::default();
    for path in paths {
        if !path.is_dir() {
            import.file(path, false);
            continue;
        }
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_file() && is_yaml(entry.path()) => import.file(entry.path(), true),
                Ok(_) => {}
                Err(e) => import.refuse(path, &e.to_string()),
            }
        }
    }
    let Import { rules, refused, for_other_logs, .. } = import;
    let others = if for_other_logs > 0 {
        format!(", {} for other logs", counted(for_other_logs, "file"))
    } else {
        String::new()
    };
    say(&format!("{} imported, {} refused{others}", counted(rules.len(), "rule"), counted(refused, "file")));
    let mut stdout = io::stdout();
    let written = stdout.write_all(layout::configuration(&rules).as_bytes()).and_then(|()| stdout.flush());
    printed(written, if refused > 0 { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS })
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml")
}

impl Import {
    /// In a folder, a file that never speaks of CloudTrail need not even be a Sigma rule.
    fn file(&mut self, path: &Path, is_in_folder: bool) {
        let yaml = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) => return self.refuse(path, &format!("it can't be read: {e}")),
        };
        let Ok(yaml) = String::from_utf8(yaml) else { return self.refuse(path, "it is not UTF-8") };
        if is_in_folder && !yaml.to_ascii_lowercase().contains(CLOUDTRAIL) {
            self.for_other_logs += 1;
            return;
        }
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name: String = "sigma-".chars().chain(stem.chars()).take(NAME_LIMIT).collect();
        match sigma::import(&name, &yaml) {
            Ok(Imported { text, warning }) => {
                if let Some(known) = self.files.get(&name) {
                    let known = known.display();
                    return self.refuse(path, &format!("the rule of {known} has its name, `{name}`: rename the file"));
                }
                if let Some(warning) = warning {
                    say_warning(&format!("{}: {warning}", path.display()));
                }
                self.rules.push(text);
                self.files.insert(name, path.to_owned());
            }
            Err(Refusal::OtherLogs) if is_in_folder => self.for_other_logs += 1,
            Err(Refusal::OtherLogs) => {
                self.refuse(path, "it is for other logs than CloudTrail's (product aws, service cloudtrail)");
            }
            Err(Refusal::Reason(why)) => self.refuse(path, &why),
        }
    }

    fn refuse(&mut self, path: &Path, why: &str) {
        say_error(&format!("{}: {why}", path.display()));
        self.refused += 1;
    }
}
