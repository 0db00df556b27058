//! `scan s3://…`: which logs it finds, what it asks S3 for, and what it says where S3 refuses.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::fake_aws::{FakeAws, S3Fault};
use crate::program::{Run, folder, run_in};
use crate::world::BUCKET;
use crate::{PROGRAM, gzip, log, record};

const ACCOUNT: &str = "123456789012";
const OTHER: &str = "210987654321";

/// The credentials of a person.
pub const KEYS: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "secret")];

/// A command with this AWS as the only one, and with no credentials but those at home.
pub fn command(program: &str, aws: &FakeAws, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().current_dir(home).env("HOME", home);
    command.env("AWS_ENDPOINT_URL", format!("http://{}", aws.address)).env("AWS_EC2_METADATA_DISABLED", "true");
    command
}

/// Runs `scan` with more arguments, and the credentials of a person.
pub async fn scan(aws: &FakeAws, arguments: &[&str]) -> Run {
    scan_with(aws, &KEYS, &[], arguments).await
}

/// The same with this environment, and these files at home.
async fn scan_with(aws: &FakeAws, environment: &[(&str, &str)], home: &[(&str, &str)], arguments: &[&str]) -> Run {
    let files: Vec<_> = home.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    let home = folder(&files);
    let mut command = command(PROGRAM, aws, home.path());
    command.envs(environment.iter().copied()).args(["scan", "--format", "json"]).args(arguments);
    let output = command.output().await.expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The ends of the keys of the logs, one for each alert, in their order.
fn logs(run: &Run) -> Vec<String> {
    let log = |line: &str| {
        let alert: Value = serde_json::from_str(line).unwrap();
        let log = alert["log"].as_str().unwrap();
        log.rsplit_once("AWSLogs/").unwrap_or(("", log)).1.to_owned()
    };
    run.stdout.lines().map(log).collect()
}

/// The key of a log below `AWSLogs/`, where time is `20261120T2110Z`.
pub fn key(account: &str, region: &str, time: &str, unique: &str) -> String {
    let day = format!("{}/{}/{}", &time[..4], &time[4..6], &time[6..8]);
    format!("{account}/CloudTrail/{region}/{day}/{account}_CloudTrail_{region}_{time}_{unique}.json.gz")
}

/// The log of one event, which the number names.
fn of_event(number: usize) -> Vec<u8> {
    gzip(&log(&[record(number)]))
}

/// Puts these logs, each with an event of its own.
fn put(aws: &FakeAws, top: &str, keys: &[String]) {
    for (number, key) in keys.iter().enumerate() {
        aws.put(BUCKET, &format!("{top}{key}"), of_event(number));
    }
}

fn place(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

#[tokio::test]
async fn a_day_of_a_year_costs_about_one_list_for_each_account_and_region() {
    let aws = FakeAws::start().await;
    let first = humantime::parse_rfc3339("2026-01-01T00:00:00Z").unwrap();
    // There are no logs on some days.
    let days: Vec<_> = (0..365).filter(|day| day % 5 != 1).map(|day| first + Duration::from_hours(24 * day)).collect();
    let days: Vec<_> =
        days.into_iter().map(|day| humantime::format_rfc3339(day).to_string()[..10].replace('-', "")).collect();
    let accounts: Vec<_> = (0..20).map(|number| format!("1000000000{number:02}")).collect();
    let mut count = 0;
    let mut wanted = BTreeSet::new();
    for account in &accounts {
        for region in 0..17 {
            let region = format!("us-east-{region}");
            for day in &days {
                let key = key(account, &region, &format!("{day}T2110Z"), "x");
                let digest = key.replace("CloudTrail", "CloudTrail-Digest");
                let is_wanted = day == "20261120";
                aws.put(BUCKET, &format!("AWSLogs/{key}"), if is_wanted { of_event(count) } else { Vec::new() });
                if day.ends_with("01") {
                    aws.put(BUCKET, &format!("AWSLogs/{digest}"), Vec::new());
                }
                if is_wanted {
                    wanted.insert(format!("{BUCKET}/AWSLogs/{key}"));
                }
                count += 1;
            }
        }
    }
    assert!(count > 99_000 && wanted.len() == 340, "{count}");
    let home = folder(&[]);
    let of_a_day = format!("--format json --since 2026-11-20 --until 2026-11-20 '{}'", place("AWSLogs/"));
    let limited = format!("ulimit -d {} && exec '{PROGRAM}' scan {of_a_day}", 96 << 10);
    let output = command("/bin/sh", &aws, home.path()).envs(KEYS).args(["-c", &limited]).output().await.unwrap();
    let (printed, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && printed.lines().count() == 340, "{said}");
    let lists = aws.lists();
    assert!(lists.len() * 10 <= 340 * 12, "{} lists", lists.len());
    assert!(lists.iter().all(|list| !list.what.contains("Digest")));
    assert_eq!(aws.gets().into_iter().map(|get| get.what).collect::<BTreeSet<_>>(), wanted);
    // What is not chosen is not listed either.
    let before = lists.len();
    let chosen = ["--account", &accounts[3], "--region", "us-east-5", "--since", "2026-11-20", "--until", "2026-11-20"];
    let run = scan(&aws, &[&chosen[..], &[&place("")]].concat()).await;
    assert_eq!((run.code, run.stdout.lines().count()), (0, 1), "{}", run.stderr);
    let way = format!("list:{BUCKET}/AWSLogs/{}/CloudTrail/us-east-5/", accounts[3]);
    let asked: Vec<_> = aws.lists()[before..].iter().map(|list| list.what.clone()).collect();
    assert!(asked.iter().all(|list| way.starts_with(list)), "{asked:?}");
}

#[tokio::test]
async fn a_place_may_be_anything_from_the_bucket_to_an_object() {
    let aws = FakeAws::start().await;
    let keys = [
        key(ACCOUNT, "eu-west-1", "20261120T2105Z", "a"),
        key(ACCOUNT, "us-east-1", "20261120T2110Z", "a"),
        key(ACCOUNT, "us-east-1", "20261121T0005Z", "a"),
        key(OTHER, "us-east-1", "20261121T0010Z", "a"),
    ];
    put(&aws, "p/AWSLogs/o-abc/", &keys);
    // Names that begin alike, folder markers, and others' files.
    for key in
        ["p/AWSLogs-old/x.txt", "p/AWSLogs/", "p/AWSLogs/o-abc/", "p/AWSLogs/o-abc/123456789012/Config/x.json.gz"]
    {
        aws.put(BUCKET, key, "no log");
    }
    let of_account = [0, 1, 2];
    for (prefix, expected) in [
        ("", &[0, 1, 2, 3][..]),
        ("p", &[0, 1, 2, 3]),
        ("p/AWSLogs", &[0, 1, 2, 3]),
        ("p/AWSLogs/", &[0, 1, 2, 3]),
        ("p/AWSLogs/o-abc", &[0, 1, 2, 3]),
        ("p/AWSLogs/o-abc/123456789012", &of_account),
        ("p/AWSLogs/o-abc/1234", &of_account),
        ("p/AWSLogs/o-abc/123456789012/CloudTrail/", &of_account),
        ("p/AWSLogs/o-abc/123456789012/CloudTrail/us-", &[1, 2]),
        ("p/AWSLogs/o-abc/123456789012/CloudTrail/us-east-1", &[1, 2]),
        ("p/AWSLogs/o-abc/123456789012/CloudTrail/us-east-1/2026/", &[1, 2]),
        ("p/AWSLogs/o-abc/123456789012/CloudTrail/us-east-1/2026/11", &[1, 2]),
        ("p/AWSLogs/o-abc/123456789012/CloudTrail/us-east-1/2026/11/20/", &[1]),
        ("p/AWSLogs/o-abc/123456789012/CloudTrail/us-east-1/2026/11/2", &[1, 2]),
        (&format!("p/AWSLogs/o-abc/{}", &keys[1][..keys[1].len() - 10]), &[1]),
        (&format!("p/AWSLogs/o-abc/{}", keys[1]), &[1]),
    ] {
        let run = scan(&aws, &[&place(prefix)]).await;
        let expected: Vec<_> = expected.iter().map(|number: &usize| format!("o-abc/{}", keys[*number])).collect();
        assert_eq!((run.code, logs(&run)), (0, expected), "{prefix}: {}", run.stderr);
        assert!(!run.stderr.contains("below it"), "{prefix}: {}", run.stderr);
    }
    let several = [place("p/AWSLogs/o-abc/210987654321/"), place(&format!("p/AWSLogs/o-abc/{}", keys[0]))];
    let run = scan(&aws, &several.each_ref().map(String::as_str)).await;
    assert_eq!(logs(&run), [format!("o-abc/{}", keys[0]), format!("o-abc/{}", keys[3])], "{}", run.stderr);
    for (prefix, words) in [
        ("nothing/", "no .json.gz or .json file is below it"),
        ("p/AWSLogs/o-abc/999999999999/CloudTrail/us-east-1/", "no .json.gz or .json file is below it"),
        ("p/AWSLogs-old/", "no .json.gz or .json file is below it"),
    ] {
        let run = scan(&aws, &[&place(prefix)]).await;
        assert!(run.code == 0 && run.stderr.contains(words) && run.stderr.contains(&place(prefix)), "{}", run.stderr);
    }
    let run = scan(&aws, &["--account", "999999999999", &place("p/")]).await;
    assert!(run.code == 0 && run.stderr.contains("no log below it belongs to the times, accounts"), "{}", run.stderr);
}

#[tokio::test]
async fn keys_may_hold_any_character_and_folders_any_number_of_keys() {
    let aws = FakeAws::start().await;
    let odd = ["a b+c%20d/ü&x=1.json.gz", "<a>\"'/\u{1}.json", "x//y.json.gz", "/z.json.gz", "~/*.json.gz"];
    for (number, key) in odd.iter().enumerate() {
        aws.put(BUCKET, key, of_event(number));
    }
    aws.list_limit(50);
    // Three pages of a region, and three of a folder without CloudTrail's layout.
    for number in 0..110 {
        let time = format!("20261120T{:02}{:02}Z", number / 60, number % 60);
        aws.put(BUCKET, &format!("AWSLogs/{}", key(ACCOUNT, "us-east-1", &time, "x")), of_event(10 + number));
    }
    for number in 0..105 {
        aws.put(BUCKET, &format!("flat/{number:04}.json.gz"), of_event(10_000 + number));
    }
    let run = scan(&aws, &[&place("")]).await;
    let found = logs(&run);
    assert_eq!((run.code, found.len()), (0, odd.len() + 215), "{}", run.stderr);
    assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), found.len());
    for key in odd {
        assert!(found.iter().any(|log| log.ends_with(key)), "{key}");
    }
    assert!(found.ends_with(&[key(ACCOUNT, "us-east-1", "20261120T0149Z", "x")]), "{:?}", found.last());
    let before = aws.lists().len();
    let run = scan(&aws, &["--until", "2026-11-20T00:10:00Z", &place("AWSLogs/")]).await;
    assert_eq!((run.code, run.stdout.lines().count()), (0, 10 + 1 + 15), "{}", run.stderr);
    assert_eq!(aws.lists().len() - before, 5, "nothing is listed behind the end of the span");
}

