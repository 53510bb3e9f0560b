//! A file that others see whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where to write; see [`AtomicFile::claim`].
#[derive(Debug)]
pub(crate) struct AtomicFile {
    /// The path with symbolic links followed.
    path: PathBuf,
    /// Beside it, so that the last step is a rename within one file system. `None` for a device or
    /// a pipe, which is written to and must not be replaced.
    temporary: Option<PathBuf>,
}

impl AtomicFile {
    /// Checks that the file can be written, and leaves what is there now untouched.
    ///
    /// # Errors
    ///
    /// When it is a directory, or its directory is missing or cannot be written to.
    pub(crate) fn claim(path: &Path) -> io::Result<Self> {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Ok(found) = fs::metadata(&path) {
            let kind = found.file_type();
            if kind.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if kind.is_fifo() {
                // Whether somebody reads it is decided when it is written.
                return Ok(Self { path, temporary: None });
            }
            if !kind.is_file() {
                special(&path)?;
                return Ok(Self { path, temporary: None });
            }
        }
        let temporary = temporary(&path)?;
        drop(create(&temporary)?);
        fs::remove_file(&temporary)?;
        Ok(Self { path, temporary: Some(temporary) })
    }

    /// Puts the contents there.
    ///
    /// # Errors
    ///
    /// When the file system refuses, in which case what was there before still is.
    pub(crate) fn write(&self, contents: &[u8]) -> io::Result<()> {
        let Some(temporary) = &self.temporary else {
            return special(&self.path)?.write_all(contents);
        };
        let written = create(temporary)
            .and_then(|mut file| file.write_all(contents))
            .and_then(|()| fs::rename(temporary, &self.path));
        if written.is_err() && fs::remove_file(temporary).is_err() {
            log::debug!("left behind: {temporary:?}");
        }
        written
    }
}

fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.tmp", std::process::id()));
    Ok(path.with_file_name(hidden))
}

/// Follows no link that somebody else may have put there. What an earlier process with our id left
/// behind is in the way.
fn create(temporary: &Path) -> io::Result<File> {
    let create = || OpenOptions::new().write(true).create_new(true).open(temporary);
    match create() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(temporary)?;
            create()
        }
        created => created,
    }
}

/// A pipe without a reader fails instead of holding us up.
fn special(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("netgrace-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory");
        path
    }

    fn names(directory: &Path) -> Vec<OsString> {
        let listing = fs::read_dir(directory).expect("readable");
        let mut names: Vec<_> = listing.map(|entry| entry.expect("entry").file_name()).collect();
        names.sort();
        names
    }

    #[test]
    fn claiming_changes_nothing_and_writing_leaves_one_file() {
        let directory = directory("claim");
        let path = directory.join("report");
        fs::write(&path, "before").expect("writable");
        let file = AtomicFile::claim(&path).expect("claimed");
        assert_eq!(fs::read(&path).expect("there"), b"before");
        assert_eq!(names(&directory), ["report"]);
        file.write(b"after").expect("written");
        assert_eq!(fs::read(&path).expect("there"), b"after");
        assert_eq!(names(&directory), ["report"]);
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn a_link_is_followed() {
        let directory = directory("link");
        std::os::unix::fs::symlink("target", directory.join("link")).expect("linked");
        fs::write(directory.join("target"), "before").expect("writable");
        AtomicFile::claim(&directory.join("link")).and_then(|f| f.write(b"after")).expect("ok");
        assert_eq!(fs::read(directory.join("target")).expect("there"), b"after");
        assert_eq!(names(&directory), ["link", "target"]);
        fs::remove_dir_all(&directory).expect("removed");
    }

    #[test]
    fn devices_are_written_not_replaced() {
        let null = AtomicFile::claim(Path::new("/dev/null")).expect("claimed");
        null.write(b"gone").expect("written");
        assert!(fs::metadata("/dev/null").expect("there").file_type().is_char_device());
        let full = AtomicFile::claim(Path::new("/dev/full")).expect("claimed");
        assert!(full.write(b"no room").is_err());
    }

    #[test]
    fn what_cannot_be_written_is_known_at_once() {
        for path in ["/", "/nonexistent/report", "", "/proc/report", ".."] {
            assert!(AtomicFile::claim(Path::new(path)).is_err(), "{path:?}");
        }
    }
}
