//! The logs in a bucket: which ones a place names, and their lists, which are asked for while logs are being read.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::{fmt, mem};

use futures_util::{StreamExt, stream};
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::super::console::say_warning;
use super::selection::Selection;
use super::source::{Found, LeftOut, Place, Source, is_named_as_log};
use crate::aws::s3::{Listing, Page, S3};
use crate::log::{S3Object, SkipReason, reason_to_skip, region_folder};

/// How many lists are asked for at once.
const REQUESTS_AT_ONCE: usize = 32;

/// How many logs of a region wait to be taken, beside those of a page.
const WAITING: usize = 16;

/// How many keys all pages hold that wait, and how many of them one page holds, of which S3 gives at most the last number.
const KEYS: usize = 128 << 10;
const PAGE: [usize; 2] = [100, 1000];

/// The logs at a place in S3, of which `argument` is the number, in streams that are each in their order: one for each region
/// of an account, of which little is known before it is taken, and one for all other logs. An error says what could not be
/// listed. A stream that is dropped asks for no more.
///
/// A prefix without `/` at its end names the object of that key, or else the folder, or else all names that begin so. In a
/// region's folder, what lies outside of the folders of days is found only if its key stands between theirs.
pub(super) async fn streams(
    s3: &S3,
    place: S3Object,
    argument: usize,
    selection: &Arc<Selection>,
    left_out: &Arc<LeftOut>,
) -> Vec<Receiver<Result<Found, String>>> {
    let shown = place.to_string();
    let (selection, left_out, requests) = (selection.clone(), left_out.clone(), Semaphore::new(REQUESTS_AT_ONCE));
    let bucket = Bucket { s3: s3.clone(), name: place.bucket, argument, selection, left_out, requests };
    let Below { regions, mut logs, leaves_out, .. } = bucket.walk(place.key).await;
    if regions.is_empty() && logs.is_empty() {
        if !leaves_out {
            say_warning(&format!("{shown}: no .json.gz or .json file is below it"));
        } else if !bucket.selection.is_all() {
            say_warning(&format!("{shown}: no log below it belongs to the times, accounts and regions that are given"));
        }
    }
    logs.sort_by(|a, b| a.as_ref().ok().map(|found| &found.place).cmp(&b.as_ref().ok().map(|found| &found.place)));
    let (sender, receiver) = channel(logs.len().max(1));
    for found in logs {
        // There is room for all of them.
        let _ = sender.try_send(found);
    }
    let mut streams = vec![receiver];
    let limit = (KEYS / regions.len().max(1)).clamp(PAGE[0], PAGE[1]).try_into().ok();
    let bucket = Arc::new(bucket);
    for prefix in regions {
        let (sender, receiver) = channel(WAITING);
        streams.push(receiver);
        tokio::spawn(bucket.clone().region(prefix, limit, sender));
    }
    streams
}

/// A bucket, and what is wanted of it.
struct Bucket {
    s3: S3,
    name: String,
    argument: usize,
    selection: Arc<Selection>,
    left_out: Arc<LeftOut>,
    requests: Semaphore,
}

/// What has been found below a prefix.
#[derive(Default)]
struct Below {
    /// The prefixes of the keys in regions.
    regions: Vec<String>,
    /// The logs that are not in a region, and what could not be listed.
    logs: Vec<Result<Found, String>>,
    /// The prefixes that are to be listed.
    folders: Vec<String>,
    /// Whether there is more that may be logs.
    leaves_out: bool,
}

impl Bucket {
    /// Walks the folders down to the regions, side by side.
    async fn walk(&self, prefix: String) -> Below {
        let mut below = self.start(prefix).await;
        while !below.folders.is_empty() {
            let is_region = |folder: &String| region_folder(folder).is_some();
            let (regions, others): (Vec<_>, Vec<_>) = mem::take(&mut below.folders).into_iter().partition(is_region);
            below.regions.extend(regions);
            let mut found = stream::iter(others).map(|folder| self.folder(folder)).buffer_unordered(REQUESTS_AT_ONCE);
            while let Some(Below { logs, folders, leaves_out, .. }) = found.next().await {
                below.logs.extend(logs);
                below.folders.extend(folders);
                below.leaves_out |= leaves_out;
            }
        }
        below
    }

    /// What a prefix names: an object, or what is to be listed.
    async fn start(&self, prefix: String) -> Below {
        let mut below = Below::default();
        if is_named_as_log(&prefix) {
            // So it takes no permission to list.
            self.add_named(prefix, 0, &mut below);
            return below;
        }
        match self.page(Listing { prefix: &prefix, folders: true, ..Listing::default() }).await {
            Err(why) => below.logs.push(Err(why)),
            Ok(Page { objects, folders, next }) => {
                let folder = format!("{prefix}/");
                match objects.iter().find(|(key, _)| *key == prefix && !key.ends_with('/')) {
                    Some((_, size)) => self.add_named(prefix, *size, &mut below),
                    None if !prefix.is_empty() && folders.contains(&folder) => below.folders.push(folder),
                    // Many names that begin so may stand before the folder.
                    None if !prefix.is_empty() && next.is_some() && self.has(&folder).await => {
                        below.folders.push(folder);
                    }
                    None if !objects.is_empty() || !folders.is_empty() => below.folders.push(prefix),
                    None => {}
                }
            }
        }
        below
    }