#[tokio::test]
async fn the_same_is_left_out_on_disk_and_in_s3() {
    let aws = FakeAws::start().await;
    let event = |number: usize, time: &str, account: &str, region: &str| {
        let mut event = record(number);
        event["eventTime"] = json!(time);
        (event["recipientAccountId"], event["awsRegion"]) = (json!(account), json!(region));
        event
    };
    let layout = |account, region, time: &str| format!("AWSLogs/{}", key(account, region, time, "x"));
    let files = [
        (layout(ACCOUNT, "us-east-1", "20261119T2355Z"), vec![event(0, "2026-11-19T23:50:00Z", ACCOUNT, "us-east-1")]),
        (
            layout(ACCOUNT, "us-east-1", "20261120T0005Z"),
            vec![
                event(1, "2026-11-19T23:59:59Z", ACCOUNT, "us-east-1"),
                event(2, "2026-11-20T00:00:00Z", ACCOUNT, "us-east-1"),
            ],
        ),
        (
            layout(ACCOUNT, "us-east-1", "20261121T0010Z"),
            vec![
                event(3, "2026-11-20T23:59:59Z", ACCOUNT, "us-east-1"),
                event(4, "2026-11-21T00:00:00Z", ACCOUNT, "us-east-1"),
            ],
        ),
        (layout(ACCOUNT, "us-east-1", "20261121T0020Z"), vec![event(5, "2026-11-20T23:59:58Z", ACCOUNT, "us-east-1")]),
        (layout(ACCOUNT, "us-west-2", "20261120T1200Z"), vec![event(6, "2026-11-20T12:00:00Z", ACCOUNT, "us-west-2")]),
        (layout(OTHER, "us-east-1", "20261120T1200Z"), vec![event(7, "2026-11-20T12:00:00Z", OTHER, "us-east-1")]),
        // It tells nothing. Its records decide.
        (
            "copied/log.json.gz".to_owned(),
            vec![
                event(8, "2026-11-20T12:00:00Z", ACCOUNT, "us-east-1"),
                event(9, "2026-11-20T12:00:00Z", OTHER, "us-east-1"),
                event(10, "2026-11-20T12:00:00Z", ACCOUNT, "us-west-2"),
                event(11, "2026-11-21T12:00:00Z", ACCOUNT, "us-east-1"),
                record(12),
            ],
        ),
    ];
    let files = files.map(|(key, records)| (key, gzip(&log(&records))));
    for (key, bytes) in &files {
        aws.put(BUCKET, &format!("data/{key}"), bytes.clone());
    }
    let local: Vec<_> = files.iter().map(|(key, bytes)| (format!("data/{key}"), &bytes[..])).collect();
    let local: Vec<_> = local.iter().map(|(key, bytes)| (&key[..], *bytes)).collect();
    let local = folder(&local);
    let day = ["--since", "2026-11-20", "--until", "2026-11-20"];
    let chosen = ["--account", ACCOUNT, "--region", "us-east-1"];
    for (options, events, words) in [
        (vec![], vec![8, 9, 10, 11, 12, 0, 1, 2, 6, 7, 3, 4, 5], ""),
        (day.to_vec(), vec![8, 9, 10, 12, 2, 6, 7, 3], ", 3 records outside"),
        (chosen.to_vec(), vec![8, 11, 12, 0, 1, 2, 3, 4, 5], ", 2 records outside"),
        ([day, chosen].concat(), vec![8, 12, 2, 3], ", 5 records outside"),
        (vec!["--since", "2026-11-21"], vec![11, 12, 4], ", 5 records outside"),
        (vec!["--until", "2026-11-19"], vec![12, 0, 1], ", 5 records outside"),
        (
            [&chosen[..], &["--region", "us-west-2", "--account", OTHER]].concat(),
            vec![8, 9, 10, 11, 12, 0, 1, 2, 6, 7, 3, 4, 5],
            "",
        ),
    ] {
        let in_s3 = scan(&aws, &[&options[..], &[&place("data/")]].concat()).await;
        let on_disk =
            run_in(local.path(), &[&["scan", "--format", "json"], &options[..], &["data"]].concat(), Vec::new());
        for run in [&in_s3, &on_disk] {
            let number = |line: &str| -> usize {
                let alert: Value = serde_json::from_str(line).unwrap();
                alert["id"].as_str().unwrap().rsplit_once('-').unwrap().1.parse().unwrap()
            };
            assert_eq!(
                (run.code, run.stdout.lines().map(number).collect()),
                (0, events.clone()),
                "{options:?}: {}",
                run.stderr
            );
            assert!(
                run.stderr.contains(words) && run.stderr.contains("records outside") != words.is_empty(),
                "{options:?}: {}",
                run.stderr
            );
        }
    }
}

