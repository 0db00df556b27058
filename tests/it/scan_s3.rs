//! `scan` of logs in S3: the same alerts as from the disk, whatever happens on the way.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

use crate::buckets::{KEYS, command, key, scan};
use crate::fake_aws::{FakeAws, S3Fault};
use crate::program::{Run, folder, run_in};
use crate::world::BUCKET;
use crate::{PROGRAM, gzip, log, record};

const ACCOUNT: &str = "123456789012";

/// Keys and logs, each with so many events of its own.
fn archive(logs: usize, records: usize) -> Vec<(String, Vec<u8>)> {
    let regions = ["us-east-1", "eu-west-1", "ap-south-1"];
    let of_log = |number: usize| {
        let time = format!("20261120T{:02}{:02}Z", number / 60, number % 60);
        // Every seventh has no CloudTrail name.
        let key = if number % 7 == 3 {
            format!("copies/{number:03}.json.gz")
        } else {
            format!("AWSLogs/{}", key(ACCOUNT, regions[number % 3], &time, "x"))
        };
        (key, gzip(&log(&(0..records).map(|n| record(number * records + n)).collect::<Vec<_>>())))
    };
    (0..logs).map(of_log).collect()
}

/// What was printed, without the names of places.
fn without_places(run: &Run, places: &[&str]) -> String {
    places.iter().fold(run.stdout.clone(), |text, place| text.replace(place, ""))
}

async fn in_s3(logs: &[(String, Vec<u8>)]) -> FakeAws {
    let aws = FakeAws::start().await;
    for (key, bytes) in logs {
        aws.put(BUCKET, key, bytes.clone());
    }
    aws
}

#[tokio::test]
async fn the_alerts_and_their_order_are_the_same_from_disk_from_s3_and_from_both() {
    let logs = archive(60, 3);
    let aws = in_s3(&logs).await;
    let files = |of: &dyn Fn(usize) -> bool| -> Vec<(&str, &[u8])> {
        logs.iter().enumerate().filter(|(n, _)| of(*n)).map(|(_, (key, bytes))| (key.as_str(), &bytes[..])).collect()
    };
    let disk = folder(&files(&|_| true));
    let from_disk = run_in(disk.path(), &["scan", "--format", "json", "copies", "AWSLogs"], Vec::new());
    assert_eq!((from_disk.code, from_disk.stdout.lines().count()), (0, 180), "{}", from_disk.stderr);
    let place = format!("s3://{BUCKET}/");
    let from_s3 = scan(&aws, &[&place]).await;
    assert_eq!(from_s3.code, 0, "{}", from_s3.stderr);
    let expected = without_places(&from_disk, &[]);
    assert!(without_places(&from_s3, &[&place]) == expected, "{}", from_s3.stderr);
    assert_eq!(from_s3.stderr, from_disk.stderr, "the same summary");
    // A half of them is in S3 only, a half on the disk only, and a third of them in both.
    let half = folder(&files(&|number| number % 2 == 0 || number % 3 == 0));
    let odd: Vec<_> = logs.iter().enumerate().filter(|(n, _)| n % 2 == 1).map(|(_, log)| log.clone()).collect();
    let partly = in_s3(&odd).await;
    let on_disk = half.path().join("AWSLogs").display().to_string();
    let from_both = scan(&partly, &[&on_disk, &format!("{place}AWSLogs/")]).await;
    assert_eq!(from_both.code, 0, "{}", from_both.stderr);
    let on_disk = format!("{}/", half.path().display());
    let printed = without_places(&from_both, &[&place, &on_disk]);
    let timed: String =
        expected.lines().filter(|line| !line.contains("copies/")).map(|line| line.to_owned() + "\n").collect();
    assert!(printed == timed, "{}", from_both.stderr);
}

#[tokio::test]
async fn what_fails_is_named_and_the_rest_is_scanned() {
    let logs = archive(20, 40);
    let aws = in_s3(&logs).await;
    let fault = |number: usize, fault, times| aws.s3_fault(BUCKET, &logs[number].0, fault, times);
    // Retried, and resumed.
    fault(0, S3Fault::Status(503, "SlowDown"), 2);
    fault(1, S3Fault::CutAfter(200), 2);
    fault(2, S3Fault::Dropped, 1);
    // Lost.
    fault(4, S3Fault::Status(403, "AccessDenied"), 99);
    fault(5, S3Fault::Status(404, "NoSuchKey"), 99);
    fault(6, S3Fault::CutAfter(100), 99);
    fault(7, S3Fault::ReplacedAfter(100), 99);
    let scanned = scan(&aws, &[&format!("s3://{BUCKET}/AWSLogs/")]).await;
    assert_eq!(scanned.code, 1, "{}", scanned.stderr);
    for (number, cause) in [
        (4, "S3 answered 403 AccessDenied: AccessDenied; check that it exists"),
        (5, "S3 answered 404 NoSuchKey: NoSuchKey; check whether it was deleted"),
        (6, "S3 broke off after 100 bytes"),
        (7, "it was replaced while it was being read"),
    ] {
        let said = scanned.stderr.lines().find(|line| line.contains(&logs[number].0)).unwrap_or_default();
        assert!(said.starts_with("error: s3://") && said.contains(cause), "{number}: {}", scanned.stderr);
        assert!(!said.contains("the function's role"), "{said}");
    }
    let (named, read) = (scanned.stderr.lines().filter(|line| line.starts_with("error: ")).count(), "13 logs, ");
    assert!(
        named == 4 && scanned.stderr.contains(read) && scanned.stderr.contains(", 4 not read"),
        "{}",
        scanned.stderr
    );
    let alerts = |number: usize| scanned.stdout.matches(&format!("\"s3://{BUCKET}/{}\"", logs[number].0)).count();
    let whole: Vec<_> = (0..20).filter(|number| number % 7 != 3 && !(4..8).contains(number)).collect();
    assert!(whole.iter().all(|number| alerts(*number) == 40), "{}", scanned.stderr);
}

