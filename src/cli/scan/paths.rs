//! The files to scan: those that are named, and the logs below folders.

use std::path::{Path, PathBuf};

use walkdir::WalkDir;

use super::super::console::{say_error, say_warning};
use super::statistics::Statistics;
use crate::log::{SkipReason, reason_to_skip};

/// The logs at these paths: those without CloudTrail's names in the order of the paths, folders by name; then the others in
/// the order of the times in their names. Files that Lambda would skip are counted and left out. Of
/// those that are named themselves, as a shell does it for `*.json.gz`, only CloudTrail's own that are not logs are left
/// out.
pub(super) fn logs_at(paths: Vec<PathBuf>, config: &Path, statistics: &mut Statistics<'_>) -> Vec<PathBuf> {
    let config = config.canonicalize().ok();
    let mut logs = Vec::new();
    for path in paths {
        if is_stdin(&path) || !path.is_dir() {
            let reason = if path.is_file() { reason_to_skip(&key_of(&path)) } else { None };
            match reason {
                Some(SkipReason::Digest | SkipReason::Insight | SkipReason::Aggregated) => statistics.skipped += 1,
                _ => logs.push(path),
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
                        logs.push(entry.into_path());
                    }
                }
                Ok(_) => {}
                Err(e) => {
                    say_error(&e.to_string());
                    statistics.fail(&e.to_string());
                }
            }
        }
        if (logs.len(), statistics.skipped) == before {
            say_warning(&format!("{}: no .json.gz or .json file is below it", path.display()));
        }
    }
    logs.sort_by_cached_key(|log| place(&log.to_string_lossy()));
    logs
}

/// The place of a log among the others: the time in
/// [its name](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html),
/// `account_CloudTrail_region_YYYYMMDDTHHmmZ_unique.json.gz`, and its path from `AWSLogs/` on.
fn place(path: &str) -> Option<(String, String)> {
    let is_time = |text: &&str| {
        let form = b"00000000T0000Z";
        let is_so = |(b, form): (u8, &u8)| if *form == b'0' { b.is_ascii_digit() } else { b == *form };
        text.len() == form.len() && text.bytes().zip(form).all(is_so)
    };
    let time = path.rsplit('/').next()?.split('_').nth(3).filter(is_time)?;
    let at = path.rfind("AWSLogs/").unwrap_or_default();
    Some((time.to_owned(), path.get(at..)?.to_owned()))
}

pub(super) fn is_stdin(path: &Path) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_log_is_the_time_in_its_name_and_its_path_from_awslogs_on() {
        let name = "123456789012_CloudTrail_us-east-1_20261120T2110Z_abcdefghijklmnop.json.gz";
        for (folder, from) in
            [("AWSLogs/1/", "AWSLogs/1/"), ("/x/AWSLogs/y/AWSLogs/o-1/", "AWSLogs/o-1/"), ("./é/", "./é/"), ("", "")]
        {
            let expected = Some(("20261120T2110Z".to_owned(), format!("{from}{name}")));
            assert_eq!(place(&format!("{folder}{name}")), expected, "{folder}");
            assert!(place(&format!("{folder}{}", &name[..name.len() - 3])).is_some(), "unpacked");
        }
        for name in [
            "-",
            "",
            "log.json.gz",
            "a_b_c_20261120T211Z_x",
            "a_b_c_20261120T211009Z_x",
            "a_b_c_2026112éT2110_x",
            "a_b_20261120T2110Z_x",
            "123456789012_CloudTrail_us-east-1_20261120T2110Z_x/log.json",
        ] {
            assert_eq!(place(name), None, "{name}");
        }
    }
}
