//! S3, SNS and DynamoDB on one loopback port, with the rules of the real ones and the faults that a test asks for.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH, RANGE};
use hyper::service::service_fn;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::fake_dynamodb::{self, Table, TableFault};
use crate::runtime_api::PATIENCE;

/// A fault of `GetObject`, or of a list.
#[derive(Clone, Copy)]
pub enum S3Fault {
    Status(u16, &'static str),
    /// The bucket is in this region, and not in that of the request.
    OtherRegion(&'static str),
    /// The body pauses after so many bytes until so many publish requests have arrived.
    PauseAfter(usize, usize),
    /// It pauses twice.
    PauseTwice([(usize, usize); 2]),
    /// The connection breaks after so many bytes of the object.
    CutAfter(usize),
    /// The same, and the object has been replaced by then.
    ReplacedAfter(usize),
    /// Nothing more comes after so many bytes of the object.
    StallAfter(usize),
    /// The body comes in so many pieces, with a pause before each.
    Trickle(usize, Duration),
    /// `Content-Length` is so many bytes too high.
    LengthOff(isize),
    /// The whole object comes although a part was requested.
    IgnoresRange,
    /// The object comes with this `ETag`, also if that version is known.
    Version(&'static str),
    Dropped,
    /// No answer ever comes.
    Silent,
}

/// A fault of a publish request.
#[derive(Clone, Copy)]
pub enum SnsFault {
    Status(u16, &'static str),
    /// These entries of the batch fail; the flag is SNS's `SenderFault`.
    Entries(&'static [usize], bool),
    /// The first entry of the batch is throttled.
    EntryThrottled,
    /// A request with this text in a message is refused as a whole.
    Denies(&'static str),
    /// Each entry with this text fails, for a fault of SNS's own.
    FailsFor(&'static str),
    /// Every request is refused for another reason.
    Capricious,
    /// It takes the messages, and its answer is garbled.
    Garbled,
    /// The same, but the second request of all is refused.
    GarbledThenRefused,
    /// It takes the messages, and the connection breaks.
    Dropped,
    /// It takes the messages, and no answer ever comes.
    SilentlyTaken,
    /// No answer ever comes.
    Silent,
}

/// A request, in the order in which requests arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `bucket/key`, `list:bucket/prefix`, or the action of a publish request.
    pub what: String,
    pub region: String,
    /// The number of its connection.
    pub connection: usize,
    pub if_none_match: Option<String>,
    pub if_match: Option<String>,
    pub range: Option<String>,
    /// 0 until it is answered.
    pub status: u16,
    pub ids: Vec<String>,
    /// The publish requests under way when it arrived, itself included.
    pub at_once: usize,
    /// The publish requests that SNS had taken in full when it arrived.
    pub taken: usize,
}

/// A message that SNS accepted.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub subject: String,
    pub body: String,
    pub group_id: Option<String>,
    pub deduplication_id: Option<String>,
    /// (name, type, value), sorted.
    pub attributes: Vec<(String, String, String)>,
}

impl Message {
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|a| a.0 == name).map(|a| a.2.as_str())
    }
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Vec<u8>>,
    /// By bucket: its region, and whether S3 says so with the status 400 and not with 301.
    regions: HashMap<String, (&'static str, bool)>,
    /// The most keys and folders in an answer, if it is lower than S3's.
    list_limit: Option<usize>,
    /// The answer to every request to S3.
    s3_refuses: Option<(u16, &'static str)>,
    s3_faults: HashMap<String, VecDeque<(S3Fault, usize)>>,
    sns_fault: Option<(SnsFault, usize)>,
    /// By topic: a fault that lasts.
    topic_faults: HashMap<String, SnsFault>,
    /// Whether only requests with ten entries fail.
    full_batches_only: bool,
    hold_s3: usize,
    hold_sns: usize,
    /// The time that SNS takes for an answer.
    slow_sns: Duration,
    /// The messages that SNS takes in a second, and how many it would take now: none at the first request.
    quota: Option<f64>,
    left: Option<(f64, Instant)>,
    /// The publish requests that have arrived and are not answered, and those that were taken in full.
    under_way: usize,
    taken: usize,
    seen: Vec<Seen>,
    table: Table,
    messages: Vec<Message>,
    /// Requests that the real SNS would refuse. Each is a defect of the program, whatever the test is about.
    violations: Vec<String>,
}

impl State {
    /// Notes a request at its arrival, and returns its number.
    fn saw(&mut self, request: &Seen) -> usize {
        self.seen.push(request.clone());
        self.seen.len() - 1
    }
}

pub struct FakeAws {
    pub address: SocketAddr,
    closing: watch::Sender<()>,
    state: Arc<Mutex<State>>,
}

type Answer = Response<Streamed>;

impl FakeAws {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(State::default()));
        // The arrived (requests to S3 or without a signature, publish requests): holds and pauses wait for them.
        let arrived = watch::Sender::new((0usize, 0usize));
        let for_server = state.clone();
        let closing = watch::Sender::new(());
        let handler = move |request| answer(request, for_server.clone(), arrived.clone());
        let address = serve_until(handler, closing.subscribe()).await;
        Self { address, closing, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub fn put(&self, bucket: &str, key: &str, bytes: impl Into<Vec<u8>>) {
        self.state().objects.insert(format!("{bucket}/{key}"), bytes.into());
    }

    /// The bucket is in this region. A request to another one is answered with 301, or with 400.
    pub fn bucket_region(&self, bucket: &str, region: &'static str, is_400: bool) {
        self.state().regions.insert(bucket.to_owned(), (region, is_400));
    }

    /// A list has at most so many keys and folders.
    pub fn list_limit(&self, limit: usize) {
        self.state().list_limit = Some(limit);
    }

    /// Every request to S3 is answered with this error.
    pub fn s3_refuses(&self, status: u16, code: &'static str) {
        self.state().s3_refuses = Some((status, code));
    }

    /// The next `times` lists of the bucket's keys with exactly this prefix fail.
    pub fn list_fault(&self, bucket: &str, prefix: &str, fault: S3Fault, times: usize) {
        self.state().s3_faults.insert(format!("list:{bucket}/{prefix}"), [(fault, times)].into());
    }

    /// The next `times` requests for the object fail, and no others. 0 ends a fault.
    pub fn s3_fault(&self, bucket: &str, key: &str, fault: S3Fault, times: usize) {
        self.state().s3_faults.insert(format!("{bucket}/{key}"), [(fault, times)].into());
    }

    /// Adds a fault behind those of the object: the next `times` requests after them fail in this way.
    pub fn s3_fault_then(&self, bucket: &str, key: &str, fault: S3Fault, times: usize) {
        self.state().s3_faults.entry(format!("{bucket}/{key}")).or_default().push_back((fault, times));
    }

    /// Ends all faults.
    pub fn mend(&self) {
        self.state().s3_faults.clear();
        self.state().sns_fault = None;
        self.state().topic_faults.clear();
        self.state().table.fault = None;
    }

    /// The next `times` requests for this operation of DynamoDB fail, after so many others; an empty text stands for all.
    pub fn table_fault(&self, operation: &'static str, before: usize, fault: TableFault, times: usize) {
        self.state().table.fault = Some((operation, before, fault, times));
    }

    /// Looks at the table, or changes it.
    pub fn table<T>(&self, look: impl FnOnce(&mut Table) -> T) -> T {
        look(&mut self.state().table)
    }

    /// Waits until this is so.
    pub async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let wait = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        patience(&self.state, what, wait).await;
    }

    /// How many more publish requests will fail.
    pub fn faults_left(&self) -> usize {
        self.state().sns_fault.map_or(0, |fault| fault.1)
    }

    /// Closes all connections, as servers do with idle ones.
    pub fn close_connections(&self) {
        self.closing.send_replace(());
    }

    /// The next `times` publish requests fail.
    pub fn sns_fault(&self, fault: SnsFault, times: usize) {
        self.state().sns_fault = Some((fault, times));
        self.state().full_batches_only = false;
    }

    /// All publish requests to this topic fail.
    pub fn topic_fault(&self, topic: &str, fault: SnsFault) {
        self.state().topic_faults.insert(topic.to_owned(), fault);
    }

    /// The same, but only requests with ten entries count and fail.
    pub fn sns_fault_of_full_batches(&self, fault: SnsFault, times: usize) {
        self.sns_fault(fault, times);
        self.state().full_batches_only = true;
    }

    /// No object of S3 is given, and no request without a signature answered, before so many have arrived.
    pub fn hold_s3(&self, until: usize) {
        self.state().hold_s3 = until;
    }

    /// No publish request is answered before so many have arrived.
    pub fn hold_sns(&self, until: usize) {
        self.state().hold_sns = until;
    }

    /// SNS takes so long for each answer.
    pub fn slow_sns(&self, pause: Duration) {
        self.state().slow_sns = pause;
    }

    /// SNS takes so many messages a second, and none at the first request.
    pub fn sns_quota(&self, messages: u32) {
        self.state().quota = Some(messages.into());
    }

    pub fn gets(&self) -> Vec<Seen> {
        self.seen(|what| what.contains('/') && !what.starts_with("list:"))
    }

    pub fn lists(&self) -> Vec<Seen> {
        self.seen(|what| what.starts_with("list:"))
    }

    fn seen(&self, is_wanted: impl Fn(&str) -> bool) -> Vec<Seen> {
        self.state().seen.iter().filter(|s| is_wanted(&s.what)).cloned().collect()
    }

    pub fn publishes(&self) -> Vec<Seen> {
        self.seen(|what| what.starts_with("Publish"))
    }

    /// The messages that SNS has accepted since the last call, in the order of event IDs, subjects and bodies: the
    /// order in which several requests arrive is chance.
    pub fn messages(&self) -> Vec<Message> {
        let mut messages = std::mem::take(&mut self.state().messages);
        let key = |m: &Message| (m.attribute("eventID").map(str::to_owned), m.subject.clone(), m.body.clone());
        messages.sort_by_cached_key(key);
        messages
    }
}

impl Drop for FakeAws {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.state().violations, [""; 0], "SNS would have refused this");
            assert_eq!(self.state().table.violations, [""; 0]);
        }
    }
}

/// Serves HTTP on a free loopback port as long as the test's runtime lives. A handler that returns `None` drops the
/// connection.
pub async fn serve<H, F>(handler: H) -> SocketAddr
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Answer>> + Send,
{
    serve_until(handler, watch::channel(()).1).await
}

/// The same; `closing` closes all open connections.
async fn serve_until<H, F>(handler: H, closing: watch::Receiver<()>) -> SocketAddr
where
    H: Fn(Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<Answer>> + Send,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for connection in 0_usize.. {
            let Ok((stream, _)) = listener.accept().await else { break };
            let (handler, mut closing) = (handler.clone(), closing.clone());
            closing.mark_unchanged();
            tokio::spawn(async move {
                let service = service_fn(|mut request: Request<Incoming>| {
                    request.extensions_mut().insert(connection);
                    let answer = handler(request);
                    async { answer.await.ok_or_else(|| io::Error::other("dropped on purpose")) }
                });
                let server = hyper::server::conn::http1::Builder::new();
                tokio::select! {
                    _ = server.serve_connection(TokioIo::new(stream), service) => {}
                    Ok(()) = closing.changed() => {}
                }
            });
        }
    });
    address
}