    /// Whether there is anything in a folder.
    async fn has(&self, folder: &str) -> bool {
        let first = Listing { prefix: folder, limit: Some(1), ..Listing::default() };
        self.page(first).await.is_ok_and(|page| !page.objects.is_empty())
    }

    /// Takes an object that was named itself. Only CloudTrail's own that are not logs are left out.
    fn add_named(&self, key: String, size: u64, below: &mut Below) {
        below.leaves_out = true;
        match reason_to_skip(&key) {
            Some(SkipReason::Digest | SkipReason::Insight | SkipReason::Aggregated) => {
                self.left_out.skipped.fetch_add(1, Ordering::Relaxed);
            }
            _ => below.logs.extend(self.selected(key, size).map(Ok)),
        }
    }

    async fn folder(&self, prefix: String) -> Below {
        let mut below = Below::default();
        let mut next = None;
        loop {
            match self.page(Listing { prefix: &prefix, folders: true, next, ..Listing::default() }).await {
                Err(why) => {
                    below.logs.push(Err(why));
                    return below;
                }
                Ok(page) => {
                    below.leaves_out |=
                        page.objects.iter().any(|(key, _)| is_named_as_log(key)) || !page.folders.is_empty();
                    below.logs.extend(page.objects.into_iter().filter_map(|(key, size)| self.log(key, size)).map(Ok));
                    below.folders.extend(page.folders.into_iter().filter(|folder| self.enters(folder)));
                    next = page.next;
                    if next.is_none() {
                        return below;
                    }
                }
            }
        }
    }

    /// Whether logs may lie in a folder.
    fn enters(&self, folder: &str) -> bool {
        self.selection.takes(folder) && reason_to_skip(&format!("{folder}log.json.gz")).is_none()
    }

    /// Lists the logs of a region, or those of them whose keys have a prefix, as they are taken.
    async fn region(self: Arc<Self>, prefix: String, limit: Option<i32>, taken: Sender<Result<Found, String>>) {
        let region = region_folder(&prefix).unwrap_or_default();
        let first_day = self.selection.first_day();
        let after = first_day.map(|day| format!("{region}{day}")).filter(|day| *day > prefix);
        let (mut next, mut last): (_, Option<Place>) = (None, None);
        loop {
            let listing = Listing { prefix: &prefix, after: after.clone(), next, limit, ..Listing::default() };
            let page = match self.page(listing).await {
                Ok(page) => page,
                Err(why) => {
                    // Nobody may be interested any more.
                    let _ = taken.send(Err(why)).await;
                    return;
                }
            };
            for (key, size) in page.objects {
                if self.selection.ends_before(&key) {
                    return;
                }
                let Some(mut found) = self.log(key, size) else { continue };
                // Outside of the folders of days, the order of the keys may be another.
                if let Some(last) = last.take().filter(|last| *last > found.place) {
                    found.place = last;
                }
                last = Some(found.place.clone());
                if taken.send(Ok(found)).await.is_err() {
                    return;
                }
            }
            next = page.next;
            if next.is_none() {
                return;
            }
        }
    }

    /// An object in a folder, if it is a log that is wanted.
    fn log(&self, key: String, size: u64) -> Option<Found> {
        if !is_named_as_log(&key) {
            return None;
        }
        if reason_to_skip(&key).is_some() {
            self.left_out.skipped.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        self.selected(key, size)
    }

    fn selected(&self, key: String, size: u64) -> Option<Found> {
        if !self.selection.takes(&key) {
            self.left_out.outside.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        let place = Place::of(self.argument, &key);
        Some(Found { source: Source::Object(S3Object { bucket: self.name.clone(), key }), size, place })
    }

    async fn page(&self, listing: Listing<'_>) -> Result<Page, String> {
        // It is never closed.
        let _permit = self.requests.acquire().await;
        let listing = Listing { bucket: &self.name, ..listing };
        let failed = |why: &dyn fmt::Display| format!("s3://{}/{} can't be listed: {why}", self.name, listing.prefix);
        match self.s3.list(&listing).await {
            Ok(Page { next: Some(next), .. }) if Some(&next) == listing.next.as_ref() => {
                Err(failed(&"S3 gave the same page again"))
            }
            page => page.map_err(|why| failed(&why)),
        }
    }
}
