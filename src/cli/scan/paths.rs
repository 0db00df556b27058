//! The files to scan: those that are named, and the logs below folders.

use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::super::console::{say_error, say_warning};
use super::source::{Found, Place, Source};
use super::statistics::Statistics;
use crate::log::{SkipReason, reason_to_skip};

/// The logs at these paths: those without CloudTrail's names in the order of the paths, folders by name; then the others in
/// the order of the times in their names. Files that Lambda would skip are counted and left out. Of
/// those that are named themselves, as a shell does it for `*.json.gz`, only CloudTrail's own that are not logs are left
/// out.
pub(super) fn logs_at(paths: Vec<PathBuf>, config: &Path, statistics: &mut Statistics<'_>) -> Vec<Found> {
    let config = config.canonicalize().ok();
    let mut logs = Vec::new();
    for (argument, path) in paths.into_iter().enumerate() {
        if is_stdin(&path) || !path.is_dir() {
            let reason = if path.is_file() { reason_to_skip(&key_of(&path)) } else { None };
            match reason {
                Some(SkipReason::Digest | SkipReason::Insight | SkipReason::Aggregated) => statistics.skipped += 1,
                _ => logs.push(found(path, argument)),
            }
            continue;
        }
        let before = (logs.len(), statistics.skipped);
        for entry in WalkDir::new(&path).follow_links(true).sort_by_file_name() {
            match entry {
                Ok(entry) if entry.file_type().is_file() && is_named_as_log(entry.path()) => {
                    let is_config = config.is_some() && entry.path().canonicalize().ok() == config;
                    if is_config || reason_to_skip(&key_of(entry.path())).is_some() {
                        statistics.skipped += 1;
                    } else {
                        logs.push(found(entry.into_path(), argument));
                    }
                }
                Ok(_) => {}
                Err(e) => {
                    say_error(&e.to_string());
                    statistics.failed += 1;
                }
            }
        }
        if (logs.len(), statistics.skipped) == before {
            say_warning(&format!("{}: no .json.gz or .json file is below it", path.display()));
        }
    }
    logs.sort_by(|a, b| a.place.cmp(&b.place));
    logs
}

fn found(path: PathBuf, argument: usize) -> Found {
    let size = fs::metadata(&path).map_or(0, |file| file.len());
    let place = Place::of(&path.to_string_lossy(), argument);
    let source = if is_stdin(&path) { Source::Stdin } else { Source::File(path) };
    Found { source, size, place }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

/// The key that a file seems to have had: CloudTrail's layout may begin above the folder that was given, and an unpacked log
/// lost its `.gz`.
fn key_of(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_default();
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    let key = folder.join(path.file_name().unwrap_or_default()).to_string_lossy().replace('\\', "/");
    if path.extension().is_some_and(|ending| ending == "json") { key + ".gz" } else { key }
}

fn is_named_as_log(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.ends_with(".json.gz") || name.ends_with(".json")
}
