//! Finds the logs of all places, and hands them over to be scanned, in order.

use std::mem;
use std::sync::Arc;

use futures_util::FutureExt;

use super::super::console::say_error;
use super::ahead::Ahead;
use super::bucket;
use super::merge::{Merge, Stream};
use super::progress::Progress;
use super::selection::Selection;
use super::source::{Found, LeftOut, Source};
use super::work::Work;
use super::worker::Log;
use crate::aws::{self, S3};
use crate::log::S3Object;

/// What finds logs.
pub(super) struct Feed<'a> {
    /// Where there are places in S3.
    pub(super) ahead: Option<&'a Ahead>,
    pub(super) selection: &'a Arc<Selection>,
    pub(super) left_out: &'a Arc<LeftOut>,
    pub(super) progress: &'a Progress,
}

/// What could not be handed over.
#[derive(Default)]
pub(super) struct Fed {
    /// What could not be listed, which was said.
    pub(super) failures: Vec<String>,
    /// The logs that S3 would have refused.
    pub(super) refused: u64,
}

impl Feed<'_> {
    /// Hands over local logs and those at places in S3, the latter as soon as their bytes may be requested, and then says so
    /// with `end`. Makes the requests until the scan ends. Gives what could not be handed over.
    pub(super) fn run(
        &self,
        local: Vec<Found>,
        places: Vec<(usize, S3Object)>,
        work: &Work<Log>,
        end: impl FnOnce(),
    ) -> Fed {
        let (mut fed, local) = (Fed::default(), Stream::Local(local.into_iter()));
        match self.ahead {
            Some(ahead) => ahead.run(async {
                let s3 = S3::of_person(&aws::configuration().await);
                let mut streams = vec![local];
                for (argument, place) in places {
                    let remote = bucket::streams(&s3, place, argument, self.selection, self.left_out).await;
                    streams.extend(remote.into_iter().map(Stream::Bucket));
                }
                self.all(streams, Some((ahead, &s3)), work, &mut fed).await;
                end();
            }),
            // Nothing has to be waited for.
            None => {
                self.all(vec![local], None, work, &mut fed).now_or_never();
                end();
            }
        }
        fed
    }

    async fn all(&self, streams: Vec<Stream>, remote: Option<(&Ahead, &S3)>, work: &Work<Log>, fed: &mut Fed) {
        let (mut merge, mut said) = (Merge::new(streams).await, false);
        loop {
            let next = merge.next().await;
            let refusal = remote.and_then(|(_, s3)| s3.refusal());
            for failure in merge.failures() {
                // It is said once.
                if !(refusal.is_some() && mem::replace(&mut said, true)) {
                    self.say(refusal.unwrap_or(&failure));
                }
                fed.failures.push(failure);
            }
            let Some(Found { source, size, .. }) = next else { break };
            let download = match (&source, remote) {
                // The first log that is refused tells it.
                (Source::Object(_), Some(_)) if refusal.is_some() => {
                    fed.refused += 1;
                    continue;
                }
                (Source::Object(object), Some((ahead, s3))) => {
                    let Some(download) = ahead.open(s3, object).await else { break };
                    Some(download)
                }
                _ => None,
            };
            work.add(size, Log { source, download });
        }
    }

    fn say(&self, error: &str) {
        self.progress.suspend(|| say_error(error));
    }
}
