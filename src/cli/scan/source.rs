//! A log to scan: where it is, and its place in the order of the output.

use std::fmt;
use std::path::PathBuf;

use crate::log::S3Object;

/// Where a log is. Displayed as its name in messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Stdin,
    File(PathBuf),
    Object(S3Object),
}

/// A log that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) source: Source,
    /// In bytes, as it is stored.
    pub(super) size: u64,
    pub(super) place: Place,
}

/// The place of a log in the order of the output: logs without CloudTrail's names first, in the order of the arguments and
/// then of their paths, folders by name; then the others, in the order of the times in their names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Untimed {
        /// Which of the arguments it belongs to.
        argument: usize,
        /// The segments of its path.
        path: Vec<String>,
    },
    Timed {
        /// As in the name, `YYYYMMDDTHHmmZ`.
        time: String,
        /// From `AWSLogs/` on, so that it is the same on a disk and in S3.
        path: String,
    },
}

impl Place {
    /// The place of the log at a path or key that belongs to an argument of this number.
    pub(super) fn of(path: &str, argument: usize) -> Place {
        match time(path) {
            Some(time) => {
                let at = path.rfind("AWSLogs/").unwrap_or_default();
                Place::Timed { time: time.to_owned(), path: path[at..].to_owned() }
            }
            None => Place::Untimed { argument, path: path.split('/').map(str::to_owned).collect() },
        }
    }
}

/// The time in [the name of a log](https://docs.aws.amazon.com/awscloudtrail/latest/userguide/get-and-view-cloudtrail-log-files.html),
/// `account_CloudTrail_region_YYYYMMDDTHHmmZ_unique.json.gz`.
pub(super) fn time(path: &str) -> Option<&str> {
    const FORM: &[u8] = b"00000000T0000Z";
    let is_time = |text: &&str| {
        let is_so = |(b, form): (u8, &u8)| if *form == b'0' { b.is_ascii_digit() } else { b == *form };
        text.len() == FORM.len() && text.bytes().zip(FORM).all(is_so)
    };
    path.rsplit('/').next()?.split('_').nth(3).filter(is_time)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_log_is_the_time_in_its_name_and_its_path_from_awslogs_on() {
        let name = "123456789012_CloudTrail_us-east-1_20261120T2110Z_abcdefghijklmnop.json.gz";
        for (folder, from) in
            [("AWSLogs/1/", "AWSLogs/1/"), ("/x/AWSLogs/y/AWSLogs/o-1/", "AWSLogs/o-1/"), ("./é/", "./é/"), ("", "")]
        {
            let expected = Place::Timed { time: "20261120T2110Z".to_owned(), path: format!("{from}{name}") };
            assert_eq!(Place::of(&format!("{folder}{name}"), 1), expected, "{folder}");
            assert!(time(&format!("{folder}{}", &name[..name.len() - 3])).is_some(), "unpacked");
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
            assert_eq!(time(name), None, "{name}");
        }
    }

    #[test]
    fn logs_without_a_time_come_first_by_argument_and_folder() {
        let in_order = [("z/a", 0), ("a/b/c", 1), ("a-b/c", 1), ("b", 1), ("x/1_CloudTrail_r_20261120T2110Z_x", 0)];
        let places = in_order.map(|(path, argument)| Place::of(path, argument));
        assert!(places.is_sorted(), "{places:?}");
    }
}