#[tokio::test]
async fn credentials_that_expire_in_between_are_told_once() {
    let logs = archive(200, 1);
    let aws = in_s3(&logs).await;
    for (key, _) in &logs[40..] {
        aws.s3_fault(BUCKET, key, S3Fault::Status(400, "ExpiredToken"), 99);
    }
    let scanned = scan(&aws, &[&format!("s3://{BUCKET}/AWSLogs/")]).await;
    let errors: Vec<_> = scanned.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert!(scanned.code == 1 && errors.len() == 1 && errors[0].contains("expired"), "{}", scanned.stderr);
    assert!(!errors[0].contains("the function"), "{errors:?}");
}

#[tokio::test]
async fn ctrl_c_ends_with_the_summary_of_what_was_done() {
    let logs = archive(30, 1);
    let aws = in_s3(&logs).await;
    // The rest waits for it.
    aws.s3_fault(BUCKET, &logs[8].0, S3Fault::Silent, 99);
    let home = folder(&[]);
    let mut command = command(PROGRAM, &aws, home.path());
    command.envs(KEYS).args(["scan", "--format", "json", &format!("s3://{BUCKET}/AWSLogs/")]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut printed = 0;
    // Of the first eight logs, one is no log of the place.
    while printed < 7 {
        assert!(lines.next_line().await.unwrap().is_some());
        printed += 1;
    }
    let interrupt = Command::new("kill").args(["-INT", &child.id().unwrap().to_string()]).status().await.unwrap();
    assert!(interrupt.success());
    while lines.next_line().await.unwrap().is_some() {
        printed += 1;
    }
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!((child.wait().await.unwrap().code(), printed), (Some(130), 7), "{said}");
    assert!(said.contains("interrupted, so this is partial: 7 logs, 7 records, 7 matches"), "{said}");
    assert!(!said.contains("error: "), "{said}");
}

/// Interrupts a program once `is_under_way`; gives its status and what it said.
async fn interrupted(mut command: Command, is_under_way: impl AsyncFn()) -> (Option<i32>, String) {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    is_under_way().await;
    // It may not listen yet. Ctrl-C twice ends it at once, so that the test fails and does not hang.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let interrupt = Command::new("kill").args(["-INT", &child.id().unwrap().to_string()]).status().await.unwrap();
    assert!(interrupt.success());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).await.unwrap();
    (child.wait().await.unwrap().code(), said)
}

#[tokio::test]
async fn ctrl_c_ends_a_scan_that_waits_for_a_list_or_for_a_pipe() {
    let aws = in_s3(&archive(3, 1)).await;
    let home = folder(&[("log.json", b"{\"Records\":[]}")]);
    aws.list_fault(BUCKET, "AWSLogs/", S3Fault::Silent, 99);
    let mut listing = command(PROGRAM, &aws, home.path());
    listing.envs(KEYS).args(["scan", &format!("s3://{BUCKET}/AWSLogs/")]);
    let is_listing = async || aws.until("lists", |aws| !aws.lists().is_empty()).await;
    let mut waiting = command(PROGRAM, &aws, home.path());
    waiting.args(["scan", "log.json", "-"]).stdin(Stdio::piped());
    for (status, said) in [interrupted(listing, is_listing).await, interrupted(waiting, async || ()).await] {
        assert_eq!(status, Some(130), "{said}");
        assert!(said.contains("interrupted, so this is partial: ") && !said.contains("error: "), "{said}");
    }
}

#[tokio::test]
async fn many_logs_are_open_at_once_and_take_little_memory() {
    let logs = archive(150, 400);
    let aws = in_s3(&logs).await;
    // No object is answered before so many have been asked for.
    aws.hold_s3(60);
    let home = folder(&[]);
    let limited = format!("ulimit -d {} && exec '{PROGRAM}' scan 's3://{BUCKET}/AWSLogs/'", 96 << 10);
    let output = command("/bin/sh", &aws, home.path()).envs(KEYS).args(["-c", &limited]).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("129 logs, 51600 records"), "{said}");
}