#[tokio::test]
async fn odd_keys_beside_the_days_folders_hide_no_log() {
    let aws = FakeAws::start().await;
    let in_days = [key(ACCOUNT, "us-east-1", "20261120T2110Z", "a"), key(ACCOUNT, "us-east-1", "20261120T2120Z", "a")];
    let beside = format!("{ACCOUNT}/CloudTrail/us-east-1/{ACCOUNT}_CloudTrail_us-east-1_20261125T0000Z_copy.json.gz");
    // The year where others have the region.
    let no_region = format!("{ACCOUNT}/CloudTrail/2026/11/20/x.json.gz");
    put(&aws, "AWSLogs/", &[in_days[0].clone(), in_days[1].clone(), beside, no_region.clone()]);
    for (arguments, expected) in [
        (&["--until", "2026-11-20"][..], vec![&no_region, &in_days[0], &in_days[1]]),
        (&["--since", "2026-11-19", "--until", "2026-11-20"], vec![&no_region, &in_days[0], &in_days[1]]),
        (&["--region", "us-east-1", "--until", "2026-11-20"], vec![&no_region, &in_days[0], &in_days[1]]),
        (&["--until", "9999-12-31", "--since", "9999-12-31T23:59:59-23:59"], vec![]),
    ] {
        let run = scan(&aws, &[arguments, &[&place("AWSLogs/")]].concat()).await;
        let found = logs(&run);
        let expected: Vec<_> = expected.into_iter().cloned().collect();
        // CloudTrail's records of the fixture are of 2026-11-20, in us-east-1.
        assert!(run.code == 0 || arguments[1].starts_with("9999"), "{arguments:?}: {}", run.stderr);
        assert_eq!(found, expected, "{arguments:?}: {}", run.stderr);
    }
}

