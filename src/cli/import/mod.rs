//! `import sigma`: Sigma's rules for CloudTrail as a configuration.

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

use super::console::{SOME_FAILED, counted, printed, say, say_error};

/// The most characters of a rule's name.
const NAME_LIMIT: usize = 100;

#[derive(Default)]
struct Import {
    rules: Vec<Vec<String>>,
    /// The file of each rule's name.
    files: HashMap<String, PathBuf>,
    refused: usize,
    for_other_logs: usize,
}

/// Prints the rules of these files, and of those in folders that are for CloudTrail.
pub(super) fn sigma(paths: &[PathBuf]) -> ExitCode {
    let mut import = Import::default();
    for path in paths {
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            let is_named = |entry: &walkdir::DirEntry| entry.depth() == 0;
            let imported = match &entry {
                Ok(entry) if entry.file_type().is_dir() || !(is_named(entry) || is_yaml(entry.path())) => Ok(()),
                Ok(entry) => import.file(entry.path(), !is_named(entry)),
                Err(e) => Err(format!("it can't be read: {e}")),
            };
            if let Err(why) = imported {
                let path = entry.as_ref().map_or(path.as_path(), walkdir::DirEntry::path);
                say_error(&format!("{}: {why}", path.display()));
                import.refused += 1;
            }
        }
    }
    let Import { rules, refused, for_other_logs: others, .. } = import;
    let others = if others > 0 { format!(", {} for other logs", counted(others, "file")) } else { String::new() };
    say(&format!("{} imported, {} refused{others}", counted(rules.len(), "rule"), counted(refused, "file")));
    let status = if refused > 0 { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS };
    let mut stdout = io::stdout();
    let written = stdout.write_all(layout::configuration(&rules).as_bytes());
    printed(written.and_then(|()| stdout.flush()), status)
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
        let rule = if is_other { None } else { sigma::import(&name, &yaml)? };
        let Some(rule) = rule else {
            self.for_other_logs += usize::from(is_in_folder);
            let why = "it is for other logs than CloudTrail's (product aws, service cloudtrail)";
            return is_in_folder.then_some(()).ok_or_else(|| why.to_owned());
        };
        if let Some(known) = self.files.get(&name) {
            return Err(format!("the rule of {} has the name `{name}` too: rename one of the files", known.display()));
        }
        self.rules.push(rule);
        self.files.insert(name, path.to_owned());
        Ok(())
    }
}