/// A body that is sent piece by piece; an error breaks the connection.
pub struct Streamed(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}

pub fn whole(status: u16, body: impl Into<Bytes>) -> Answer {
    let body = body.into();
    let (sender, receiver) = mpsc::channel(1);
    let answer = Response::builder().status(status).header(CONTENT_LENGTH, body.len()).body(Streamed(receiver));
    sender.try_send(Ok(body)).unwrap();
    answer.unwrap()
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<Mutex<State>>,
    arrived: watch::Sender<(usize, usize)>,
) -> Option<Answer> {
    let header = |name: HeaderName| request.headers().get(name).and_then(|v| v.to_str().ok()).map(str::to_owned);
    // Credential=AKID/date/region/service/aws4_request
    let region = header(AUTHORIZATION).and_then(|a| a.split('/').nth(2).map(str::to_owned)).unwrap_or_default();
    let (if_none_match, if_match, range) = (header(IF_NONE_MATCH), header(IF_MATCH), header(RANGE));
    let path = percent_decode_str(&request.uri().path()[1..]).decode_utf8().unwrap().into_owned();
    let query: HashMap<_, _> = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .collect::<Vec<_>>()
        .iter()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (name.to_owned(), decoded(value)))
        .collect();
    let path = if query.contains_key("list-type") {
        format!("list:{}/{}", path.trim_end_matches('/'), query.get("prefix").map_or("", String::as_str))
    } else if let Some(version) = query.get("versionId") {
        // A version of an object is an object of its own here.
        format!("{path}?versionId={version}")
    } else {
        path
    };
    let connection = *request.extensions().get::<usize>().unwrap();
    let mut seen = Seen {
        what: path,
        region,
        connection,
        if_none_match,
        if_match,
        range,
        status: 0,
        ids: Vec::new(),
        at_once: 0,
        taken: 0,
    };
    let mut waiter = arrived.subscribe();
    assert!(!seen.region.is_empty(), "a request without a signature");
    if request.method() == Method::GET {
        let number = state.lock().unwrap().saw(&seen);
        arrived.send_modify(|n| n.0 += 1);
        let hold = if seen.what.starts_with("list:") { 0 } else { state.lock().unwrap().hold_s3 };
        patience(&state, "S3 requests at once", waiter.wait_for(|n| n.0 >= hold)).await;
        let answer = get_object(&seen, &query, &state, waiter);
        state.lock().unwrap().seen[number].status = answer.as_ref().map_or(0, |a| a.status().as_u16());
        match answer {
            Err(S3Fault::Silent) => std::future::pending().await,
            answer => answer.ok(),
        }
    } else if let Some(operation) = header("x-amz-target".parse().unwrap()) {
        let body = request.into_body().collect().await.ok()?.to_bytes();
        let operation = operation.strip_prefix("DynamoDB_20120810.").unwrap();
        let answer = state.lock().unwrap().table.answer(operation, &serde_json::from_slice(&body).unwrap());
        match answer {
            fake_dynamodb::Answer::Status(status, body) => Some(whole(status, body)),
            fake_dynamodb::Answer::Dropped => None,
            fake_dynamodb::Answer::Never => std::future::pending().await,
        }
    } else {
        let form = request.into_body().collect().await.ok()?.to_bytes();
        let entries = entries(&form, &mut seen);
        let (number, hold, pause) = {
            let mut state = state.lock().unwrap();
            state.under_way += 1;
            (seen.at_once, seen.taken) = (state.under_way, state.taken);
            (state.saw(&seen), state.hold_sns, state.slow_sns)
        };
        arrived.send_modify(|n| n.1 += 1);
        patience(&state, "publish requests at once", waiter.wait_for(|n| n.1 >= hold)).await;
        tokio::time::sleep(pause).await;
        let answer = publish(&seen, entries, &mut state.lock().unwrap());
        state.lock().unwrap().seen[number].status = answer.as_ref().map_or(0, |a| a.status().as_u16());
        state.lock().unwrap().under_way -= 1;
        match answer {
            Err(SnsFault::Silent) => std::future::pending().await,
            answer => answer.ok(),
        }
    }
}

