//! Writes down what a model says.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures::{StreamExt, stream};
use tokio::sync::oneshot;

use super::line::Line;
use crate::backends::TokioSpawn;
use crate::data::Answer;
use crate::ports::{
    AnswerStream, Call, Chunk, Model, ModelBound, ModelCapabilities, ModelError, ModelErrorKind,
    ModelHeadroom, ModelRequest, Spawn,
};
use crate::words::Digest;

/// Asks another model, and writes each answer and each error to a file, from which [`Recorded`](super::Recorded) says them again.
///
/// The file holds JSON Lines: an object with the digest of the request ([`ModelRequest::digest`]) and either `answer` or `error`,
/// and nothing of the request unless [`with_requests`](Self::with_requests) asks for it. It is not sealed: answers stand in it in
/// the clear, so it is for tests, not for customers' data. No key is in it.
///
/// A line is handed to the operating system before the caller gets the answer, beside the tasks
/// ([`Spawn::spawn_blocking`]): it outlives the process, and maybe not the machine. An answer that nobody waited for is not
/// recorded. One process writes to a file at a time.
pub struct Recorder {
    model: Box<dyn Model>,
    pen: Pen,
    with_requests: bool,
}

#[derive(Clone)]
struct Pen {
    sheet: Arc<Mutex<Sheet>>,
    lost: Arc<AtomicU64>,
    spawn: Option<Arc<dyn Spawn>>,
}

/// The file, and where its last whole line ends.
struct Sheet {
    file: File,
    whole_bytes: u64,
}

impl Recorder {
    /// Records what this model says at the end of a file, which is made if it is not there. A last line that a killed process
    /// left behind half written is cut away.
    ///
    /// Lines are written through the Tokio runtime that is current when the model is asked, or where
    /// [`spawn`](Self::spawn) says. It blocks while it looks at the file.
    ///
    /// # Errors
    /// That the file can't be opened, read or cut.
    pub fn open(path: impl AsRef<Path>, model: impl Model) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let whole_bytes = mend(&mut file)?;
        let sheet = Arc::new(Mutex::new(Sheet { file, whole_bytes }));
        let pen = Pen { sheet, lost: Arc::default(), spawn: None };
        Ok(Self { model: Box::new(model), pen, with_requests: false })
    }

    /// Writes whole requests too, under `asked`: with them a request that is not recorded can be told from its nearest.
    #[must_use]
    pub fn with_requests(mut self) -> Self {
        self.with_requests = true;
        self
    }

    /// What runs the writing, beside the tasks.
    #[must_use]
    pub fn spawn(mut self, spawn: Arc<dyn Spawn>) -> Self {
        self.pen.spawn = Some(spawn);
        self
    }

    /// How many lines could not be written. An answer that is paid for is handed on all the same.
    pub fn lost(&self) -> u64 {
        self.pen.lost.load(Ordering::Relaxed)
    }
}

/// Leaves a file with whole lines only, and says how long it is then.
fn mend(file: &mut File) -> io::Result<u64> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    let whole = bytes.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
    let rest = &bytes[whole..];
    if rest.is_empty() {
        return Ok(whole as u64);
    }
    if Line::read(rest).is_ok() {
        file.write_all(b"\n")?;
        return Ok(bytes.len() as u64 + 1);
    }
    tracing::warn!(bytes = rest.len(), "the last line of a recording was cut off; it is removed");
    file.set_len(whole as u64)?;
    Ok(whole as u64)
}

impl Sheet {
    /// Writes a whole line or none.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.whole_bytes))?;
        if let Err(error) = self.file.write_all(line) {
            // What is left of it is overwritten by the next line, or cut away here.
            let _ = self.file.set_len(self.whole_bytes);
            return Err(error);
        }
        self.whole_bytes += line.len() as u64;
        Ok(())
    }
}

impl Pen {
    /// Returns when the line is with the operating system, or is lost.
    async fn write(&self, line: Line) {
        if let Err(reason) = self.try_write(&line).await {
            self.lost.fetch_add(1, Ordering::Relaxed);
            tracing::error!(request = %line.request, reason, "what a model said was not recorded");
        }
    }

    async fn try_write(&self, line: &Line) -> Result<(), String> {
        let current = || TokioSpawn::current().map(|spawn| Arc::new(spawn) as Arc<dyn Spawn>);
        let spawn = self.spawn.clone().or_else(current).ok_or("there is no Tokio runtime, and no `spawn`")?;
        let mut bytes = serde_json::to_vec(line).map_err(|error| error.to_string())?;
        bytes.push(b'\n');
        let (tell, told) = oneshot::channel();
        let sheet = self.sheet.clone();
        spawn.spawn_blocking(Box::new(move || {
            let written = sheet.lock().unwrap_or_else(PoisonError::into_inner).write(&bytes);
            // Who does not wait any more has given the answer up.
            let _ = tell.send(written);
        }));
        told.await.map_err(|_| "the runtime ended".to_owned())?.map_err(|error| error.to_string())
    }
}

/// What a line is made of, beside what came of the request.
struct Entry {
    pen: Pen,
    digest: Digest,
    asked: Option<ModelRequest>,
}

impl Entry {
    async fn answered(self, answer: &Answer) {
        self.pen
            .write(Line {
                request: self.digest,
                asked: self.asked,
                answer: Some(answer.clone()),
                error: None,
            })
            .await;
    }

    async fn failed(self, error: &ModelError) {
        let error = Some(error.into());
        self.pen.write(Line { request: self.digest, asked: self.asked, answer: None, error }).await;
    }

    /// The stream as it comes, its end written down before it is handed on.
    fn follow(self, answer: AnswerStream) -> AnswerStream {
        let step = |under_way: Option<(AnswerStream, Self)>| async {
            let (mut answer, entry) = under_way?;
            match answer.next().await {
                Some(Ok(Chunk::Answer(whole))) => {
                    entry.answered(&whole).await;
                    Some((Ok(Chunk::Answer(whole)), None))
                }
                Some(Ok(part)) => Some((Ok(part), Some((answer, entry)))),
                Some(Err(error)) => {
                    entry.failed(&error).await;
                    Some((Err(error), None))
                }
                None => {
                    let cut = ModelError::new(ModelErrorKind::CutOff, "the answer ended before it was whole");
                    entry.failed(&cut).await;
                    None
                }
            }
        };
        stream::unfold(Some((answer, self)), step).boxed()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl Model for Recorder {
    fn capabilities(&self) -> ModelCapabilities {
        self.model.capabilities()
    }

    fn headroom(&self) -> ModelHeadroom {
        self.model.headroom()
    }

    fn bound(&self, request: &ModelRequest) -> Option<ModelBound> {
        self.model.bound(request)
    }

    async fn ask(&self, request: Arc<ModelRequest>, call: Call) -> Result<AnswerStream, ModelError> {
        let digest = request.digest().map_err(|error| {
            ModelError::new(ModelErrorKind::InvalidRequest, format!("not recorded: {error}"))
        })?;
        let asked = self.with_requests.then(|| (*request).clone());
        let entry = Entry { pen: self.pen.clone(), digest, asked };
        match self.model.ask(request, call).await {
            Ok(answer) => Ok(entry.follow(answer)),
            Err(error) => {
                entry.failed(&error).await;
                Err(error)
            }
        }
    }
}
