//! What the kernel says of this process, in `/proc`.

use std::io;

/// Ticks of a second in `/proc`: a constant of the kernel's interface (`USER_HZ`), whatever the kernel itself runs with.
const TICKS: f64 = 100.0;

/// What there is to say.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Process {
    /// Processor time, seconds.
    pub cpu: f64,
    /// Bytes in RAM.
    pub resident: u64,
    /// Bytes of address space.
    pub virtual_size: u64,
    /// Open file descriptors.
    pub open_fds: u64,
    /// As many as there may be; `None`: no limit.
    pub max_fds: Option<u64>,
    /// When it has started, seconds since 1970.
    pub started: f64,
    /// Its threads by name, with their processor time in seconds.
    pub threads: Vec<(String, f64)>,
}

impl Process {
    /// This process now.
    ///
    /// # Errors
    /// There is no `/proc`, or it says something else than Linux does.
    pub fn read() -> io::Result<Self> {
        let text = |path: &str| std::fs::read_to_string(path);
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "/proc is not as it should be");
        let own = Stat::parse(&text("/proc/self/stat")?).ok_or_else(strange)?;
        let booted = text("/proc/stat")?;
        let booted = booted.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        Ok(Self {
            cpu: own.cpu,
            resident: resident(&text("/proc/self/status")?),
            virtual_size: own.virtual_size,
            // One of them is that of the directory.
            open_fds: (std::fs::read_dir("/proc/self/fd")?.count() as u64).saturating_sub(1),
            max_fds: max_fds(&text("/proc/self/limits")?),
            started: booted.ok_or_else(strange)? + own.started,
            threads: threads()?,
        })
    }
}

/// Of `/proc/…/stat` (proc(5)).
struct Stat {
    name: String,
    cpu: f64,
    started: f64,
    virtual_size: u64,
}

impl Stat {
    /// The name is in brackets and may hold anything, brackets too.
    fn parse(text: &str) -> Option<Self> {
        let (before, after) = text.rsplit_once(')')?;
        let name = before.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = after.split_whitespace().collect();
        // The first of them is the third of proc(5): 14 and 15 are the times, 22 the start, 23 the size.
        let number = |place: usize| fields.get(place - 3)?.parse::<u64>().ok();
        let cpu = (number(14)? + number(15)?) as f64 / TICKS;
        Some(Self { name, cpu, started: number(22)? as f64 / TICKS, virtual_size: number(23)? })
    }
}

fn threads() -> io::Result<Vec<(String, f64)>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir("/proc/self/task")? {
        // One that has ended meanwhile says nothing any more.
        let stat = std::fs::read_to_string(entry?.path().join("stat"));
        threads.extend(stat.ok().as_deref().and_then(Stat::parse).map(|stat| (stat.name, stat.cpu)));
    }
    threads.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(threads)
}

fn resident(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or_default() * 1024
}

fn max_fds(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_understood() {
        let text = "77 (a) b (c)) S 1 77 77 0 -1 4194304 9 0 0 0 250 50 0 0 20 0 3 0 1000 8192 5 1844";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((&*stat.name, stat.cpu, stat.started, stat.virtual_size), ("a) b (c)", 3.0, 10.0, 8192));
        assert!(Stat::parse("77 (x) S 1").is_none());
        let limits =
            "Limit Soft Limit Hard Limit Units\nMax open files            1024      4096      files\n";
        assert_eq!(max_fds(limits), Some(1024));
        assert_eq!(
            max_fds("Max open files            unlimited            unlimited            files\n"),
            None
        );
        assert_eq!(resident("VmHWM:\t 9 kB\nVmRSS:\t    1024 kB\n"), 1 << 20);
    }

    #[test]
    fn this_process_is_told_of() {
        let (told, all) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("metrics-test".into());
        thread.spawn(move || told.send(Process::read().unwrap())).unwrap().join().unwrap().unwrap();
        let Process { resident, virtual_size, open_fds, started, threads, .. } = all.recv().unwrap();
        assert!(resident > 0 && virtual_size >= resident && open_fds >= 3);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
        assert!(started > 1e9 && started <= now + 1.0, "{started}");
        assert!(threads.iter().any(|(name, _)| name == "metrics-test"), "{threads:?}");
    }
}
