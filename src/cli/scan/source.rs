//! The logs of a scan: where each one is, and its place among the others.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;

use crate::log::{Origin, S3Object, region_folder};

/// The arguments of a scan, each with its number.
#[derive(Debug, Default)]
pub(in crate::cli) struct Places {
    pub(super) local: Vec<(usize, PathBuf)>,
    /// Buckets and prefixes in S3.
    pub(super) remote: Vec<(usize, S3Object)>,
}

impl Places {
    /// Tells places in S3, `s3://bucket/prefix`, from those on the disk. An error says which one is neither.
    pub(in crate::cli) fn of(paths: Vec<PathBuf>) -> Result<Places, String> {
        let mut places = Places::default();
        for (argument, path) in paths.into_iter().enumerate() {
            match place(&path).transpose()? {
                Some(object) => places.remote.push((argument, object)),
                None => places.local.push((argument, path)),
            }
        }
        Ok(places)
    }
}

/// The bucket and the prefix of a place such as `s3://bucket/prefix`, or why it is not one; `None` for a path on the disk. The
/// bucket may be the ARN of an access point.
fn place(path: &Path) -> Option<Result<S3Object, String>> {
    let place = path.to_str()?.strip_prefix("s3://")?;
    let mut parts = place.splitn(3, '/');
    let (bucket, second) = (parts.next()?, parts.next());
    let (bucket, key) = match second {
        Some(access_point) if bucket.starts_with("arn:") && bucket.ends_with(":accesspoint") => {
            (format!("{bucket}/{access_point}"), parts.next().unwrap_or_default().to_owned())
        }
        _ => (bucket.to_owned(), place.split_once('/').map(|(_, key)| key.to_owned()).unwrap_or_default()),
    };
    let is_arn = bucket.starts_with("arn:");
    let is_known =
        if is_arn { bucket.contains(":accesspoint/") || bucket.contains(":accesspoint:") } else { !bucket.is_empty() };
    let expected = "expected s3://bucket/prefix, where the bucket is a name or the ARN of an access point";
    Some(if is_known { Ok(S3Object { bucket, key }) } else { Err(format!("{}: {expected}", path.display())) })
}

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
        if region_folder(key).is_some() && origin.date.len() < "2026/11/20".len() {
            // Beside the days' folders, and mostly before them, as keys are.
            return Place::ByTime(String::new(), key.to_owned());
        }
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
            Source::File(path) => Keys::default().of(path).into(),
            Source::Object(object) => object.key.as_str().into(),
        }
    }
}

/// The keys that files seem to have had: CloudTrail's layout may begin above the folder that was given, and an unpacked log
/// lost its `.gz`.
#[derive(Default)]
pub(super) struct Keys {
    /// The last file's folder, as it was given and where it is. Files of one folder follow each other, and to ask takes a
    /// system call for each part of the path.
    folder: Option<(PathBuf, PathBuf)>,
}

impl Keys {
    pub(super) fn of(&mut self, path: &Path) -> String {
        let given = path.parent().unwrap_or(path);
        let place = || std::path::absolute(path).ok()?.parent()?.canonicalize().ok();
        let known = self.folder.take().filter(|(folder, _)| folder.as_os_str() == given.as_os_str());
        let (_, folder) = self.folder.insert(known.unwrap_or_else(|| (given.to_owned(), place().unwrap_or_default())));
        let key = folder.join(path.file_name().unwrap_or_default()).to_string_lossy().replace('\\', "/");
        if path.extension().is_some_and(|ending| ending == "json") { key + ".gz" } else { key }
    }
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

    #[test]
    fn a_place_in_s3_is_a_bucket_or_an_access_point_and_a_prefix() {
        let point = "arn:aws:s3:us-east-1:123456789012:accesspoint";
        for (text, expected) in [
            ("s3://b", Some(("b", ""))),
            ("s3://b/", Some(("b", ""))),
            ("s3://b/AWSLogs/1", Some(("b", "AWSLogs/1"))),
            ("s3://b//x/", Some(("b", "/x/"))),
            (&format!("s3://{point}/logs/AWSLogs/1/"), Some((&format!("{point}/logs"), "AWSLogs/1/"))),
            (&format!("s3://{point}:logs/AWSLogs"), Some((&format!("{point}:logs"), "AWSLogs"))),
            (&format!("s3://{point}/logs"), Some((&format!("{point}/logs"), ""))),
            ("s3://", None),
            ("s3:///x", None),
            ("s3://arn:aws:s3:::b/x", None),
        ] {
            let place = place(Path::new(text)).unwrap();
            assert_eq!(place.as_ref().ok().map(|place| (&place.bucket[..], &place.key[..])), expected, "{text}");
        }
        for path in ["x", "/s3://b", "s3:/b", "S3://b", "-"] {
            assert!(place(Path::new(path)).is_none(), "{path}");
        }
    }
}