/// Waits, but not for ever: at the end of the test it reports what never came.
async fn patience<T>(state: &Mutex<State>, what: &str, wait: impl Future<Output = T>) {
    if tokio::time::timeout(PATIENCE, wait).await.is_err() {
        state.lock().unwrap().violations.push(format!("waited in vain for {what}"));
    }
}

fn get_object(
    seen: &Seen,
    query: &HashMap<String, String>,
    state: &Arc<Mutex<State>>,
    mut arrived: watch::Receiver<(usize, usize)>,
) -> Result<Answer, S3Fault> {
    let mut now = state.lock().unwrap();
    if let Some((status, code)) = now.s3_refuses {
        return Ok(s3_error(status, code));
    }
    let bucket = seen.what.trim_start_matches("list:").split('/').next().unwrap_or_default();
    if let Some((region, is_400)) = now.regions.get(bucket).filter(|(region, _)| *region != seen.region) {
        if *is_400 {
            let error = format!(
                "<Error><Code>AuthorizationHeaderMalformed</Code><Message>The authorization header is malformed; the region '{}' is wrong; expecting '{region}'</Message><Region>{region}</Region></Error>",
                seen.region
            );
            return Ok(whole(400, error));
        }
        return Ok(redirect(region));
    }
    let object = now.objects.get(&seen.what).cloned();
    let faults = now.s3_faults.entry(seen.what.clone()).or_default();
    faults.retain(|fault| fault.1 > 0);
    let fault = faults.front_mut().map(|fault| {
        fault.1 -= 1;
        fault.0
    });
    let error = |status, code| Ok(s3_error(status, code));
    match fault {
        Some(S3Fault::Status(status, code)) => return error(status, code),
        Some(S3Fault::OtherRegion(region)) => return Ok(redirect(region)),
        Some(fault @ (S3Fault::Dropped | S3Fault::Silent)) => return Err(fault),
        _ => {}
    }
    if seen.what.starts_with("list:") {
        return Ok(list(bucket, query, now.list_limit, &now.objects));
    }
    let Some(object) = object else { return error(404, "NoSuchKey") };
    let etag = format!("\"{:x}\"", object.iter().fold(object.len() as u64, |h, b| h.wrapping_mul(31) + u64::from(*b)));
    let etag = if let Some(S3Fault::Version(other)) = fault { other.to_owned() } else { etag };
    if seen.if_none_match.as_deref() == Some(&etag) && !matches!(fault, Some(S3Fault::Version(_))) {
        return Ok(whole(304, ""));
    }
    if seen.if_match.as_ref().is_some_and(|wanted| *wanted != etag) {
        return error(412, "PreconditionFailed");
    }
    let length = object.len();
    let mut answer = Response::builder().header(ETAG, etag);
    let range = seen.range.as_deref().filter(|_| !matches!(fault, Some(S3Fault::IgnoresRange)));
    let from =
        range.map_or(0, |range| range.strip_prefix("bytes=").unwrap().strip_suffix('-').unwrap().parse().unwrap());
    if range.is_some() {
        if from >= length {
            return error(416, "InvalidRange");
        }
        answer = answer.status(206).header(CONTENT_RANGE, format!("bytes {from}-{}/{length}", length - 1));
    }
    let (stop, pieces, pause, longer) = match fault {
        Some(S3Fault::CutAfter(at) | S3Fault::StallAfter(at)) => (at, 0, Duration::ZERO, 0),
        Some(S3Fault::ReplacedAfter(at)) => {
            // An empty gzip member more: another object with the same records.
            now.objects.get_mut(&seen.what).unwrap().extend(crate::gzip(b""));
            (at, 0, Duration::ZERO, 0)
        }
        Some(S3Fault::Trickle(pieces, pause)) => (length, pieces, pause, 0),
        Some(S3Fault::LengthOff(by)) => (length, 0, Duration::ZERO, by),
        _ => (length, 0, Duration::ZERO, 0),
    };
    let pauses = match fault {
        Some(S3Fault::PauseAfter(at, publishes)) => vec![(at, publishes)],
        Some(S3Fault::PauseTwice(pauses)) => pauses.to_vec(),
        _ => Vec::new(),
    };
    let (sender, receiver) = mpsc::channel(8);
    let state = state.clone();
    tokio::spawn(async move {
        let mut sent = from;
        for (at, publishes) in pauses {
            if sent < at {
                sender.send(Ok(Bytes::copy_from_slice(&object[sent..at]))).await.ok();
                sent = at;
            }
            let came = arrived.wait_for(|n| n.1 >= publishes);
            patience(&state, "publish requests while the log is read", came).await;
        }
        let piece = length.checked_div(pieces).unwrap_or(16 * 1024) + 1;
        for piece in object[sent..stop.max(sent)].chunks(piece) {
            tokio::time::sleep(pause).await;
            sender.send(Ok(Bytes::copy_from_slice(piece))).await.ok();
        }
        match fault {
            Some(S3Fault::StallAfter(_)) => sender.closed().await,
            Some(S3Fault::CutAfter(_) | S3Fault::ReplacedAfter(_) | S3Fault::LengthOff(_)) => {
                // The bytes before the cut arrive: the connection has taken and flushed them.
                while sender.capacity() < sender.max_capacity() && !sender.is_closed() {
                    tokio::task::yield_now().await;
                }
                sender.send(Err(io::Error::other("cut on purpose"))).await.ok();
            }
            _ => {}
        }
    });
    let length = (length - from).checked_add_signed(longer).unwrap();
    Ok(answer.header(CONTENT_LENGTH, length).body(Streamed(receiver)).unwrap())
}

