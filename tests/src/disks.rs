//! Disks that become full or are read-only, for one process at a time: small file systems in a mount namespace of its own. Where this
//! host allows none (a container without the right), the size of its files is limited in their place.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

/// How a program comes by its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// By a mount namespace, for root.
    Mount,
    /// By one with a user namespace, for others.
    User,
    /// By a limit on its files.
    Limit,
}

/// A small disk that is mounted at a folder, for the processes that [`Disk::before`] is put before.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
    options: String,
    /// What is copied to it before anybody sees it.
    content: Option<PathBuf>,
    way: Way,
}

impl Disk {
    /// One of so many KiB at `folder`, which is made.
    pub fn small(folder: &Path, kibibytes: u32) -> Result<Self> {
        Self::with(folder, &format!("size={kibibytes}k"))
    }

    /// One where only the size of each file is limited, which is what is left where a host allows no other.
    pub fn of_small_files(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        Ok(Self { folder: folder.to_owned(), options: String::new(), content: None, way: Way::Limit })
    }

    /// One of so many KiB with what is in `content`, its owners included; an error where this host allows none, or not that.
    pub fn holding(folder: &Path, content: &Path, kibibytes: u64) -> Result<Self> {
        let disk =
            Self { content: Some(content.to_owned()), ..Self::with(folder, &format!("size={kibibytes}k"))? };
        ensure!(disk.way == Way::Mount, "nothing can be mounted here: be root on a host that allows it");
        Ok(disk)
    }

    /// One that nobody can write to; `None` where this host allows none.
    pub fn read_only(folder: &Path) -> Result<Option<Self>> {
        let disk = Self::with(folder, "ro")?;
        Ok((disk.way != Way::Limit).then_some(disk))
    }

    fn with(folder: &Path, options: &str) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let works = |arguments: &[&str]| {
            let mut command = Command::new("unshare");
            command.args(arguments).args(["mount", "-t", "tmpfs", "tmpfs"]).arg(folder);
            command.output().is_ok_and(|output| output.status.success())
        };
        let way = match () {
            () if works(&["--mount"]) => Way::Mount,
            () if works(&["--map-root-user", "--mount"]) => Way::User,
            () => Way::Limit,
        };
        Ok(Self { folder: folder.to_owned(), options: options.to_owned(), content: None, way })
    }

    /// The words that stand before those of the program.
    #[must_use]
    pub fn before(&self) -> Vec<String> {
        let folder = self.folder.display().to_string();
        let copy = self.content.as_ref().map(|content| format!("cp -a '{}/.' \"$0\" && ", content.display()));
        let copy = copy.unwrap_or_default();
        let mount = format!("mount -t tmpfs -o {} tmpfs \"$0\" && {copy}exec \"$@\"", self.options);
        let words: Vec<&str> = match self.way {
            Way::Mount => vec!["unshare", "--mount", "sh", "-c", &mount, &folder],
            Way::User => vec!["unshare", "--map-root-user", "--mount", "sh", "-c", &mount, &folder],
            Way::Limit => vec!["sh", "-c", "trap '' XFSZ; exec \"$@\"", "sh"],
        };
        words.into_iter().map(str::to_owned).collect()
    }

    /// Runs a program on it to its end.
    pub fn run(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        let before = self.before();
        let mut command = Command::new(&before[0]);
        command.args(&before[1..]);
        if self.way == Way::Limit {
            // Blocks of 512 bytes: not even the first page of a database.
            command.args(["sh", "-c", "ulimit -f 1; exec \"$@\"", "sh"]);
        }
        Ok(command.arg(program).args(arguments).output()?)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder as the process `id` sees it. Programs that resolve symbolic links find it by [`Disk::beside`] alone.
    #[must_use]
    pub fn seen_by(&self, id: u32) -> PathBuf {
        let inside = self.folder.strip_prefix("/").unwrap_or(&self.folder);
        match self.way {
            Way::Limit => self.folder.clone(),
            _ => Path::new("/proc").join(id.to_string()).join("root").join(inside),
        }
    }

    /// A program that sees the disk of the process `id`.
    #[must_use]
    pub fn beside(&self, id: u32, program: &str) -> Command {
        if self.way == Way::Limit {
            return Command::new(program);
        }
        let mut command = Command::new("nsenter");
        command.args(["--target", &id.to_string(), "--mount"]);
        if self.way == Way::User {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg(program);
        command
    }

    /// Leaves the process `id` not a byte more.
    pub fn fill(&self, id: u32) -> Result<()> {
        if self.way == Way::Limit {
            return limit(id, "1:");
        }
        let mut filler = fs::File::create(self.seen_by(id).join("filler"))?;
        let mut size = 65_536;
        while size > 0 {
            match filler.write(&vec![0; size]) {
                Ok(written) => ensure!(written > 0, "nothing was written"),
                Err(error) if error.raw_os_error() == Some(28) => size /= 2,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Gives it its room back.
    pub fn free(&self, id: u32) -> Result<()> {
        match self.way {
            Way::Limit => limit(id, "unlimited:"),
            _ => fs::remove_file(self.seen_by(id).join("filler")).context("filler"),
        }
    }
}

fn limit(id: u32, size: &str) -> Result<()> {
    let status =
        Command::new("prlimit").args(["--pid", &id.to_string(), &format!("--fsize={size}")]).status()?;
    ensure!(status.success(), "prlimit");
    Ok(())
}
