//! `import sigma`: Sigma's rules for CloudTrail as a configuration.

mod expression;
mod layout;
mod pattern;
mod regex;
mod sigma;
mod value;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use walkdir::WalkDir;

use super::console::{SOME_FAILED, counted, print, say, say_error};

/// The most characters of a rule's name.
const NAME_LIMIT: usize = 100;

#[derive(Default)]
struct Import {
    rules: Vec<Vec<String>>,
    /// The file of each rule's name.
    files: HashMap<String, PathBuf>,
    for_other_logs: usize,
}

/// Prints the rules of these files, and of those in folders that are for CloudTrail.
pub(super) fn sigma(paths: &[PathBuf]) -> ExitCode {
    let failed = |path: &Path, why: &str| say_error(&format!("{}: {why}", path.display()));
    let (mut import, mut refused, mut unread) = (Import::default(), 0, 0);
    for path in paths {
        let mut is_empty = path.is_dir();
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_dir() || entry.depth() > 0 && !is_yaml(entry.path()) => continue,
                Ok(entry) => {
                    if let Err(why) = import.file(entry.path(), entry.depth() > 0) {
                        failed(entry.path(), &why);
                        refused += 1;
                    }
                }
                Err(e) => {
                    let why = e.io_error().map_or_else(|| e.to_string(), ToString::to_string);
                    failed(e.path().unwrap_or(path), &format!("it can't be read: {why}"));
                    unread += 1;
                }
            }
            is_empty = false;
        }
        if is_empty {
            failed(path, "there is no .yml or .yaml file in it");
            unread += 1;
        }
    }
    let Import { rules, for_other_logs: others, .. } = import;
    let others = if others > 0 { format!(", {} for other logs", counted(others, "file")) } else { String::new() };
    say(&format!("{} imported, {} refused{others}", counted(rules.len(), "rule"), counted(refused, "file")));
    let status = if refused + unread > 0 { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS };
    print(&layout::configuration(&rules), status)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml")
}

impl Import {
    fn file(&mut self, path: &Path, is_in_folder: bool) -> Result<(), String> {
        let yaml = fs::read_to_string(path).map_err(|e| format!("it can't be read: {e}"))?;
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let name: String = format!("sigma-{stem}").chars().take(NAME_LIMIT).collect();
        // In a folder, a file that never names CloudTrail need not even be a Sigma rule.
        let is_other = is_in_folder && !yaml.contains("cloudtrail");
        match if is_other { None } else { sigma::import(&name, &yaml)? } {
            None if is_in_folder => self.for_other_logs += 1,
            None => return Err("it is for other logs than CloudTrail's (product aws, service cloudtrail)".to_owned()),
            Some(rule) => {
                if let Some(known) = self.files.get(&name) {
                    let known = known.display();
                    return Err(format!("the rule of {known} has the name `{name}` too: rename one of the files"));
                }
                self.rules.push(rule);
                self.files.insert(name, path.to_owned());
            }
        }
        Ok(())
    }
}