fn s3_error(status: u16, code: &str) -> Answer {
    whole(status, format!("<Error><Code>{code}</Code><Message>{code}.</Message></Error>"))
}

fn redirect(region: &str) -> Answer {
    let mut answer = s3_error(301, "PermanentRedirect");
    answer.headers_mut().insert("x-amz-bucket-region", region.parse().unwrap());
    answer
}

/// The answer of `ListObjectsV2`.
fn list(
    bucket: &str,
    query: &HashMap<String, String>,
    least: Option<usize>,
    objects: &BTreeMap<String, Vec<u8>>,
) -> Answer {
    const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b'/');
    let given = |name: &str| query.get(name).map_or("", String::as_str);
    let folder = format!("{bucket}/");
    if !objects.range(folder.clone()..).next().is_some_and(|(key, _)| key.starts_with(&folder)) {
        return s3_error(404, "NoSuchBucket");
    }
    let encoded = |key: &str| match given("encoding-type") {
        "url" => utf8_percent_encode(key, &ENCODED).to_string().replace("%20", "+"),
        _ => key.to_owned(),
    };
    let (prefix, delimiter) = (given("prefix"), given("delimiter"));
    let limit = query.get("max-keys").map_or(1000, |limit| limit.parse().unwrap()).min(least.unwrap_or(1000));
    // Stands before all that is still to be told.
    let mut from = match (given("continuation-token"), given("start-after")) {
        ("", "") => String::new(),
        ("", after) => format!("{after}\0"),
        (token, _) => decoded(token),
    };
    let (mut keys, mut folders, mut next) = (String::new(), BTreeSet::new(), String::new());
    for told in 0.. {
        let rest = objects.range(format!("{folder}{}", from.as_str().max(prefix))..);
        let found = rest.take(1).find_map(|(key, bytes)| Some((key.strip_prefix(&folder)?, bytes)));
        let Some((key, bytes)) = found.filter(|(key, _)| key.starts_with(prefix)) else { break };
        if told == limit {
            next = format!("<NextContinuationToken>{}</NextContinuationToken>", utf8_percent_encode(&from, &ENCODED));
            break;
        }
        let end = if delimiter.is_empty() { None } else { key[prefix.len()..].find(delimiter) };
        if let Some(end) = end {
            let folder = &key[..prefix.len() + end + delimiter.len()];
            folders.insert(folder.to_owned());
            from = format!("{folder}\u{10ffff}");
        } else {
            let (name, size) = (encoded(key), bytes.len());
            keys.extend(["<Contents><Key>", &name, "</Key><Size>", &size.to_string(), "</Size></Contents>"]);
            from = format!("{key}\0");
        }
    }
    let folder = |folder: &String| format!("<CommonPrefixes><Prefix>{}</Prefix></CommonPrefixes>", encoded(folder));
    let folders: String = folders.iter().map(folder).collect();
    let is_truncated = !next.is_empty();
    whole(
        200,
        format!("<ListBucketResult><IsTruncated>{is_truncated}</IsTruncated>{keys}{folders}{next}</ListBucketResult>"),
    )
}

