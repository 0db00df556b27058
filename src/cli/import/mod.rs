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
    unread: usize,
    for_other_logs: usize,
}

/// Prints the rules of these files, and of those in folders that are for CloudTrail.
pub(super) fn sigma(paths: &[PathBuf]) -> ExitCode {
    let mut import = Import::default();
    for path in paths {
        let mut is_empty = path.is_dir();
        for entry in WalkDir::new(path).follow_links(true).sort_by_file_name() {
            let is_named = |entry: &walkdir::DirEntry| entry.depth() == 0;
            let imported = match &entry {
                Ok(entry) if entry.file_type().is_dir() || !(is_named(entry) || is_yaml(entry.path())) => Ok(()),
                Ok(entry) => {
                    is_empty = false;
                    import.file(entry.path(), !is_named(entry))
                }
                Err(e) => {
                    let why = e.io_error().map_or_else(|| e.to_string(), ToString::to_string);
                    import.unread(e.path().unwrap_or(path), &format!("it can't be read: {why}"));
                    is_empty = false;
                    Ok(())
                }
            };
            if let (Err(why), Ok(entry)) = (imported, entry) {
                say_error(&format!("{}: {why}", entry.path().display()));
                import.refused += 1;
            }
        }
        if is_empty {
            import.unread(path, "there is no .yml or .yaml file in it");
        }
    }
    let Import { rules, refused, unread, for_other_logs: others, .. } = import;
    let others = if others > 0 { format!(", {} for other logs", counted(others, "file")) } else { String::new() };
    say(&format!("{} imported, {} refused{others}", counted(rules.len(), "rule"), counted(refused, "file")));
    let status = if refused + unread > 0 { ExitCode::from(SOME_FAILED) } else { ExitCode::SUCCESS };
    let mut stdout = io::stdout();
    let written = stdout.write_all(layout::configuration(&rules).as_bytes());
    printed(written.and_then(|()| stdout.flush()), status)
}

fn is_yaml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yml" || ending == "yaml")
}

impl Import {
    fn unread(&mut self, path: &Path, why: &str) {
        say_error(&format!("{}: {why}", path.display()));
        self.unread += 1;
    }

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
