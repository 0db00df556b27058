//! Any configuration is taken or refused with a reason, and one that is taken is fit for any record.

#![no_main]

use cloudtrail_alerter::configuration;
use cloudtrail_alerter::filter::Matcher;
use cloudtrail_alerter::log_file::{LogFile, RawRecord};
use cloudtrail_alerter::triage::{Outcome, Triage};
use libfuzzer_sys::fuzz_target;

const LOG: &[u8] = include_bytes!("../../fixtures/logs/odd-records.json");

fuzz_target!(|file: &[u8]| {
    let filter = match configuration::parse(file, None) {
        Ok(filter) => filter,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.is_empty()), "{problems:?}");
            return;
        }
    };
    let mut matcher = Matcher::new(&filter, true);
    let mut triage = Triage::new(&mut matcher, "log", None);
    let mut on_record = |raw: &RawRecord<'_>| {
        if let Outcome::Matched(found) = triage.record(raw)? {
            assert!(found.alerts.len() as u64 + found.duplicates + found.summarised > 0, "{found:?}");
        }
        Ok(())
    };
    let (mut log, mut rest) = (LogFile::new(), LOG);
    while log.step(&mut rest, &mut on_record).unwrap() {}
    log.finish(&mut on_record).unwrap();
    drop(triage.summaries());
});