#[tokio::test]
async fn a_folder_is_found_behind_a_thousand_names_that_begin_like_it() {
    let aws = FakeAws::start().await;
    for number in 0..1_001 {
        aws.put(BUCKET, &format!("logs-{number:04}.json.gz"), of_event(number));
    }
    aws.put(BUCKET, "logs/x.json.gz", of_event(2_000));
    let run = scan(&aws, &[&place("logs")]).await;
    assert_eq!((run.code, logs(&run)), (0, vec![place("logs/x.json.gz")]), "{}", run.stderr);
}

#[tokio::test]
async fn what_cannot_be_listed_is_named_and_the_rest_is_scanned() {
    let aws = FakeAws::start().await;
    let keys = [key(ACCOUNT, "us-east-1", "20261120T2110Z", "a"), key(OTHER, "us-east-1", "20261120T2110Z", "a")];
    put(&aws, "AWSLogs/", &keys);
    // S3 asks for patience, in a folder and in a region.
    aws.list_fault(BUCKET, "AWSLogs/", S3Fault::Status(503, "SlowDown"), 2);
    aws.list_fault(BUCKET, "AWSLogs/123456789012/CloudTrail/us-east-1/", S3Fault::Dropped, 1);
    let run = scan(&aws, &[&place("AWSLogs/")]).await;
    assert_eq!((run.code, logs(&run)), (0, keys.to_vec()), "{}", run.stderr);
    for prefix in
        ["AWSLogs/123456789012/", "AWSLogs/123456789012/CloudTrail/", "AWSLogs/123456789012/CloudTrail/us-east-1/"]
    {
        aws.mend();
        aws.list_fault(BUCKET, prefix, S3Fault::Status(403, "AccessDenied"), 1);
        let run = scan(&aws, &[&place("AWSLogs/")]).await;
        assert_eq!((run.code, logs(&run)), (1, keys[1..].to_vec()), "{}", run.stderr);
        let expected = format!(
            "error: {} can't be listed: S3 answered 403 AccessDenied: AccessDenied; allow your credentials s3:ListBucket on \
             the bucket, and check the bucket's policy\n",
            place(prefix)
        );
        assert!(run.stderr.contains(&expected), "{}", run.stderr);
        assert!(run.stderr.contains("1 not read"), "{}", run.stderr);
    }
    let run = scan(&aws, &["s3://no-such-bucket/"]).await;
    assert!(
        run.code == 1 && run.stderr.contains("404 NoSuchBucket: NoSuchBucket; check the bucket's name"),
        "{}",
        run.stderr
    );
    // To read an object by its key takes no permission to list.
    aws.mend();
    let named = format!("AWSLogs/{}", keys[0]);
    aws.s3_fault(BUCKET, &named, S3Fault::Status(403, "AccessDenied"), 1);
    let before = aws.lists().len();
    let run = scan(&aws, &[&place(&named)]).await;
    assert!(run.code == 1 && run.stderr.contains("allow your credentials s3:GetObject on it"), "{}", run.stderr);
    assert!(!run.stderr.contains("role") && !run.stderr.contains("stack"), "{}", run.stderr);
    assert_eq!(aws.lists().len(), before);
}

