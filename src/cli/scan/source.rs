//! The logs of a scan: where each one is, and its place among the others.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use crate::log::{Origin, S3Object};

/// Where a log is. Displayed as messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Stdin,
    File(PathBuf),
    Object(S3Object),
}

/// A log that is to be scanned.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) source: Source,
    /// In bytes; 0 where it is not known.
    pub(super) size: u64,
    pub(super) place: Place,
}

/// What was found and is not scanned, counted.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// Files that Lambda would skip by their key.
    pub(super) skipped: AtomicU64,
    /// Logs that do not belong to the selection, as far as folders and names tell it. Logs in whole folders that do not are
    /// not looked for.
    pub(super) outside: AtomicU64,
}

/// The place of a log in the order of the output.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// Its name holds no time: the number of the argument that it was found by, and its path, segment by segment.
    ByPath(usize, String),
    /// The time in its name, and its path from `AWSLogs/` on, so that it is the same on disk and in S3.
    ByTime(String, String),
}

impl Place {
    pub(super) fn of(argument: usize, key: &str) -> Place {
        let origin = Origin::of(key);
        // In a day's folder, odd names stand before or behind the others, as their keys do.
        let time = match origin.time {
            Some(time) => time.to_owned(),
            None if origin.date.len() == "2026/11/20".len() => {
                origin.date.replace('/', "") + if origin.is_behind { "Z" } else { "" }
            }
            None => return Place::ByPath(argument, key.replace('/', "\0")),
        };
        let at = key.rfind("AWSLogs/").unwrap_or_default();
        Place::ByTime(time, key.get(at..).unwrap_or_default().to_owned())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Stdin => f.write_str("-"),
            Source::File(path) => path.display().fmt(f),
            Source::Object(object) => object.fmt(f),
        }
    }
}

impl Source {
    /// The key of the object, or the one that a file seems to have had.
    pub(super) fn key(&self) -> Cow<'_, str> {
        match self {
            Source::Stdin => "".into(),
            Source::File(path) => key_of(path).into(),
            Source::Object(object) => object.key.as_str().into(),
        }
    }
}

/// The key that a file seems to have had: CloudTrail's layout may begin above the folder that was given, and an unpacked log
/// lost its `.gz`.
pub(super) fn key_of(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_default();
    let folder = path.parent().and_then(|folder| folder.canonicalize().ok()).unwrap_or_default();
    let key = folder.join(path.file_name().unwrap_or_default()).to_string_lossy().replace('\\', "/");
    if path.extension().is_some_and(|ending| ending == "json") { key + ".gz" } else { key }
}

/// Whether a file or an object in a folder may be a log.
pub(super) fn is_named_as_log(name: &str) -> bool {
    [".json.gz", ".json"].iter().any(|ending| name.ends_with(ending))
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
            let expected = Place::ByTime("20261120T2110Z".to_owned(), format!("{from}{name}"));
            assert_eq!(Place::of(7, &format!("{folder}{name}")), expected, "{folder}");
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
            assert_eq!(Place::of(7, name), Place::ByPath(7, name.replace('/', "\0")), "{name}");
        }
    }

    #[test]
    fn in_a_region_logs_are_in_the_order_of_their_keys_whatever_their_names() {
        let folder = "p/AWSLogs/o-abc/123456789012/CloudTrail/us-east-1/2026/11/";
        let keys = [
            "19/123456789012_CloudTrail_us-east-1_20261119T2355Z_z.json.gz",
            // The time of another day, the log of another region, and names without a time.
            "20/123456789012_CloudTrail_us-east-1_20261119T2359Z_a.json.gz",
            "20/123456789012_CloudTrail_us-east-1_20261120T0000Z_b.json.gz",
            "20/123456789012_CloudTrail_us-east-1_20261120T2110Z_a.json.gz",
            "20/123456789012_CloudTrail_us-west-2_20261120T0000Z_a.json.gz",
            "20/copies/123456789012_CloudTrail_us-east-1_20261120T0000Z_a.json.gz",
            "20/x.json.gz",
            "21/0.json.gz",
            "21/123456789012_CloudTrail_us-east-1_20261121T0000Z_b.json.gz",
        ];
        let places: Vec<_> = keys.map(|key| Place::of(0, &format!("{folder}{key}"))).into();
        assert!(places.is_sorted() && keys.is_sorted(), "{places:?}");
        assert!(places.iter().all(|place| matches!(place, Place::ByTime(..))), "{places:?}");
    }

    #[test]
    fn logs_without_a_time_come_first_by_argument_and_path_as_folders_are_walked() {
        let time = "a_b_c_20261120T2110Z_x.json";
        let order = [(0, "b/a/x.json"), (0, "b/a.json"), (0, "b/a0/x.json"), (1, "a/x.json"), (0, time)];
        assert!(order.map(|(argument, key)| Place::of(argument, key)).is_sorted());
    }
}
