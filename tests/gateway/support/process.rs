//! A child process that never outlives its test, and whose output is shown when the test fails.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

/// A running `remuda`.
pub(crate) struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Output {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    /// Streams that have ended.
    ended: usize,
}

impl Process {
    /// Starts `command`, an invocation of the binary under test, with its output captured.
    pub(crate) fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Arc::<Output>::default();
        let stdout = child.stdout.take().unwrap();
        let stderr = child.stderr.take().unwrap();
        let readers = vec![follow(stdout, &output), follow(stderr, &output)];
        Self {
            name: name.to_owned(),
            child,
            output,
            readers,
        }
    }

    /// The binary under test, with nothing of this process's environment.
    pub(crate) fn remuda() -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_remuda"));
        command.env_clear();
        command
    }

    /// Waits until `found` accepts a line of the output so far or to come; panics when the output ends first.
    pub(crate) fn wait_for<T>(&self, what: &str, found: impl Fn(&str) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut state = self.output.state.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(value) = state.lines[seen..].iter().find_map(|line| found(line)) {
                return value;
            }
            seen = state.lines.len();
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended == 2 {
                let lines = state.lines.join("\n");
                drop(state);
                panic!("{} never said: {what}; it said:\n{lines}", self.name);
            }
            state = self.output.more.wait_timeout(state, left).unwrap().0;
        }
    }

    /// Everything that was written so far, a line each.
    pub(crate) fn output(&self) -> Vec<String> {
        self.output.state.lock().unwrap().lines.clone()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, signal).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Waits for the process to end by itself; panics after `limit`.
    pub(crate) fn exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{} still runs after {limit:?}",
                self.name
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Bytes of resident memory.
    pub(crate) fn resident_memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// Bytes of resident memory, without the pages of files such as the binary itself.
    pub(crate) fn anonymous_memory(&self) -> u64 {
        self.status("RssAnon:")
    }

    /// Seconds of processor time so far.
    pub(crate) fn processor_time(&self) -> f64 {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = std::fs::read_to_string(path).unwrap();
        let (_, after_name) = stat.rsplit_once(") ").unwrap();
        let fields: Vec<&str> = after_name.split(' ').collect();
        // utime and stime, in hundredths of a second (proc(5)).
        let ticks: u64 = fields[11..13]
            .iter()
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        ticks as f64 / 100.0
    }

    /// Open file descriptors.
    pub(crate) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id()))
            .unwrap()
            .count()
    }

    /// A size from the process's status, in bytes.
    fn status(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.unwrap().trim().trim_end_matches(" kB");
        kib.parse::<u64>().unwrap() * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        if std::thread::panicking() {
            let lines = self.output().join("\n");
            eprintln!("--- output of {}\n{lines}\n---", self.name);
        }
    }
}

fn follow(stream: impl Read + Send + 'static, output: &Arc<Output>) -> JoinHandle<()> {
    let output = output.clone();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            output.state.lock().unwrap().lines.push(line);
            output.more.notify_all();
        }
        output.state.lock().unwrap().ended += 1;
        output.more.notify_all();
    })
}
