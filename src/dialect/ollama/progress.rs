//! Merges the progress of one pull (or create) on several backends into one stream that looks like
//! a single server's: bytes summed per layer, `success` only when every backend succeeded.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::error_line;
use crate::wire::json::{Kind, Scanner, SyntaxError, write_string};
use crate::wire::ndjson::LineSplitter;

/// Longest progress line that is read, in bytes.
const MAX_PROGRESS_LINE: usize = 64 << 10;
/// Layers and steps beyond these are passed over.
const MAX_LAYERS: usize = 4096;
const MAX_STEPS: usize = 256;
/// Longest error text kept per backend, in bytes (its last character may go over).
const MAX_ERROR: usize = 1024;

/// The state of one operation over a set of backends.
#[derive(Debug)]
pub struct ProgressMerge {
    backends: Vec<Progress>,
    /// Steps without a size that have been announced.
    steps: Vec<String>,
    layers: HashMap<String, Vec<Layer>>,
    open: usize,
}

#[derive(Debug)]
struct Progress {
    name: String,
    lines: LineSplitter,
    outcome: Option<Result<(), String>>,
    succeeded: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Layer {
    total: u64,
    completed: u64,
}

/// One line of a backend, as far as it matters.
#[derive(Debug, Default)]
struct Line {
    status: String,
    digest: Option<String>,
    layer: Layer,
    error: Option<String>,
}

impl ProgressMerge {
    /// `backends`: the names under which failures are reported, in the order of their indices.
    pub fn new(backends: impl IntoIterator<Item = String>) -> Self {
        let backends: Vec<_> = backends
            .into_iter()
            .map(|name| Progress {
                name,
                lines: LineSplitter::new(MAX_PROGRESS_LINE),
                outcome: None,
                succeeded: false,
                ended: false,
            })
            .collect();
        let open = backends.len();
        ProgressMerge {
            backends,
            steps: Vec::new(),
            layers: HashMap::new(),
            open,
        }
    }

    /// Bytes from a backend; appends to `out` the lines that the client gets now.
    pub fn feed(&mut self, backend: usize, piece: &[u8], out: &mut Vec<u8>) {
        let mut lines = Vec::new();
        // A line beyond the bound is no progress line, and says nothing.
        let _ = self.backends[backend]
            .lines
            .feed(piece, |line| lines.extend(Line::read(line)));
        for line in lines {
            self.line(backend, line, out);
        }
    }

    /// The backend's answer has ended, or (`failure`) never came or broke off; appends the closing
    /// line once the last backend has ended.
    pub fn end(&mut self, backend: usize, failure: Option<&str>, out: &mut Vec<u8>) {
        let rest = self.backends[backend].lines.finish();
        if let Some(line) = Line::read(&rest) {
            self.line(backend, line, out);
        }
        let progress = &mut self.backends[backend];
        if std::mem::replace(&mut progress.ended, true) {
            return;
        }
        let outcome = match (failure, progress.succeeded) {
            (Some(text), _) => Err(text),
            (None, true) => Ok(()),
            (None, false) => Err("ended without success"),
        };
        progress.outcome.get_or_insert(outcome.map_err(shortened));
        self.open -= 1;
        if self.open == 0 {
            match self.result() {
                Ok(()) => out.extend_from_slice(b"{\"status\":\"success\"}\n"),
                Err(text) => out.extend_from_slice(&error_line(&text)),
            }
        }
    }

    /// Whether every backend has ended.
    pub fn finished(&self) -> bool {
        self.open == 0
    }

    /// Success everywhere, or a text that names the backends that failed and why. Backends that
    /// have not ended count as neither.
    pub fn result(&self) -> Result<(), String> {
        let mut text = String::new();
        let mut failed = 0;
        for progress in &self.backends {
            if let Some(Err(reason)) = &progress.outcome {
                let separator = if failed == 0 { "" } else { "; " };
                // Writing to a String cannot fail.
                let _ = write!(text, "{separator}{}: {reason}", progress.name);
                failed += 1;
            }
        }
        match failed {
            0 => Ok(()),
            _ => Err(format!(
                "failed on {failed} of {} backends: {text}",
                self.backends.len()
            )),
        }
    }

    fn line(&mut self, backend: usize, line: Line, out: &mut Vec<u8>) {
        let progress = &mut self.backends[backend];
        if let Some(text) = line.error {
            progress.outcome.get_or_insert(Err(shortened(&text)));
        } else if line.status == "success" {
            progress.succeeded = true;
        } else if let Some(digest) = line.digest {
            self.layer(backend, &line.status, digest, line.layer, out);
        } else if self.steps.len() < MAX_STEPS && !self.steps.contains(&line.status) {
            out.extend_from_slice(b"{\"status\":");
            write_string(&line.status, out);
            out.extend_from_slice(b"}\n");
            self.steps.push(line.status);
        }
    }

    fn layer(
        &mut self,
        backend: usize,
        status: &str,
        digest: String,
        layer: Layer,
        out: &mut Vec<u8>,
    ) {
        if self.layers.len() == MAX_LAYERS && !self.layers.contains_key(&digest) {
            return;
        }
        let count = self.backends.len();
        let mut line = b"{\"status\":".to_vec();
        write_string(status, &mut line);
        line.extend_from_slice(b",\"digest\":");
        write_string(&digest, &mut line);
        let layers = self
            .layers
            .entry(digest)
            .or_insert_with(|| vec![Layer::default(); count]);
        layers[backend] = layer;
        let sum = |part: fn(&Layer) -> u64| layers.iter().map(part).fold(0, u64::saturating_add);
        let (total, completed) = (sum(|layer| layer.total), sum(|layer| layer.completed));
        line.extend_from_slice(format!(",\"total\":{total}").as_bytes());
        if completed > 0 {
            line.extend_from_slice(format!(",\"completed\":{completed}").as_bytes());
        }
        line.extend_from_slice(b"}\n");
        out.append(&mut line);
    }
}

fn shortened(text: &str) -> String {
    let fits = text.char_indices().take_while(|(at, _)| *at < MAX_ERROR);
    fits.map(|(_, character)| character).collect()
}

impl Line {
    fn read(bytes: &[u8]) -> Option<Line> {
        let mut line = Line::default();
        line.fill(bytes).ok()?;
        (line.error.is_some() || !line.status.is_empty()).then_some(line)
    }

    fn fill(&mut self, bytes: &[u8]) -> Result<(), SyntaxError> {
        let mut scanner = Scanner::new(bytes);
        scanner.begin_object()?;
        let mut first = true;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            if scanner.kind()? == Kind::String {
                let text = scanner.string()?.text(bytes).into_owned();
                match key.inside(bytes) {
                    b"status" => self.status = text,
                    b"digest" => self.digest = Some(text),
                    b"error" => self.error = Some(text),
                    _ => {}
                }
                continue;
            }
            let value = scanner.skip_value()?.of(bytes);
            let count = || {
                str::from_utf8(value)
                    .ok()
                    .and_then(|digits| digits.parse().ok())
            };
            match key.inside(bytes) {
                b"total" => self.layer.total = count().unwrap_or(0),
                b"completed" => self.layer.completed = count().unwrap_or(0),
                _ => {}
            }
        }
        Ok(())
    }
}
