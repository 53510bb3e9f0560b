//! Where a flag that takes a file writes: to stdout, to a descriptor that is open already, to a
//! device or a FIFO, or to a regular file, which is replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::cli::atomic_file::AtomicFile;
use crate::cli::output::{Patience, write_all};

/// As many links as the kernel follows.
const LINKS_MAX: u32 = 40;

/// An open destination; see [`Destination::open`].
#[derive(Debug)]
pub(crate) enum Destination {
    /// `-`, or a name of descriptor 1.
    Stdout,
    /// Something that is written to and must not be replaced: a device, a FIFO, or a file that
    /// was named by a descriptor which is open on it.
    Open(File),
    /// A FIFO that nobody reads yet.
    Fifo(PathBuf),
    /// A regular file.
    File(AtomicFile),
}

impl Destination {
    /// Opens the destination, and leaves untouched what is there now.
    ///
    /// # Errors
    ///
    /// If it cannot be written: it is a directory, its directory is missing or refuses new files,
    /// or it names a descriptor that is not open for writing.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        match Named::by(path)? {
            Named::Stdout => Ok(Self::Stdout),
            Named::Descriptor(link, number) => open_descriptor(&link, number).map(Self::Open),
            Named::File(path) => Self::open_file(path),
        }
    }

    fn open_file(path: PathBuf) -> io::Result<Self> {
        let Ok(found) = fs::metadata(&path) else {
            return AtomicFile::open(&path).map(Self::File);
        };
        let kind = found.file_type();
        if kind.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if kind.is_file() {
            return AtomicFile::open(&path).map(Self::File);
        }
        match open_special(&path) {
            // The error of a FIFO without a reader: one may come before it is written.
            Err(error) if kind.is_fifo() && error.raw_os_error() == Some(libc::ENXIO) => {
                Ok(Self::Fifo(path))
            }
            opened => opened.map(Self::Open),
        }
    }

    /// Writes the contents, and closes the destination.
    ///
    /// # Errors
    ///
    /// If the system refuses, or nobody reads a pipe and the patience has ended.
    pub(crate) fn write(self, contents: &[u8], patience: Patience) -> io::Result<()> {
        match self {
            Self::Stdout => write_all(io::stdout(), contents, patience),
            Self::Open(file) => write_all(file, contents, patience),
            Self::Fifo(path) => {
                let file = open_special(&path).map_err(|error| match error.raw_os_error() {
                    Some(libc::ENXIO) => io::Error::other("nobody reads this FIFO"),
                    _ => error,
                })?;
                write_all(file, contents, patience)
            }
            Self::File(file) => file.write(contents),
        }
    }
}

/// Returns whether the destination is the stdout of this process.
pub(crate) fn is_stdout(path: &Path) -> bool {
    matches!(Named::by(path), Ok(Named::Stdout))
}

/// What a path refers to.
#[derive(Debug)]
enum Named {
    Stdout,
    /// The link of a descriptor in /proc, and its number if it is one of this process.
    Descriptor(PathBuf, Option<i32>),
    /// All other paths, with links followed.
    File(PathBuf),
}

impl Named {
    /// Follows the links one by one: the last one, of a descriptor, must be seen.
    fn by(path: &Path) -> io::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Stdout);
        }
        if path.as_os_str().is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut path = path.to_owned();
        for _ in 0..LINKS_MAX {
            if path.as_os_str().as_encoded_bytes().ends_with(b"/") {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
                return Err(io::ErrorKind::IsADirectory.into());
            };
            let here = Path::new(".");
            let directory = if directory.as_os_str().is_empty() { here } else { directory };
            let directory = fs::canonicalize(directory)?;
            let link = directory.join(name);
            if let Some(is_ours) = holds_descriptors(&directory)
                && let Ok(number) = name.to_string_lossy().parse::<i32>()
            {
                return Ok(match (is_ours, number) {
                    (true, 1) => Self::Stdout,
                    (true, number) => Self::Descriptor(link, Some(number)),
                    (false, _) => Self::Descriptor(link, None),
                });
            }
            match fs::read_link(&link) {
                Ok(target) => path = directory.join(target),
                Err(_) => return Ok(Self::File(link)),
            }
        }
        Err(io::Error::from_raw_os_error(libc::ELOOP))
    }
}

/// Whether a directory has the descriptors of a process, and if so whether of this one.
fn holds_descriptors(directory: &Path) -> Option<bool> {
    if directory == Path::new("/dev/fd") {
        return Some(true);
    }
    if !directory.starts_with("/proc") || directory.file_name()? != "fd" {
        return None;
    }
    Some(fs::canonicalize("/proc/self").is_ok_and(|own| directory.starts_with(own)))
}

