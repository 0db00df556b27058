//! Any configuration is taken or refused with a reason, and one that is taken is fit for any record.

#![no_main]

use cloudtrail_alerter::evaluate::{Evaluator, Verdict};
use cloudtrail_alerter::log::LogFile;
use cloudtrail_alerter::rules::{Learned, Matcher, config};
use libfuzzer_sys::fuzz_target;

const LOG: &[u8] = include_bytes!("../../fixtures/logs/odd-records.json");

fuzz_target!(|file: &[u8]| {
    let filter = match config::parse(file, None) {
        Ok(filter) => filter,
        Err(problems) => {
            assert!(!problems.is_empty() && problems.iter().all(|problem| !problem.is_empty()), "{problems:?}");
            return;
        }
    };
    let learned = Learned::with_paths(&filter);
    let mut evaluator = Evaluator::new(Matcher::new(&filter, &learned), "log", None);
    let mut log = LogFile::default();
    for piece in [Some(LOG), None] {
        let mut records = log.read(piece);
        while let Some(record) = records.next().unwrap() {
            if let Verdict::Matched(found, alerts) = evaluator.evaluate(&record).unwrap() {
                assert!(alerts.len() as u64 + found.duplicates + found.summarised > 0, "{found:?}");
            }
        }
    }
    drop(evaluator.summaries());
});