/// The reason names a request, as those of KMS do, and never the same one.
fn sns_error(who: &str, status: u16, code: &str) -> Answer {
    static REQUESTS: AtomicUsize = AtomicUsize::new(0);
    let request = REQUESTS.fetch_add(1, Ordering::Relaxed);
    let message = format!("{code}. (Service: S; Status Code: {status}; Request ID: 3f0a-{request:x}; Proxy: null)");
    let error = format!("<Error><Type>{who}</Type><Code>{code}</Code><Message>{message}</Message></Error>");
    whole(status, format!("<ErrorResponse>{error}<RequestId>r</RequestId></ErrorResponse>"))
}

/// The messages of a publish request. Its action and the IDs of its entries go into `seen`.
fn entries(form: &[u8], seen: &mut Seen) -> Vec<Message> {
    let form: HashMap<String, String> = std::str::from_utf8(form)
        .unwrap()
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect();
    seen.what.clone_from(&form["Action"]);
    let prefix = if seen.what == "PublishBatch" { "PublishBatchRequestEntries.member.%." } else { "" };
    let mut entries = Vec::new();
    for number in 1..=11 {
        let prefix = prefix.replace('%', &number.to_string());
        let field = |name: &str| form.get(&format!("{prefix}{name}")).cloned();
        let Some(body) = field("Message") else { break };
        let mut attributes: Vec<_> = (1..)
            .map_while(|n| {
                let field = |name: &str| field(&format!("MessageAttributes.entry.{n}.{name}"));
                Some((field("Name")?, field("Value.DataType")?, field("Value.StringValue")?))
            })
            .collect();
        attributes.sort();
        let (topic, subject) = (form["TopicArn"].clone(), field("Subject").unwrap_or_default());
        let (group_id, deduplication_id) = (field("MessageGroupId"), field("MessageDeduplicationId"));
        entries.push(Message { topic, subject, body, group_id, deduplication_id, attributes });
        seen.ids.push(field("Id").unwrap_or_default());
        if prefix.is_empty() {
            break;
        }
    }
    entries
}

