//! CPU time and memory of the measured processes, as the kernel counts them.

use std::fs;
use std::path::Path;
use std::time::Duration;

/// Memory of one or more processes, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident pages, shared ones counted in full for every process.
    pub rss: u64,
    /// Resident pages, shared ones divided among their users; 0 where the kernel does not tell.
    pub pss: u64,
    /// The highest `rss` so far.
    pub peak: u64,
}

/// CPU time that these processes have used on all their threads.
///
/// `schedstat` counts nanoseconds where `stat` counts ticks of 10 ms; it forgets threads that ended,
/// which the measured servers do not do under load.
pub fn cpu_time(pids: &[u32]) -> Duration {
    pids.iter().map(|&pid| cpu_time_of(pid)).sum()
}

fn cpu_time_of(pid: u32) -> Duration {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Duration::ZERO;
    };
    threads
        .flatten()
        .filter_map(|thread| nanoseconds_run(&thread.path().join("schedstat")))
        .map(Duration::from_nanos)
        .sum()
}

fn nanoseconds_run(schedstat: &Path) -> Option<u64> {
    let text = fs::read_to_string(schedstat).ok()?;
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// Memory of these processes together.
pub fn memory(pids: &[u32]) -> Memory {
    let mut sum = Memory::default();
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.rss += kib(&status, "VmRSS:");
        sum.peak += kib(&status, "VmHWM:");
        sum.pss += kib(&rollup, "Pss:");
    }
    sum
}

fn kib(text: &str, key: &str) -> u64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_used_time_and_memory() {
        let own = [std::process::id()];
        let before = cpu_time(&own);
        while cpu_time(&own) == before {
            std::hint::black_box((0..10_000u64).sum::<u64>());
        }
        let memory = memory(&own);
        assert!(memory.rss > 0);
        assert!(memory.peak >= memory.rss);
    }
}