#[tokio::test]
async fn a_bucket_is_followed_to_its_region_once() {
    for is_400 in [false, true] {
        let aws = FakeAws::start().await;
        let keys = [key(ACCOUNT, "us-east-1", "20261120T2110Z", "a"), key(OTHER, "us-east-1", "20261120T2110Z", "a")];
        put(&aws, "AWSLogs/", &keys);
        aws.put("near", "log.json.gz", of_event(7));
        aws.bucket_region(BUCKET, "eu-central-1", is_400);
        aws.bucket_region("near", "us-east-1", is_400);
        let run = scan(&aws, &[&place(""), "s3://near/log.json.gz"]).await;
        assert_eq!((run.code, logs(&run).len()), (0, 3), "{}", run.stderr);
        let requests = [aws.lists(), aws.gets()].concat();
        let (of_bucket, near): (Vec<_>, Vec<_>) = requests.iter().partition(|request| request.what.contains(BUCKET));
        let astray: Vec<_> = of_bucket.iter().filter(|request| request.region != "eu-central-1").collect();
        assert!(astray.len() == 1 && astray[0].region == "us-east-1", "{astray:?}");
        assert!(near.len() == 1 && near[0].region == "us-east-1", "{near:?}");
        // A single object, too.
        let run = scan(&aws, &[&place(&format!("AWSLogs/{}", keys[0]))]).await;
        assert_eq!((run.code, logs(&run).len()), (0, 1), "{}", run.stderr);
        // The region of the environment is the first that is asked.
        let environment = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s"), ("AWS_REGION", "eu-central-1")];
        let before = aws.lists().len();
        let run = scan_with(&aws, &environment, &[], &[&place("")]).await;
        assert_eq!((run.code, logs(&run).len()), (0, 2), "{}", run.stderr);
        assert!(aws.lists()[before..].iter().all(|list| list.region == "eu-central-1"));
    }
}