/// Shares the descriptor, so that what others write to it before and after keeps its place.
/// Where the system refuses to share, writes to the end of the file that it is open on.
fn open_descriptor(link: &Path, number: Option<i32>) -> io::Result<File> {
    if number == Some(2) {
        return Ok(rustix::io::fcntl_dupfd_cloexec(io::stderr(), 3)?.into());
    }
    let file = match number.map(share) {
        Some(Some(file)) => file,
        _ => special_options().append(true).open(link)?,
    };
    let mode = rustix::fs::fcntl_getfl(&file)?.bits() & libc::O_ACCMODE.cast_unsigned();
    if mode == libc::O_RDONLY.cast_unsigned() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not open for writing"));
    }
    Ok(file)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn share(number: i32) -> Option<File> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    let own = pidfd_open(getpid(), PidfdFlags::empty()).ok()?;
    pidfd_getfd(own, number, PidfdGetfdFlags::empty()).ok().map(File::from)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn share(_: i32) -> Option<File> {
    None
}

fn open_special(path: &Path) -> io::Result<File> {
    special_options().open(path)
}

/// A FIFO without a reader fails instead of blocking, and a terminal does not become ours.
fn special_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    options
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::fd::{AsFd, AsRawFd};

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("netgrace-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        path
    }

    fn write(path: &Path, text: &str) -> io::Result<()> {
        Destination::open(path)?.write(text.as_bytes(), Patience::Brief)
    }

    #[test]
    fn links_are_followed_dangling_ones_too() {
        let directory = directory("link");
        let target = directory.join("target");
        std::os::unix::fs::symlink("target", directory.join("second")).expect("linked");
        std::os::unix::fs::symlink("second", directory.join("first")).expect("linked");
        for text in ["new", "replaced"] {
            write(&directory.join("first"), text).expect("written");
            assert_eq!(fs::read_to_string(&target).expect("there"), text);
            assert!(directory.join("first").is_symlink() && directory.join("second").is_symlink());
        }
        std::os::unix::fs::symlink("loop", directory.join("loop")).expect("linked");
        assert!(write(&directory.join("loop"), "").is_err());
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn devices_are_written_not_replaced() {
        write(Path::new("/dev/null"), "gone").expect("written");
        assert!(fs::metadata("/dev/null").expect("there").file_type().is_char_device());
        assert!(write(Path::new("/dev/full"), "no room").is_err());
    }

    #[test]
    fn what_cannot_be_written_is_known_at_once() {
        for path in ["/", "/nonexistent/report", "", "/proc/report", "..", "/tmp/", "/tmp/x/"] {
            assert!(Destination::open(Path::new(path)).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_name_of_stdout_is_stdout() {
        for path in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1"] {
            assert!(is_stdout(Path::new(path)), "{path}");
        }
        for path in ["./-", "/dev/stderr", "/dev/fd/2", "/dev/fd/x", "/proc/1", "1"] {
            assert!(!is_stdout(Path::new(path)), "{path}");
        }
    }

    /// By its position: a file that was opened anew would be written from its beginning.
    #[cfg(target_os = "linux")]
    #[test]
    fn an_open_descriptor_is_shared() {
        let directory = directory("descriptor");
        let path = directory.join("log");
        let mut log = File::create(&path).expect("created");
        log.write_all(b"before ").expect("written");
        let name = |fd: &File| PathBuf::from(format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd()));
        std::os::unix::fs::symlink(name(&log), directory.join("link")).expect("linked");
        write(&directory.join("link"), "report ").expect("written");
        log.write_all(b"after").expect("written");
        assert_eq!(fs::read_to_string(&path).expect("there"), "before report after");
        let error = write(&name(&File::open(&path).expect("there")), "").expect_err("read only");
        assert!(error.to_string().contains("not open for writing"), "{error}");
        assert!(write(Path::new("/dev/fd/987654"), "").is_err());
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_fifo_waits_for_a_reader_until_it_is_written() {
        let directory = directory("fifo");
        let path = directory.join("fifo");
        let made = std::process::Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let error = write(&path, "x").expect_err("no reader");
        assert!(error.to_string().contains("nobody reads"), "{error}");
        let destination = Destination::open(&path).expect("open for now");
        let options = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let mut reader = options.expect("readable");
        destination.write(b"late", Patience::Unlimited).expect("written");
        let mut found = String::new();
        reader.read_to_string(&mut found).expect("to the end");
        assert_eq!(found, "late");
        fs::remove_dir_all(&directory).expect("removed");
    }
}