fn publish(seen: &Seen, entries: Vec<Message>, state: &mut State) -> Result<Answer, SnsFault> {
    state.violations.extend(violations(seen, &entries));

    if let Some(quota) = state.quota {
        let (left, at) = state.left.get_or_insert((0.0, Instant::now()));
        *left = (*left + at.elapsed().as_secs_f64() * quota).min(quota);
        *at = Instant::now();
        let wanted = f64::from(u32::try_from(entries.len()).unwrap());
        if *left < wanted {
            return Ok(sns_error("Sender", 429, "Throttled"));
        }
        *left -= wanted;
    }
    let fault =
        state.sns_fault.as_mut().filter(|f| f.1 > 0 && !(state.full_batches_only && entries.len() < 10)).map(|f| {
            f.1 = f.1.saturating_sub(1);
            f.0
        });
    let topic = entries.first().map(|entry| entry.topic.as_str()).unwrap_or_default();
    let fault = state.topic_faults.get(topic).copied().or(fault);
    let (failing, sender, code) = match fault {
        Some(SnsFault::Silent) => return Err(SnsFault::Silent),
        Some(SnsFault::SilentlyTaken) => {
            state.messages.extend(entries);
            return Err(SnsFault::Silent);
        }
        Some(SnsFault::Dropped) => {
            state.messages.extend(entries);
            return Err(SnsFault::Dropped);
        }
        Some(SnsFault::Capricious) => {
            return Ok(sns_error("Sender", 403, &format!("Reason{}", state.seen.len())));
        }
        Some(SnsFault::Status(status, code)) => {
            let who = if status < 500 { "Sender" } else { "Receiver" };
            return Ok(sns_error(who, status, code));
        }
        Some(SnsFault::Denies(text)) if entries.iter().any(|entry| entry.body.contains(text)) => {
            return Ok(sns_error("Sender", 403, "AuthorizationError"));
        }
        Some(SnsFault::GarbledThenRefused) if state.seen.iter().filter(|s| s.what == seen.what).count() == 2 => {
            return Ok(sns_error("Sender", 403, "AuthorizationError"));
        }
        Some(SnsFault::Garbled | SnsFault::GarbledThenRefused) => {
            state.messages.extend(entries);
            return Ok(whole(200, "<PublishBatchRes"));
        }
        Some(SnsFault::Entries(failing, true)) => (failing, true, "InvalidParameter"),
        Some(SnsFault::Entries(failing, false)) => (failing, false, "InternalError"),
        Some(SnsFault::EntryThrottled) => (&[0][..], true, "Throttled"),
        Some(SnsFault::FailsFor(_)) => (&[][..], false, "InternalError"),
        Some(SnsFault::Denies(_)) | None => (&[][..], false, ""),
    };
    let (mut failed, mut successful) = (Vec::new(), Vec::new());
    for (number, (id, message)) in seen.ids.iter().zip(entries).enumerate() {
        let fails = matches!(fault, Some(SnsFault::FailsFor(text)) if message.body.contains(text));
        if fails || failing.contains(&number) {
            let code = format!("<Code>{code}</Code><SenderFault>{sender}</SenderFault>");
            failed.push(format!("<member><Id>{id}</Id>{code}</member>"));
        } else {
            successful.push(format!("<member><Id>{id}</Id><MessageId>m-{id}</MessageId></member>"));
            state.messages.push(message);
        }
    }
    state.taken += usize::from(failed.is_empty());
    let (failed, successful) = (failed.concat(), successful.concat());
    let result = format!("<Failed>{failed}</Failed><Successful>{successful}</Successful><MessageId>m</MessageId>");
    let action = &seen.what;
    Ok(whole(200, format!("<{action}Response><{action}Result>{result}</{action}Result></{action}Response>")))
}

fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8().unwrap().into_owned()
}

/// The rules of SNS that a publish request breaks.
fn violations(Seen { what: action, ids, region, .. }: &Seen, entries: &[Message]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rule = |holds: bool, rule: &str| {
        if !holds {
            found.push(format!("{action}: {rule}"));
        }
    };
    rule((1..=10).contains(&entries.len()), "a batch has 1 to 10 entries");
    if action == "PublishBatch" {
        let word = |id: &String| id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        rule(ids.iter().all(|id| (1..=80).contains(&id.len()) && word(id)), "an id has 1 to 80 of [A-Za-z0-9_-]");
        rule(ids.iter().collect::<HashSet<_>>().len() == ids.len(), "ids are unique");
    }
    let attributes = |m: &Message| m.attributes.iter().map(|(n, t, v)| n.len() + t.len() + v.len()).sum::<usize>();
    let size: usize = entries.iter().map(|m| m.body.len() + attributes(m)).sum();
    rule(size <= 262_144, "a request has at most 262,144 bytes");
    for Message { topic, subject, body, group_id, deduplication_id, attributes } in entries {
        let in_region = topic.splitn(4, ':').last().is_some_and(|rest| rest.starts_with(&format!("{region}:")));
        rule(topic.starts_with("arn:aws") && in_region, "the topic is an ARN, of the region that is asked");
        let fifo = topic.rsplit('.').next() == Some("fifo");
        let id = |id: &String| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic());
        for (name, value) in [("group", group_id), ("deduplication", deduplication_id)] {
            let rule_of_ids = format!("a {name} id, 1 to 128 alphanumerics and punctuation, is for FIFO topics");
            rule(value.as_ref().map_or(!fifo, |value| fifo && id(value)), &rule_of_ids);
        }
        rule((1..100).contains(&subject.len()), "a subject has 1 to 99 characters");
        rule(subject.bytes().all(|b| (b' '..=b'~').contains(&b)), "a subject is printable ASCII");
        rule(!subject.starts_with(' '), "a subject starts with no space");
        rule(!body.is_empty(), "a message is not empty");
        for (name, kind, value) in attributes {
            rule(!name.is_empty() && !value.is_empty(), &format!("attribute {name} is not empty"));
            let array = || serde_json::from_str::<Vec<String>>(value).is_ok_and(|names| !names.is_empty());
            rule(kind == "String" || kind == "String.Array" && array(), &format!("{name}'s value is of its type"));
        }
    }
    found
}