#[tokio::test]
async fn credentials_that_will_not_do_are_told_in_one_sentence() {
    let aws = FakeAws::start().await;
    put(&aws, "AWSLogs/", &[key(ACCOUNT, "us-east-1", "20261120T2110Z", "a")]);
    aws.put("other", "log.json.gz", of_event(7));
    let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "s")];
    let sso = "[profile p]\nsso_session = s\nsso_account_id = 123456789012\nsso_role_name = r\nregion = us-east-1\n\
               [sso-session s]\nsso_region = us-east-1\nsso_start_url = https://example.awsapps.com/start\n";
    let process = "[profile p]\ncredential_process = /no/such/program\n";
    let login = "[profile p]\nlogin_session = arn:aws:iam::123456789012:user/alice\n";
    let config: &[(&str, &str)] = &[];
    for (environment, home, refused, words) in [
        (
            &[][..],
            config,
            None,
            "no AWS credentials were found: set AWS_PROFILE to a profile that has some, or run `aws configure`",
        ),
        (
            &[("AWS_PROFILE", "nobody")][..],
            &[(".aws/config", process)][..],
            None,
            "(profile `nobody` was not defined: ",
        ),
        (&[("AWS_PROFILE", "p")][..], &[(".aws/config", sso)][..], None, "`aws sso login`"),
        (&[("AWS_PROFILE", "p")][..], &[(".aws/config", process)][..], None, "/no/such/program"),
        (&[("AWS_PROFILE", "p")][..], &[(".aws/config", login)][..], None, "`aws configure export-credentials"),
        (&keys[..], config, Some((400, "ExpiredToken")), "the AWS credentials have expired: get new ones"),
        (&keys[..], config, Some((403, "InvalidAccessKeyId")), "the AWS credentials are wrong"),
    ] {
        if let Some((status, code)) = refused {
            aws.s3_refuses(status, code);
        }
        let run = scan_with(&aws, environment, home, &[&place(""), "s3://other/log.json.gz", "s3://other/"]).await;
        let errors: Vec<_> = run.stderr.lines().filter(|line| line.starts_with("error:")).collect();
        assert_eq!(errors.len(), 1, "{}", run.stderr);
        assert!(errors[0].contains(words), "{words}: {}", run.stderr);
        assert_ne!(run.code, 0, "{}", run.stderr);
    }
}

#[test]
fn a_wrong_option_is_explained() {
    for (options, words) in [
        (
            &["--since", "yesterday"][..],
            "expected a date such as 2026-11-20, a time such as 2026-11-20T21:08:30Z, or a span",
        ),
        (&["--account", "123"], "an account's number has 12 digits"),
        (&["--region", "Ireland"], "expected a region such as us-east-1"),
        (&["--since", "2026-11-20", "--until", "2026-11-19"], "is after --until"),
        (&["s3:///x"], "expected s3://bucket/prefix"),
    ] {
        let run = crate::program::run(&[&["scan"], options, &["-"]].concat());
        assert!(run.code == 2 && run.stderr.contains(words), "{options:?}: {run:?}");
    }
}
