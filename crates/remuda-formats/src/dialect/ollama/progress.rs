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
    /// Begins a merge; `backends` are the names under which failures are reported, in the order of their indices.
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

    /// Takes bytes from a backend, and appends to `out` the lines that the client gets now.
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

    /// Returns whether every backend has ended.
    pub fn finished(&self) -> bool {
        self.open == 0
    }

    /// Success everywhere, or a text that names the backends that failed and why. Backends that
    /// have not ended count as neither.
    pub fn result(&self) -> Result<(), String> {
        // In its own words: a client that sees one server is told what that one says.
        if let [Progress { outcome, .. }] = &self.backends[..] {
            return outcome.clone().unwrap_or(Ok(()));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    const PULL: &[u8] = include_bytes!("fixtures/pull.ndjson");

    fn merge(count: usize) -> ProgressMerge {
        ProgressMerge::new((0..count).map(|index| format!("gpu{index}:11434")))
    }

    fn lines(out: &[u8]) -> Vec<Value> {
        assert!(out.is_empty() || out.ends_with(b"\n"));
        let lines = out.split_inclusive(|&byte| byte == b'\n');
        lines
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect()
    }

    #[test]
    fn one_backend_s_progress_comes_out_as_it_went_in() {
        for size in 1..=PULL.len() {
            let mut merge = merge(1);
            let mut out = Vec::new();
            for piece in PULL.chunks(size) {
                merge.feed(0, piece, &mut out);
            }
            assert!(!merge.finished());
            merge.end(0, None, &mut out);
            assert!(merge.finished());
            assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(PULL));
        }
    }

    #[test]
    fn bytes_are_summed_per_layer_and_steps_told_once() {
        let mut merge = merge(2);
        let mut out = Vec::new();
        let step = b"{\"status\":\"pulling manifest\"}\n";
        merge.feed(0, step, &mut out);
        merge.feed(1, step, &mut out);
        merge.feed(
            0,
            b"{\"status\":\"pulling ab\",\"digest\":\"d\",\"total\":10,\"completed\":4}\n",
            &mut out,
        );
        merge.feed(
            1,
            b"{\"status\":\"pulling ab\",\"digest\":\"d\",\"total\":10}\n",
            &mut out,
        );
        merge.feed(
            1,
            b"{\"status\":\"pulling ab\",\"digest\":\"d\",\"total\":10,\"completed\":10}\n",
            &mut out,
        );
        let layer = |total, completed| json!({"status": "pulling ab", "digest": "d", "total": total, "completed": completed});
        let expected = [
            json!({"status": "pulling manifest"}),
            layer(10, 4),
            layer(20, 4),
            layer(20, 14),
        ];
        assert_eq!(lines(&out), expected);
    }

    #[test]
    fn success_takes_every_backend() {
        let mut merge = merge(2);
        let mut out = Vec::new();
        merge.feed(0, b"{\"status\":\"success\"}\n", &mut out);
        merge.end(0, None, &mut out);
        assert!(out.is_empty() && !merge.finished());
        merge.feed(1, b"{\"status\":\"success\"}", &mut out);
        merge.end(1, None, &mut out);
        assert_eq!(lines(&out), [json!({"status": "success"})]);
        assert_eq!(merge.result(), Ok(()));
    }

    #[test]
    fn failures_are_told_at_the_end_with_their_backends() {
        let mut merge = merge(4);
        let mut out = Vec::new();
        merge.feed(
            1,
            b"{\"error\":\"no space left on device\"}\n{\"status\":\"success\"}\n",
            &mut out,
        );
        merge.end(1, Some("later words"), &mut out);
        merge.end(2, Some("connection refused"), &mut out);
        merge.feed(3, b"{\"status\":\"pulling manifest\"}\n", &mut out);
        merge.end(3, None, &mut out);
        merge.end(3, None, &mut out);
        assert!(!merge.finished());
        merge.feed(0, b"{\"status\":\"success\"}\n", &mut out);
        merge.end(0, None, &mut out);
        let text = "failed on 3 of 4 backends: gpu1:11434: no space left on device; \
            gpu2:11434: connection refused; gpu3:11434: ended without success";
        assert_eq!(
            lines(&out),
            [
                json!({"status": "pulling manifest"}),
                json!({"error": text})
            ]
        );
        assert_eq!(merge.result(), Err(text.to_owned()));
    }

    #[test]
    fn a_single_servers_failure_is_told_in_its_words() {
        let mut merge = merge(1);
        let mut out = Vec::new();
        merge.feed(0, b"{\"error\":\"no such host\"}\n", &mut out);
        merge.end(0, None, &mut out);
        assert_eq!(lines(&out), [json!({"error": "no such host"})]);
        assert_eq!(merge.result(), Err("no such host".to_owned()));
    }

    #[test]
    fn hostile_progress_stays_bounded() {
        let mut merge = merge(2);
        let mut out = Vec::new();
        for layer in 0..MAX_LAYERS + 10 {
            let line = format!(
                "{{\"status\":\"s{layer}\",\"digest\":\"{layer}\",\"total\":18446744073709551615}}\n"
            );
            merge.feed(0, line.as_bytes(), &mut out);
            merge.feed(1, line.as_bytes(), &mut out);
            merge.feed(
                1,
                format!("{{\"status\":\"step {layer}\"}}\n").as_bytes(),
                &mut out,
            );
        }
        assert_eq!(
            (merge.layers.len(), merge.steps.len()),
            (MAX_LAYERS, MAX_STEPS)
        );
        merge.feed(0, &vec![b'x'; 1 << 20], &mut out);
        merge.feed(0, b"\nnot json\n[]\n{\"status\":1}\n", &mut out);
        merge.feed(
            0,
            format!("{{\"error\":\"{}\"}}\n", "é".repeat(5000)).as_bytes(),
            &mut out,
        );
        merge.end(0, None, &mut out);
        assert!(merge.result().unwrap_err().len() < 2 * MAX_ERROR);
        lines(&out);
    }

    proptest! {
        #[test]
        fn any_interleaving_ends_with_one_closing_line(
            pieces in prop::collection::vec((0usize..3, 1usize..60), 0..40),
            failed in prop::option::of(0usize..3),
        ) {
            let mut merge = merge(3);
            let mut out = Vec::new();
            let mut rest = [PULL; 3];
            for (backend, size) in pieces {
                let (piece, after) = rest[backend].split_at(size.min(rest[backend].len()));
                merge.feed(backend, piece, &mut out);
                rest[backend] = after;
            }
            for (backend, rest) in rest.into_iter().enumerate() {
                let failure = (failed == Some(backend)).then_some("reset");
                if failure.is_none() {
                    merge.feed(backend, rest, &mut out);
                }
                merge.end(backend, failure, &mut out);
            }
            let lines = lines(&out);
            let closing = |line: &Value| line["status"] == "success" || line["error"].is_string();
            prop_assert_eq!(lines.iter().filter(|line| closing(line)).count(), 1);
            let last = lines.last().unwrap();
            prop_assert_eq!(last["status"] == "success", failed.is_none());
            prop_assert!(closing(last));
        }
    }
}
