//! The local files to scan: those that are named, and the logs below folders.

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use walkdir::{DirEntry, WalkDir};

use super::super::console::{say_error, say_warning};
use super::interrupt::is_pressed;
use super::selection::Selection;
use super::source::{Found, Keys, LeftOut, Place, Source, is_named_as_log};
use crate::log::{SkipReason, reason_to_skip};

/// The logs at these paths, each with the number of its argument, in the order of their places; and the folders or files that
/// could not be looked at, which is said. Files that Lambda would skip are counted and left out. Of those that are named
/// themselves, as a shell does it for `*.json.gz`, only CloudTrail's own that are not logs are left out.
pub(super) fn logs_at(
    paths: impl IntoIterator<Item = (usize, PathBuf)>,
    config: &Path,
    selection: &Selection,
    left_out: &LeftOut,
) -> (Vec<Found>, Vec<String>) {
    let config = config.canonicalize().ok();
    let skip = || left_out.skipped.fetch_add(1, Ordering::Relaxed);
    let (mut logs, mut failures, mut keys) = (Vec::new(), Vec::new(), Keys::default());
    for (argument, path) in paths {
        let selected = |source: Source, key: &str, size: u64| {
            let is_selected = selection.takes(key);
            left_out.outside.fetch_add(u64::from(!is_selected), Ordering::Relaxed);
            is_selected.then(|| Found { source, size, place: Place::of(argument, key) })
        };
        if path == Path::new("-") {
            logs.extend(selected(Source::Stdin, "", 0));
            continue;
        }
        if !path.is_dir() {
            let key = keys.of(&path);
            let reason = if path.is_file() { reason_to_skip(&key) } else { None };
            let size = path.metadata().map_or(0, |file| file.len());
            match reason {
                Some(SkipReason::Digest | SkipReason::Insight | SkipReason::Aggregated) => _ = skip(),
                _ => logs.extend(selected(Source::File(path), &key, size)),
            }
            continue;
        }
        let mut is_empty = true;
        let enters = |entry: &DirEntry| {
            selection.is_all() || !entry.file_type().is_dir() || selection.takes(&folder_key(entry.path()))
        };
        for entry in WalkDir::new(&path).follow_links(true).sort_by_file_name().into_iter().filter_entry(enters) {
            if is_pressed() {
                break;
            }
            match entry {
                Ok(entry) if entry.file_type().is_file() && is_named_as_log(&entry.file_name().to_string_lossy()) => {
                    is_empty = false;
                    let is_config = config.as_deref().is_some_and(|config| {
                        // It is asked where a file really is only if it may be there.
                        (entry.path_is_symlink() || config.file_name() == Some(entry.file_name()))
                            && entry.path().canonicalize().is_ok_and(|path| path == config)
                    });
                    let key = keys.of(entry.path());
                    if is_config || reason_to_skip(&key).is_some() {
                        skip();
                    } else {
                        let size = entry.metadata().map_or(0, |file| file.len());
                        logs.extend(selected(Source::File(entry.into_path()), &key, size));
                    }
                }
                Ok(_) => {}
                Err(e) => {
                    say_error(&e.to_string());
                    failures.push(e.to_string());
                }
            }
        }
        if is_empty && !is_pressed() {
            let why = if selection.is_all() { "" } else { " of the times, accounts and regions that are given" };
            say_warning(&format!("{}: no .json.gz or .json file{why} is below it", path.display()));
        }
    }
    logs.sort_by(|a, b| a.place.cmp(&b.place));
    (logs, failures)
}

/// The key that a folder seems to have had, with its `/`.
fn folder_key(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_default();
    folder.to_string_lossy().replace('\\', "/") + "/"
}
